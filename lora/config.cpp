#include "lowrank/lora/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/pattern.h"

namespace lowrank::lora {
namespace {

constexpr std::int64_t kMaxRank = 65536;  // no matrix of a language model has more; beyond it is a typo or an attack

// Whether re.match(r"(.*\.)?(key)$", module). Keys are mostly plain names, whose only special character is the dot.
bool key_matches(const std::string& key, const std::string& module, const char* what) {
  if (key == module) return true;
  if (key.find_first_of("\\^$*+?{}[]|()") != std::string::npos)
    return Pattern(Pattern::Kind::kSuffix, key, what).matches(module);
  if (key.empty() || key.size() > module.size()) return false;
  const std::size_t begin = module.size() - key.size();
  if (begin > 0 && module[begin - 1] != '.') return false;
  return std::equal(key.begin(), key.end(), module.begin() + static_cast<std::ptrdiff_t>(begin),
                    [](char k, char m) { return k == '.' || k == m; });
}

void check_alpha(double alpha, const std::string& what) {
  constexpr double kMost = 1e12;  // the scale, alpha / r, is taken by numbers of single precision
  if (!(std::fabs(alpha) <= kMost))
    throw ConfigError(fmt::format("{} is {}; it must be at most {:g} (the adapter's scale is alpha / r)", what, alpha, kMost));
}

void check_rank(std::int64_t r, const std::string& what) {
  if (r < 1 || r > kMaxRank) throw ConfigError(fmt::format("{} is {}; it must be from 1 to {}", what, r, kMaxRank));
}

void check_init(const LoraConfig& config) {
  const std::string& init = config.init_lora_weights;
  constexpr std::string_view kFast = "pissa_niter_";
  static const std::vector<std::string> known = {"default", "gaussian",      "orthogonal",
                                                 "pissa",   "pissa_niter_4", "olora",
                                                 "loftq"};
  bool good = std::find(known.begin(), known.end(), init) != known.end();
  if (!good && init.starts_with(kFast)) {
    const std::string_view times = std::string_view(init).substr(kFast.size());
    good = !times.empty() && times.size() <= 3 && times.find_first_not_of("0123456789") == std::string_view::npos;
  }
  if (!good)
    throw ConfigError(
        fmt::format("init_lora_weights is '{}'; known are default, gaussian, orthogonal, pissa, pissa_niter_N "
                    "(N iterations, 0 to 999), olora and loftq{}",
                    core::printable(init), core::did_you_mean(init, known)));
  if (init == "orthogonal") {
    const auto check_even = [](std::int64_t r, const std::string& what) {
      if (r % 2 != 0)
        throw ConfigError(
            fmt::format("{} is {}; the orthogonal initialisation halves the rank between A and B, so it must "
                        "be even",
                        what, r));
    };
    check_even(config.r, "r");
    for (const auto& [key, rank] : config.rank_pattern)
      check_even(rank, fmt::format("rank_pattern['{}']", core::printable(key)));
  }
  if (config.use_dora && config.splits_base())
    throw ConfigError(
        fmt::format("use_dora does not go with the initialisation '{}', which takes a part of the base's weight "
                    "into the adapter, while DoRA's norms are those of the whole weight; give one of them",
                    init));
}

void check_modules(const std::variant<std::vector<std::string>, std::string>& modules, const std::string& what) {
  if (const auto* expression = std::get_if<std::string>(&modules)) {
    if (expression->empty()) throw ConfigError(fmt::format("{} is an empty string; name at least one module", what));
    Pattern(Pattern::Kind::kFullMatch, *expression, what);
    return;
  }
  for (const std::string& entry : std::get<std::vector<std::string>>(modules))
    if (entry.empty()) throw ConfigError(fmt::format("{} has an empty entry; every entry names a module", what));
}

}  // namespace

bool LoraConfig::all_linear() const {
  const auto* list = std::get_if<std::vector<std::string>>(&target_modules);
  if (list != nullptr && list->size() != 1) return false;
  std::string word = list != nullptr ? list->front() : std::get<std::string>(target_modules);
  std::transform(word.begin(), word.end(), word.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return word == "all-linear";
}

std::int64_t LoraConfig::rank_for(const std::string& module) const {
  for (const auto& [key, value] : rank_pattern)
    if (key_matches(key, module, "rank_pattern")) return value;
  return r;
}

double LoraConfig::alpha_for(const std::string& module) const {
  for (const auto& [key, value] : alpha_pattern)
    if (key_matches(key, module, "alpha_pattern")) return value;
  return lora_alpha;
}

double LoraConfig::scale_for(const std::string& module) const {
  const auto rank = static_cast<double>(rank_for(module));
  return alpha_for(module) / (use_rslora ? std::sqrt(rank) : rank);
}

bool LoraConfig::splits_base() const { return init_lora_weights.starts_with("pissa") || init_lora_weights == "olora"; }

bool LoraConfig::saves_whole(const std::string& module) const {
  for (const std::string& entry : modules_to_save)
    for (std::size_t end = module.size(); end != std::string::npos && end > 0; end = module.rfind('.', end - 1)) {
      if (std::string_view(module).substr(0, end).ends_with(entry)) return true;
    }
  return false;
}

LoraConfig saved_form(const LoraConfig& config) {
  if (!config.splits_base()) return config;
  const double alphas = config.use_rslora ? std::sqrt(2.0) : 2.0;
  LoraConfig result = config;
  result.init_lora_weights = "default";
  result.r *= 2;
  result.lora_alpha *= alphas;
  for (auto& [key, rank] : result.rank_pattern) rank *= 2;
  for (auto& [key, alpha] : result.alpha_pattern) alpha *= alphas;
  return result;
}

void LoraConfig::validate_new() const {
  validate();
  const auto require = [](double alpha, const std::string& what) {
    if (!(alpha > 0))
      throw ConfigError(fmt::format("{} is {}; it must be above 0 (the adapter's scale is alpha / r)", what, alpha));
  };
  require(lora_alpha, "lora_alpha");
  for (const auto& [key, alpha] : alpha_pattern) require(alpha, fmt::format("alpha_pattern['{}']", core::printable(key)));
}

void LoraConfig::validate() const {
  check_rank(r, "r");
  check_alpha(lora_alpha, "lora_alpha");
  if (!(lora_dropout >= 0 && lora_dropout < 1))
    throw ConfigError(fmt::format("lora_dropout is {}; it must be from 0 to below 1", lora_dropout));
  check_init(*this);
  const auto* targets = std::get_if<std::vector<std::string>>(&target_modules);
  for (const std::string& entry : target_parameters)
    if (entry.empty()) throw ConfigError("target_parameters has an empty entry; every entry names a parameter");
  const bool none = targets != nullptr && targets->empty();
  if (none && target_parameters.empty())
    throw ConfigError("target_modules is empty; name at least one linear module, or 'all-linear'");
  if (!all_linear() && !none) check_modules(target_modules, "target_modules");
  const auto* excluded = std::get_if<std::string>(&exclude_modules);
  if (excluded == nullptr || !excluded->empty()) check_modules(exclude_modules, "exclude_modules");

  if (!alora_invocation_tokens.empty() && (use_dora || lora_bias || !target_parameters.empty() || splits_base()))
    throw ConfigError("alora_invocation_tokens goes with plain A and B of linear layers only; leave out use_dora, "
                      "lora_bias, target_parameters and an initialisation from the weight");
  if (lora_bias && use_dora) throw ConfigError("lora_bias does not go with use_dora (PEFT refuses both); give one");
  if (lora_bias && init_lora_weights != "default")
    throw ConfigError(fmt::format("lora_bias goes with the default initialisation only, not with '{}' (PEFT refuses it)",
                                  init_lora_weights));
  for (const auto& [module, ids] : trainable_token_indices) {
    if (ids.empty()) throw ConfigError("trainable_token_indices has an empty list; give token ids, or leave it out");
    std::set<std::int64_t> seen;
    for (const std::int64_t id : ids)
      if (id < 0 || !seen.insert(id).second)
        throw ConfigError(fmt::format("trainable_token_indices has {}{}", id,
                                      id < 0 ? "; ids count from 0" : " twice; each id once"));
  }
  for (const std::string& entry : modules_to_save)
    if (entry.empty()) throw ConfigError("modules_to_save has an empty entry; every entry names a module");
  static const std::vector<std::string> biases = {"none", "all", "lora_only"};
  if (std::find(biases.begin(), biases.end(), bias) == biases.end())
    throw ConfigError(fmt::format("bias is '{}'; it is one of none, all and lora_only{}", core::printable(bias),
                                  core::did_you_mean(bias, biases)));

  if (layers_to_transform && targets == nullptr && !all_linear())
    throw ConfigError(
        "layers_to_transform goes with a list of target_modules, not with a regular expression; "
        "put the layers into the expression, or list the modules");
  if (!layers_pattern.empty() && !layers_to_transform)
    throw ConfigError("layers_pattern is given without layers_to_transform, which says the layers it is for");
  for (const std::int64_t layer : layers_to_transform.value_or(std::vector<std::int64_t>{}))
    if (layer < 0) throw ConfigError(fmt::format("layers_to_transform has {}; layers count from 0", layer));
  for (const std::string& pattern : layers_pattern) Pattern(Pattern::Kind::kLayer, pattern, "layers_pattern");

  for (const auto& [key, rank] : rank_pattern) {
    check_rank(rank, fmt::format("rank_pattern['{}']", core::printable(key)));
    Pattern(Pattern::Kind::kSuffix, key, "rank_pattern");
  }
  for (const auto& [key, alpha] : alpha_pattern) {
    check_alpha(alpha, fmt::format("alpha_pattern['{}']", core::printable(key)));
    Pattern(Pattern::Kind::kSuffix, key, "alpha_pattern");
  }
}

}  // namespace lowrank::lora
