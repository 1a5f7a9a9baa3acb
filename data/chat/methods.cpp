#include "lowrank/data/chat/methods.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"

namespace lowrank::data::jinja {
namespace {

template <std::size_t n>
bool is_in(const std::array<std::string_view, n>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

Value call_dict_method(Run& run, const Value& self, std::string_view name, Call& call) {
  if (name == "get") {
    const Parameters p("dict.get", call, {"key", "default"}, 1);
    const Value* found = self.dict().find(p[0]);
    return found != nullptr ? *found : p.get(1, Value());
  }
  if (name == "fromkeys") {
    const Parameters p("dict.fromkeys", call, {"iterable", "value"}, 1);
    std::vector<std::pair<Value, Value>> entries;
    for (const Value& key : to_items(run.budget(), p[0])) entries.emplace_back(key, p.get(1, Value()));
    return Value::dict(run.budget(), std::move(entries));
  }
  const Parameters none("a method of dict", call, {});
  if (name == "copy") return self;
  return Value::view(self, name == "keys" ? 'k' : name == "values" ? 'v' : 'i');
}

Value call_sequence_method(Run& run, const Value& self, std::string_view name, Call& call) {
  if (name == "copy") {
    const Parameters none("copy", call, {});
    return self;
  }
  if (name == "count") {
    const Parameters p("count", call, {"value"}, 1);
    std::int64_t n = 0;
    for (const Value& item : to_items(run.budget(), self)) n += equal(item, p[0]) ? 1 : 0;
    return Value::integer(n);
  }
  const Parameters p("index", call, {"value", "start", "stop"}, 1);
  const Items items = to_items(run.budget(), self);
  const auto size = static_cast<std::int64_t>(items.size());
  const std::int64_t end = clamp_index(p.integer(2, std::numeric_limits<std::int64_t>::max()), size);
  for (std::int64_t i = clamp_index(p.integer(1, 0), size); i < end; ++i) {
    if (equal(items[static_cast<std::size_t>(i)], p[0])) return Value::integer(i);
  }
  throw TemplateError("the value is not in the " + type_name(self));
}

Value call_number_method(const Value& self, std::string_view name, Call& call) {
  const Parameters none("a method of a number", call, {});
  if (name == "is_integer") {
    return Value::boolean(!self.is(Kind::kFloat) ||
                          (std::isfinite(self.number()) && std::floor(self.number()) == self.number()));
  }
  if (name == "conjugate") return self.is(Kind::kBool) ? Value::integer(self.integer()) : self;
  auto magnitude = static_cast<std::uint64_t>(self.integer());
  if (self.integer() < 0) magnitude = 0 - magnitude;
  return Value::integer(magnitude == 0 ? 0 : 64 - __builtin_clzll(magnitude));
}

}  // namespace

bool has_method(const Value& self, std::string_view name) {
  static constexpr std::array<std::string_view, 6> kDict = {"get", "items", "keys", "values", "copy", "fromkeys"};
  switch (self.kind()) {
    case Kind::kString:
      return has_text_method(name);
    case Kind::kDict:
      return is_in(kDict, name);
    case Kind::kList:
      return name == "count" || name == "index" || name == "copy";
    case Kind::kTuple:
    case Kind::kRange:
      return name == "count" || name == "index";
    case Kind::kInt:
    case Kind::kBool:
      return name == "bit_length" || name == "conjugate";
    case Kind::kFloat:
      return name == "is_integer" || name == "conjugate";
    case Kind::kFunction:
      return self.function() == Function::kDict && name == "fromkeys";
    default:
      return false;
  }
}

bool is_forbidden_method(const Value& self, std::string_view name) {
  static constexpr std::array<std::string_view, 8> kList = {"append", "clear", "pop",    "reverse",
                                                            "insert", "sort",  "extend", "remove"};
  static constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem", "setdefault", "update"};
  return (self.is(Kind::kList) && is_in(kList, name)) || (self.is(Kind::kDict) && is_in(kDict, name));
}

Value call_method(Run& run, const Method& method, Call& call) {
  const Value& self = method.self;
  switch (self.kind()) {
    case Kind::kString:
      return call_text_method(run, self, method.name, call);
    case Kind::kDict:
    case Kind::kFunction:
      return call_dict_method(run, self, method.name, call);
    case Kind::kInt:
    case Kind::kBool:
    case Kind::kFloat:
      return call_number_method(self, method.name, call);
    default:
      return call_sequence_method(run, self, method.name, call);
  }
}

}  // namespace lowrank::data::jinja
