// The table of a spec's fields: name, member, bounds, help. It drives the command line, --config files, run.json's
// options, the identity of a run, help and the nearest names; a new option is one line of it, and its use.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"

namespace lowrank::recipes {

/// A field of a spec is wrong. In messages of the library a field stands as its name between backticks, `seq-len`; the
/// command writes it as its flag. `source`: the file that set it, where there is one.
struct FieldError : ConfigError {
  FieldError(const std::string& name, const std::string& problem, const std::string& file = {})
      : ConfigError((file.empty() ? "" : file + ": ") + "`" + name + "`: " + problem), field(name), source(file) {}
  std::string field, source;
};

enum class FieldType { kFlag, kInt, kNumber, kText, kTexts };  // kTexts: one or more values

/// What a field is to the bytes of a result, and so to a run that is gone on with.
enum class Identity {
  kValue,   // must be equal
  kFree,    // touches none of them
  kHash,    // a path, which may be written another way: the hash of what lies there must be equal
  kChoice,  // may be "auto": what was chosen must be equal
};

/// What is known of a field without a spec.
struct FieldInfo {
  std::string name;  // "batch-size"
  FieldType type = FieldType::kText;
  std::string value;    // what stands for the value in help: "N", "PATH..."
  core::Json fallback;  // null: no default
  std::string group;    // heading in help
  std::string help;
  std::vector<std::string> choices;  // when not empty, the only values
  bool required = false;
  std::optional<std::pair<double, double>> range = std::nullopt;  // of a number, both ends included
  Identity identity = Identity::kValue;
  bool searched = true;  // a sweep may search over it
};

/// A value in words as the field's type; ConfigError beginning with `where` for another type, or none of the choices.
core::Json parse_value(const FieldInfo& field, const std::string& text, const std::string& where);

/// A number, the word "auto", or nothing.
struct AutoNumber {
  bool automatic = false;
  std::optional<double> number = std::nullopt;
  AutoNumber& operator=(double value) {
    automatic = false;
    number = value;
    return *this;
  }
  void reset() { *this = AutoNumber(); }
  double value_or(double fallback) const { return number.value_or(fallback); }
};

/// Where a field was set by name, and its value as it was written there (10 or 10.0).
struct Given {
  std::string source;  // "command line", a file
  core::Json value;
};

/// What every spec has: which of its fields were set by name (argv, a file, another recipe).
struct Spec {
  std::map<std::string, Given> given = {};
};

/// The fields of one spec, bound to its members. It must not outlive the spec.
class Fields {
 public:
  using Member =
      std::variant<bool*, std::int64_t*, double*, std::string*, std::vector<std::string>*, std::optional<std::int64_t>*,
                   std::optional<double>*, std::optional<std::string>*, AutoNumber*>;
  struct Traits {
    std::optional<std::pair<double, double>> range = std::nullopt;
    std::vector<std::string> choices = {};
    bool required = false;
    Identity identity = Identity::kValue;
    bool searched = true;
    bool decimal = false;  // a whole default is written 1.0
  };

  explicit Fields(Spec& spec) : spec_(&spec) {}
  /// The fields that follow stand under this heading.
  void group(std::string heading) { group_ = std::move(heading); }
  /// `member` holds the default now; see fields_of().
  void add(std::string name, Member member, std::string value, std::string help, Traits traits);
  void add(std::string name, Member member, std::string value, std::string help) {
    add(std::move(name), member, std::move(value), std::move(help), Traits());
  }
  void remove(const std::string& name);

  const std::vector<FieldInfo>& info() const { return info_; }
  bool contains(const std::string& name) const { return find(name) != nullptr; }

  /// The value, null where there is none: as it was written where it was given, whole defaults without ".0".
  core::Json get(const std::string& name) const;
  /// ConfigError for an unknown name, with the nearest. The value must be of the field's type, or null for none.
  void set(const std::string& name, const core::Json& value, const std::string& source);
  /// Set by name, or another value than the default.
  bool given(const std::string& name) const;
  /// FieldError, with the file that set the field.
  [[noreturn]] void fail(const std::string& name, const std::string& problem) const;
  /// FieldError for the first value out of its range, or none of its choices.
  void check() const;

  /// {name: value} of all, for run.json.
  core::Json to_json() const;
  /// {"--name": value} of those that must be equal for a run to be gone on with (the dashes are of checkpoints that
  /// there are).
  core::Json identity() const;
  /// The command that sets what is given: lowrank VERB POSITIONALS... --name value...; `instead`: fields with other
  /// values than theirs.
  std::string command(const std::string& verb, const std::vector<std::string>& positionals,
                      const std::map<std::string, core::Json>& instead = {}) const;

  /// The members of `defaults`, a new spec's table of the same fields, are what this table's fields fall back to.
  void fall_back_to(const Fields& defaults);

 private:
  const FieldInfo* find(const std::string& name) const;
  std::size_t index(const std::string& name) const;
  core::Json member_value(std::size_t i) const;

  Spec* spec_;
  std::string group_;
  std::vector<FieldInfo> info_;
  std::vector<Member> members_;
};

/// The table of a spec, as its describe() lists it.
template <typename S>
Fields fields_of(S& spec) {
  S fresh;
  Fields defaults(fresh), table(spec);
  describe(defaults, fresh);
  describe(table, spec);
  table.fall_back_to(defaults);
  return table;
}

/// The fields that stand between backticks in a message of the library, written as `spelled` says.
template <typename Spelled>
std::string spell_fields(const std::string& text, const Spelled& spelled) {
  std::string result;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t open = text.find('`', at);
    const std::size_t close = open == std::string::npos ? open : text.find('`', open + 1);
    if (close == std::string::npos) return result + text.substr(at);
    const std::string inside = text.substr(open + 1, close - open - 1);
    const bool name =
        !inside.empty() && inside.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
    result += text.substr(at, open - at) + (name ? spelled(inside) : "`" + inside + "`");
    at = close + 1;
  }
  return result;
}

}  // namespace lowrank::recipes
