// Regular expressions of PEFT configs, with the meaning that Python's re gives them, in bounded time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lowrank/data/regex.h"

namespace lowrank::lora {

/// A compiled expression. The engine is PCRE2; syntax that Python's re does not have (or means otherwise) is refused,
/// so that what matches here matches in PEFT too. Copies share the compiled form.
class Pattern {
 public:
  /// Which Python call the expression is for.
  enum class Kind {
    kFullMatch,  // re.fullmatch(expression, name): target_modules, exclude_modules
    kSuffix,     // re.match(r"(.*\.)?(expression)$", name): keys of rank_pattern and alpha_pattern
    kLayer,      // re.match(r"(?:^|.*?\.)expression\.(?P<idx>\d+)\.", name): layers_pattern
  };

  /// `what` names the expression in messages ("target_modules"). ConfigError when it does not compile.
  Pattern(Kind kind, const std::string& expression, std::string what);

  /// ConfigError when deciding takes more steps than any sensible expression needs (catastrophic backtracking).
  bool matches(std::string_view name) const;
  /// kLayer: the layer's index, when the name has one that fits in 18 digits.
  std::optional<std::int64_t> layer_of(std::string_view name) const;

  /// The layer of a name without any layers_pattern: re.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", name), its first numbered
  /// segment that has at least two before it.
  static std::optional<std::int64_t> first_layer_of(std::string_view name);

 private:
  bool run(std::string_view name, std::string* index) const;
  std::string expression_, what_;
  data::Regex regex_;
};

}  // namespace lowrank::lora
