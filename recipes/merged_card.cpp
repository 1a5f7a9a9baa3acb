#include "lowrank/recipes/merged_card.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/card_parts.h"
#include "lowrank/recipes/run/run_report.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

/// ORG/NAME, or empty where the base is a folder; and a name without its folders.
std::string hub_name_of(const models::LoadedModel& model) { return hub_name(model.decoder->base_name); }
std::string shown_name_of(const models::LoadedModel& model) {
  const std::string hub = hub_name_of(model);
  return hub.empty() ? shown_name(model.path.string()) : hub;
}

/// The lines license, license_name and license_link of the front matter of the base's card, as they stand there; where
/// there is no card, but a file of the licence, that.
std::string licence_lines(const fs::path& folder) {
  std::string lines;
  if (fs::exists(folder / "README.md")) {
    std::istringstream card(core::read_file(folder / "README.md", std::uint64_t{8} << 20));
    std::string line;
    std::getline(card, line);
    for (bool front = line.starts_with("---"); front && std::getline(card, line) && !line.starts_with("---");) {
      if (!line.empty() && line.back() == '\r') line.pop_back();
      for (const std::string key : {"license: ", "license_name: ", "license_link: "})
        if (line.starts_with(key) && line.size() > key.size() && core::find_invalid_utf8(line) == std::string::npos)
          lines += line + "\n";
    }
  }
  if (!lines.empty()) return lines;
  for (const char* name : {"LICENSE", "LICENSE.txt", "LICENSE.md"})
    if (fs::exists(folder / name))
      return fmt::format("license: other\nlicense_name: base-model\nlicense_link: {}\n", name);
  return "";
}

std::string front_matter(const models::LoadedModel& model, const char* library, const char* relation,
                         const std::vector<std::string>& tags) {
  std::string text = "---\n";
  if (const std::string hub = hub_name_of(model); !hub.empty())
    text += fmt::format("base_model: {}\nbase_model_relation: {}\n", yaml_text(hub), relation);
  text += licence_lines(model.path);
  text += fmt::format("library_name: {}\npipeline_tag: text-generation\ntags:\n", library);
  for (const std::string& tag : tags) text += "- " + yaml_text(tag) + "\n";
  return text + "---\n\n";
}

core::Json run_of(const lora::Adapter& adapter) {
  const fs::path file = adapter.directory() / "run.json";
  core::Json json = fs::exists(file) ? core::read_json(file, core::kSettings) : core::Json::object();
  return json.is_object() ? json : core::Json::object();
}

/// Names of files, without the folders that they were in.
std::string data_line(const core::Json& run) {
  std::string text;
  if (!run.contains("data") || !run["data"].is_object()) return text;
  for (const auto& [set, used] : run["data"].items()) {
    if (!used.is_object() || !used.contains("files")) continue;
    std::vector<std::string> names;
    const core::Json& files = used["files"];
    for (const core::Json& file : files.is_array() ? files : core::Json::array())
      if (file.is_string()) names.push_back(fs::path(file.get<std::string>()).filename().string());
    text += fmt::format("- data ({}): {}{}\n", card_text(set),
                        names.empty() ? "not from files" : card_text(fmt::format("{}", fmt::join(names, ", "))),
                        used.contains("examples") && used["examples"].is_number_integer()
                            ? ", " + core::counted(used["examples"].get<std::int64_t>(), "example")
                            : "");
  }
  return text;
}

/// Losses before and after, and what that comes to.
std::string results_of(const core::Json& run) {
  std::string text;
  if (run.contains("verdict") && run["verdict"].is_string())
    text += card_text(run["verdict"].get<std::string>()) + ".\n\n";
  if (!run.contains("result") || !run["result"].is_object() || !run["result"].contains("after")) return text;
  const core::Json &before = run["result"].value("before", core::Json::array()), &after = run["result"]["after"];
  if (!after.is_array() || after.empty() || !before.is_array()) return text;
  const auto loss = [](const core::Json& list, const core::Json& split) -> std::string {
    for (const core::Json& one : list)
      if (one.is_object() && one.contains("split") && one["split"] == split && one.contains("loss") &&
          one["loss"].is_number())
        return fmt::format("{:.4f}", one["loss"].get<double>());
    return "";
  };
  text += "| set | loss before | loss after |\n|---|---|---|\n";
  for (const core::Json& one : after)
    if (one.is_object() && one.contains("split") && one["split"].is_string())
      text += fmt::format("| {} | {} | {} |\n", card_text(one["split"].get<std::string>()), loss(before, one["split"]),
                          loss(after, one["split"]));
  return text + "\n";
}

