// Statements.
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/run.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {

std::optional<Value> Loop::fetch() {
  while (next < items.size()) {
    const Value& candidate = items[next++];
    if (!test || test(candidate)) return candidate;
  }
  return std::nullopt;
}

const Value* Loop::peek() {
  if (!after) after = fetch();
  return after ? &*after : nullptr;
}

bool Loop::advance() {
  std::optional<Value> item = after ? std::exchange(after, std::nullopt) : fetch();
  if (!item) return false;
  ++index0;
  before = std::exchange(current, std::move(item));
  return true;
}

std::int64_t Loop::count() {
  if (!length) {
    if (test) {  // the test runs now for all that is left
      Items rest;
      while (auto item = fetch()) rest.push_back(std::move(*item));
      items = std::move(rest);
      next = 0;
      test = nullptr;
      length = static_cast<std::int64_t>(items.size()) + index0 + 1 + (after ? 1 : 0);
    } else {
      length = static_cast<std::int64_t>(items.size());
    }
  }
  return *length;
}

std::string loop_text(Loop& loop) {
  return "<LoopContext " + std::to_string(loop.index0 + 1) + "/" + std::to_string(loop.count()) + ">";
}

Rendering Run::render() {
  execute(tree_.body, std::make_shared<Scope>(nullptr), text_);
  Rendering out;
  for (const Span& span : spans_) {
    // Inside a macro what is marked is not yet part of the text, so that its length is all that is known.
    std::size_t end = span.begin;
    for (std::size_t i = 0; i < span.characters && end < text_.size(); ++i) end += character_length(text_[end]);
    out.generated.push_back({span.begin, end});
  }
  out.text = std::move(text_);
  return out;
}

void Run::emit(std::string& out, std::string_view text) {
  budget_.step(text.size() / 64);
  budget_.output(out.size() + text.size());
  out += text;
}

// What a filter block or a call block gives must be a string already, as in Jinja.
void Run::emit_string(std::string& out, const Value& value) {
  if (!value.is_string()) throw TemplateError("the block gives a " + type_name(value) + " where a string is needed");
  emit(out, value.text());
}

Run::Flow Run::execute(const Body& body, const ScopePtr& scope, std::string& out) {
  const Budget::Level level(budget_);
  for (const auto& statement : body) {
    const Flow flow = execute(*statement, scope, out);
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Run::Flow Run::execute(const Statement& s, const ScopePtr& scope, std::string& out) {
  budget_.step();
  line_ = s.line;
  switch (s.tag) {
    case Tag::kText:
      emit(out, s.text);
      return Flow::kOn;
    case Tag::kOutput: {
      const Value value = evaluate(*s.value, scope);
      line_ = s.line;
      if (value.is_string()) {
        emit(out, value.text());
      } else {
        emit(out, to_text(budget_, value));
      }
      return Flow::kOn;
    }
    case Tag::kIf:
      for (const auto& [test, body] : s.branches) {
        if (!test || truth(evaluate(*test, scope))) return execute(body, scope, out);
      }
      return Flow::kOn;
    case Tag::kFor: {
      if (!s.recursive) return for_loop(s, evaluate(*s.value, scope), scope, 0, out);
      std::string inner;  // written as a whole, as a call of the loop is
      for_loop(s, evaluate(*s.value, scope), scope, 0, inner);
      emit(out, inner);
      return Flow::kOn;
    }
    case Tag::kSet:
      check_namespaces(*s.target, *scope);
      assign(*s.target, evaluate(*s.value, scope), *scope);
      return Flow::kOn;
    case Tag::kSetBlock:
      return set_block(s, scope);
    case Tag::kMacro:
      budget_.bytes(sizeof(Macro));
      macros_.push_back({s.macro.get(), scope});
      scope->set(s.macro->id, Value::of(&macros_.back()));
      return Flow::kOn;
    case Tag::kCall:
      call_block(s, scope, out);
      return Flow::kOn;
    case Tag::kFilter:
      return filter_block(s, scope, out);
    case Tag::kWith: {
      const auto inner = std::make_shared<Scope>(scope);
      for (const auto& [target, value] : s.assignments) assign(*target, evaluate(*value, scope), *inner);
      return execute(s.body, inner, out);
    }
    case Tag::kGeneration:
      generation(s, scope, out);
      return Flow::kOn;
    case Tag::kBreak:
      return Flow::kBreak;
    case Tag::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Run::Flow Run::for_loop(const Statement& s, const Value& over, const ScopePtr& scope, std::int64_t depth0,
                        std::string& out) {
  budget_.bytes(sizeof(Loop));
  Loop& loop = loops_.emplace_back();
  loop.items = to_items(budget_, over);
  loop.node = &s;
  loop.scope = scope;
  loop.depth0 = depth0;
  if (s.test) {
    loop.test = [this, &s, around = std::make_shared<Scope>(scope)](const Value& candidate) {
      around->clear();
      assign(*s.target, candidate, *around);
      return truth(evaluate(*s.test, around));
    };
  }
  const auto inner = std::make_shared<Scope>(scope);
  bool went_through = false;  // Jinja runs the else branch unless one pass of the body came to its end
  while (loop.advance()) {
    inner->clear();
    inner->set(kLoopName, Value::of(&loop));
    assign(*s.target, *loop.current, *inner);
    const Flow flow = execute(s.body, inner, out);
    if (flow == Flow::kBreak) break;
    went_through = went_through || flow == Flow::kOn;
  }
  loop.items.clear();
  loop.test = nullptr;
  if (went_through || s.other.empty()) return Flow::kOn;
  return execute(s.other, std::make_shared<Scope>(scope), out);
}

Run::Flow Run::set_block(const Statement& s, const ScopePtr& scope) {
  const auto inner = std::make_shared<Scope>(scope);
  std::string text;
  const Flow flow = execute(s.body, inner, text);
  if (flow != Flow::kOn) return flow;
  line_ = s.line;
  check_namespaces(*s.target, *scope);
  assign(*s.target, s.value ? filtered(*s.value, inner, &text) : string(std::move(text)), *scope);
  return Flow::kOn;
}

Run::Flow Run::filter_block(const Statement& s, const ScopePtr& scope, std::string& out) {
  const auto inner = std::make_shared<Scope>(scope);
  std::string text;
  const Flow flow = execute(s.body, inner, text);
  if (flow == Flow::kOn) emit_string(out, filtered(*s.value, inner, &text));
  return flow;
}

void Run::generation(const Statement& s, const ScopePtr& scope, std::string& out) {
  const std::string inner = call_macro({s.macro.get(), scope}, {}).text();
  budget_.bytes(sizeof(Span));
  spans_.push_back({text_.size(), count_characters(inner)});
  emit(out, inner);
}

void Run::call_block(const Statement& s, const ScopePtr& scope, std::string& out) {
  budget_.bytes(sizeof(Macro));
  macros_.push_back({s.macro.get(), scope});
  const Value caller = Value::of(&macros_.back());
  const Value callee = evaluate(*s.value->parts[0], scope);
  Call made = arguments(*s.value->arguments, scope);
  if (made.take("caller")) throw TemplateError("multiple values for the keyword argument 'caller'");
  made.keywords.emplace_back("caller", caller);
  line_ = s.line;
  emit_string(out, call(callee, std::move(made)));
}

void Run::check_namespaces(const Expression& target, const Scope& scope) {
  if (target.op == Op::kNamespace && !name(target, scope).is(Kind::kNamespace)) {
    throw TemplateError("cannot assign attribute on non-namespace object '" + target.text + "'");
  }
  for (const ExpressionPtr& part : target.parts) check_namespaces(*part, scope);
}

void Run::assign(const Expression& target, const Value& value, Scope& scope) {
  if (target.op == Op::kName) {
    scope.set(target.id, value);
  } else if (target.op == Op::kNamespace) {
    const Value space = name(target, scope);
    const std::string& key = target.constant.text();
    if (key.starts_with('_')) throw TemplateError("an attribute of a namespace cannot begin with '_': " + key);
    budget_.bytes(key.size());
    for (auto& [other, old] : space.name_space()->attributes) {
      if (other == key) {
        old = value;
        return;
      }
    }
    space.name_space()->attributes.emplace_back(key, value);
  } else {
    const Items items = to_items(budget_, value);
    if (items.size() != target.parts.size()) {
      throw TemplateError("expected " + std::to_string(target.parts.size()) + " values to unpack, found " +
                          std::to_string(items.size()));
    }
    for (std::size_t i = 0; i < items.size(); ++i) assign(*target.parts[i], items[i], scope);
  }
}

}  // namespace lowrank::data::jinja
