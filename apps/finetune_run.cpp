#include "lowrank/apps/finetune_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "lowrank/apps/preset.h"
#include "lowrank/apps/regularisation.h"
#include "lowrank/apps/samples.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/mode.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

models::LoadOptions load_options(const Options& options, const core::Json& earlier, bool full) {
  models::LoadOptions load;
  const std::string dtype = options.text("dtype");
  if (full && dtype == "bfloat16") options.fail("dtype", "--method full trains float32 weights; leave --dtype out");
  if (full || dtype == "float32") load.dtype = models::DTypeChoice::kFloat32;
  if (dtype == "bfloat16") load.dtype = models::DTypeChoice::kBFloat16;
  if (dtype == "auto" && !full && earlier.contains("dtype")) {  // the choice that the run began with
    load.dtype = earlier["dtype"] == "bfloat16" ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
  }
  load.trainable = full;
  return load;
}

/// New matrices, or those of the adapter that the run starts from.
lora::Adapter make_adapter(const Options& options, const std::optional<fs::path>& start, const lora::SlotTable& slots,
                           core::ProgressObserver& progress) {
  if (!start) {
    const lora::LoraConfig config = lora_config(options);
    if (config.splits_base()) progress.note(fmt::format("taking the weights apart for --init {}", config.init_lora_weights));
    return lora::attach(slots, config, static_cast<std::uint64_t>(options.integer("seed")));
  }
  check_against_adapter(options, lora::read_adapter_config(*start));
  std::vector<std::string> notes;
  lora::Adapter adapter = lora::load_peft(slots, *start, &notes);
  for (const std::string& note : notes) progress.note(note);
  return adapter;
}

/// Takes an adapter off the shared base at the end of its run, however that ends.
class Detach {
 public:
  explicit Detach(std::optional<lora::Adapter>& adapter) : adapter_(adapter) {}
  ~Detach() {
    if (adapter_) adapter_->detach();
  }
  Detach(const Detach&) = delete;
  Detach& operator=(const Detach&) = delete;

 private:
  std::optional<lora::Adapter>& adapter_;
};

}  // namespace

models::LoadedModel& SharedBase::get(const models::Resolved& resolved, const models::LoadOptions& options,
                                     core::ProgressObserver& progress) {
  const bool same = model_ && path_ == resolved.model && options_.dtype == options.dtype && !options_.trainable &&
                    !options.trainable;
  if (!same) {
    model_.reset();
    model_ = models::load(resolved.model.string(), options, &progress);
    path_ = resolved.model;
    options_ = options;
  }
  return *model_;
}

