#include "lowrank/apps/training/training_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/inputs/out_folder.h"
#include "lowrank/apps/training/data_cache.h"
#include "lowrank/apps/training/repeated_runs.h"
#include "lowrank/apps/training/run_page.h"
#include "lowrank/apps/training/tensorboard_log.h"
#include "lowrank/apps/training/training_view.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/memory.h"
#include "lowrank/core/text.h"
#include "lowrank/data/parts.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

void set_threads_and_kernels(const Options& options) {
  set_threads(options);
  kernels::set_default_runtime(
      {.mode = options.text("kernels") == "composite" ? kernels::Mode::kComposite : kernels::Mode::kFused});
}

RunFolder open_run(const Options& options, const Console& console, const std::vector<fs::path>& inputs) {
  if (options.flag("dry-run")) return {};
  const fs::path out = options.text("out");
  const bool resume = resumes(options);
  if (resume && train::run_state(out) == train::RunState::kFinished) {
    console.line(out.string() + " holds a finished run; nothing was done");
    return {true, nullptr};
  }
  return {false, train::open_run_folder(out, resume, options.flag("overwrite"), inputs)};
}

RunData read_run_data(const Options& options, const data::Tokenizer& tokenizer, std::int64_t max_positions,
                      RunReport& report, core::ProgressObserver& progress, DataCache* cache) {
  const data::DataOptions read = read_options(options, max_positions);
  const auto load_as = [&](const char* name, const data::DataOptions& how) {
    return cache != nullptr ? cache->load(options.paths(name), tokenizer, how, &progress)
                            : data::load(options.paths(name), tokenizer, how, &progress);
  };
  const auto load = [&](const char* name) { return load_as(name, read); };
  RunData result;
  result.train = load("data");
  const double share = options.number_in("val-split", 0, 0.9);
  if (options.has("fold")) {
    data::Split parts = held_out_fold(options, result.train);
    report.validation_how = parts.how;
    result.train = std::move(parts.train);
    result.evaluation.emplace_back("validation", std::move(parts.validation));
  } else if (options.has("val-data")) {
    result.evaluation.emplace_back("validation", load("val-data"));
    report.validation_how = "on --val-data";
  } else if (share > 0) {
    data::Split parts = data::split(result.train, share, split_seed(options));
    report.validation_how = parts.how;
    if (!parts.validation.examples.empty()) {
      result.train = std::move(parts.train);
      result.evaluation.emplace_back("validation", std::move(parts.validation));
    }
  } else {
    report.validation_how = "none (--val-split 0)";
  }
  if (options.has("share")) {
    result.train =
        data::share_of(result.train, training_share(options), static_cast<std::uint64_t>(options.integer("seed")));
  }
  if (options.has("general-data")) {
    // What is forgotten is measured on plain text, whatever the rows of --data are.
    data::DataOptions general = read;
    general.format = data::Format::kAuto;
    data::Dataset text = load_as("general-data", general);
    if (options.has("max-forgetting")) {
      data::Split halves = data::split(text, 0.5, split_seed(options));
      if (halves.validation.examples.empty()) {
        options.fail("max-forgetting",
                     "needs general text that can be parted, one half to choose by and one to report; "
                     "give --general-data of 20 documents or of more than one piece");
      }
      result.choosing = std::move(halves.train);
      text = std::move(halves.validation);
    }
    result.evaluation.emplace_back("general", std::move(text));
  }
  report.data.push_back({"train", result.train.report});
  for (const auto& [name, set] : result.evaluation) report.data.push_back({name, set.report});
  if (!result.choosing.examples.empty()) report.data.push_back({"general, to choose by", result.choosing.report});
  return result;
}

core::Json earlier_choices(const Options& options) {
  if (options.flag("resume")) {
    if (const auto checkpoint = train::newest_checkpoint(options.text("out"), nullptr)) {
      const core::Json state = core::read_json(*checkpoint / "trainer_state.json");
      if (state.contains("identity")) return state["identity"];
    }
  }
  return core::Json::object();
}

bool choose_recompute(const Options& options, const core::Json& earlier, const models::DecoderConfig& config,
                      const data::Plan& plan, const data::Dataset& train, at::ScalarType dtype, RunReport& report) {
  std::vector<std::int64_t> lengths;
  for (const data::Example& example : train.examples) lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  return choose_recompute(options, earlier, config, plan, lengths, dtype, report);
}

