// Filters that choose, order or look up items.
#include <algorithm>
#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/filters.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"

namespace lowrank::data::jinja {
namespace {

Value without_case(Run& run, const Value& value, bool case_sensitive) {
  return case_sensitive || !value.is_string() ? value : run.string(lower(value.text()));
}

struct Keyed {
  Value key, item;
};

// Stable, also when reversed, as Python's sorted.
void sort_by_key(Run& run, std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    run.budget().step();
    return (reverse ? compare(b.key, a.key) : compare(a.key, b.key)) == -1;
  });
}

Items items_of(std::vector<Keyed>& keyed) {
  Items items;
  items.reserve(keyed.size());
  for (Keyed& k : keyed) items.push_back(std::move(k.item));
  return items;
}

Value sort(Run& run, const Value& input, Call& call) {
  const Parameters p("sort", call, {"reverse", "case_sensitive", "attribute"});
  const bool case_sensitive = p.truth(1, false);
  std::vector<Attribute> attributes;
  if (!p.is_none(2) && p[2].is_string()) {
    std::string_view rest = p[2].text();
    for (bool more = true; more;) {
      const std::size_t comma = rest.find(',');
      attributes.emplace_back(Value::string(std::string(rest.substr(0, comma))), nullptr);
      more = comma != std::string_view::npos;
      if (more) rest.remove_prefix(comma + 1);
    }
  } else {
    attributes.emplace_back(p.get(2, Value()), nullptr);
  }
  std::vector<Keyed> keyed;
  for (Value& item : to_items(run.budget(), input)) {
    Items key;
    for (const Attribute& attribute : attributes) {
      key.push_back(without_case(run, attribute.of(run, item), case_sensitive));
    }
    keyed.push_back({Value::list(run.budget(), std::move(key)), std::move(item)});
  }
  sort_by_key(run, keyed, p.truth(0, false));
  return Value::list(run.budget(), items_of(keyed));
}

Value dictsort(Run& run, const Value& input, Call& call) {
  const Parameters p("dictsort", call, {"case_sensitive", "by", "reverse"});
  const std::string by = p.text(1, "key");
  if (by != "key" && by != "value") throw TemplateError("dictsort sorts by \"key\" or \"value\"");
  if (input.is(Kind::kUndefined)) throw TemplateError(input.why_undefined());
  if (!input.is(Kind::kDict)) throw TemplateError("dictsort needs a dict, not a " + type_name(input));
  std::vector<Keyed> keyed;
  for (const auto& [key, value] : input.dict().entries) {
    keyed.push_back(
        {without_case(run, by == "key" ? key : value, p.truth(0, false)), Value::tuple(run.budget(), {key, value})});
  }
  sort_by_key(run, keyed, p.truth(2, false));
  return Value::list(run.budget(), items_of(keyed));
}

Value groupby(Run& run, const Value& input, Call& call) {
  const Parameters p("groupby", call, {"attribute", "default", "case_sensitive"}, 1);
  const Attribute attribute(p[0], p.has(1) ? &p[1] : nullptr);
  std::vector<Keyed> keyed;
  for (Value& item : to_items(run.budget(), input)) {
    Value key = without_case(run, attribute.of(run, item), p.truth(2, false));
    keyed.push_back({std::move(key), std::move(item)});
  }
  sort_by_key(run, keyed, false);
  Items groups;
  for (std::size_t begin = 0, end = 0; begin < keyed.size(); begin = end) {
    Items members;
    for (end = begin; end < keyed.size() && equal(keyed[begin].key, keyed[end].key); ++end) {
      members.push_back(keyed[end].item);
    }
    if (end == begin) members.push_back(keyed[end++].item);  // a NaN is equal to nothing
    Value name = attribute.of(run, members.front());
    groups.push_back(Value::group(run.budget(), std::move(name), Value::list(run.budget(), std::move(members))));
  }
  return Value::list(run.budget(), std::move(groups));
}