/// What was learned, by which adapter and from what.
std::string adapter_part(const lora::Adapter& adapter) {
  const core::Json run = run_of(adapter);
  const lora::LoraConfig& config = adapter.config();
  std::string text =
      fmt::format("- adapter: {}, rank {}, alpha {}{} on {}\n", config.use_dora ? "DoRA" : "LoRA", config.r,
                  config.lora_alpha, config.use_rslora ? " (rsLoRA)" : "", card_text(joined(config.target_modules)));
  if (run.contains("totals") && run["totals"].is_object()) {
    const core::JsonView totals(run["totals"], "run.json: totals");
    text += fmt::format("- training: {}, {}\n", core::counted(totals.get_int("steps", 0), "optimiser step"),
                        core::counted(totals.get_int("tokens", 0), "token"));
  }
  if (run.contains("options") && run["options"].is_object()) {
    std::vector<std::string> options;
    for (const char* key : {"lr", "schedule", "epochs", "max-steps", "batch-size", "batch-tokens", "grad-accum",
                            "seq-len", "dropout", "seed"}) {
      const auto found = run["options"].find(key);
      if (found != run["options"].end() && !found->is_null())
        options.push_back(fmt::format("{} {}", key, core::json_text(*found)));
    }
    if (!options.empty())
      text += fmt::format("- options: {}\n", card_text(fmt::format("{}", fmt::join(options, ", "))));
  }
  return text + data_line(run) + "\n" + results_of(run);
}

}  // namespace

std::string merged_card(const models::LoadedModel& model, const lora::Adapter& adapter, const MergeResult& result) {
  std::string text = front_matter(model, "transformers", "finetune", {"lora", "lowrank", "merged"});
  text += fmt::format(
      "# {} with an adapter merged into it\n\nMade by `lowrank merge` {}: {} of {} tensors are the base's plus the "
      "adapter's "
      "update, the others the base's own.\n\n",
      card_text(shown_name_of(model)), LOWRANK_VERSION, core::format_count(result.report.changed),
      core::format_count(result.report.tensors));
  return text + fmt::format("- base: {}\n", card_text(shown_name_of(model))) + adapter_part(adapter) +
         "Use it as any model of its family: with transformers (`AutoModelForCausalLM.from_pretrained(this_folder)`), "
         "or `lowrank generate "
         "THIS_FOLDER --prompt ...`.\n";
}

std::string gguf_card(const models::LoadedModel& model, const lora::Adapter* adapter, const GgufResult& result,
                      formats::GgmlType type) {
  const std::string file = result.file.string();
  const bool blocks = formats::ggml_block(type) > 1;
  std::string text = front_matter(model, "gguf", blocks ? "quantized" : "finetune", {"gguf", "lowrank"});
  text += fmt::format("# {}{} for llama.cpp, {}\n\nMade by `lowrank merge --into gguf` {}.\n\n- base: {}\n",
                      card_text(shown_name_of(model)), adapter == nullptr ? "" : " with an adapter merged into it",
                      formats::ggml_name(type), LOWRANK_VERSION, card_text(shown_name_of(model)));
  if (adapter != nullptr) text += adapter_part(*adapter);
  text += fmt::format("Perplexity on a text of {} tokens: {:.4f} before, {:.4f} with the values of this file.\n\n",
                      result.probe_tokens, result.before, result.after);
  for (const std::string& note : result.notes) text += fmt::format("- {}\n", card_text(note));
  if (!result.notes.empty()) text += "\n";
  return text + fmt::format("Use it with {} or, in Ollama, `ollama create NAME -f Modelfile`.\n",
                            card_inline(fmt::format("llama-cli -m {}", file)));
}

}  // namespace lowrank::recipes
