// Expressions.
#include "lowrank/data/chat/run.h"

#include "lowrank/data/chat/operators.h"

namespace lowrank::data::jinja {

const Value* Scope::find(int id) const {
  for (const Scope* scope = this; scope != nullptr; scope = scope->around_.get()) {
    for (const auto& [key, value] : scope->values_) {
      if (key == id) return &value;
    }
  }
  return nullptr;
}

void Scope::set(int id, Value value) {
  for (auto& [key, old] : values_) {
    if (key == id) {
      old = std::move(value);
      return;
    }
  }
  values_.emplace_back(id, std::move(value));
}

Value from_json(Budget& budget, const core::Json& json) {
  switch (json.type()) {
    case core::Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case core::Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case core::Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        throw TemplateError("the integer " + std::to_string(number) + " does not fit into 64 bits with a sign");
      }
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case core::Json::value_t::number_float:
      return Value::number(json.get<double>());
    case core::Json::value_t::string:
      return Value::string(budget, json.get_ref<const std::string&>());
    case core::Json::value_t::array: {
      const Budget::Level level(budget);
      Items items;
      items.reserve(json.size());
      for (const core::Json& item : json) items.push_back(from_json(budget, item));
      return Value::list(budget, std::move(items));
    }
    case core::Json::value_t::object: {
      const Budget::Level level(budget);
      std::vector<std::pair<Value, Value>> entries;
      entries.reserve(json.size());
      for (const auto& [key, value] : json.items()) {
        entries.emplace_back(Value::string(budget, key), from_json(budget, value));
      }
      return Value::dict(budget, std::move(entries));
    }
    case core::Json::value_t::binary: {  // stands for a text that is broken: see data/json_faults.h
      const auto& what = json.get_binary();
      throw TemplateError("a value of the row is no text: it holds " + std::string(what.begin(), what.end()));
    }
    default:
      return Value();
  }
}

Value Run::global(int id) {
  std::optional<Value>& known = globals_[static_cast<std::size_t>(id)];
  if (known) return *known;
  const std::string& name = tree_.names[static_cast<std::size_t>(id)];
  static constexpr std::pair<std::string_view, Function> kFunctions[] = {{"range", Function::kRange},
                                                                         {"dict", Function::kDict},
                                                                         {"namespace", Function::kNamespace},
                                                                         {"raise_exception", Function::kRaiseException},
                                                                         {"strftime_now", Function::kStrftimeNow}};
  if (const auto it = variables_.find(name); it != variables_.end()) {
    known = from_json(budget_, *it);
    return *known;
  }
  for (const auto& [known_name, function] : kFunctions) {
    if (name == known_name) known = Value::function(function);
  }
  if (!known) known = Value::undefined("'" + name + "' is undefined");
  return *known;
}

Value Run::name(const Expression& e, const Scope& scope) {
  const Value* value = scope.find(e.id);
  return value != nullptr ? *value : global(e.id);
}

Items Run::all(const std::vector<ExpressionPtr>& parts, const ScopePtr& scope) {
  Items items;
  items.reserve(parts.size());
  for (const ExpressionPtr& part : parts) items.push_back(evaluate(*part, scope));
  return items;
}

Value Run::evaluate(const Expression& e, const ScopePtr& scope) {
  const Budget::Level level(budget_);
  budget_.step();
  line_ = e.line;
  const auto part = [&](std::size_t i) { return evaluate(*e.parts[i], scope); };
  switch (e.op) {
    case Op::kConstant:
      return e.constant;
    case Op::kName:
    case Op::kNamespace:
      return name(e, *scope);
    case Op::kTuple:
      return Value::tuple(budget_, all(e.parts, scope));
    case Op::kList:
      return Value::list(budget_, all(e.parts, scope));
    case Op::kDict:
      return dict(e, scope);
    case Op::kConditional:
      if (truth(part(1))) return part(0);
      if (e.parts[2]) return part(2);
      return Value::undefined("the inline if-expression evaluated to false and no else section was defined");
    case Op::kNot:
      return Value::boolean(!truth(part(0)));
    case Op::kNegate:
    case Op::kPlus: {
      const Value operand = part(0);
      const Value negative = negated(operand);  // the check of the type too
      if (e.op == Op::kNegate) return negative;
      return operand.is(Kind::kBool) ? Value::integer(operand.integer()) : operand;
    }
    case Op::kAnd: {
      Value left = part(0);
      return truth(left) ? part(1) : left;
    }
    case Op::kOr: {
      Value left = part(0);
      return truth(left) ? left : part(1);
    }
    case Op::kConcat:
      return concatenation(e, scope);
    case Op::kCompare:
      return comparison(e, scope);
    case Op::kAttribute: {
      const Value object = part(0);
      line_ = e.line;
      return attribute(object, e.text);
    }
    case Op::kItem: {
      const Value object = part(0), key = part(1);
      line_ = e.line;
      return item(object, key);
    }
    case Op::kSlice:
      return slice_of(e, scope);
    case Op::kCall: {
      const Value callee = part(0);
      Call made = arguments(*e.arguments, scope);
      line_ = e.line;
      return call(callee, std::move(made));
    }
    case Op::kFilter:
      return filtered(e, scope, nullptr);
    case Op::kTest: {
      const Value input = part(0);
      Call made = arguments(*e.arguments, scope);
      line_ = e.line;
      return Value::boolean(test(e.text, input, std::move(made)));
    }
    default: {
      const Value left = part(0), right = part(1);
      line_ = e.line;
      return binary(budget_, e.op, left, right);
    }
  }
}

