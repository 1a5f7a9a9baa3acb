#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/config.h"

namespace lowrank::lora {
namespace {

using core::Json;
using core::JsonView;
using Names = std::variant<std::vector<std::string>, std::string>;

constexpr std::array kRead = {"alora_invocation_tokens",
                              "alpha_pattern",
                              "base_model_name_or_path",
                              "bias",
                              "ensure_weight_tying",
                              "exclude_modules",
                              "fan_in_fan_out",
                              "init_lora_weights",
                              "layers_pattern",
                              "layers_to_transform",
                              "lora_alpha",
                              "lora_bias",
                              "lora_dropout",
                              "modules_to_save",
                              "peft_type",
                              "r",
                              "rank_pattern",
                              "revision",
                              "target_modules",
                              "target_parameters",
                              "task_type",
                              "trainable_token_indices",
                              "use_dora",
                              "use_rslora"};

// Keys that say nothing about what a finished adapter computes: how it was made, by what, and defaults of features that
// another key switches on.
constexpr std::array kInert = {"auto_mapping",      "corda_config",   "eva_config",    "inference_mode",
                               "loftq_config",      "lora_ga_config", "megatron_core", "peft_version",
                               "qalora_group_size", "runtime_config"};

struct Unsupported {
  const char* key;
  const char* meaning;
};
constexpr std::array kUnsupported = {
    Unsupported{"layer_replication", "layers of the base repeated, which is not supported"},
    Unsupported{"megatron_config", "Megatron's parallel layers, which are not supported"},
    Unsupported{"use_qalora", "QALoRA, which is not supported"},
    Unsupported{"arrow_config", "Arrow routing, which is not supported"},
    Unsupported{"kasa_config", "KaSA, which changes the base's weights and is not supported"},
    Unsupported{"velora_config", "VeLoRA, which is not supported"},
    Unsupported{"monteclora_config", "MonteCLoRA, which is not supported"},
    Unsupported{"use_bdlora", "block-diagonal LoRA, which is not supported"},
};

// null, false, 0 and whatever is empty ask for nothing.
bool asks_for_nothing(const Json& value) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == 0;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.empty();
}

std::string shown(const Json& value) {
  return core::printable(core::json_text(value), 60);
}

void check_keys(const JsonView& json) {
  std::vector<std::string> known(kRead.begin(), kRead.end());
  known.insert(known.end(), kInert.begin(), kInert.end());
  const std::set<std::string> passed(known.begin(), known.end());
  for (const Unsupported& u : kUnsupported) known.emplace_back(u.key);
  for (const std::string& key : json.keys()) {
    if (passed.count(key) > 0) continue;
    const JsonView value = json.at(key);
    if (asks_for_nothing(value.raw())) continue;
    for (const Unsupported& u : kUnsupported)
      if (key == u.key) json.fail(fmt::format("{} is {}: it asks for {}", key, shown(value.raw()), u.meaning));
    json.fail(
        fmt::format("the key '{}' (= {}) is not known, and it may ask for something that this version does not do{}; "
                    "if it does not change the adapter, set it to null",
                    core::printable(key), shown(value.raw()), core::did_you_mean(key, known)));
  }
}

double read_number(const JsonView& json, const char* key, double fallback) {
  if (!json.has_value(key)) return fallback;
  const double value = json.at(key).as_double();
  if (!std::isfinite(value)) json.at(key).fail("expected a finite number");
  return value;
}

// Ranks come as 4.0 from a program that computes them.
std::int64_t read_rank(const JsonView& value) {
  constexpr double kMost = 1e9;
  if (!value.raw().is_number_float()) return value.as_int();
  const double rank = value.as_double();
  if (rank != std::floor(rank) || std::fabs(rank) > kMost) value.fail(fmt::format("expected a whole number, found {}", shown(value.raw())));
  return static_cast<std::int64_t>(rank);
}

Names read_names(const JsonView& value) {
  if (value.is_string()) return value.as_string();
  if (!value.is_array())
    value.fail(fmt::format("expected a list of module names or a regular expression, found {}", shown(value.raw())));
  return value.as_strings();
}

// true and false and the inits that leave the base alone only say how the matrices began; the file has their values.
std::string read_init(const JsonView& json) {
  if (!json.has_value("init_lora_weights")) return "default";
  const JsonView value = json.at("init_lora_weights");
  if (value.is_bool()) return "default";
  const std::string name = value.as_string();
  const auto begins = [&](std::string_view s) { return name.compare(0, s.size(), s) == 0; };
  if (begins("pissa") || name == "olora" || name == "corda" || name == "lora_ga" || name == "loftq")
    value.fail(
        fmt::format("'{}' changes the base's weights when the adapter is made, so that it fits no other base; save it "
                    "as a plain LoRA in PEFT (save_pretrained with path_initial_model_for_weight_conversion)",
                    name));
  if (name == "gaussian") return name;
  if (name == "orthogonal" || name == "eva" || name == "mica") return "default";
  value.fail(fmt::format("'{}' is not known{}", core::printable(name),
                         core::did_you_mean(name, {"gaussian", "orthogonal", "eva", "mica", "pissa", "olora"})));
}

void read_layers(const JsonView& json, LoraConfig& config) {
  constexpr std::int64_t kMost = 1'000'000;
  if (json.has_value("layers_to_transform")) {
    const JsonView value = json.at("layers_to_transform");
    std::vector<std::int64_t> layers;
    if (!value.is_array()) layers.push_back(value.as_int(0, kMost));
    for (std::size_t i = 0; value.is_array() && i < value.size(); ++i) layers.push_back(value.at(i).as_int(0, kMost));
    if (!layers.empty()) config.layers_to_transform = std::move(layers);  // PEFT: an empty list means all layers
  }
  if (json.has_value("layers_pattern")) {
    const JsonView value = json.at("layers_pattern");
    config.layers_pattern = value.is_string() ? std::vector<std::string>{value.as_string()} : value.as_strings();
    std::erase(config.layers_pattern, "");
    if (json.has_value("layers_to_transform") && !config.layers_to_transform) config.layers_pattern.clear();
  }
}

void read_patterns(const JsonView& json, LoraConfig& config) {
  if (json.has_value("rank_pattern")) {
    const JsonView value = json.at("rank_pattern");
    if (!value.is_object()) value.fail("expected an object from module names to ranks");
    for (const std::string& key : value.keys()) config.rank_pattern.emplace_back(key, read_rank(value.at(key)));
  }
  if (json.has_value("alpha_pattern")) {
    const JsonView value = json.at("alpha_pattern");
    if (!value.is_object()) value.fail("expected an object from module names to alphas");
    for (const std::string& key : value.keys()) config.alpha_pattern.emplace_back(key, value.at(key).as_double());
  }
}

void read_token_indices(const JsonView& json, LoraConfig& config) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  if (!json.has_value("trainable_token_indices")) return;
  const JsonView value = json.at("trainable_token_indices");
  const auto ids_of = [](const JsonView& list) {
    if (!list.is_array()) list.fail("expected a list of token ids");
    std::vector<std::int64_t> ids;
    for (std::size_t i = 0; i < list.size(); ++i) ids.push_back(list.at(i).as_int(0, kMost));
    return ids;
  };
  if (value.is_array()) {
    if (value.size() > 0) config.trainable_token_indices.emplace_back("", ids_of(value));
    return;
  }
  if (!value.is_object()) value.fail("expected a list of token ids, or an object from module names to such lists");
  for (const std::string& key : value.keys()) config.trainable_token_indices.emplace_back(key, ids_of(value.at(key)));
}

