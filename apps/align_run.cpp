#include "lowrank/apps/align_run.h"

#include "lowrank/apps/opening.h"
#include "lowrank/apps/training_run.h"
#include "lowrank/core/error.h"
#include "lowrank/kernels/mode.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

models::LoadOptions load_options(const Options& options, const core::Json& earlier) {
  std::string dtype = options.text("dtype");
  if (dtype == "auto" && earlier.contains("dtype")) dtype = earlier["dtype"].get<std::string>();  // as the run began
  models::LoadOptions load;
  if (dtype == "float32") load.dtype = models::DTypeChoice::kFloat32;
  if (dtype == "bfloat16") load.dtype = models::DTypeChoice::kBFloat16;
  return load;
}

void attach_adapter(const Options& options, AlignRun& run, core::ProgressObserver& progress) {
  lora::SlotTable slots = run.model.decoder->slot_table();
  slots.base_name = run.report.model_name;
  if (!run.start) {
    run.adapter = lora::attach(slots, lora_config(options), static_cast<std::uint64_t>(options.integer("seed")));
    return;
  }
  check_against_adapter(options, lora::read_adapter_config(*run.start));
  std::vector<std::string> notes;
  run.adapter = lora::load_peft(slots, *run.start, &notes);
  for (const std::string& note : notes) progress.note(note);
}

void report_model(const Options& options, const models::Resolved& resolved, AlignRun& run) {
  RunReport& report = run.report;
  const models::DecoderConfig& config = run.model.decoder->config();
  report.verb = options.verb().name;
  report.command = options.command_line();
  report.options = options.resolved();
  report.model_path = run.model.path.string();
  report.model_name = resolved.name;
  report.model_type = config.model_type;
  report.base_parameters = config.parameter_count();
  report.base_bytes = run.model.weights.total_bytes();
  report.dtype = run.model.decoder->dtype() == at::kBFloat16 ? "bfloat16" : "float32";
  report.dtype_reason = run.model.dtype_reason;
  std::vector<fs::path> files;
  for (const auto& file : run.model.weights.files()) files.push_back(file->path());
  report.model_sha256 = hash_files(files);
}

}  // namespace

std::optional<AlignRun> open_align_run(const Options& options, const Console& console, core::ProgressObserver& progress) {
  set_threads(options);
  kernels::set_mode(options.text("kernels") == "composite" ? kernels::Mode::kComposite : kernels::Mode::kFused);
  const bool resume = options.flag("resume");
  if (resume && options.flag("overwrite")) options.fail("overwrite", "contradicts --resume; give one of them");
  const fs::path out = options.text("out");
  const models::Resolved resolved = models::resolve(options.positional(0));

  AlignRun run;
  run.start = resolved.adapter;
  if (options.has("adapter")) run.start = options.text("adapter");
  if (!options.flag("dry-run")) {
    if (resume && train::run_state(out) == train::RunState::kFinished) {
      console.line(out.string() + " holds a finished run; nothing was done");
      return std::nullopt;
    }
    std::vector<fs::path> inputs = {resolved.model};
    if (run.start) inputs.push_back(*run.start);
    run.lock = train::open_run_folder(out, resume, options.flag("overwrite"), inputs);
  }
  run.earlier = earlier_choices(out, resume);
  run.model = models::load(resolved.model.string(), load_options(options, run.earlier), &progress);
  report_model(options, resolved, run);
  attach_adapter(options, run, progress);
  run.report.adapter = run.adapter->config();
  run.report.adapted_modules = run.adapter->slots().size();
  run.report.trainable_parameters = run.adapter->parameter_count();
  run.report.result_bytes = lora::peft_bytes(*run.adapter);
  run.facts = {{"base model's weights", run.report.model_sha256},
               {"dtype", run.report.dtype},
               {"tokenizer", hash_files(run.model.tokenizer->files())}};
  if (run.start) run.facts["starting adapter"] = core::sha256_file(*run.start / "adapter_model.safetensors");
  return run;
}

std::vector<OptionSpec> align_options(std::vector<OptionSpec> own, const std::string& lr) {
  std::vector<OptionSpec> adapter = adapter_options();
  std::erase_if(adapter, [](const OptionSpec& option) { return option.name == "method"; });
  for (const auto& group : {adapter, training_options(lr), std::vector<OptionSpec>{option_dtype()}, run_options()}) {
    own.insert(own.end(), group.begin(), group.end());
  }
  return own;
}

}  // namespace lowrank::apps
