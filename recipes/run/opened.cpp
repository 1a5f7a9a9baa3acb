#include "lowrank/recipes/run/opened.h"

#include <fmt/format.h>

#include "lowrank/core/text.h"
#include "lowrank/recipes/run/adapter_facts.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

models::DTypeChoice dtype_choice(const std::string& name) {
  if (name == "float32") return models::DTypeChoice::kFloat32;
  if (name == "bfloat16") return models::DTypeChoice::kBFloat16;
  return models::DTypeChoice::kAuto;
}

std::optional<fs::path> adapter_of(const std::string& model, const std::optional<std::string>& adapter) {
  const models::Resolved resolved = models::resolve(model);
  if (!adapter) return resolved.adapter;
  refuse_adapter_as_model(model, resolved);
  require_adapter(*adapter, "adapter");
  return *adapter;
}

Opened open_model(const std::string& model, const std::optional<fs::path>& adapter, models::DTypeChoice dtype,
                  core::ProgressObserver& progress) {
  models::LoadOptions load;
  load.dtype = dtype;
  Opened opened;
  opened.model = models::load(model, load, &progress);
  if (adapter) {
    std::vector<std::string> notes;
    opened.adapter = lora::load_peft(opened.model.decoder->slot_table(), *adapter, &notes);
    opened.adapter_path = *adapter;
    for (const std::string& note : notes) progress.warning(note);
  }
  return opened;
}

std::vector<std::pair<std::string, std::string>> describe(const models::LoadedModel& model) {
  const models::DecoderConfig& config = model.decoder->config();
  return {{"model", fmt::format("{} ({}, {} parameters)", model.name, config.model_type,
                                core::format_count(config.parameter_count()))},
          {"dtype", model.dtype_reason}};
}

std::pair<std::string, std::string> describe(const lora::Adapter& adapter, const fs::path& path) {
  return {"adapter",
          fmt::format("{} ({}rank {}, {} parameters on {} modules{})", path.string(),
                      adapter.config().use_dora ? "DoRA, " : "", adapter.config().r,
                      core::format_count(adapter.parameter_count()), adapter.slots().size(), also_trained(adapter))};
}

std::vector<std::pair<std::string, std::string>> describe(const Opened& opened) {
  std::vector<std::pair<std::string, std::string>> rows = describe(opened.model);
  if (opened.adapter) rows.push_back(describe(*opened.adapter, opened.adapter_path));
  return rows;
}

}  // namespace lowrank::recipes