Value unique(Run& run, const Value& input, Call& call) {
  const Parameters p("unique", call, {"case_sensitive", "attribute"});
  const Attribute attribute(p.get(1, Value()), nullptr);
  Items out;
  std::vector<std::pair<Value, Value>> seen;
  for (const Value& item : to_items(run.budget(), input)) {
    const Value key = without_case(run, attribute.of(run, item), p.truth(0, false));
    check_hashable(key);
    run.budget().step(1 + seen.size() / 16);
    const bool known = std::any_of(seen.begin(), seen.end(), [&](const auto& s) { return equal(s.first, key); });
    if (known) continue;
    seen.emplace_back(key, Value());
    out.push_back(item);
  }
  return Value::iterator(run.budget(), std::move(out));
}

template <int wanted>  // -1: the least, 1: the greatest
Value extreme(Run& run, const Value& input, Call& call) {
  const Parameters p("min and max", call, {"case_sensitive", "attribute"});
  const Attribute attribute(p.get(1, Value()), nullptr);
  std::optional<Keyed> best;
  for (const Value& item : to_items(run.budget(), input)) {
    run.budget().step();
    Value key = without_case(run, attribute.of(run, item), p.truth(0, false));
    if (!best || compare(key, best->key, wanted < 0 ? "<" : ">") == wanted) best = Keyed{std::move(key), item};
  }
  return best ? best->item : Value::undefined("No aggregated item, sequence was empty.");
}

Value map(Run& run, const Value& input, Call& call) {
  Items out;
  if (!truth(input)) return Value::iterator(run.budget(), {});
  if (call.positional.empty() &&
      std::any_of(call.keywords.begin(), call.keywords.end(), [](const auto& k) { return k.first == "attribute"; })) {
    const Parameters p("map", call, {"attribute", "default"}, 1);
    const Attribute attribute(p[0], p.has(1) ? &p[1] : nullptr);
    for (const Value& item : to_items(run.budget(), input)) out.push_back(attribute.of(run, item));
    return Value::iterator(run.budget(), std::move(out));
  }
  if (call.positional.empty() || !call.positional[0].is_string()) throw TemplateError("map needs the name of a filter");
  const std::string name = call.positional[0].text();
  call.positional.erase(call.positional.begin());
  for (const Value& item : to_items(run.budget(), input)) {
    run.budget().step();
    out.push_back(run.filter(name, item, call));
  }
  return Value::iterator(run.budget(), std::move(out));
}

// `wanted`: which outcome of the test keeps an item.
template <bool by_attribute, bool wanted>
Value select(Run& run, const Value& input, Call& call) {
  if (!truth(input)) return Value::iterator(run.budget(), {});
  std::optional<Attribute> attribute;
  if (by_attribute) {
    if (call.positional.empty()) throw TemplateError("selectattr and rejectattr need the name of an attribute");
    attribute.emplace(call.positional[0], nullptr);
    call.positional.erase(call.positional.begin());
  }
  std::optional<std::string> name;
  if (!call.positional.empty()) {
    if (!call.positional[0].is_string()) throw TemplateError("select and reject need the name of a test");
    name = call.positional[0].text();
    call.positional.erase(call.positional.begin());
  }
  Items out;
  for (Value& item : to_items(run.budget(), input)) {
    run.budget().step();
    const Value looked_at = attribute ? attribute->of(run, item) : item;
    const bool holds = name ? run.test(*name, looked_at, call) : truth(looked_at);
    if (holds == wanted) out.push_back(std::move(item));
  }
  return Value::iterator(run.budget(), std::move(out));
}

Value attr(Run& run, const Value& input, Call& call) {
  const Parameters p("attr", call, {"name"}, 1);
  if (auto value = run.python_attribute(input, p.text(0))) return *value;
  return Value::undefined("'" + type_name(input) + " object' has no attribute '" + p.text(0) + "'");
}

}  // namespace

const FilterTable& choosing_filters() {
  static const FilterTable filters = {
      {"attr", attr},
      {"dictsort", dictsort},
      {"groupby", groupby},
      {"map", map},
      {"max", extreme<1>},
      {"min", extreme<-1>},
      {"reject", select<false, false>},
      {"rejectattr", select<true, false>},
      {"select", select<false, true>},
      {"selectattr", select<true, true>},
      {"sort", sort},
      {"unique", unique},
  };
  return filters;
}

}  // namespace lowrank::data::jinja
