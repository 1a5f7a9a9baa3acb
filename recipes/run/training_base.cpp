#include "lowrank/apps/training/training_base.h"

#include <fmt/format.h>

#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/training/training_run.h"
#include "lowrank/core/files.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

models::LoadOptions load_options(const Options& options, const core::Json& earlier, bool full) {
  models::LoadOptions load;
  std::string dtype = options.text("dtype");
  if (full && dtype == "bfloat16") options.fail("dtype", "--method full trains float32 weights; leave --dtype out");
  if (dtype == "auto" && earlier.contains("dtype")) dtype = earlier["dtype"].get<std::string>();
  if (full || dtype == "float32") load.dtype = models::DTypeChoice::kFloat32;
  if (!full && dtype == "bfloat16") load.dtype = models::DTypeChoice::kBFloat16;
  load.trainable = full;
  return load;
}

lora::Adapter make_adapter(const Options& options, const std::optional<fs::path>& start, const lora::SlotTable& slots,
                           core::ProgressObserver& progress) {
  if (!start) {
    const lora::LoraConfig config = lora_config(options);
    if (config.splits_base())
      progress.note(fmt::format("taking the weights apart for --init {}", config.init_lora_weights));
    return lora::attach(slots, config, static_cast<std::uint64_t>(options.integer("seed")));
  }
  check_against_adapter(options, lora::read_adapter_config(*start));
  std::vector<std::string> notes;
  lora::Adapter adapter = lora::load_peft(slots, *start, &notes);
  for (const std::string& note : notes) progress.note(note);
  return adapter;
}

std::string weights_sha256(const models::LoadedModel& model) {
  std::vector<fs::path> files;
  for (const auto& file : model.weights.files()) files.push_back(file->path());
  return hash_files(files);
}

void report_model(RunReport& report, const Options& options, const models::Resolved& resolved,
                  const models::LoadedModel& model, const std::string& sha256) {
  const models::DecoderConfig& config = model.decoder->config();
  report.verb = options.verb().name;
  report.command = options.command_line();
  report.options = options.resolved();
  report.model_path = model.path.string();
  report.model_name = resolved.name;
  report.model_type = config.model_type;
  report.base_parameters = config.parameter_count();
  report.base_bytes = model.weights.total_bytes();
  report.dtype = model.decoder->dtype() == at::kBFloat16 ? "bfloat16" : "float32";
  report.dtype_reason = model.dtype_reason;
  report.model_sha256 = sha256;
}

void report_adapter(RunReport& report, const lora::Adapter& adapter) {
  report.adapter = adapter.config();
  report.adapted_modules = adapter.slots().size();
  report.also_trained = also_trained(adapter);
  report.trainable_parameters = adapter.parameter_count();
  report.result_bytes = lora::peft_bytes(adapter);
}

core::Json input_facts(const RunReport& report, const models::LoadedModel& model,
                       const std::optional<fs::path>& start) {
  core::Json facts = {{"base model's weights", report.model_sha256},
                      {"dtype", report.dtype},
                      {"tokenizer", hash_files(model.tokenizer->files())}};
  if (start) facts["starting adapter"] = core::sha256_file(*start / "adapter_model.safetensors");
  return facts;
}

}  // namespace lowrank::apps