bool choose_recompute(const Options& options, const core::Json& earlier, const models::DecoderConfig& config,
                      const data::Plan& plan, const std::vector<std::int64_t>& lengths, at::ScalarType dtype,
                      RunReport& report) {
  const std::string wanted = options.text("recompute");
  if (wanted != "auto") {
    report.recompute = wanted + " (as asked)";
    return wanted == "layer";
  }
  if (earlier.contains("recompute")) {
    report.recompute = earlier["recompute"].get<std::string>() + " (as the run began)";
    return earlier["recompute"] == "layer";
  }
  std::int64_t most = 0;
  for (std::int64_t step = 0; step < std::min<std::int64_t>(plan.steps(), plan.steps_per_epoch()); ++step) {
    for (const auto& micro : plan.micro_batches(step)) {
      std::int64_t tokens = 0;
      for (const std::uint32_t i : micro) tokens += lengths[i];
      most = std::max(most, tokens);
    }
  }
  // What the backward pass keeps of a token: the layer's streams (6 widths), q, k, v, and three of the MLP's width.
  const std::int64_t widths = 6 * config.hidden_size + 2 * config.heads * config.head_dim +
                              2 * config.kv_heads * config.head_dim + 3 * config.intermediate_size;
  const std::uint64_t need =
      static_cast<std::uint64_t>(most * config.layers * widths) * (dtype == at::kBFloat16 ? 2 : 4);
  const auto have = core::available_memory();
  const bool layer = have && need > *have * 6 / 10;
  report.recompute =
      fmt::format("{} (activations of {} tokens take about {}{})", layer ? "layer" : "none", core::format_count(most),
                  core::format_bytes(need), have ? ", " + core::format_bytes(*have) + " of memory are free" : "");
  return layer;
}

std::string hash_files(const std::vector<fs::path>& files) {
  std::string all;
  for (const fs::path& file : files) all += core::sha256_file(file) + "\n";
  return core::sha256(all);
}

RunOutcome train_and_report(const Options& options, const Console& console, train::Objective& objective,
                            RunReport& report, const train::TrainOptions& training, const core::Json& facts,
                            train::TrainObserver* observer, const Afterwards& afterwards) {
  report.steps = objective.steps();
  report.planned_tokens = objective.planned_tokens();
  report.environment = environment();
  print_opening(console, report);
  const fs::path out = options.text("out");
  if (options.flag("dry-run")) {
    console.line("dry run: nothing was trained or written");
    console.result(run_json(report, nullptr, out));
    return {};
  }
  train::write_run_json(out, run_json(report, nullptr, out));

  TrainingView view(console, options.has("log-every") ? options.integer_in("log-every", 1, std::int64_t{1} << 40) : 0,
                    report.shown_metrics, report.unit == "token" ? "tok" : report.unit + "s");
  core::Json same = run_identity(options, facts);
  same["lowrank"] = report.environment["lowrank"];
  same["LibTorch"] = report.environment["libtorch"];
  same["CPU capability"] = report.environment["cpu_capability"];
  train::Trainer trainer(objective, training, out, same, &catch_stop_signals());
  if (observer != nullptr) report.samples = nullptr;  // one run of many
  train::TrainObserver& shown = observer != nullptr ? *observer : view;
  TensorBoardLog logged(shown, out / kEventFile);
  train::TrainObserver& all = options.flag("tensorboard") ? logged : shown;
  train::TrainResult result = trainer.run(all, options.flag("resume"), options.flag("force"));
  if (result.stop == train::TrainResult::Stop::kSignal) {
    console.line(fmt::format("stopped by signal {} after step {} of {}; go on with the same command and --resume",
                             result.signal, result.steps, report.steps));
    return {128 + result.signal, result};
  }
  if (afterwards) afterwards(report, result);
  if (report.adapter) core::write_file(out / "README.md", model_card(report, result));
  core::write_file(out / "report.html", run_page(report, result, out));
  const core::Json json = run_json(report, &result, out);
  train::write_run_json(out, json);
  print_closing(console, report, result, out);
  console.result(json);
  return {0, result};
}

}  // namespace lowrank::apps
