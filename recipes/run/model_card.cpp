#include "lowrank/recipes/run/model_card.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lowrank/core/text.h"

namespace lowrank::recipes {

std::string model_card(const RunReport& report, const train::TrainResult& result) {
  const lora::LoraConfig c = lora::saved_form(*report.adapter);
  std::string text = fmt::format(
      "---\nbase_model: {}\nlibrary_name: peft\npipeline_tag: {}\ntags:\n- base_model:adapter:{}\n- lora\n- "
      "lowrank\n---\n\n",
      report.model_name, report.pipeline_tag, report.model_name);
  text += fmt::format("# {} adapter for {}\n\nTrained with `lowrank` {} by\n\n    {}\n\n", c.use_dora ? "DoRA" : "LoRA",
                      report.model_name, LOWRANK_VERSION, report.command);
  text += fmt::format(
      "- rank {}, alpha {}{}, on {} {} ({}){}\n- {} trainable parameters of {} ({:.3f} %), {} beside a base of {}\n"
      "- {} optimiser steps, {} {}s\n\n",
      c.r, c.lora_alpha, c.use_rslora ? " (rsLoRA)" : "", report.adapted_modules, report.adapted_kind,
      joined(c.target_modules), report.also_trained, core::format_count(report.trainable_parameters),
      core::format_count(report.all_parameters()), report.trainable_percent(), core::format_bytes(report.result_bytes),
      core::format_bytes(report.base_bytes), core::format_count(result.steps), core::format_count(result.tokens),
      report.unit);
  const auto [header, rows] = result_table(report, result);
  if (!rows.empty()) {
    text += fmt::format("| {} |\n|", fmt::join(header, " | "));
    for (std::size_t i = 0; i < header.size(); ++i) text += "---|";
    text += "\n";
    for (const auto& row : rows) text += fmt::format("| {} |\n", fmt::join(row, " | "));
    text += "\n";
  }
  if (!report.usage.empty()) return text + report.usage;
  return text + fmt::format(
                    "Use it with PEFT (`PeftModel.from_pretrained(base, this_folder)`) or `lowrank generate {} "
                    "--adapter THIS_FOLDER --prompt ...`.\n",
                    report.model_name);
}

}  // namespace lowrank::recipes
