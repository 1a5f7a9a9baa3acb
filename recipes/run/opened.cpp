#include "lowrank/recipes/run/opened.h"

#include <fmt/format.h>

#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/device.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/base_remarks.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

models::DTypeChoice dtype_choice(const std::string& name) {
  if (name == "float32") return models::DTypeChoice::kFloat32;
  if (name == "bfloat16") return models::DTypeChoice::kBFloat16;
  return models::DTypeChoice::kAuto;
}

kernels::BaseForm base_form(const std::string& name) {
  if (name == "int8") return kernels::BaseForm::kInt8;
  if (name == "nf4") return kernels::BaseForm::kNf4;
  return kernels::BaseForm::kAsStored;
}

at::Device device_of(const std::string& name, int local) {
  try {
    return kernels::find_device(name, local);
  } catch (const ConfigError& error) {
    throw FieldError("device", error.what());
  }
}

std::string other_form(const fs::path& adapter, kernels::BaseForm used) {
  const fs::path file = adapter / "run.json";
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return "";
  try {
    const core::Json run = core::read_json(core::FileRef::within(adapter, file));
    const core::Json& model = run.at("model");
    const std::string trained = model.value("base_dtype", "auto"), now(kernels::form_name(used));
    if (trained == now) return "";
    return fmt::format("the adapter in {} was trained on a base in {}, and is used here on one in {}", adapter.string(),
                       trained == "auto" ? "the files' type" : trained, now == "auto" ? "the files' type" : now);
  } catch (const std::exception&) {
    return "";  // another program's run.json
  }
}

std::optional<fs::path> adapter_of(const std::string& model, const std::optional<std::string>& adapter) {
  const models::Resolved resolved = models::resolve(model);
  if (!adapter) return resolved.adapter;
  refuse_adapter_as_model(model, resolved);
  return adapter_folder(*adapter, "adapter");
}

Opened open_model(const std::string& model, const std::optional<fs::path>& adapter, models::LoadOptions load,
                  core::ProgressObserver& progress) {
  load.adapter = adapter;
  Opened opened;
  opened.model = models::load(model, load, &progress);
  if (adapter) {
    std::vector<std::string> notes;
    opened.adapter = lora::load_peft(opened.model.decoder->slot_table(), *adapter, &notes);
    opened.adapter_path = *adapter;
    for (const std::string& note : notes) progress.warning(note);
    for (const std::string& remark : base_remarks(*adapter, opened.model)) progress.warning(remark);
    if (const std::string note = other_form(*adapter, load.form); !note.empty()) progress.note(note);
    if (auto own = models::adapter_tokenizer(*adapter, opened.decoder().config()))
      opened.model.tokenizer = std::move(own);
  }
  return opened;
}

std::vector<std::pair<std::string, std::string>> describe(const models::LoadedModel& model) {
  const models::DecoderConfig& config = model.decoder->config();
  std::vector<std::pair<std::string, std::string>> rows = {
      {"model", fmt::format("{} ({}, {} parameters)", model.name, config.model_type,
                            core::format_count(config.parameter_count()))},
      {"dtype", fmt::format("{} ({})", models::dtype_name(model.decoder->dtype()), model.dtype_reason)}};
  if (const at::Device device = model.decoder->device(); !device.is_cpu()) rows.emplace_back("device", device.str());
  if (model.coded.base != nullptr) rows.emplace_back("base", model.coded.base->words());
  return rows;
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
