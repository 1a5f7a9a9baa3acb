// Proximal policy optimisation (Schulman et al. 2017) of a language model, as TRL's PPOTrainer does it.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lowrank/data/prompts.h"
#include "lowrank/train/metrics_log.h"
#include "lowrank/train/reward.h"
#include "lowrank/train/rollout.h"
#include "lowrank/train/text_objective.h"
#include "lowrank/train/value_head.h"

namespace lowrank::train {

/// Three models on one copy of the weights: the policy is the decoder with the adapter `policy`, the reference has no
/// adapter on, or `reference` where the policy started from one; the value model has the adapter `value` (another name
/// on the same model) and a head of its own.
///
/// The run goes in rollouts: for each, answers to the plan's next prompts are drawn from the policy (temperature 1, so
/// that the ratios are those of the model itself) and rewarded; then come `epochs` passes over them in `mini_batches`
/// optimiser steps each. A rollout depends on (seed, its number, the adapters) and the reward alone, so a run resumes
/// to the same bytes. There is no dropout. Losses are means over the tokens of a micro-batch, meaned over the step's
/// micro-batches as TRL accumulates them; so are approxkl and the ratio, where TRL's means take padding in.
class Ppo : public TextObjective {
 public:
  struct Parts : TextParts {
    lora::Adapter* policy = nullptr;
    lora::Adapter* value = nullptr;
    lora::Adapter* reference = nullptr;  // what the policy started from, under a name of its own; null: the base
    const data::Tokenizer* tokenizer = nullptr;
    std::vector<data::Prompt> prompts;
    std::vector<data::Prompt> validation;  // may be empty
    // `plan`, over prompts: batch_size answers in a micro-batch, grad_accum micro-batches in a rank's part of a
    // rollout.
    int mini_batches = 1;  // optimiser steps an epoch; divides the plan's grad_accum
    int epochs = 4;        // over a rollout
    std::optional<std::int64_t> max_steps;
    std::int64_t response_length = 53;
    std::vector<data::TokenId> end_ids;  // that end an answer, beside the model's own end tokens
    PpoOptions ppo;
    Reward reward;
    std::filesystem::path samples;  // file for the first answers of every rollout; empty: none
  };
  explicit Ppo(Parts parts);

  std::vector<lora::NamedTensor> parameters() override;
  std::int64_t steps() const override;
  std::int64_t planned_tokens() const override { return 0; }
  double epoch_after(std::int64_t step) const override { return TextObjective::epoch_after(rollout_of(step)); }
  std::int64_t micro_batches(std::int64_t step) const override;
  /// Makes the rollout of the step where it is not there.
  void prepare(std::int64_t step) override { rollout_for(step); }
  /// The value loss goes backward inside, since its adapter is on only there; the policy's is returned.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  /// val/ratio_var: the variance of the micro-batches' mean ratios of a rollout so far; after its last step TRL's.
  void complete_metrics(std::int64_t step, Metrics& metrics) override;
  std::string describe(std::int64_t step) const override { return TextObjective::describe(rollout_of(step)); }
  /// Answers to the held-out prompts: the loss is minus objective/rlhf_reward.
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override { return !validation_.empty(); }
  void save_state(const std::filesystem::path& checkpoint) override;
  void load_state(const std::filesystem::path& checkpoint) override;

  /// The rollout of a step, made where it is not the last one that was.
  const Rollout& rollout_for(std::int64_t step);

 private:
  enum class Role { kPolicy, kReference, kValue };
  void act_as(Role role);
  std::int64_t steps_a_rollout() const { return std::int64_t{epochs_} * mini_batches_; }
  std::int64_t rollout_of(std::int64_t step) const { return step / steps_a_rollout(); }
  /// Which answers of its rollout each micro-batch of a step takes, those of all ranks.
  std::vector<std::vector<std::uint32_t>> cut(std::int64_t step) const;
  /// Answers to prompts[which[i]], each rank having drawn its share.
  Rollout roll(const std::vector<data::Prompt>& prompts, const std::vector<std::uint32_t>& which,
               std::string_view stream, std::uint64_t number);
  Rollout roll_share(const std::vector<data::Prompt>& prompts, std::span<const std::uint32_t> which, std::uint64_t seed,
                     std::uint64_t first);
  void measure(Rollout& rollout);
  void log_samples(const std::vector<std::uint32_t>& prompts);
  MicroLoss value_part(const std::vector<std::uint32_t>& which);

  lora::Adapter *value_, *reference_;
  const data::Tokenizer* tokenizer_;
  std::vector<data::Prompt> prompts_, validation_;
  std::uint32_t micro_size_;
  int mini_batches_, epochs_;
  std::optional<std::int64_t> max_steps_;
  std::int64_t response_length_;
  std::vector<data::TokenId> end_ids_;
  PpoOptions ppo_;
  Reward reward_;
  std::filesystem::path samples_file_;
  ValueHead head_;
  Rollout rollout_;
  double kl_coef_;  // of the next rollout
  /// Over the micro-batches that the rollout has been through: how many, and the sums of r − 1 and (r − 1)² of their
  /// mean ratios r.
  struct Ratios {
    double count = 0, sum = 0, squares = 0;
  } ratios_;
  std::optional<MetricsLog> samples_;
  std::int64_t samples_bytes_ = 0;
};

}  // namespace lowrank::train
