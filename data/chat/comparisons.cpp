// Truth, equality, order and membership of values.
#include <algorithm>
#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/operators.h"

namespace lowrank::data::jinja {
namespace {

bool is_sequence(const Value& v) { return v.is(Kind::kList) || v.is(Kind::kTuple); }

// Exact: a long double holds every 64-bit integer.
int order(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer() ? -1 : a.integer() > b.integer() ? 1 : 0;
  const auto wide = [](const Value& v) {
    return v.is(Kind::kFloat) ? static_cast<long double>(v.number()) : static_cast<long double>(v.integer());
  };
  return wide(a) < wide(b) ? -1 : wide(a) > wide(b) ? 1 : 0;
}

bool is_nan(const Value& v) { return v.is(Kind::kFloat) && std::isnan(v.number()); }

// As Python's containers look for an item: the same object, or an equal one.
bool matches(const Value& a, const Value& b) { return (a.kind() == b.kind() && is_nan(a) && is_nan(b)) || equal(a, b); }

bool equal_dicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other != nullptr && matches(entry.second, *other);
  });
}

bool equal_ranges(const Range& a, const Range& b) {
  if (a.size != b.size) return false;
  return a.size == 0 || (a.start == b.start && (a.size == 1 || a.step == b.step));
}

}  // namespace

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView:
      return value.view().which == 'k' ? "dict_keys" : value.view().which == 'v' ? "dict_values" : "dict_items";
    case Kind::kIterator:
      return "generator";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kMacro:
      return "Macro";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kMethod:
      return "method";
    case Kind::kFunction:
      return "function";
  }
  return "value";
}

bool truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.number() != 0;
    default:
      return length(value).value_or(1) != 0;
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return !is_nan(a) && !is_nan(b) && order(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), matches);
    case Kind::kDict:
      return equal_dicts(a.dict(), b.dict());
    case Kind::kRange:
      return equal_ranges(a.range(), b.range());
    case Kind::kMethod:
      return a.method().name == b.method().name && a.method().self.same_as(b.method().self);
    default:
      return a.same_as(b);
  }
}

void check_hashable(const Value& key) {
  if (key.is(Kind::kList) || key.is(Kind::kDict)) throw TemplateError("unhashable type: '" + type_name(key) + "'");
  if (key.is(Kind::kTuple)) std::for_each(key.items().begin(), key.items().end(), check_hashable);
}

int compare(const Value& a, const Value& b, const char* op) {
  if (a.is_number() && b.is_number()) return is_nan(a) || is_nan(b) ? 2 : order(a, b);
  if (a.is_string() && b.is_string()) {  // bytes of UTF-8 order as characters do
    const int order_of_texts = a.text().compare(b.text());
    return order_of_texts < 0 ? -1 : order_of_texts > 0 ? 1 : 0;
  }
  if (a.kind() == b.kind() && is_sequence(a)) {
    const Items &left = a.items(), &right = b.items();
    for (std::size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
      if (!matches(left[i], right[i])) return compare(left[i], right[i], op);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  for (const Value* v : {&a, &b}) {
    if (v->is(Kind::kUndefined)) throw TemplateError(v->why_undefined());
  }
  throw TemplateError(std::string("'") + op + "' not supported between " + type_name(a) + " and " + type_name(b));
}

bool contains(Budget& budget, const Value& haystack, const Value& needle) {
  switch (haystack.kind()) {
    case Kind::kString:
      if (!needle.is_string()) {
        throw TemplateError("'in <string>' requires a string as left operand, not " + type_name(needle));
      }
      budget.step(haystack.text().size() / 64);
      return haystack.text().find(needle.text()) != std::string::npos;
    case Kind::kDict:
      budget.step(haystack.dict().entries.size() / 64);
      return haystack.dict().find(needle) != nullptr;
    case Kind::kRange: {
      if (!needle.is_number()) return false;
      const Range& range = haystack.range();
      for (std::int64_t i = 0; i < range.size; ++i) {
        if (equal(range.at(i), needle)) return true;
      }
      return false;
    }
    case Kind::kIterator: {
      Iterator& it = haystack.iterator();
      while (it.next < it.items.size()) {
        budget.step();
        if (matches(it.items[it.next++], needle)) return true;
      }
      return false;
    }
    case Kind::kView:
      if (haystack.view().which == 'k') return haystack.view().dict.dict().find(needle) != nullptr;
      break;
    default:
      break;
  }
  if (!is_iterable(haystack)) throw TemplateError("a " + type_name(haystack) + " is not iterable");
  for (const Value& item : to_items(budget, haystack)) {
    budget.step();
    if (matches(item, needle)) return true;
  }
  return false;
}

std::optional<std::int64_t> length(const Value& value) {
  const auto size = [](std::size_t n) { return static_cast<std::int64_t>(n); };
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return size(value.text_object().characters);
    case Kind::kList:
    case Kind::kTuple:
      return size(value.items().size());
    case Kind::kDict:
      return size(value.dict().entries.size());
    case Kind::kRange:
      return value.range().size;
    case Kind::kView:
      return size(value.view().dict.dict().entries.size());
    default:
      return std::nullopt;
  }
}

bool is_iterable(const Value& value) { return length(value).has_value() || value.is(Kind::kIterator); }

Items to_items(Budget& budget, const Value& value) {
  Items items;
  const auto reserve = [&](std::size_t n) {
    budget.bytes(n * sizeof(Value));
    items.reserve(n);
  };
  switch (value.kind()) {
    case Kind::kUndefined:
      return items;
    case Kind::kString: {
      const std::string& text = value.text();
      reserve(value.text_object().characters);
      budget.bytes(96 * value.text_object().characters);
      for (const char32_t c : characters_of(text)) items.push_back(Value::string(to_utf8({&c, 1})));
      return items;
    }
    case Kind::kList:
    case Kind::kTuple:
      reserve(value.items().size());
      return value.items();
    case Kind::kDict:
    case Kind::kView: {
      const char which = value.is(Kind::kDict) ? 'k' : value.view().which;
      const Dict& dict = value.is(Kind::kDict) ? value.dict() : value.view().dict.dict();
      reserve(dict.entries.size());
      for (const auto& [key, item] : dict.entries) {
        items.push_back(which == 'k' ? key : which == 'v' ? item : Value::tuple(budget, {key, item}));
      }
      return items;
    }
    case Kind::kRange:
      reserve(static_cast<std::size_t>(value.range().size));
      for (std::int64_t i = 0; i < value.range().size; ++i) items.push_back(value.range().at(i));
      return items;
    case Kind::kIterator: {
      Iterator& it = value.iterator();
      reserve(it.items.size() - it.next);
      items.assign(it.items.begin() + static_cast<std::ptrdiff_t>(it.next), it.items.end());
      it.next = it.items.size();
      return items;
    }
    default:
      throw TemplateError("a " + type_name(value) + " is not iterable");
  }
}

}  // namespace lowrank::data::jinja