Json token_indices_json(const LoraConfig& config) {
  const auto& all = config.trainable_token_indices;
  if (all.size() == 1 && all.front().first.empty()) return all.front().second;
  Json result = Json::object();
  for (const auto& [module, ids] : all) result[module] = ids;
  return result;
}

void check_fixed(const JsonView& json) {
  const std::string type = json.at("peft_type").as_string();
  static const std::set<std::string> kPrompts = {"PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING",
                                                 "ADAPTION_PROMPT", "CPT", "CARTRIDGE"};
  if (kPrompts.count(type) > 0)
    json.at("peft_type").fail(fmt::format("this adapter is of type {}, which learns tokens before the text and changes no weight; only "
                                         "LORA is supported, and there is no LORA that says the same: train one on the data",
                                         core::printable(type)));
  if (type != "LORA")
    json.at("peft_type").fail(fmt::format("this adapter is of type {}; only LORA is supported: convert it with PEFT's save_as_lora, where "
                                         "its update is a sum with the weight, or merge it there (merge_and_unload) and give "
                                         "the merged model",
                                         core::printable(type)));
  const std::string task = json.get_string("task_type", "CAUSAL_LM");
  if (task != "CAUSAL_LM" && task != "SEQ_CLS")
    json.at("task_type")
        .fail(fmt::format("'{}' is not supported; expected 'CAUSAL_LM', 'SEQ_CLS' or null", core::printable(task)));
}

// Python writes whole numbers given as int without ".0".
Json number(double value) {
  if (value == std::floor(value) && std::fabs(value) < 1e15) return static_cast<std::int64_t>(value);
  return value;
}

Json names_json(const Names& names) {
  return std::visit([](const auto& value) { return Json(value); }, names);
}

Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

template <typename Value, typename Convert>
Json pattern_json(const std::vector<std::pair<std::string, Value>>& pattern, Convert convert) {
  Json result = Json::object();
  for (const auto& [key, value] : pattern) result[key] = convert(value);
  return result;
}

}  // namespace

