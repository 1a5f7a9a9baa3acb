// What is trained: adapters, new or begun, or all weights.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/settings/converter.h"
#include "lowrank/recipes/spec/settings.h"

namespace lowrank::recipes {

bool ForeignConverter::of_method(const std::string& key, const Json& value) {
  static const std::set<std::string> said = {"do_train", "train", "use_peft", "inference_mode", "do_eval", "test", "create_new_adapter",
                                             "disable_dropout"};
  if (said.count(key) != 0) return true;
  if (key == "task_type" || key == "lora_task_type") {
    if (value == Json("SEQ_CLS")) {
      if (result_.verb == "finetune") set("task", "classification");
    } else if (value != Json("CAUSAL_LM")) {
      leave(key, in_words(value) + " is not offered; a causal language model is trained");
    }
    return true;
  }
  if (key == "adapter_path" && is("mlx-lm")) {
    set("out", value);
    return true;
  }
  if (key == "rank_pattern" || key == "alpha_pattern") return patterns(key, value);
  if (key == "finetuning_type" || key == "fine_tune_type" || (key == "adapter" && is("Axolotl"))) return method(key, in_words(value));
  if (key == "lora_parameters" && is("mlx-lm")) return mlx_parameters();
  if (key == "adapter_name_or_path" || key == "lora_model_dir" || key == "resume_adapter_file") return begins_from(key, value);
  if (key == "bnb_4bit_quant_type" && (find("load_in_4bit") == nullptr || is_off(*find("load_in_4bit")))) {
    leave(key, "of load_in_4bit, which is off");
    return true;
  }
  if (key == "lora_target_linear") {
    if (!is_off(value)) replace("targets", "all-linear");  // beside those that are named
    return true;
  }
  const bool counts_layers = key == "num_layers" || (key == "lora_layers" && is("mlx-lm"));  // its older name
  if (!counts_layers) return false;
  if (value != Json(-1)) {  // all of them, as here
    leave(key, fmt::format("the last {} layers: give `layers` with their numbers, or train all as here", core::json_text(value)));
  }
  return true;
}

bool ForeignConverter::method(const std::string& key, const std::string& name) {
  if (name == "full") {
    full_by_ = key;
  } else if (name == "dora") {
    set("dora", true);
  } else if (name == "qlora") {
    set("base-dtype", "nf4");
  } else if (name != "lora" && !name.empty()) {
    leave(key, name + " is not offered; LoRA is trained");
  }
  return true;
}

bool ForeignConverter::patterns(const std::string& key, const Json& value) {
  if (!value.is_object()) return false;
  Json entries = Json::array();
  for (const auto& [module, number] : value.items()) {
    if (number.is_number()) {
      entries.push_back(module + "=" + core::json_text(number));
    } else {
      leave(key, module + ": expected a number");
    }
  }
  if (!entries.empty()) set(dashed(key), entries);
  return true;
}

bool ForeignConverter::mlx_parameters() {
  checked([&] {
    const core::JsonView parameters = core::JsonView(file_, name_).at("lora_parameters");
    if (!parameters.is_object()) parameters.fail("expected a mapping");
    const std::int64_t rank = parameters.get_int("rank", 8, 1, static_cast<std::int64_t>(option("rank")->range.value().second));
    const double scale = parameters.get_double("scale", 20.0), alpha = scale * static_cast<double>(rank);
    if (!std::isfinite(alpha) || alpha <= 0) parameters.at("scale").fail(fmt::format("{:g} times the rank {} is no scale", scale, rank));
    set("rank", rank);
    set("alpha", alpha, "mlx-lm's scale times the rank");
    const double dropout = parameters.get_double("dropout", 0);
    if (dropout < 0 || dropout >= 1) parameters.at("dropout").fail(fmt::format("expected 0 or more and less than 1, found {:g}", dropout));
    if (parameters.has_value("dropout")) set("dropout", parameters.at("dropout").raw());
    if (!parameters.has_value("keys")) return;
    std::string names;
    for (const std::string& path : parameters.at("keys").as_strings())
      names += (names.empty() ? "" : ",") + path.substr(path.rfind('.') + 1);
    if (!names.empty()) set("targets", names);
  });
  return true;
}

bool ForeignConverter::begins_from(const std::string& key, const Json& value) {
  std::string adapter = in_words(value);
  const Json* const anew = find("create_new_adapter");
  const bool new_one = anew != nullptr && !is_off(*anew);
  const std::size_t comma = new_one ? adapter.size() : adapter.rfind(',');  // LLaMA-Factory: several of them
  if (new_one || comma != adapter.npos) {
    leave(key, fmt::format("{} is merged into the model there first: `lowrank merge` does it, and its result is the MODEL", adapter.substr(0, comma)));
    if (new_one) return true;
    adapter.erase(0, comma + 1);
  }
  if (key == "resume_adapter_file") {  // a file of the folder that the adapter is
    const std::filesystem::path folder = std::filesystem::path(adapter).parent_path();
    adapter = folder.empty() ? "." : folder.string();
  }
  if (!adapter.empty()) set("adapter", adapter);
  return true;
}

void ForeignConverter::settle_method() {
  const Json* const adapter = find("adapter");
  if (is("TRL")) {
    // Arguments of PEFT's own, such as `r`, are of scripts that give them to PEFT themselves.
    const Json* const peft = find("use_peft");
    const bool lora = peft != nullptr ? !is_off(*peft) : find("r") != nullptr;
    if (!lora) full_by_ = peft != nullptr ? "use_peft" : "use_peft (not given)";
  }
  if (is("Axolotl") && (adapter == nullptr || is_off(*adapter) || *adapter == Json(""))) full_by_ = "adapter (not given)";
  if (!full_by_.empty()) return train_all(full_by_);
  if (!has("adapter")) return;
  const std::string from = in_words(setting("adapter")->value);
  for (const std::string& name : brought_by_adapter()) drop(name, fmt::format("the adapter {} brings it", from));
  if (!is("mlx-lm")) drop("dropout", fmt::format("the adapter {} brings it", from));  // mlx-lm makes its layers anew
}

void ForeignConverter::train_all(const std::string& key) {
  if (option("method") == nullptr) return leave(key, fmt::format("all weights are trained there; `lowrank {}` trains an adapter", result_.verb));
  for (const FieldInfo& one : known_.options_of(result_.verb)) {
    const bool of_adapters = (one.group == "Adapter" && one.name != "method") || one.name == "base-dtype";
    if (of_adapters) drop(one.name, "of an adapter, and " + key + " trains all weights");
  }
  key_ = key;
  set("method", "full");
}

}  // namespace lowrank::recipes
