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
#include "lowrank/recipes/run/added_tokens.h"
#include "lowrank/recipes/run/chat_files.h"
#include "lowrank/recipes/run/run_report.h"
#include "lowrank/recipes/spec/settings.h"
#include "lowrank/train/objective.h"
#include "lowrank/train/run_folder.h"

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
  /// How the run's conversations are laid out, by the tokenizer it reads with.
  std::shared_ptr<const data::ChatLayout> chat_layout(const ChatSpec& spec, const data::Tokenizer& tokenizer);
  /// After the data is read, where a chat template laid it out: what the result must carry for it to be talked with,
  /// into `carried`, and the token that ends an answer.
  void carry_chat(const data::Tokenizer& tokenizer, const models::DecoderConfig& config);
  /// For an objective's save_extra.
  std::function<void(const std::filesystem::path&)> save_carried() const;

  /// The set, into the report and the facts.
  void used(const std::string& name, const data::ReadReport& data);

  /// `recompute` of the spec; auto: as few layers as make the run fit. With `fit` a step that does not fit even then is
  /// cut into smaller micro-batches, in `plan`; without, IoError that names the settings that do. Into report and facts.
  /// `lengths`: tokens of what the plan is over. After take() and the model are known.
  models::Recompute choose_recompute(const models::DecoderImpl& decoder, data::PlanOptions& plan,
                                     const data::Lengths& lengths);

  /// The ranks and their part of the plan, into an objective's parts, once these have their plan: a step takes the
  /// micro-batches of as many ranks as the run began on.
  template <typename Parts>
  void share(Parts& parts) const {
    parts.sync = observer.ranks();
    parts.plan.ranks = sync.ranks();
    parts.plan.batch_ranks = batch_ranks();
  }

  /// Into `result`: opening, loop, reports, run.json, model card.
  void train(RunResult& result, train::Objective& objective, const train::TrainOptions& options,
             const Afterwards& afterwards = {});

  /// A text with fields between backticks, as the observer writes them.
  std::string spelled(const std::string& text) const;
  /// What the run came to.
  Verdict judge(const train::TrainResult& result, const Curves& curves) const;

  const std::string verb, model;
  at::Device device() const { return device_; }  // of the spec
  const Fields& fields;
  const RunSpec& spec;
  Observer& observer;
  train::GradSync& sync;  // the observer's ranks, or this process alone
  models::Resolved resolved;
  std::optional<std::filesystem::path> start;  // the adapter that the run goes on from
  core::Json earlier = core::Json::object();   // choices of the run that is gone on with ("dtype", "recompute")
  RunReport report;
  CarriedFiles carried;                     // beside what is saved
  std::vector<data::TokenId> turn_ends;     // of answers to conversations, beside the model's own end tokens
  std::int64_t planned_steps = 0, planned_tokens = 0;  // of the plan that choose_recompute() was given
  const data::ChatLayout* layout() const { return layout_.get(); }  // of chat_layout(); else null
  core::Json facts = core::Json::object();  // what must be equal for a run to be gone on with, beside the fields

 private:
  /// Of a finished run that is to be gone on with: whether nothing but the number of epochs or steps is another, and
  /// larger.
  bool is_longer() const;
  /// `device`, and what does not go with it.
  void take_device();
  /// The same under a constant rate, which has not come to an end.
  bool asks_for_more() const;
  void refuse_other_options() const;
  void report_end(RunResult& result);
  void open_folder(const std::vector<std::filesystem::path>& inputs);
  void require_shared_folder() const;
  void check_shares(const AdapterSpec& adapter) const;
  /// What of the base falls to this rank, for the load to come; null: all of it, which is said where it was asked for.
  std::shared_ptr<kernels::ShardedBase> shares_of(const SharedBase& base, const models::LoadOptions& options);
  int batch_ranks() const;
  std::filesystem::path chat_folder(const data::Tokenizer& tokenizer) const;

  std::optional<AddedTokens> added_;
  std::shared_ptr<const data::ChatLayout> layout_;
  bool longer_ = false;                       // a finished run goes on
  bool chat_ = false;                         // a set was laid out by a chat template
  SharedBase* base_ = nullptr;                // of load(), which outlives the run
  at::Device device_ = at::kCPU;
  kernels::RuntimeScope runtime_;             // threads and kernels of the spec
  std::unique_ptr<train::RunFolder> folder_;  // `out`, locked; none with dry_run
};

/// The command of a run, as it was given or as its fields say.
std::string command_of(const std::string& verb, const std::vector<std::string>& positionals, const Fields& fields,
                       const RunSpec& spec, const Observer& observer);
/// Every option with its value, for run.json.
core::Json options_of(const Fields& fields, const Observer& observer);

}  // namespace lowrank::recipes
