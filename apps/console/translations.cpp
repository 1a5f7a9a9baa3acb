// What users of PEFT, TRL, transformers, mlx-lm, LLaMA-Factory, litgpt, torchtune and Axolotl would type, and our name
// for it.
#include <algorithm>
#include <cctype>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

const std::vector<std::pair<std::string, std::string>>& translations() {
  static const std::vector<std::pair<std::string, std::string>> table = {
      {"learning-rate", "--lr"},
      {"lora-r", "--rank"},
      {"lora-rank", "--rank"},
      {"r", "--rank"},
      {"lora-alpha", "--alpha"},
      {"lora-dropout", "--dropout"},
      {"lora-target-modules", "--targets"},
      {"lora-target", "--targets"},
      {"target-modules", "--targets"},
      {"exclude-modules", "--exclude"},
      {"additional-target", "--modules-to-save"},
      {"lora-modules-to-save", "--modules-to-save"},
      {"layers-to-transform", "--layers"},
      {"num-layers", "--layers (a range such as 8-15)"},
      {"use-rslora", "--rslora"},
      {"use-dora", "--dora"},
      {"init-lora-weights", "--init"},
      {"pissa-init", "--init pissa"},
      {"loraplus-lr-ratio", "--lora-plus-ratio"},
      {"num-train-epochs", "--epochs"},
      {"num-epochs", "--epochs"},
      {"iters", "--max-steps"},
      {"per-device-train-batch-size", "--batch-size"},
      {"micro-batch-size", "--batch-size"},
      {"gradient-accumulation-steps", "--grad-accum"},
      {"grad-accumulation-steps", "--grad-accum"},
      {"lr-scheduler-type", "--schedule"},
      {"lr-scheduler", "--schedule"},
      {"warmup-ratio", "--warmup (below 1: a share of the steps)"},
      {"warmup-steps", "--warmup (1 or more: steps)"},
      {"max-grad-norm", "--clip"},
      {"max-length", "--seq-len"},
      {"max-seq-length", "--seq-len"},
      {"cutoff-len", "--seq-len"},
      {"sequence-len", "--seq-len"},
      {"model-name-or-path", "the MODEL after the verb"},
      {"model", "the MODEL after the verb"},
      {"output-dir", "--out"},
      {"adapter-path", "--adapter (to start from or use one) or --out (to write one)"},
      {"adapter-name-or-path", "--adapter"},
      {"save-path", "--out"},
      {"dataset-name", "--data"},
      {"dataset", "--data"},
      {"train-file", "--data"},
      {"eval-dataset", "--val-data"},
      {"val-size", "--val-split"},
      {"val-set-size", "--val-split"},
      {"mask-prompt", "nothing to set: prompts are masked unless --train-on-prompt is given"},
      {"train-on-inputs", "--train-on-prompt"},
      {"gradient-checkpointing", "--recompute layer"},
      {"grad-checkpoint", "--recompute layer"},
      {"bf16", "--dtype bfloat16"},
      {"fp32", "--dtype float32"},
      {"load-in-4bit", "not offered: the base is used as it lies on disk"},
      {"eval-steps", "--eval-every"},
      {"steps-per-eval", "--eval-every"},
      {"save-steps", "--save-every"},
      {"save-total-limit", "--keep-last"},
      {"logging-steps", "--log-every"},
      {"steps-per-report", "--log-every"},
      {"resume-from-checkpoint", "--resume"},
      {"resume-adapter-file", "--adapter"},
      {"overwrite-output-dir", "--overwrite"},
      {"early-stopping-patience", "--early-stopping"},
      {"early-stopping-threshold", "--min-gain"},
      {"label-smoothing-factor", "--label-smoothing"},
      {"neftune-noise-alpha", "--neftune"},
      {"finetuning-type", "--method"},
      {"fine-tune-type", "--method"},
      {"packing", "nothing to set: batches are always packed exactly, without padding"},
      {"max-tokens", "--max-new-tokens"},
      {"temp", "--temperature"},
      {"n-predict", "--max-new-tokens"},
  };
  return table;
}

std::optional<std::string> translate_option(const std::string& foreign) {
  std::string name = foreign;
  name.erase(0, name.find_first_not_of('-'));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return c == '_' ? '-' : static_cast<char>(std::tolower(c)); });
  for (const auto& [theirs, ours] : translations()) {
    if (theirs == name) return ours;
  }
  return std::nullopt;
}

}  // namespace lowrank::apps
