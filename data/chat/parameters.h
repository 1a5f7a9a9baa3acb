// The arguments of a built-in function, by position or by name.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/chat/run.h"

namespace lowrank::data::jinja {

class Parameters {
 public:
  /// `what` names the function in messages. TemplateError: too many, an unknown name, one given twice, or one of the
  /// first `required` missing.
  Parameters(const char* what, Call& call, std::initializer_list<const char*> names, std::size_t required = 0);

  bool has(std::size_t i) const { return values_[i].has_value(); }
  const Value& operator[](std::size_t i) const { return *values_[i]; }
  Value get(std::size_t i, Value fallback) const { return has(i) ? *values_[i] : std::move(fallback); }
  bool truth(std::size_t i, bool fallback) const;
  std::int64_t integer(std::size_t i, std::int64_t fallback) const;
  /// TemplateError where it is no string.
  const std::string& text(std::size_t i) const;
  std::string text(std::size_t i, const char* fallback) const { return has(i) ? text(i) : fallback; }
  bool is_none(std::size_t i) const { return !has(i) || values_[i]->is(Kind::kNone); }

 private:
  const char* what_;
  std::vector<const char*> names_;
  std::vector<std::optional<Value>> values_;
};

}  // namespace lowrank::data::jinja