RunOutcome run_finetune(const Options& asked, const Console& console, SharedBase& base, train::TrainObserver* observer) {
  const Options options = with_preset(asked, console);
  ConsoleProgress progress(console);
  if (options.has("threads")) at::set_num_threads(static_cast<int>(options.integer_in("threads", 1, 4096)));
  kernels::set_mode(options.text("kernels") == "composite" ? kernels::Mode::kComposite : kernels::Mode::kFused);
  const bool full = options.text("method") == "full";
  const bool resume = options.flag("resume");
  const fs::path out = options.text("out");

  const models::Resolved resolved = models::resolve(options.positional(0));
  std::optional<fs::path> start = resolved.adapter;
  if (options.has("adapter")) start = options.text("adapter");
  if (full && start) options.fail("method", "full trains the model's own weights; merge the adapter first (lowrank merge)");
  if (full) {
    for (const OptionSpec& option : adapter_options()) {
      if (option.name != "method" && options.given(option.name)) options.fail(option.name, "is for --method lora");
    }
    for (const char* name : {"delta-l1", "delta-l2", "orthogonality", "max-delta-norm"}) {
      if (options.given(name)) options.fail(name, "is for --method lora");
    }
  }
  const std::optional<double> bound = max_forgetting(options);
  if (resume && options.flag("overwrite")) options.fail("overwrite", "contradicts --resume; give one of them");
  if (!full && !start) lora_config(options);  // its mistakes show before anything is read

  std::vector<fs::path> inputs = {resolved.model};
  if (start) inputs.push_back(*start);
  std::unique_ptr<core::DirectoryLock> lock;
  if (!options.flag("dry-run")) {
    if (resume && train::run_state(out) == train::RunState::kFinished) {
      console.line(out.string() + " holds a finished run; nothing was done");
      return {};
    }
    lock = train::open_run_folder(out, resume, options.flag("overwrite"), inputs);
  }

  const core::Json earlier = earlier_choices(out, resume);
  models::LoadedModel& model = base.get(resolved, load_options(options, earlier, full), progress);
  const models::DecoderConfig& config = model.decoder->config();

  RunReport report;
  report.verb = "finetune";
  report.command = options.command_line();
  report.options = options.resolved();
  report.model_path = model.path.string();
  report.model_name = resolved.name;
  report.model_type = config.model_type;
  report.base_parameters = config.parameter_count();
  report.base_bytes = model.weights.total_bytes();
  report.dtype = model.decoder->dtype() == at::kBFloat16 ? "bfloat16" : "float32";
  report.dtype_reason = full ? "all weights are trained" : model.dtype_reason;

  RunData data = read_run_data(options, *model.tokenizer, config.max_positions, report, progress);

  std::optional<lora::Adapter> adapter;
  const Detach at_the_end(adapter);
  if (!full) {
    lora::SlotTable slots = model.decoder->slot_table();
    slots.base_name = resolved.name;
    adapter = make_adapter(options, start, slots, progress);
    check_update_options(options, adapter->config());
    report.adapter = adapter->config();
    report.adapted_modules = adapter->slots().size();
    report.trainable_parameters = adapter->parameter_count();
    report.result_bytes = lora::peft_bytes(*adapter);
  } else {
    report.trainable_parameters = config.parameter_count();
    report.result_bytes = static_cast<std::uint64_t>(config.parameter_count()) * 4;
  }

  std::vector<fs::path> weight_files;
  for (const auto& file : model.weights.files()) weight_files.push_back(file->path());
  report.model_sha256 = hash_files(weight_files);

  train::CausalLm::Parts parts;
  parts.decoder = model.decoder;
  parts.adapter = adapter ? &*adapter : nullptr;
  parts.tokenizer = model.tokenizer.get();
  parts.weights = &model.weights;
  parts.plan = plan_options(options);
  parts.label_smoothing = options.number_in("label-smoothing", 0, 0.999);
  parts.neftune = options.number_in("neftune", 0, 1e6);
  parts.seed = static_cast<std::uint64_t>(options.integer("seed"));
  std::vector<std::int64_t> lengths;
  for (const data::Example& example : data.train.examples) lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  parts.recompute = choose_recompute(options, earlier, config, data::Plan(lengths, parts.plan), data.train,
                                     model.decoder->dtype(), report);
  core::Json facts = {{"base model's weights", report.model_sha256},
                      {"dtype", report.dtype},
                      {"recompute", parts.recompute ? "layer" : "none"},
                      {"tokenizer", hash_files(model.tokenizer->files())}};
  for (const DataUsed& used : report.data) facts[used.name + " data"] = used.report.sha256;
  if (start) facts["starting adapter"] = core::sha256_file(*start / "adapter_model.safetensors");
  report.masks = label_masks(data.train, *model.tokenizer);
  const bool held_out = !data.evaluation.empty() && data.evaluation.front().first == "validation";
  report.samples = before_and_after(model, start, held_out ? data.evaluation.front().second : data.train,
                                    static_cast<int>(options.integer_in("samples", 0, 100)));
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  train::CausalLm objective(std::move(parts));
  train::TrainOptions training = train_options(options, full ? 2e-5 : 2e-4);
  if (options.has("preset") && training.early_stopping > 0 && !objective.has_validation()) {
    progress.note("there is no validation data, so the run is not stopped early");
    training.early_stopping = 0;
  }
  const auto afterwards = [&](RunReport& about, train::TrainResult& result) {
    if (bound) bound_forgetting(about, result, objective, *model.decoder, *adapter, data.choosing, *bound, out, progress);
    report_overfitting(about, result, objective, adapter ? &*adapter : nullptr);
  };
  return train_and_report(options, console, objective, report, training, facts, observer, afterwards);
}

}  // namespace lowrank::apps
