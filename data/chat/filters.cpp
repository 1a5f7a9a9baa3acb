#include "lowrank/data/chat/filters.h"

#include <algorithm>
#include <array>

#include "lowrank/core/text.h"
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/operators.h"

namespace lowrank::data::jinja {

Filter find_filter(std::string_view name) {
  if (name == "tojson") return tojson;
  for (const FilterTable* table : {&text_filters(), &number_filters(), &sequence_filters(), &choosing_filters()}) {
    if (const auto it = table->find(name); it != table->end()) return it->second;
  }
  return nullptr;
}

std::vector<std::string> filter_names() {
  std::vector<std::string> names = {"tojson"};
  for (const FilterTable* table : {&text_filters(), &number_filters(), &sequence_filters(), &choosing_filters()}) {
    for (const auto& [name, filter] : *table) names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Value Run::filter(const std::string& name, const Value& input, Call made) {
  static constexpr std::array<std::string_view, 6> kRefused = {"random",    "pprint",   "urlize",
                                                               "striptags", "wordwrap", "xmlattr"};
  const Filter found = find_filter(name);
  if (found != nullptr) return found(*this, input, made);
  if (std::find(kRefused.begin(), kRefused.end(), name) != kRefused.end()) {
    throw TemplateError("the filter '" + name + "' of Jinja is not supported in chat templates");
  }
  throw TemplateError("no filter named '" + core::printable(name, 40) + "'" + core::did_you_mean(name, filter_names()));
}

bool Run::test(const std::string& name, const Value& input, Call made) {
  const Test found = find_test(name);
  if (found != nullptr) return found(*this, input, made);
  throw TemplateError("no test named '" + core::printable(name, 40) + "'" + core::did_you_mean(name, test_names()));
}

Attribute::Attribute(const Value& path, const Value* fallback) {
  if (fallback != nullptr && !fallback->is(Kind::kNone)) fallback_ = *fallback;
  if (path.is(Kind::kNone)) return;
  if (!path.is_string()) {
    parts_.push_back(path);
    return;
  }
  std::string_view rest = path.text();
  for (bool more = true; more;) {
    const std::size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const bool is_number = !part.empty() && part.size() < 18 &&
                           std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    parts_.push_back(is_number ? Value::integer(std::stoll(part)) : Value::string(part));
    more = dot != std::string_view::npos;
    if (more) rest.remove_prefix(dot + 1);
  }
}

Value Attribute::of(Run& run, const Value& item) const {
  Value value = item;
  for (const Value& part : parts_) {
    value = run.item(value, part);
    if (fallback_ && value.is(Kind::kUndefined)) value = *fallback_;
  }
  return value;
}

}  // namespace lowrank::data::jinja
