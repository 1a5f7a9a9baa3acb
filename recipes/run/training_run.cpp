#include "lowrank/recipes/run/training_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/memory.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/memory.h"
#include "lowrank/recipes/run/model_card.h"
#include "lowrank/recipes/run/regularisation.h"
#include "lowrank/recipes/run/run_page.h"
#include "lowrank/recipes/run/tensorboard_log.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;
using core::Json;

namespace {

kernels::Runtime runtime_of(const RunSpec& spec) {
  return {.mode = spec.kernels == "composite" ? kernels::Mode::kComposite : kernels::Mode::kFused,
          .threads = static_cast<std::int32_t>(spec.threads.value_or(0))};
}

Json earlier_choices(const RunSpec& spec) {
  if (spec.resume) {
    if (const auto checkpoint = train::newest_checkpoint(spec.out, nullptr)) {
      const Json state = core::read_json(*checkpoint / "trainer_state.json");
      if (state.contains("identity")) return state["identity"];
    }
  }
  return Json::object();
}

}  // namespace

std::string command_of(const std::string& verb, const std::vector<std::string>& positionals, const Fields& fields,
                       const RunSpec& spec, const Observer& observer) {
  if (!spec.command.empty()) return spec.command;
  std::vector<std::string> words;
  for (const std::string& positional : positionals)
    if (!positional.empty()) words.push_back(positional);
  std::string command = fields.command(verb, words);
  const Json own = observer.own_options();
  for (const auto& [name, value] : own.items())
    if (value == Json(true)) command += " --" + name;
  return command;
}

Json options_of(const Fields& fields, const Observer& observer) {
  Json options = fields.to_json();
  options.update(observer.own_options());
  return options;
}

TrainingRun::TrainingRun(std::string the_verb, std::string the_model, const Fields& the_fields, const RunSpec& the_spec,
                         Observer& the_observer)
    : verb(std::move(the_verb)),
      model(std::move(the_model)),
      fields(the_fields),
      spec(the_spec),
      observer(the_observer),
      runtime_(runtime_of(the_spec)) {
  fields.check();
  if (spec.out.empty()) fields.fail("out", "is missing; name a folder for the result");
  report.verb = verb;
  report.command = command_of(verb, {model}, fields, spec, observer);
  report.options = options_of(fields, observer);
  report.out = spec.out;
}

void TrainingRun::resolve(const AdapterSpec& adapter) {
  resolved = models::resolve(model);
  start = resolved.adapter;
  if (adapter.adapter) start = *adapter.adapter;
}

bool TrainingRun::open(RunResult& result, const std::vector<fs::path>& inputs) {
  if (!spec.dry_run) {
    if (spec.resume && spec.overwrite) fields.fail("overwrite", "contradicts `resume`; give one of them");
    if (spec.resume && train::run_state(spec.out) == train::RunState::kFinished) {
      observer.note(spec.out + " holds a finished run; nothing was done");
      result.state = RunResult::State::kWasFinished;
      result.out = spec.out;
      return false;
    }
    lock_ = train::open_run_folder(spec.out, spec.resume, spec.overwrite, inputs);
  }
  earlier = earlier_choices(spec);
  return true;
}

bool TrainingRun::open(RunResult& result) {
  std::vector<fs::path> inputs = {resolved.model};
  if (start) inputs.push_back(*start);
  return open(result, inputs);
}

models::LoadedModel& TrainingRun::load(SharedBase& base, bool full) {
  models::LoadOptions options;
  std::string dtype = spec.dtype;
  if (full && dtype == "bfloat16") fields.fail("dtype", "`method` full trains float32 weights; leave `dtype` out");
  if (dtype == "auto" && earlier.contains("dtype")) dtype = earlier["dtype"].get<std::string>();
  if (full || dtype == "float32") options.dtype = models::DTypeChoice::kFloat32;
  if (!full && dtype == "bfloat16") options.dtype = models::DTypeChoice::kBFloat16;
  options.trainable = full;
  models::LoadedModel& loaded = base.get(resolved, options, observer);

  const models::DecoderConfig& config = loaded.decoder->config();
  report.model_path = loaded.path.string();
  report.model_name = resolved.name;
  report.model_type = config.model_type;
  report.base_parameters = config.parameter_count();
  report.base_bytes = loaded.weights.total_bytes();
  report.dtype = loaded.decoder->dtype() == at::kBFloat16 ? "bfloat16" : "float32";
  report.dtype_reason = full ? "all weights are trained" : loaded.dtype_reason;
  report.model_sha256 = base.sha256();
  facts["base model's weights"] = report.model_sha256;
  facts["dtype"] = report.dtype;
  facts["tokenizer"] = hash_files(loaded.tokenizer->files());
  if (start) facts["starting adapter"] = core::sha256_file(*start / "adapter_model.safetensors");
  return loaded;
}

