#include "lowrank/recipes/run/model_card.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/card_parts.h"

namespace lowrank::recipes {

std::string model_card(const RunReport& report, const train::TrainResult& result) {
  const lora::LoraConfig c = lora::saved_form(*report.adapter);
  std::string text = card_front(report.model_name, report.pipeline_tag);
  text += fmt::format("# {} adapter for {}\n\nTrained with `lowrank` {} by\n\n{}\n", c.use_dora ? "DoRA" : "LoRA",
                      card_text(shown_name(report.model_name)), LOWRANK_VERSION, card_code(without_folders(report.command)));
  text += fmt::format(
      "- rank {}, alpha {}{}, on {} {} ({}){}\n- {} trainable parameters of {} ({:.3f} %), {} beside a base of {}\n"
      "- {} optimiser steps, {} {}s\n\n",
      c.r, c.lora_alpha, c.use_rslora ? " (rsLoRA)" : "", report.adapted_modules, report.adapted_kind,
      card_text(joined(c.target_modules)), report.also_trained, core::format_count(report.trainable_parameters),
      core::format_count(report.all_parameters()), report.trainable_percent(), core::format_bytes(report.result_bytes),
      core::format_bytes(report.base_bytes), core::format_count(result.steps), core::format_count(result.tokens),
      report.unit);
  if (report.verdict)
    text += fmt::format("{}: {}.\n\n", report.verdict->learned ? "Learned" : "**Learned**", report.verdict->text());
  const auto [header, rows] = result_table(report, result);
  if (!rows.empty()) {
    text += fmt::format("| {} |\n|", fmt::join(header, " | "));
    for (std::size_t i = 0; i < header.size(); ++i) text += "---|";
    text += "\n";
    for (const auto& row : rows) {
      text += "|";
      for (const std::string& cell : row) text += " " + card_text(cell) + " |";
      text += "\n";
    }
    text += "\n";
  }
  if (!report.usage.empty()) return text + report.usage;
  return text + fmt::format(
                    "Use it with PEFT (`PeftModel.from_pretrained(base, this_folder)`) or {}.\n",
                    card_inline(fmt::format("lowrank generate {} --adapter THIS_FOLDER --prompt ...",
                                            core::shell_quoted(shown_name(report.model_name)))));
}

}  // namespace lowrank::recipes
