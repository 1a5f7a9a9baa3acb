// Calls: of macros, of the functions that every template has, of loops.
#include <algorithm>

#include "lowrank/core/text.h"
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/methods.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"
#include "lowrank/data/chat/run.h"
#include "lowrank/data/chat/strftime.h"

namespace lowrank::data::jinja {

std::optional<Value> Call::take(std::string_view name) {
  const auto it = std::find_if(keywords.begin(), keywords.end(), [&](const auto& k) { return k.first == name; });
  if (it == keywords.end()) return std::nullopt;
  std::optional<Value> value = std::move(it->second);
  keywords.erase(it);
  return value;
}

std::string macro_text(const Macro& macro) {
  return macro.node->name.empty() ? "<Macro anonymous>" : "<Macro " + string_literal(macro.node->name) + ">";
}

Value Run::call(const Value& callee, Call made) {
  const Budget::Level level(budget_);
  budget_.step();
  switch (callee.kind()) {
    case Kind::kMacro:
      return call_macro(*callee.macro(), std::move(made));
    case Kind::kFunction:
      return call_function(callee.function(), std::move(made));
    case Kind::kMethod:
      if (callee.method().self.is(Kind::kLoop)) {
        return loop_method(*callee.method().self.loop(), callee.method().name, made);
      }
      return call_method(*this, callee.method(), made);
    case Kind::kLoop:
      return call_loop(*callee.loop(), made);
    case Kind::kUndefined:
      throw TemplateError(callee.why_undefined());
    default:
      throw TemplateError("a " + type_name(callee) + " cannot be called");
  }
}

Value Run::call_macro(const Macro& macro, Call made) {
  const MacroNode& node = *macro.node;
  const auto named = [&] { return node.name.empty() ? std::string("the block") : "macro '" + node.name + "'"; };
  const std::size_t count = node.parameters.size();
  std::vector<std::optional<Value>> given(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (i < made.positional.size()) {
      given[i] = made.positional[i];
    } else {
      given[i] = made.take(node.parameters[i].first);
    }
  }
  const auto scope = std::make_shared<Scope>(macro.scope);
  const bool own_caller = std::any_of(node.parameters.begin(), node.parameters.end(),
                                      [](const auto& p) { return p.second == kCallerName; });
  if (node.uses_caller && !own_caller) {
    std::optional<Value> caller = made.take("caller");
    scope->set(kCallerName, caller && !caller->is(Kind::kNone) ? *caller : Value::undefined("No caller defined"));
  }
  if (node.uses_kwargs) {
    std::vector<std::pair<Value, Value>> rest;
    for (auto& [key, value] : made.keywords) rest.emplace_back(string(key), std::move(value));
    scope->set(kKwargsName, Value::dict(budget_, std::move(rest)));
  } else if (!made.keywords.empty()) {
    if (made.take("caller")) throw TemplateError(named() + " has no use for the block that it is called with");
    throw TemplateError(named() + " takes no keyword argument '" + made.keywords[0].first + "'");
  }
  const std::size_t used = std::min(count, made.positional.size());
  if (node.uses_varargs) {
    scope->set(kVarargsName, Value::tuple(budget_, Items(made.positional.begin() + static_cast<std::ptrdiff_t>(used),
                                                         made.positional.end())));
  } else if (made.positional.size() > count) {
    throw TemplateError(named() + " takes not more than " + std::to_string(count) + " arguments, found " +
                        std::to_string(made.positional.size()));
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (given[i]) scope->set(node.parameters[i].second, std::move(*given[i]));
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (given[i]) continue;
    const std::size_t without = count - node.defaults.size();
    // A default may look at the parameters before it.
    scope->set(node.parameters[i].second,
               i >= without ? evaluate(*node.defaults[i - without], scope)
                            : Value::undefined("parameter '" + node.parameters[i].first + "' was not provided"));
  }
  std::string out;
  execute(node.body, scope, out);
  return string(std::move(out));
}

std::vector<std::pair<Value, Value>> Run::mapping(const char* function, Call made) {
  std::vector<std::pair<Value, Value>> entries;
  if (made.positional.size() > 1) throw TemplateError(std::string(function) + " takes at most 1 argument by position");
  if (!made.positional.empty()) {
    const Value& from = made.positional[0];
    if (from.is(Kind::kDict)) {
      entries = from.dict().entries;
    } else {
      for (const Value& pair : to_items(budget_, from)) {
        const Items items = to_items(budget_, pair);
        if (items.size() != 2) throw TemplateError(std::string(function) + " needs a dict or pairs");
        entries.emplace_back(items[0], items[1]);
      }
    }
  }
  for (auto& [key, value] : made.keywords) entries.emplace_back(string(key), std::move(value));
  return entries;
}

Value Run::call_function(Function function, Call made) {
  switch (function) {
    case Function::kRange: {
      if (made.positional.empty() || made.positional.size() > 3 || !made.keywords.empty()) {
        throw TemplateError("range takes 1 to 3 arguments by position");
      }
      const auto at = [&](std::size_t i) { return as_integer(made.positional[i]); };
      if (made.positional.size() == 1) return Value::range(0, at(0), 1);
      const std::int64_t step = made.positional.size() == 3 ? at(2) : 1;
      if (step == 0) throw TemplateError("the step of a range cannot be zero");
      return Value::range(at(0), at(1), step);
    }
    case Function::kDict:
      return Value::dict(budget_, mapping("dict", std::move(made)));
    case Function::kNamespace: {
      const Value attributes = Value::dict(budget_, mapping("namespace", std::move(made)));
      budget_.bytes(sizeof(Namespace));
      Namespace& space = namespaces_.emplace_back();
      for (const auto& [key, value] : attributes.dict().entries) {
        if (!key.is_string()) throw TemplateError("the attributes of a namespace have names, not " + type_name(key));
        if (key.text().starts_with('_')) {
          throw TemplateError("an attribute of a namespace cannot begin with '_': " + key.text());
        }
        space.attributes.emplace_back(key.text(), value);
      }
      return Value::of(&space);
    }
    case Function::kRaiseException: {
      const Parameters p("raise_exception", made, {"message"}, 1);
      throw TemplateError("the template refuses this conversation: " + core::printable(to_text(budget_, p[0]), 300));
    }
    case Function::kStrftimeNow: {
      const Parameters p("strftime_now", made, {"format"}, 1);
      if (!date_) throw TemplateError("the template asks for today's date (strftime_now), and no date was given");
      return string(strftime(budget_, *date_, p.text(0)));
    }
  }
  return Value();
}

Value Run::call_loop(Loop& loop, const Call& made) {
  if (!loop.node->recursive) {
    throw TemplateError("the loop must be marked 'recursive' to be called");
  }
  if (made.positional.size() != 1 || !made.keywords.empty())
    throw TemplateError("a loop is called with what to go through");
  std::string out;
  for_loop(*loop.node, made.positional[0], loop.scope, loop.depth0 + 1, out);
  return string(std::move(out));
}

Value Run::loop_method(Loop& loop, const std::string& name, const Call& made) {
  if (!made.keywords.empty()) throw TemplateError("loop." + name + " takes no keyword arguments");
  if (name == "cycle") {
    if (made.positional.empty()) throw TemplateError("loop.cycle without anything to go through");
    return made.positional[static_cast<std::size_t>(loop.index0) % made.positional.size()];
  }
  const bool same = loop.changed && loop.changed->size() == made.positional.size() &&
                    std::equal(made.positional.begin(), made.positional.end(), loop.changed->begin(), equal);
  if (!same) loop.changed = made.positional;
  return Value::boolean(!same);
}

}  // namespace lowrank::data::jinja
