// What a training run says of itself: its facts, the table of its result, run.json.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"
#include "lowrank/eval/report.h"
#include "lowrank/lora/config.h"
#include "lowrank/recipes/run/memory_plan.h"
#include "lowrank/recipes/run/verdict.h"
#include "lowrank/train/trainer.h"

namespace lowrank::recipes {

/// What was read, as run.json and `inspect --json` give it.
core::Json to_json(const data::ReadReport& report);

struct DataUsed {
  std::string name;  // "train", "validation", "general"
  data::ReadReport report;
};

/// Facts of a run that its reports are made of, filled as they become known.
struct RunReport {
  std::string verb, command;
  std::filesystem::path out;
  core::Json options;
  core::Json inputs = nullptr;  // inputs_of()
  std::string model_path, model_name, model_type, dtype, dtype_reason, model_sha256;
  std::string base_dtype = "auto";  // form of the frozen linear layers: auto, int8, nf4
  bool loftq = false;               // the adapter holds what that form has lost
  core::Json shares;                // of the base that ranks hold together; null: it is whole here
  std::int64_t base_parameters = 0, trainable_parameters = 0;
  std::uint64_t base_bytes = 0, result_bytes = 0;  // of the model's weights; of what the run writes
  std::optional<lora::LoraConfig> adapter;
  std::size_t adapted_modules = 0;
  std::string also_trained;  // beside linear layers' A and B (adapter_facts.h: also_trained)
  std::vector<DataUsed> data;
  std::string validation_how;
  std::int64_t steps = 0, planned_tokens = 0;
  std::string recompute;                               // "none", "layer" or so many layers, with the reason
  std::optional<MemoryPlan> memory;                    // of a step
  core::Json environment;                              // versions, CPU, threads
  core::Json findings = core::Json::object();          // what was found of the result, for run.json's "result" …
  std::string findings_text;                           // … and for the closing lines
  std::vector<eval::ReportTable> tables;               // what else was found, for report.html
  std::vector<eval::MaskedText> masks;                 // a few examples, for report.html
  std::function<std::vector<eval::Sample>()> samples;  // made after training, for report.html; null: none
  std::vector<std::pair<std::string, std::string>> remarks;  // further rows of the opening lines
  std::string unit = "token";                                // what the objective counts, in the singular
  std::string adapted_kind = "linear layers", trained = "every weight is trained";
  std::string pipeline_tag = "text-generation", usage;  // of the model card; usage: sentences, empty: as a generator
  std::optional<Verdict> verdict;                            // of a run that ended
  std::vector<std::string> shown_metrics;               // of the objective's own, those that lines and tables give
  bool lr_auto = true;                                  // the recipe finds a rate where it is asked to

  std::int64_t all_parameters() const;  // base + adapter, or the base that is trained
  double trainable_percent() const;
};

/// Versions, CPU capability, threads: what decides the bytes of a result.
core::Json environment();

/// "finished", "early stopping" or "signal".
std::string stop_name(const train::TrainResult& result);
/// Names in a list, or the expression.
std::string joined(const std::variant<std::vector<std::string>, std::string>& names);
/// How the matrices begin, where that is worth a word.
std::string beginning(const lora::LoraConfig& config);
/// A metric as people read it: "0.613", with its confidence interval where it has one "0.613 [0.520, 0.699]".
std::string metric_text(const train::Metrics& metrics, const std::string& name);

struct ResultTable {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};
/// The closing table: a set, its loss and perplexity before and after; of an objective with measures of its own those
/// that are shown, instead of the perplexity.
ResultTable result_table(const RunReport& report, const train::TrainResult& result);
/// `result` null: the run has only begun.
core::Json run_json(const RunReport& report, const train::TrainResult* result, const std::filesystem::path& out);

}  // namespace lowrank::recipes
