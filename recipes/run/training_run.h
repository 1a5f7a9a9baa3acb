// What every recipe that trains goes through: checks, folder, choices, identity, loop, reports.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/data/plan.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/result.h"
#include "lowrank/recipes/run/run_report.h"
#include "lowrank/recipes/spec/settings.h"
#include "lowrank/train/objective.h"

namespace lowrank::recipes {

/// What is done with a run that was trained to its end, before it is reported.
using Afterwards = std::function<void(RunReport&, train::TrainResult&)>;

class TrainingRun {
 public:
  /// Checks the fields, and puts threads and kernels in force until this ends. `fields` and `spec` are of one spec, and
  /// outlive this.
  TrainingRun(std::string verb, std::string model, const Fields& fields, const RunSpec& spec, Observer& observer);

  /// MODEL and the adapter that the run starts from, for open() and load().
  void resolve(const AdapterSpec& adapter);
  /// The folder of a new run, or of one that is gone on with. False where that had ended (said, and put into `result`).
  /// `inputs`: what must not lie in it.
  bool open(RunResult& result, const std::vector<std::filesystem::path>& inputs);
  bool open(RunResult& result);  // what resolve() found
  /// The model that resolve() found, in the right dtype, into report and facts. `full`: its weights are trained.
  models::LoadedModel& load(SharedBase& base, bool full = false);
  /// New matrices, or those of the adapter that the run starts from.
  lora::Adapter make_adapter(const AdapterSpec& spec, const lora::SlotTable& slots, std::uint64_t seed);
  /// FieldError for fields that do not go with the adapter's form; else it goes into the report.
  void take(const lora::Adapter& adapter);
  /// The set, into the report and the facts.
  void used(const std::string& name, const data::ReadReport& data);

  /// `recompute` of the spec; auto: layer where the activations of the largest micro-batch would not fit into memory.
  /// Into report and facts. `lengths`: tokens of what the plan is over.
  bool choose_recompute(const models::DecoderConfig& config, const data::PlanOptions& plan,
                        const std::vector<std::int64_t>& lengths, at::ScalarType dtype);
  bool choose_recompute(const models::LoadedModel& model, const data::PlanOptions& plan, const data::Dataset& train);

  /// Into `result`: opening, loop, reports, run.json, model card.
  void train(RunResult& result, train::Objective& objective, const train::TrainOptions& options,
             const Afterwards& afterwards = {});

  /// A text with fields between backticks, as the observer writes them.
  std::string spelled(const std::string& text) const;

  const std::string verb, model;
  const Fields& fields;
  const RunSpec& spec;
  Observer& observer;
  models::Resolved resolved;
  std::optional<std::filesystem::path> start;  // the adapter that the run goes on from
  core::Json earlier = core::Json::object();   // choices of the run that is gone on with ("dtype", "recompute")
  RunReport report;
  core::Json facts = core::Json::object();  // what must be equal for a run to be gone on with, beside the fields

 private:
  kernels::RuntimeScope runtime_;              // threads and kernels of the spec
  std::unique_ptr<core::DirectoryLock> lock_;  // of `out`; none with dry_run
};

/// The command of a run, as it was given or as its fields say.
std::string command_of(const std::string& verb, const std::vector<std::string>& positionals, const Fields& fields,
                       const RunSpec& spec, const Observer& observer);
/// Every option with its value, for run.json.
core::Json options_of(const Fields& fields, const Observer& observer);

/// Tokens of each example.
std::vector<std::int64_t> lengths_of(const data::Dataset& set);

}  // namespace lowrank::recipes
