// The tests of a template: x is NAME.
#include <algorithm>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/filters.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"

namespace lowrank::data::jinja {
namespace {

void no_arguments(Call& call) { const Parameters none("a test", call, {}); }

Value only_argument(Call& call) { return Parameters("a test", call, {"other"}, 1)[0]; }

template <Kind... kinds>
bool is_kind(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return (value.is(kinds) || ...);
}

bool is_defined(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return !value.is(Kind::kUndefined);
}

template <bool wanted>
bool is_bool(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return value.is(Kind::kBool) && value.boolean() == wanted;
}

bool leaves(Run& run, const Value& value, const Value& divisor, std::int64_t rest) {
  return equal(binary(run.budget(), Op::kModulo, value, divisor), Value::integer(rest));
}

template <std::int64_t rest>
bool is_parity(Run& run, const Value& value, Call& call) {
  no_arguments(call);
  return leaves(run, value, Value::integer(2), rest);
}

bool is_divisible(Run& run, const Value& value, Call& call) { return leaves(run, value, only_argument(call), 0); }

template <bool wants_upper>
bool is_in_case_test(Run& run, const Value& value, Call& call) {
  no_arguments(call);
  return is_in_case(to_text(run.budget(), value), wants_upper);
}

bool is_sequence(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return length(value).has_value() && !value.is(Kind::kView);
}

bool is_iterable_test(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return is_iterable(value) || value.is(Kind::kLoop);
}

bool is_escaped(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return value.is_markup();
}

bool is_callable(Run&, const Value& value, Call& call) {
  no_arguments(call);
  return value.is(Kind::kMacro) || value.is(Kind::kFunction) || value.is(Kind::kMethod) || value.is(Kind::kLoop) ||
         value.is(Kind::kUndefined);  // Jinja's Undefined has a __call__ that fails
}

bool is_same(Run&, const Value& value, Call& call) { return value.same_as(only_argument(call)); }
bool is_in(Run& run, const Value& value, Call& call) { return contains(run.budget(), only_argument(call), value); }
bool is_equal(Run&, const Value& value, Call& call) { return equal(value, only_argument(call)); }
bool is_unequal(Run&, const Value& value, Call& call) { return !equal(value, only_argument(call)); }

template <int order, bool or_equal>
bool is_ordered(Run&, const Value& value, Call& call) {
  const int found = compare(value, only_argument(call), order < 0 ? (or_equal ? "<=" : "<") : (or_equal ? ">=" : ">"));
  return found == order || (or_equal && found == 0);
}

bool is_filter(Run&, const Value& value, Call& call) {
  no_arguments(call);
  check_hashable(value);
  return value.is_string() && find_filter(value.text()) != nullptr;
}

bool is_test(Run&, const Value& value, Call& call) {
  no_arguments(call);
  check_hashable(value);
  return value.is_string() && find_test(value.text()) != nullptr;
}

const std::unordered_map<std::string_view, Test>& tests_by_name() {
  static const std::unordered_map<std::string_view, Test> tests = {
      {"odd", is_parity<1>},
      {"even", is_parity<0>},
      {"divisibleby", is_divisible},
      {"defined", is_defined},
      {"undefined", is_kind<Kind::kUndefined>},
      {"filter", is_filter},
      {"test", is_test},
      {"none", is_kind<Kind::kNone>},
      {"boolean", is_kind<Kind::kBool>},
      {"false", is_bool<false>},
      {"true", is_bool<true>},
      {"integer", is_kind<Kind::kInt>},
      {"float", is_kind<Kind::kFloat>},
      {"lower", is_in_case_test<false>},
      {"upper", is_in_case_test<true>},
      {"string", is_kind<Kind::kString>},
      {"mapping", is_kind<Kind::kDict>},
      {"number", is_kind<Kind::kBool, Kind::kInt, Kind::kFloat>},
      {"sequence", is_sequence},
      {"iterable", is_iterable_test},
      {"callable", is_callable},
      {"sameas", is_same},
      {"escaped", is_escaped},
      {"in", is_in},
      {"==", is_equal},
      {"eq", is_equal},
      {"equalto", is_equal},
      {"!=", is_unequal},
      {"ne", is_unequal},
      {">", is_ordered<1, false>},
      {"gt", is_ordered<1, false>},
      {"greaterthan", is_ordered<1, false>},
      {">=", is_ordered<1, true>},
      {"ge", is_ordered<1, true>},
      {"<", is_ordered<-1, false>},
      {"lt", is_ordered<-1, false>},
      {"lessthan", is_ordered<-1, false>},
      {"<=", is_ordered<-1, true>},
      {"le", is_ordered<-1, true>},
  };
  return tests;
}

}  // namespace

Test find_test(std::string_view name) {
  const auto it = tests_by_name().find(name);
  return it == tests_by_name().end() ? nullptr : it->second;
}

std::vector<std::string> test_names() {
  std::vector<std::string> names;
  for (const auto& [name, test] : tests_by_name()) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace lowrank::data::jinja
