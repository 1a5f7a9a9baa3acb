// The filters and tests of a template, by name.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lowrank/data/chat/run.h"

namespace lowrank::data::jinja {

using Filter = Value (*)(Run&, const Value& input, Call&);
using Test = bool (*)(Run&, const Value& input, Call&);
using FilterTable = std::unordered_map<std::string_view, Filter>;

const FilterTable& text_filters();
const FilterTable& number_filters();
const FilterTable& sequence_filters();
const FilterTable& choosing_filters();      // those that choose, order or look up items
Filter find_filter(std::string_view name);  // null: none
Test find_test(std::string_view name);
std::vector<std::string> filter_names();
std::vector<std::string> test_names();

/// json.dumps as transformers calls it.
Value tojson(Run& run, const Value& input, Call& call);

/// Looks up "a.b.0" in an item, as the filters' `attribute` does; `fallback` where a part is undefined.
class Attribute {
 public:
  Attribute(const Value& path, const Value* fallback);
  Value of(Run& run, const Value& item) const;

 private:
  Items parts_;
  std::optional<Value> fallback_;
};

}  // namespace lowrank::data::jinja
