// object.name and object[key], as Jinja's sandbox looks them up.
#include "lowrank/core/text.h"
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/methods.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/run.h"

namespace lowrank::data::jinja {
namespace {

Value no_such(Budget& budget, const Value& object, const Value& key) {
  if (key.is_string()) {
    return Value::undefined("'" + type_name(object) + " object' has no attribute '" + core::printable(key.text()) +
                            "'");
  }
  return Value::undefined(type_name(object) + " object has no element " + core::printable(to_repr(budget, key)));
}

}  // namespace

std::optional<Value> Run::loop_attribute(Loop& loop, const std::string& name) {
  const std::int64_t index = loop.index0 + 1;
  if (name == "index") return Value::integer(index);
  if (name == "index0") return Value::integer(loop.index0);
  if (name == "first") return Value::boolean(loop.index0 == 0);
  if (name == "last") return Value::boolean(loop.peek() == nullptr);
  if (name == "length") return Value::integer(loop.count());
  if (name == "revindex") return Value::integer(loop.count() - loop.index0);
  if (name == "revindex0") return Value::integer(loop.count() - index);
  if (name == "depth") return Value::integer(loop.depth0 + 1);
  if (name == "depth0") return Value::integer(loop.depth0);
  if (name == "previtem") return loop.before ? *loop.before : Value::undefined("there is no previous item");
  if (name == "nextitem") {
    const Value* after = loop.peek();
    return after != nullptr ? *after : Value::undefined("there is no next item");
  }
  if (name == "cycle" || name == "changed") return Value::method(budget_, Value::of(&loop), name);
  return std::nullopt;
}

std::optional<Value> Run::macro_attribute(const Macro& macro, const std::string& name) {
  if (name == "name") return macro.node->name.empty() ? Value() : string(macro.node->name);
  if (name == "arguments") {
    Items names;
    for (const auto& [parameter, id] : macro.node->parameters) names.push_back(string(parameter));
    return Value::tuple(budget_, std::move(names));
  }
  if (name == "catch_kwargs") return Value::boolean(macro.node->uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(macro.node->uses_varargs);
  if (name == "caller") return Value::boolean(macro.node->uses_caller);
  return std::nullopt;
}

std::optional<Value> Run::python_attribute(const Value& object, const std::string& name) {
  switch (object.kind()) {
    case Kind::kUndefined:
      throw TemplateError(object.why_undefined());
    case Kind::kNamespace: {
      const Value* value = object.name_space()->find(name);
      return value != nullptr ? std::optional(*value) : std::nullopt;
    }
    case Kind::kLoop:
      return loop_attribute(*object.loop(), name);
    case Kind::kMacro:
      return macro_attribute(*object.macro(), name);
    case Kind::kRange:
      if (name == "start") return Value::integer(object.range().start);
      if (name == "stop") return Value::integer(object.range().stop);
      if (name == "step") return Value::integer(object.range().step);
      break;
    case Kind::kTuple:
      if (object.sequence().group && name == "grouper") return object.items()[0];
      if (object.sequence().group && name == "list") return object.items()[1];
      break;
    default:
      break;
  }
  if (has_method(object, name)) return Value::method(budget_, object, name);
  if (is_forbidden_method(object, name) || (name.starts_with("__") && name.ends_with("__"))) {
    return Value::undefined("access to the attribute '" + core::printable(name) + "' of a " + type_name(object) +
                            " is unsafe");
  }
  return std::nullopt;
}

// What Python's object[key] finds.
std::optional<Value> Run::subscript(const Value& object, const Value& key) {
  const auto place = [&](std::int64_t size) -> std::optional<std::int64_t> {
    if (!key.is_integral()) return std::nullopt;
    const std::int64_t i = key.integer() < 0 ? key.integer() + size : key.integer();
    return i >= 0 && i < size ? std::optional(i) : std::nullopt;
  };
  switch (object.kind()) {
    case Kind::kUndefined:
      throw TemplateError(object.why_undefined());
    case Kind::kDict: {
      if (key.is(Kind::kList) || key.is(Kind::kDict)) return std::nullopt;
      budget_.step(object.dict().index.empty() ? 1 : 2);
      const Value* value = object.dict().find(key);
      return value != nullptr ? std::optional(*value) : std::nullopt;
    }
    case Kind::kList:
    case Kind::kTuple:
      if (const auto i = place(static_cast<std::int64_t>(object.items().size()))) {
        return object.items()[static_cast<std::size_t>(*i)];
      }
      return std::nullopt;
    case Kind::kRange:
      if (const auto i = place(object.range().size)) return object.range().at(*i);
      return std::nullopt;
    case Kind::kString:
      if (const auto i = place(static_cast<std::int64_t>(object.text_object().characters))) {
        return slice(budget_, object, Value::integer(*i), Value::integer(*i + 1), Value());
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

Value Run::attribute(const Value& object, const std::string& name) {
  if (auto value = python_attribute(object, name)) return *value;
  const Value key = Value::string(name);
  if (auto value = subscript(object, key)) return *value;
  return no_such(budget_, object, key);
}

Value Run::item(const Value& object, const Value& key) {
  if (auto value = subscript(object, key)) return *value;
  if (key.is_string()) {
    if (auto value = python_attribute(object, key.text())) return *value;
  }
  return no_such(budget_, object, key);
}

}  // namespace lowrank::data::jinja
