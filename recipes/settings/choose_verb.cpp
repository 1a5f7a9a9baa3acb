// Which verb runs what another tool's file describes, and what PPO's rewards are.
#include <fmt/format.h>

#include <map>

#include "lowrank/recipes/settings/converter.h"

namespace lowrank::recipes {

namespace {

constexpr const char* kPlain = "what is written here is a plain fine-tune";

/// One of TRL's, whose file does not name it: its keys tell.
struct TrlTrainer {
  const char* name;
  const char* verb;  // empty: not offered
  std::set<std::string> marks;
};

/// In this order: later ones have keys of earlier ones too.
const std::vector<TrlTrainer>& trl_trainers() {
  static const std::vector<TrlTrainer> all = {
      {"GRPO and RLOO are", "", {"num_generations", "reward_funcs", "reward_weights", "scale_rewards", "rloo_k", "use_vllm"}},
      {"KTO is", "", {"desirable_weight", "undesirable_weight"}},
      {"CPO and SimPO are", "", {"cpo_alpha", "simpo_gamma"}},
      {"training on rewards of steps is", "", {"step_separator", "train_on_last_step_only"}},
      {"", "align reward", {"center_rewards_coefficient"}},
      {"", "align ppo", {"reward_model_path", "sft_model_path", "num_ppo_epochs", "cliprange", "vf_coef", "missing_eos_penalty"}},
      {"", "align dpo", {"beta", "max_prompt_length", "precompute_ref_log_probs", "reference_free", "f_divergence_type", "rpo_alpha", "ld_alpha",
                         "sync_ref_model", "loss_weights"}},
  };
  return all;
}

/// Of losses of pairs, the trainer's that has them.
const char* owner_of_loss(const std::string& loss) {
  static const std::set<std::string> dpo = {"sigmoid",   "hinge", "ipo",          "exo_pair", "nca_pair",   "robust",    "bco_pair", "sppo_hard",
                                            "aot",       "aot_pair", "aot_unpaired", "discopop", "apo_zero", "apo_down", "sigmoid_norm"};
  static const std::set<std::string> grpo = {"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"};
  if (dpo.count(loss) != 0) return "beta";
  if (grpo.count(loss) != 0) return "num_generations";
  if (loss == "simpo" || loss == "alphapo") return "simpo_gamma";
  return loss == "kto" || loss == "bco" ? "desirable_weight" : "";
}

}  // namespace

void ForeignConverter::choose_verb() {
  static const std::map<std::string, std::string> stages = {
      {"", "finetune"},      {"false", "finetune"}, {"sft", "finetune"},        {"pt", "finetune"},
      {"dpo", "align dpo"}, {"ipo", "align dpo"},  {"reward", "align reward"}, {"rm", "align reward"}, {"ppo", "align ppo"}};
  for (const char* const key : {"stage", "rl"}) {
    const Json* const stage = find(key);
    if (stage == nullptr) continue;
    const std::string name = in_words(*stage);
    const auto verb = stages.find(name);
    if (verb == stages.end()) {
      leave(key, fmt::format("{} is not offered; {}", name, kPlain));
      continue;
    }
    key_ = key;
    result_.verb = verb->second;
    if (name == "ipo") set("loss", "ipo");
  }
  if (is("Axolotl")) {
    if (const Json* const reward = find("reward_model"); reward != nullptr && *reward == Json(true)) result_.verb = "align reward";
    if (const Json* const steps = find("process_reward_model"); steps != nullptr && *steps == Json(true))
      leave("process_reward_model", fmt::format("rewards of steps are not offered; {}", kPlain));
  }
  if (is("TRL")) choose_trainer();
  if (const Json* const type = find("peft_type"); type != nullptr && *type != Json("LORA"))
    leave("peft_type", in_words(*type) + " is not offered; LoRA is trained");
}

/// Who runs what is written here would learn by another loss, and see it in nothing but a comment.
void ForeignConverter::find_other_objective() {
  static const std::set<std::string> deciding = {
      "stage", "rl", "process_reward_model", "loss_type", "loss_weights", "pref_loss", "pref_ftx", "rpo_alpha", "ld_alpha", "reference_free",
      "f_divergence_type", "sync_ref_model", "use_weighting", "dpo_label_smoothing", "dpo_use_weighting", "simpo_gamma", "cpo_alpha", "orpo_alpha",
      "kto_desirable_weight", "kto_undesirable_weight", "kto_chosen_weight", "kto_rejected_weight"};
  for (const auto& [key, reason] : result_.left_out) {
    bool decides = deciding.count(key) != 0 || (key == "label_smoothing" && result_.verb == "align dpo");
    for (const TrlTrainer& trainer : trl_trainers())
      decides = decides || (is("TRL") && std::string(trainer.verb).empty() && trainer.marks.count(key) != 0);
    const Json* const value = find(key);
    if (decides && value != nullptr && !is_off(*value) && *value != Json(0)) result_.other_objective.push_back(key);
  }
}

void ForeignConverter::choose_trainer() {
  const Json* const loss = find("loss_type");
  const std::string by_loss = loss == nullptr ? "" : owner_of_loss(loss->is_array() && !loss->empty() ? in_words(loss->front()) : in_words(*loss));
  for (const TrlTrainer& trainer : trl_trainers()) {
    for (const std::string& mark : trainer.marks) {
      if (find(mark) == nullptr && mark != by_loss) continue;
      if (std::string(trainer.verb).empty()) return leave(find(mark) != nullptr ? mark : "loss_type", fmt::format("{} not offered; {}", trainer.name, kPlain));
      result_.verb = trainer.verb;
      return;
    }
  }
  if (const Json* const task = find("lora_task_type"); task != nullptr && *task == Json("SEQ_CLS")) result_.verb = "align reward";
}

bool ForeignConverter::of_rewards(const std::string& key, const Json& value) {
  static const std::set<std::string> said = {"stage", "rl", "process_reward_model", "peft_type"};
  if (said.count(key) != 0) return true;
  if (key == "loss_type" && (value == Json("nll") || result_.verb == "finetune")) {
    if (value != Json("nll") && value != Json("dft") && *owner_of_loss(in_words(value)) != '\0') return true;  // said of the trainer
    if (value != Json("nll")) leave(key, "the loss is the tokens' cross-entropy");
    return true;
  }
  if (key == "beta" && is("TRL") && result_.verb == "finetune") return true;  // of a trainer that is not offered
  if (key == "beta" && is("TRL") && result_.verb == "align dpo" && find("loss_type") == nullptr && find("max_prompt_length") == nullptr) {
    set_as(key, key, value);
    if (ConvertedSettings::Setting* const beta = setting(key)) beta->remark = "taken for DPO's: files of TRL's KTO and ORPO have it too";
    return true;
  }
  if (key == "reward_model" && is("Axolotl")) return true;  // the verb
  if (result_.verb != "align ppo") return false;
  if (key == "reward_model_type") return true;
  if (key == "reward_model" || key == "reward_model_path" || key == "reward_model_adapters") {
    if (const Json* const type = find("reward_model_type"); type != nullptr && *type != Json("lora")) {
      leave(key, fmt::format("of type {}; here it is an adapter of `lowrank align reward`, or exec:COMMAND asks another model", in_words(*type)));
      return true;
    }
    set("reward", "adapter:" + in_words(value), "an adapter of `lowrank align reward`; exec:COMMAND asks another model");
    return true;
  }
  if (key == "sft_model_path") {  // TRL's policy; model_name_or_path is the tokenizer's there
    set("model", in_words(value));
    return true;
  }
  if (key == "model_name_or_path" && find("sft_model_path") != nullptr) return true;
  static const std::map<std::string, std::string> names = {
      {"max_new_tokens", "response-length"}, {"ppo_epochs", "num-ppo-epochs"}, {"ppo_buffer_size", "num-mini-batches"},
      {"ppo_target", "target-kl"},           {"ppo_whiten_rewards", "whiten-rewards"}};
  const auto name = names.find(key);
  if (!is("LLaMA-Factory") || name == names.end()) return false;
  set_as(key, name->second, value);
  return true;
}

}  // namespace lowrank::recipes