Value Run::filtered(const Expression& e, const ScopePtr& scope, const std::string* block) {
  const Budget::Level level(budget_);
  // In a filter block the chain begins with the block's text.
  const bool is_first = e.parts[0] == nullptr;
  const Value input = is_first                        ? string(*block)
                      : e.parts[0]->op == Op::kFilter ? filtered(*e.parts[0], scope, block)
                                                      : evaluate(*e.parts[0], scope);
  Call made = arguments(*e.arguments, scope);
  line_ = e.line;
  budget_.step();
  return filter(e.text, input, std::move(made));
}

Value Run::concatenation(const Expression& e, const ScopePtr& scope) {
  Writer out(budget_);
  const Items items = all(e.parts, scope);
  for (const Value& value : items) write_text(out, value);
  return Value::string(out.take());
}

Value Run::dict(const Expression& e, const ScopePtr& scope) {
  std::vector<std::pair<Value, Value>> entries;
  entries.reserve(e.parts.size() / 2);
  for (std::size_t i = 0; i + 1 < e.parts.size(); i += 2) {
    Value key = evaluate(*e.parts[i], scope);
    entries.emplace_back(std::move(key), evaluate(*e.parts[i + 1], scope));
  }
  return Value::dict(budget_, std::move(entries));
}

Value Run::comparison(const Expression& e, const ScopePtr& scope) {
  Value left = evaluate(*e.parts[0], scope);
  for (std::size_t i = 0; i < e.comparisons.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1], scope);
    line_ = e.line;
    bool holds = false;
    switch (e.comparisons[i]) {
      case Comparison::kEqual:
        holds = equal(left, right);
        break;
      case Comparison::kNotEqual:
        holds = !equal(left, right);
        break;
      case Comparison::kLess:
        holds = compare(left, right, "<") == -1;
        break;
      case Comparison::kLessEqual: {
        const int order = compare(left, right, "<=");
        holds = order == -1 || order == 0;
        break;
      }
      case Comparison::kGreater:
        holds = compare(left, right, ">") == 1;
        break;
      case Comparison::kGreaterEqual: {
        const int order = compare(left, right, ">=");
        holds = order == 1 || order == 0;
        break;
      }
      case Comparison::kIn:
        holds = contains(budget_, right, left);
        break;
      case Comparison::kNotIn:
        holds = !contains(budget_, right, left);
        break;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Run::slice_of(const Expression& e, const ScopePtr& scope) {
  const Value object = evaluate(*e.parts[0], scope);
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (e.parts[i + 1]) bounds[i] = evaluate(*e.parts[i + 1], scope);
  }
  line_ = e.line;
  if (object.is(Kind::kUndefined)) throw TemplateError(object.why_undefined());
  if (auto out = slice(budget_, object, bounds[0], bounds[1], bounds[2])) return *out;
  throw TemplateError("a " + type_name(object) + " has no slices");
}

Call Run::arguments(const Arguments& from, const ScopePtr& scope) {
  Call made;
  made.positional = all(from.positional, scope);
  for (const auto& [key, value] : from.keywords) made.keywords.emplace_back(key, evaluate(*value, scope));
  if (from.list) {
    for (Value& value : to_items(budget_, evaluate(*from.list, scope))) made.positional.push_back(std::move(value));
  }
  if (from.dict) {
    const Value more = evaluate(*from.dict, scope);
    if (!more.is(Kind::kDict)) throw TemplateError("the argument behind ** must be a dict, not a " + type_name(more));
    for (const auto& [key, value] : more.dict().entries) {
      if (!key.is_string()) throw TemplateError("keywords must be strings");
      for (const auto& [other, unused] : made.keywords) {
        if (other == key.text()) throw TemplateError("multiple values for the keyword argument '" + other + "'");
      }
      made.keywords.emplace_back(key.text(), value);
    }
  }
  return made;
}

}  // namespace lowrank::data::jinja