LoraConfig parse_adapter_config(const JsonView& json) {
  if (!json.is_object()) json.fail("expected an object");
  check_fixed(json);
  check_keys(json);

  LoraConfig config;
  config.r = json.has_value("r") ? read_rank(json.at("r")) : 8;
  config.lora_alpha = read_number(json, "lora_alpha", 8);
  config.lora_dropout = read_number(json, "lora_dropout", 0);
  config.use_rslora = json.get_bool("use_rslora", false);
  config.use_dora = json.get_bool("use_dora", false);
  config.fan_in_fan_out = json.get_bool("fan_in_fan_out", false);
  config.init_lora_weights = read_init(json);
  if (json.has_value("target_parameters")) config.target_parameters = json.at("target_parameters").as_strings();
  if (!json.has_value("target_modules") && config.target_parameters.empty())
    json.fail("target_modules is missing or null; name the adapted modules, as PEFT does when it saves");
  config.target_modules =
      json.has_value("target_modules") ? read_names(json.at("target_modules")) : Names(std::vector<std::string>{});
  if (json.has_value("exclude_modules")) config.exclude_modules = read_names(json.at("exclude_modules"));
  read_layers(json, config);
  read_patterns(json, config);
  if (json.has_value("modules_to_save")) config.modules_to_save = json.at("modules_to_save").as_strings();
  config.bias = json.get_string("bias", "none");
  config.lora_bias = json.get_bool("lora_bias", false);
  config.ensure_weight_tying = json.get_bool("ensure_weight_tying", false);
  read_token_indices(json, config);
  if (json.has_value("alora_invocation_tokens")) {
    const JsonView tokens = json.at("alora_invocation_tokens");
    if (!tokens.is_array()) tokens.fail("expected a list of token ids");
    for (std::size_t i = 0; i < tokens.size(); ++i)
      config.alora_invocation_tokens.push_back(tokens.at(i).as_int(0, std::int64_t{1} << 31));
  }
  config.base_model_name_or_path = json.get_string("base_model_name_or_path", "");
  if (json.has_value("revision")) config.revision = json.at("revision").as_string();
  config.task_type = json.get_string("task_type", "");
  try {
    config.validate();
  } catch (const ConfigError& error) {
    json.fail(error.what());
  }
  return config;
}

std::string adapter_config_json(const LoraConfig& given) {
  const LoraConfig config = saved_form(given);
  Json json = Json::object();  // in the order of the alphabet, as Python's sort_keys gives it
  if (!config.alora_invocation_tokens.empty()) json["alora_invocation_tokens"] = config.alora_invocation_tokens;
  if (!config.alpha_pattern.empty()) json["alpha_pattern"] = pattern_json(config.alpha_pattern, number);
  json["auto_mapping"] = nullptr;
  json["base_model_name_or_path"] = text_or_null(config.base_model_name_or_path);
  json["bias"] = config.bias;
  const bool excludes = std::visit([](const auto& names) { return !names.empty(); }, config.exclude_modules);
  if (config.ensure_weight_tying) json["ensure_weight_tying"] = true;
  if (excludes) json["exclude_modules"] = names_json(config.exclude_modules);
  json["fan_in_fan_out"] = config.fan_in_fan_out;
  json["inference_mode"] = true;
  json["init_lora_weights"] = config.init_lora_weights == "gaussian" ? Json("gaussian") : Json(true);
  json["layers_pattern"] = config.layers_pattern.empty()       ? Json(nullptr)
                           : config.layers_pattern.size() == 1 ? Json(config.layers_pattern.front())
                                                               : Json(config.layers_pattern);
  json["layers_to_transform"] = config.layers_to_transform ? Json(*config.layers_to_transform) : Json(nullptr);
  json["lora_alpha"] = number(config.lora_alpha);
  if (config.lora_bias) json["lora_bias"] = true;
  json["lora_dropout"] = config.lora_dropout;
  json["modules_to_save"] = config.modules_to_save.empty() ? Json(nullptr) : Json(config.modules_to_save);
  json["peft_type"] = "LORA";
  json["r"] = config.r;
  if (!config.rank_pattern.empty())
    json["rank_pattern"] = pattern_json(config.rank_pattern, [](std::int64_t rank) { return rank; });
  json["revision"] = config.revision ? Json(*config.revision) : Json(nullptr);
  json["target_modules"] = names_json(config.target_modules);
  if (!config.target_parameters.empty()) json["target_parameters"] = config.target_parameters;
  json["task_type"] = text_or_null(config.task_type);
  if (!config.trainable_token_indices.empty()) json["trainable_token_indices"] = token_indices_json(config);
  if (config.use_dora) json["use_dora"] = true;
  if (config.use_rslora) json["use_rslora"] = true;
  return core::json_ascii(json, 2);
}

}  // namespace lowrank::lora
