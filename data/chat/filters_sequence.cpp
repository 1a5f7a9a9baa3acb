// Filters that take sequences apart and put them together.
#include <algorithm>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/filters.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"

namespace lowrank::data::jinja {
namespace {

Value length_filter(Run&, const Value& input, Call& call) {
  const Parameters none("length", call, {});
  const auto n = length(input);
  if (!n) throw TemplateError("a " + type_name(input) + " has no length");
  return Value::integer(*n);
}

Value list_filter(Run& run, const Value& input, Call& call) {
  const Parameters none("list", call, {});
  return Value::list(run.budget(), to_items(run.budget(), input));
}

Value default_filter(Run&, const Value& input, Call& call) {
  const Parameters p("default", call, {"default_value", "boolean"});
  const bool missing = input.is(Kind::kUndefined) || (p.truth(1, false) && !truth(input));
  return missing ? p.get(0, Value::string("")) : input;
}

Value first(Run& run, const Value& input, Call& call) {
  const Parameters none("first", call, {});
  if (input.is(Kind::kIterator)) {
    Iterator& it = input.iterator();
    if (it.next < it.items.size()) return it.items[it.next++];
  } else {
    const Items items = to_items(run.budget(), input);
    if (!items.empty()) return items.front();
  }
  return Value::undefined("No first item, sequence was empty.");
}

Value last(Run& run, const Value& input, Call& call) {
  const Parameters none("last", call, {});
  if (input.is(Kind::kIterator)) throw TemplateError("the last item of a generator; make it a list before");
  const Items items = to_items(run.budget(), input);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value reverse(Run& run, const Value& input, Call& call) {
  const Parameters none("reverse", call, {});
  if (input.is_string()) return *slice(run.budget(), input, Value(), Value(), Value::integer(-1));
  Items items = to_items(run.budget(), input);
  std::reverse(items.begin(), items.end());
  return input.is(Kind::kIterator) ? Value::list(run.budget(), std::move(items))
                                   : Value::iterator(run.budget(), std::move(items));
}

Value items_filter(Run& run, const Value& input, Call& call) {
  const Parameters none("items", call, {});
  if (input.is(Kind::kUndefined)) return Value::iterator(run.budget(), {});
  if (!input.is(Kind::kDict)) throw TemplateError("items needs a dict, not a " + type_name(input));
  return Value::iterator(run.budget(), to_items(run.budget(), Value::view(input, 'i')));
}

Value join(Run& run, const Value& input, Call& call) {
  const Parameters p("join", call, {"d", "attribute"});
  const std::string between = p.has(0) ? to_text(run.budget(), p[0]) : "";
  std::optional<Attribute> attribute;
  if (!p.is_none(1)) attribute.emplace(p[1], nullptr);
  Writer out(run.budget());
  bool is_first = true;
  for (const Value& item : to_items(run.budget(), input)) {
    run.budget().step();
    if (!is_first) out.add(between);
    is_first = false;
    write_text(out, attribute ? attribute->of(run, item) : item);
  }
  return Value::string(out.take());
}

Value sum(Run& run, const Value& input, Call& call) {
  const Parameters p("sum", call, {"attribute", "start"});
  std::optional<Attribute> attribute;
  if (!p.is_none(0)) attribute.emplace(p[0], nullptr);
  Value total = p.get(1, Value::integer(0));
  if (total.is_string()) throw TemplateError("sum cannot begin with a string; use join");
  for (const Value& item : to_items(run.budget(), input)) {
    total = binary(run.budget(), Op::kAdd, total, attribute ? attribute->of(run, item) : item);
  }
  return total;
}

Value batch(Run& run, const Value& input, Call& call) {
  const Parameters p("batch", call, {"linecount", "fill_with"}, 1);
  const auto size = static_cast<std::size_t>(std::max<std::int64_t>(p.integer(0, 1), 0));
  Items out, row;
  const Items all = to_items(run.budget(), input);
  for (const Value& item : all) {
    if (row.size() == size) out.push_back(Value::list(run.budget(), std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (!p.is_none(1) && row.size() < size) {
      run.budget().bytes((size - row.size()) * sizeof(Value));
      row.resize(size, p[1]);
    }
    out.push_back(Value::list(run.budget(), std::move(row)));
  }
  return Value::iterator(run.budget(), std::move(out));
}

Value slice_filter(Run& run, const Value& input, Call& call) {
  const Parameters p("slice", call, {"slices", "fill_with"}, 1);
  const std::int64_t slices = p.integer(0, 1);
  const Items all = to_items(run.budget(), input);
  const auto size = static_cast<std::int64_t>(all.size());
  if (slices == 0) throw TemplateError("slice: division by zero");
  run.budget().bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(slices, 0)) * 100);
  Items out;
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < slices; ++i) {
    const std::int64_t n = size / slices + (i < size % slices ? 1 : 0);
    Items row(all.begin() + at, all.begin() + at + n);
    at += n;
    if (!p.is_none(1) && i >= size % slices) row.push_back(p[1]);
    out.push_back(Value::list(run.budget(), std::move(row)));
  }
  return Value::iterator(run.budget(), std::move(out));
}

}  // namespace

const FilterTable& sequence_filters() {
  static const FilterTable filters = {
      {"batch", batch},
      {"count", length_filter},
      {"d", default_filter},
      {"default", default_filter},
      {"first", first},
      {"items", items_filter},
      {"join", join},
      {"last", last},
      {"length", length_filter},
      {"list", list_filter},
      {"reverse", reverse},
      {"slice", slice_filter},
      {"sum", sum},
  };
  return filters;
}

}  // namespace lowrank::data::jinja
