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

namespace {

struct TrainedOn {
  std::string form = "auto";
  bool loftq = false;
};

/// What run.json says of the base; nothing where it is not there, or another program's.
std::optional<TrainedOn> trained_on(const fs::path& adapter) {
  const fs::path file = adapter / "run.json";
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return std::nullopt;
  try {
    const core::Json run = core::read_json(core::FileRef::within(adapter, file));
    const core::Json& model = run.at("model");
    const core::Json options = run.value("options", core::Json::object());
    const bool begins = options.is_object() && options.contains("init") && options["init"] == "loftq";
    return TrainedOn{model.value("base_dtype", "auto"), model.value("loftq", begins)};
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::string in_words(const std::string& form) { return form == "auto" ? "the files' type" : form; }

std::string note_on(const std::optional<TrainedOn>& trained, const fs::path& adapter, kernels::BaseForm used) {
  const std::string now(kernels::form_name(used));
  if (!trained || trained->form == now) return "";
  if (trained->loftq)
    return fmt::format("the adapter in {0} began with LoftQ, so that it holds what {1} had lost of the base, and that is counted "
                       "twice here, on a base in {2}; use it with `base-dtype` {1}",
                       adapter.string(), trained->form, in_words(now));
  return fmt::format("the adapter in {} was trained on a base in {}, and is used here on one in {}", adapter.string(),
                     in_words(trained->form), in_words(now));
}

}  // namespace

std::string other_form(const fs::path& adapter, kernels::BaseForm used) { return note_on(trained_on(adapter), adapter, used); }

std::optional<kernels::BaseForm> form_of_loftq(const fs::path& adapter) {
  const std::optional<TrainedOn> trained = trained_on(adapter);
  if (!trained || !trained->loftq) return std::nullopt;
  return base_form(trained->form);
}

void say_other_form(const fs::path& adapter, kernels::BaseForm used, core::ProgressObserver& progress) {
  const std::optional<TrainedOn> trained = trained_on(adapter);
  const std::string note = note_on(trained, adapter, used);
  if (note.empty()) return;
  trained->loftq ? progress.warning(note) : progress.note(note);
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
    say_other_form(*adapter, load.form, progress);
    if (auto own = models::adapter_tokenizer(*adapter, opened.decoder().config()))
      opened.model.tokenizer = std::move(own);
  }
  return opened;
}

Opened open_to_merge(const std::string& model, const std::optional<fs::path>& adapter, models::LoadOptions load,
                     core::ProgressObserver& progress) {
  const std::optional<kernels::BaseForm> form = adapter ? form_of_loftq(*adapter) : std::nullopt;
  if (form) load.form = *form;
  Opened opened = open_model(model, adapter, load, progress);
  if (form) opened.adapter->merge_into_decoded(true);
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
