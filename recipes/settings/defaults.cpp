// What holds where their file is silent and ours would mean something else.
#include "lowrank/recipes/settings/converter.h"

namespace lowrank::recipes {

void ForeignConverter::missing(const std::string& name, const Json& value) {
  if (option(name) != nullptr && !has(name)) result_.settings.push_back({name, value, result_.tool + "'s default", ""});
}

void ForeignConverter::defaults() {
  no_warmup_in_constant();
  const bool new_adapter = full_by_.empty() && !has("adapter");
  const bool ppo = result_.verb == "align ppo";
  if (ppo) drop("dropout", "the policy of PPO has none here");
  if (is("TRL")) {
    const Json* const disable = find("disable_dropout");
    const bool no_dropout = result_.verb != "finetune" && (disable == nullptr || !is_off(*disable));
    if (no_dropout) drop("dropout", "disable_dropout is on there");
    if (new_adapter && find("use_peft") != nullptr) {  // others give PEFT its arguments themselves
      missing("alpha", 32);
      if (!no_dropout) missing("dropout", 0.05);
      missing("targets", "q_proj,v_proj");
    }
    missing("lr", ppo ? 3e-6 : result_.verb == "align dpo" ? 1e-6 : result_.verb == "align reward" ? 1e-4 : 2e-5);
    if (const auto length = file_.find("max_length"); length != file_.end() && length->is_null()) {
      leave("max_length", "nothing is cut there; here `seq-len` is the length beyond which rows are");
    } else if (!ppo) {
      missing("seq-len", 1024);
    }
    missing("num-mini-batches", 1);
    if (result_.verb == "finetune" && find("assistant_only_loss") == nullptr) learns_all_turns("assistant_only_loss (not given)");
  }
  if (is("Axolotl")) {
    missing("batch-size", 1);
    missing("epochs", 1);
    missing("seq-len", 512);
    missing("val-split", 0);
  }
  if (is("LLaMA-Factory")) {
    if (new_adapter) missing("rank", 8);
    missing("lr", 5e-5);
    missing("seq-len", 2048);
    if (ppo) {
      missing("num-mini-batches", 1);
      missing("response-length", 1024);
      missing("kl-coef", 0.2);
      missing("target-kl", 6);
      // There the length is that of a prompt alone.
      ConvertedSettings::Setting& length = *setting("seq-len");
      length.value = length.value.get<std::int64_t>() + setting("response-length")->value.get<std::int64_t>();
      length.remark = "of a prompt and its answer";
    }
  }
  if (is("LLaMA-Factory") || is("TRL")) {
    missing("batch-size", 8);
    missing("schedule", "linear");
    missing("warmup", 0);
    missing("val-split", 0);
  }
  if (is("mlx-lm")) {
    if (new_adapter) {
      missing("rank", 8);
      missing("alpha", 160);
    }
    missing("lr", 1e-5);
    missing("max-steps", 1000);
    if (find("mask_prompt") == nullptr) missing("train-on-prompt", true);
    if (new_adapter && find("num_layers") == nullptr && find("lora_layers") == nullptr)
      leave("num_layers (not given)", "mlx-lm trains the last 16 layers; all are trained here, or those of `layers`");
    missing("seq-len", 2048);
    missing("schedule", "constant");
    missing("warmup", 0);
    missing("clip", 0);
  }
  if (is("PEFT")) {
    missing("rank", 8);
    missing("alpha", 8);
  }
}

}  // namespace lowrank::recipes
