#include "lowrank/apps/training/finetune_run.h"

#include <fmt/format.h>

#include "lowrank/apps/classification/classification_run.h"
#include "lowrank/apps/images/image_model.h"
#include "lowrank/apps/images/image_run.h"
#include "lowrank/apps/training/preset.h"
#include "lowrank/apps/training/regularisation.h"
#include "lowrank/apps/training/samples.h"
#include "lowrank/apps/training/training_base.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

models::LoadedModel& SharedBase::get(const models::Resolved& resolved, const models::LoadOptions& options,
                                     core::ProgressObserver& progress) {
  const bool same =
      model_ && path_ == resolved.model && options_.dtype == options.dtype && !options_.trainable && !options.trainable;
  if (!same) {
    model_.reset();
    model_ = models::load(resolved.model.string(), options, &progress);
    path_ = resolved.model;
    options_ = options;
    sha256_.clear();
  }
  return *model_;
}

const std::string& SharedBase::sha256() {
  if (sha256_.empty()) sha256_ = weights_sha256(*model_);
  return sha256_;
}

RunOutcome run_finetune(const Options& asked, const Console& console, SharedBase& base,
                        train::TrainObserver* observer) {
  const Options options = with_preset(asked, console);
  if (asks_for_images(options)) return run_image_classification(options, console, observer);
  if (options.text("method") == "head") options.fail("method", "head is for --task image-classification");
  if (options.has("task")) return run_classification(options, console, base, observer);
  ConsoleProgress progress(console);
  set_threads_and_kernels(options);
  const bool full = options.text("method") == "full";

  const models::Resolved resolved = models::resolve(options.positional(0));
  std::optional<fs::path> start = resolved.adapter;
  if (options.has("adapter")) start = options.text("adapter");
  if (full && start)
    options.fail("method", "full trains the model's own weights; merge the adapter first (lowrank merge)");
  if (full) {
    for (const OptionSpec& option : adapter_options()) {
      if (option.name != "method" && options.given(option.name)) options.fail(option.name, "is for --method lora");
    }
    for (const char* name : {"delta-l1", "delta-l2", "orthogonality", "max-delta-norm"}) {
      if (options.given(name)) options.fail(name, "is for --method lora");
    }
  }
  const std::optional<double> bound = max_forgetting(options);
  if (!full && !start) lora_config(options);  // its mistakes show before anything is read

  std::vector<fs::path> inputs = {resolved.model};
  if (start) inputs.push_back(*start);
  const RunFolder folder = open_run(options, console, inputs);
  if (folder.finished) return {};

  const core::Json earlier = earlier_choices(options);
  models::LoadedModel& model = base.get(resolved, load_options(options, earlier, full), progress);
  const models::DecoderConfig& config = model.decoder->config();

  RunReport report;
  report_model(report, options, resolved, model, base.sha256());
  if (full) report.dtype_reason = "all weights are trained";

  RunData data = read_run_data(options, *model.tokenizer, config.max_positions, report, progress, base.data());

  std::optional<lora::Adapter> adapter;
  std::optional<Detach> at_the_end;
  if (!full) {
    lora::SlotTable slots = model.decoder->slot_table();
    slots.base_name = resolved.name;
    adapter = make_adapter(options, start, slots, progress);
    at_the_end.emplace(*adapter);
    check_update_options(options, *adapter);
    report_adapter(report, *adapter);
  } else {
    report.trainable_parameters = config.parameter_count();
    report.result_bytes = static_cast<std::uint64_t>(config.parameter_count()) * 4;
  }

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
  for (const data::Example& example : data.train.examples)
    lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  parts.recompute = choose_recompute(options, earlier, config, data::Plan(lengths, parts.plan), data.train,
                                     model.decoder->dtype(), report);
  core::Json facts = input_facts(report, model, start);
  facts["recompute"] = parts.recompute ? "layer" : "none";
  for (const DataUsed& used : report.data) facts[used.name + " data"] = used.report.sha256;
  report.masks = label_masks(data.train, *model.tokenizer);
  const bool held_out = !data.evaluation.empty() && data.evaluation.front().first == "validation";
  report.samples = before_and_after(model, adapter ? &*adapter : nullptr, start,
                                    held_out ? data.evaluation.front().second : data.train,
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
    if (bound)
      bound_forgetting(about, result, objective, *model.decoder, *adapter, data.choosing, *bound, options.text("out"),
                       progress);
    report_overfitting(about, result, objective, adapter ? &*adapter : nullptr);
  };
  return train_and_report(options, console, objective, report, training, facts, observer, afterwards);
}

}  // namespace lowrank::apps
