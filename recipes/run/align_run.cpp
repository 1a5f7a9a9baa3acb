#include "lowrank/apps/align/align_run.h"

#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/training/training_base.h"
#include "lowrank/apps/training/training_run.h"
#include "lowrank/core/error.h"
#include "lowrank/data/preferences.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

std::optional<AlignRun> open_align_run(const Options& options, const Console& console, core::ProgressObserver& progress,
                                       const AdapterMaker& make) {
  set_threads_and_kernels(options);
  const models::Resolved resolved = models::resolve(options.positional(0));

  AlignRun run;
  run.start = resolved.adapter;
  if (options.has("adapter")) run.start = options.text("adapter");
  std::vector<fs::path> inputs = {resolved.model};
  if (run.start) inputs.push_back(*run.start);
  RunFolder folder = open_run(options, console, inputs);
  if (folder.finished) return std::nullopt;
  run.lock = std::move(folder.lock);
  run.earlier = earlier_choices(options);
  run.model = models::load(resolved.model.string(), load_options(options, run.earlier, false), &progress);
  report_model(run.report, options, resolved, run.model, weights_sha256(run.model));
  if (make) {
    run.adapter = make(run.model, run.report.model_name, run.start);
  } else {
    lora::SlotTable slots = run.model.decoder->slot_table();
    slots.base_name = run.report.model_name;
    run.adapter = make_adapter(options, run.start, slots, progress);
  }
  report_adapter(run.report, *run.adapter);
  run.facts = input_facts(run.report, run.model, run.start);
  return run;
}

RunData read_pairs(const Options& options, AlignRun& run, core::ProgressObserver& progress) {
  const int seq_len = sequence_length(options, run.model.decoder->config());
  const auto load = [&](const char* name) {
    return data::load_preferences(options.paths(name), *run.model.tokenizer, seq_len, &progress);
  };
  RunData result;
  result.train = load("data");
  const double share = options.number_in("val-split", 0, 0.9);
  if (options.has("val-data")) {
    result.evaluation.emplace_back("validation", load("val-data"));
    run.report.validation_how = "on --val-data";
  } else if (share > 0) {
    data::Split parts =
        data::split_preferences(result.train, share, static_cast<std::uint64_t>(options.integer("seed")));
    run.report.validation_how = parts.how;
    result.train = std::move(parts.train);
    if (!parts.validation.examples.empty()) result.evaluation.emplace_back("validation", std::move(parts.validation));
  } else {
    run.report.validation_how = "none (--val-split 0)";
  }
  run.report.data.push_back({"train", result.train.report});
  for (const auto& [name, set] : result.evaluation) run.report.data.push_back({name, set.report});
  for (const DataUsed& used : run.report.data) run.facts[used.name + " data"] = used.report.sha256;
  return result;
}

std::vector<OptionSpec> pair_options() {
  return {
      {"data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Pairs, .jsonl or .json: {\"prompt\", \"chosen\", \"rejected\"} as text or messages, or LLaMA-Factory's forms",
       {},
       true},
      option_seq_len("Tokens of a prompt with an answer at most; cut at the end (default: 1024, or the model's "
                     "positions if fewer)"),
      {"val-data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Validation pairs (best checkpoint, early stopping)",
       {}},
      {"val-split",
       OptionType::kNumber,
       "F",
       0.05,
       "Data",
       "Share of --data kept for validation without --val-data; 0: none",
       {}},
      {"no-shuffle", OptionType::kFlag, "", false, "Data", "Take the pairs in file order", {}},
  };
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
