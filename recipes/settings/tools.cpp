// Which tool a settings file is of.
#include <set>

#include "lowrank/recipes/settings/convert.h"

namespace lowrank::recipes {

namespace {

/// Keys by which a tool's file is known: two of them, or one that stands alone for it.
struct ForeignTool {
  const char* name;
  std::set<std::string> marks, alone;
};

const std::vector<ForeignTool>& foreign_tools() {
  static const std::vector<ForeignTool> all = {
      {"LLaMA-Factory",
       {"stage", "do_train", "lora_target", "lora_rank", "template", "cutoff_len", "dataset_dir", "pissa_init",
        "val_size", "overwrite_cache", "preprocessing_num_workers", "plot_loss"},
       {"finetuning_type"}},
      {"Axolotl",
       {"base_model", "micro_batch_size", "sequence_len", "datasets", "val_set_size", "lora_target_linear",
        "sample_packing", "dataset_prepared_path", "num_epochs", "train_on_inputs", "special_tokens"},
       {}},
      {"mlx-lm",
       {"iters", "steps_per_report", "steps_per_eval", "val_batches", "adapter_path", "num_layers", "mask_prompt",
        "grad_checkpoint", "lr_schedule", "save_every", "train", "test", "max_seq_length"},
       {"fine_tune_type", "lora_parameters"}},
      {"PEFT", {"base_model_name_or_path", "lora_alpha", "target_modules", "task_type"}, {"peft_type"}},
      {"TRL",
       {"model_name_or_path", "dataset_name", "per_device_train_batch_size", "num_train_epochs", "use_peft",
        "lora_target_modules", "output_dir", "learning_rate", "gradient_accumulation_steps", "lr_scheduler_type",
        "lora_r", "lora_alpha", "max_length", "torch_dtype", "report_to"},
       {}},
  };
  return all;
}

}  // namespace

std::string tool_of(const std::vector<std::string>& keys) {
  for (const ForeignTool& tool : foreign_tools()) {
    int found = 0;
    for (const std::string& key : keys) found += tool.alone.count(key) != 0 ? 2 : tool.marks.count(key) != 0 ? 1 : 0;
    if (found >= 2) return tool.name;
  }
  return "";
}

}  // namespace lowrank::recipes
