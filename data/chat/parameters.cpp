#include "lowrank/data/chat/parameters.h"

#include "lowrank/data/chat/operators.h"

namespace lowrank::data::jinja {

Parameters::Parameters(const char* what, Call& call, std::initializer_list<const char*> names, std::size_t required)
    : what_(what), names_(names), values_(names.size()) {
  const auto fail = [&](const std::string& problem) { throw TemplateError(std::string(what_) + ": " + problem); };
  if (call.positional.size() > names_.size()) {
    fail("takes at most " + std::to_string(names_.size()) + " arguments, found " +
         std::to_string(call.positional.size()));
  }
  for (std::size_t i = 0; i < call.positional.size(); ++i) values_[i] = std::move(call.positional[i]);
  for (auto& [name, value] : call.keywords) {
    std::size_t i = 0;
    while (i < names_.size() && name != names_[i]) ++i;
    if (i == names_.size()) fail("unexpected keyword argument '" + name + "'");
    if (values_[i]) fail("multiple values for the argument '" + name + "'");
    values_[i] = std::move(value);
  }
  for (std::size_t i = 0; i < required; ++i) {
    if (!values_[i]) fail(std::string("missing argument '") + names_[i] + "'");
  }
}

bool Parameters::truth(std::size_t i, bool fallback) const { return has(i) ? jinja::truth(*values_[i]) : fallback; }

std::int64_t Parameters::integer(std::size_t i, std::int64_t fallback) const {
  return has(i) ? as_integer(*values_[i]) : fallback;
}

const std::string& Parameters::text(std::size_t i) const {
  const Value& value = *values_[i];
  if (value.is(Kind::kUndefined)) throw TemplateError(value.why_undefined());
  if (!value.is_string()) {
    throw TemplateError(std::string(what_) + ": the argument '" + names_[i] + "' must be a string, not a " +
                        type_name(value));
  }
  return value.text();
}

}  // namespace lowrank::data::jinja