lora::Adapter TrainingRun::make_adapter(const AdapterSpec& adapter_spec, const lora::SlotTable& slots,
                                        std::uint64_t seed) {
  if (!start) {
    const lora::LoraConfig config = lora_config(adapter_spec, fields);
    if (config.splits_base())
      observer.note(fmt::format("taking the weights apart for `init` {}", config.init_lora_weights));
    return lora::attach(slots, config, seed);
  }
  check_against_adapter(adapter_spec, fields, lora::read_adapter_config(*start));
  std::vector<std::string> notes;
  lora::Adapter adapter = lora::load_peft(slots, *start, &notes);
  for (const std::string& note : notes) observer.note(note);
  return adapter;
}

void TrainingRun::take(const lora::Adapter& adapter) {
  check_update_fields(fields, adapter);
  report.adapter = adapter.config();
  report.adapted_modules = adapter.slots().size();
  report.also_trained = also_trained(adapter);
  report.trainable_parameters = adapter.parameter_count();
  report.result_bytes = lora::peft_bytes(adapter);
}

void TrainingRun::used(const std::string& name, const data::ReadReport& data) {
  report.data.push_back({name, data});
  for (std::string& note : report.data.back().report.notes) note = spelled(note);
  facts[name + " data"] = data.sha256;
}

bool TrainingRun::choose_recompute(const models::DecoderConfig& config, const data::PlanOptions& plan_options,
                                   const std::vector<std::int64_t>& lengths, at::ScalarType dtype) {
  bool layer = spec.recompute == "layer";
  if (spec.recompute != "auto") {
    report.recompute = spec.recompute + " (as asked)";
  } else if (earlier.contains("recompute")) {
    layer = earlier["recompute"] == "layer";
    report.recompute = earlier["recompute"].get<std::string>() + " (as the run began)";
  } else {
    const data::Plan plan(lengths, plan_options);
    const std::int64_t most = largest_micro_batch(plan, lengths);
    const std::uint64_t need = activation_bytes(config, most, dtype);
    const auto have = core::available_memory();
    layer = have && need > *have * 6 / 10;
    report.recompute =
        fmt::format("{} (activations of {} tokens take about {}{})", layer ? "layer" : "none", core::format_count(most),
                    core::format_bytes(need), have ? ", " + core::format_bytes(*have) + " of memory are free" : "");
  }
  facts["recompute"] = layer ? "layer" : "none";
  return layer;
}

bool TrainingRun::choose_recompute(const models::LoadedModel& loaded, const data::PlanOptions& plan,
                                   const data::Dataset& train) {
  return choose_recompute(loaded.decoder->config(), plan, lengths_of(train), loaded.decoder->dtype());
}

void TrainingRun::train(RunResult& result, train::Objective& objective, const train::TrainOptions& options,
                        const Afterwards& afterwards) {
  report.steps = result.planned_steps = objective.steps();
  report.planned_tokens = objective.planned_tokens();
  report.environment = environment();
  if (!observer.wants_samples()) report.samples = nullptr;
  observer.on_opening(report);
  const fs::path out = result.out = spec.out;
  result.run = run_json(report, nullptr, out);
  if (spec.dry_run) {
    result.state = RunResult::State::kDryRun;
    return;
  }
  train::write_run_json(out, result.run);

  Json same = fields.identity();
  same.update(facts);
  same["lowrank"] = report.environment["lowrank"];
  same["LibTorch"] = report.environment["libtorch"];
  same["CPU capability"] = report.environment["cpu_capability"];
  train::Trainer trainer(objective, options, out, same, observer.stop_flag());
  TensorBoardLog logged(observer, out / kEventFile);
  train::TrainObserver& all = spec.tensorboard ? static_cast<train::TrainObserver&>(logged) : observer;
  result.training = trainer.run(all, spec.resume, spec.force);
  if (result.training->stop == train::TrainResult::Stop::kSignal) {
    result.state = RunResult::State::kStopped;
    return;
  }
  result.state = RunResult::State::kTrained;
  if (afterwards) afterwards(report, *result.training);
  if (report.adapter) core::write_file(out / "README.md", model_card(report, *result.training));
  core::write_file(out / "report.html", run_page(report, *result.training, out));
  result.run = run_json(report, &*result.training, out);
  train::write_run_json(out, result.run);
  observer.on_closing(report, *result.training);
}

std::string TrainingRun::spelled(const std::string& text) const {
  return spell_fields(text, [&](const std::string& name) { return observer.spelled(name); });
}

std::vector<std::int64_t> lengths_of(const data::Dataset& set) {
  std::vector<std::int64_t> lengths;
  for (const data::Example& example : set.examples) lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  return lengths;
}

}  // namespace lowrank::recipes
