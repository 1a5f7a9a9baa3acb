// One checked JSON reader for every JSON file, ours and others'. nlohmann::json alone turns -1 into 1.8e19, 1.9 into 1,
// true into 1, keeps the last of two equal keys and recurses without bound; this does not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/file_ref.h"

namespace lowrank::core {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  int max_depth = 64;  // nesting of arrays and objects
  std::size_t max_bytes = std::size_t{1} << 30;
};

/// Parses a whole JSON text. `where` names it in messages ("config.json" or "train.jsonl line 12").
/// Throws FormatError: not UTF-8, syntax (with line and column), depth, duplicate keys, trailing bytes, NaN literals.
Json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits = {});

/// Reads and parses a file. MissingError / IoError / FormatError.
Json read_json(const FileRef& file, const JsonLimits& limits = {});

/// A value inside a parsed document that knows its path ("config.json: rope_scaling.factor"), for checked access.
/// Every accessor throws FormatError naming the path, the expected type or range, and what was found.
class JsonView {
 public:
  JsonView(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const Json& raw() const { return *value_; }
  const std::string& where() const { return where_; }

  bool is_null() const { return value_->is_null(); }
  bool is_object() const { return value_->is_object(); }
  bool is_array() const { return value_->is_array(); }
  bool is_string() const { return value_->is_string(); }
  bool is_number() const { return value_->is_number(); }
  bool is_bool() const { return value_->is_boolean(); }

  bool has(std::string_view key) const;        // present, whatever its value (false when not an object)
  bool has_value(std::string_view key) const;  // present and not null
  JsonView at(std::string_view key) const;     // the member; error when it is missing
  JsonView at(std::size_t index) const;
  std::size_t size() const;               // of an array or object
  std::vector<std::string> keys() const;  // of an object, in file order

  std::string as_string() const;
  bool as_bool() const;
  /// An integer (3.0 and 3e2 are refused, as is anything outside [low, high]).
  std::int64_t as_int(std::int64_t low = std::numeric_limits<std::int64_t>::min(),
                      std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  double as_double() const;                     // any finite number
  std::vector<std::string> as_strings() const;  // an array of strings

  // With a default for a key that is missing or null.
  std::string get_string(std::string_view key, const std::string& fallback) const;
  bool get_bool(std::string_view key, bool fallback) const;
  std::int64_t get_int(std::string_view key, std::int64_t fallback,
                       std::int64_t low = std::numeric_limits<std::int64_t>::min(),
                       std::int64_t high = std::numeric_limits<std::int64_t>::max()) const;
  double get_double(std::string_view key, double fallback) const;

  [[noreturn]] void fail(const std::string& problem) const;  // FormatError "<where>: <problem>"

 private:
  JsonView child(const Json& value, const std::string& step) const;

  const Json* value_;
  std::string where_;
  bool nested_ = false;  // where_ already has a path after the file's name
};

}  // namespace lowrank::core
