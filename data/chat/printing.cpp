// str() and repr() of values.
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/run.h"

namespace lowrank::data::jinja {
namespace {

void write_sequence(Writer& out, const Items& items, const char* open, const char* close, bool comma_behind_one) {
  out.add(open);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.add(", ");
    write_repr(out, items[i]);
  }
  if (comma_behind_one && items.size() == 1) out.add(",");
  out.add(close);
}

void write_dict(Writer& out, const std::vector<std::pair<Value, Value>>& entries) {
  out.add("{");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out.add(", ");
    write_repr(out, entries[i].first);
    out.add(": ");
    write_repr(out, entries[i].second);
  }
  out.add("}");
}

void write_namespace(Writer& out, const Namespace& space) {
  out.add("<TemplateNamespace {");
  for (std::size_t i = 0; i < space.attributes.size(); ++i) {
    if (i > 0) out.add(", ");
    out.add(string_literal(space.attributes[i].first));
    out.add(": ");
    write_repr(out, space.attributes[i].second);
  }
  out.add("}>");
}

}  // namespace

void write_repr(Writer& out, const Value& value) {
  const Budget::Level level(out.budget());
  out.budget().step();
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.add("Undefined");
    case Kind::kNone:
      return out.add("None");
    case Kind::kBool:
      return out.add(value.boolean() ? "True" : "False");
    case Kind::kInt:
      return out.add(std::to_string(value.integer()));
    case Kind::kFloat:
      return out.add(float_text(value.number()));
    case Kind::kString:
      out.budget().bytes(value.text().size());
      return out.add(value.is_markup() ? "Markup(" + string_literal(value.text()) + ")" : string_literal(value.text()));
    case Kind::kList:
      return write_sequence(out, value.items(), "[", "]", false);
    case Kind::kTuple:
      return write_sequence(out, value.items(), "(", ")", true);
    case Kind::kDict:
      return write_dict(out, value.dict().entries);
    case Kind::kRange: {
      const Range& range = value.range();
      out.add("range(" + std::to_string(range.start) + ", " + std::to_string(range.stop));
      return out.add(range.step == 1 ? ")" : ", " + std::to_string(range.step) + ")");
    }
    case Kind::kView:
      out.add(type_name(value));
      return write_sequence(out, to_items(out.budget(), value), "([", "])", false);
    case Kind::kNamespace:
      return write_namespace(out, *value.name_space());
    case Kind::kMacro:
      return out.add(macro_text(*value.macro()));
    case Kind::kLoop:
      return out.add(loop_text(*value.loop()));
    default:
      return out.add("<" + type_name(value) + ">");
  }
}

void write_text(Writer& out, const Value& value) {
  if (value.is_string()) return out.add(value.text());
  if (value.is(Kind::kUndefined)) return;
  write_repr(out, value);
}

std::string to_text(Budget& budget, const Value& value) {
  if (value.is_string()) {
    budget.bytes(value.text().size());
    return value.text();
  }
  Writer out(budget);
  write_text(out, value);
  return out.take();
}

std::string to_repr(Budget& budget, const Value& value) {
  Writer out(budget);
  write_repr(out, value);
  return out.take();
}

}  // namespace lowrank::data::jinja
