#include "lowrank/train/dpo.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/data/preferences.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/train/documents.h"
#include "lowrank/train/pairs.h"

namespace lowrank::train {
namespace {

constexpr std::int64_t kReferenceTokens = 4096;  // of a batch without gradients

/// Log-probability of each segment: minus the sum of its token losses, in order, in double.
std::vector<double> segment_logps(const at::Tensor& losses, const kernels::Segments& segments) {
  const at::Tensor values = losses.detach().contiguous();
  const float* loss = values.const_data_ptr<float>();
  std::vector<double> logps(static_cast<std::size_t>(segments.count()), 0.0);
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    for (std::int64_t i = segments.q_offsets[s]; i < segments.q_offsets[s + 1]; ++i) {
      logps[static_cast<std::size_t>(s)] -= double{loss[i]};
    }
  }
  return logps;
}

/// fp32 [T]: each segment's value at all of its tokens.
at::Tensor spread(const std::vector<double>& of_segment, const kernels::Segments& segments) {
  at::Tensor result = kernels::aten::empty({segments.tokens()}, at::kFloat);
  float* to = result.data_ptr<float>();
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    std::fill(to + segments.q_offsets[s], to + segments.q_offsets[s + 1],
              static_cast<float>(of_segment[static_cast<std::size_t>(s)]));
  }
  return result;
}

}  // namespace

Dpo::Dpo(Parts parts) : parts_(std::move(parts)), plan_(pair_lengths(parts_.train), parts_.plan) {
  if (!(parts_.beta > 0) || !std::isfinite(parts_.beta)) {
    throw ConfigError("--beta must be more than 0, found " + std::to_string(parts_.beta));
  }
  std::size_t examples = parts_.train.examples.size();
  for (const auto& [name, set] : parts_.evaluation) examples += set.examples.size();
  if (parts_.progress != nullptr) {
    parts_.progress->begin("the reference's log-probabilities", static_cast<std::int64_t>(examples), "answers");
  }
  if (!parts_.reference_is_start) parts_.adapter->set_enabled(false);
  train_reference_ = answer_logps(parts_.train);
  for (const auto& [name, set] : parts_.evaluation) evaluation_reference_.push_back(answer_logps(set));
  parts_.adapter->set_enabled(true);
  if (parts_.progress != nullptr) parts_.progress->end();
  parts_.progress = nullptr;
}

std::vector<double> Dpo::answer_logps(const data::Dataset& set) {
  const at::NoGradGuard no_grad;
  std::vector<double> all;
  all.reserve(set.examples.size());
  while (all.size() < set.examples.size()) {
    const data::Batch batch =
        data::make_batch(set.examples, data::examples_from(set.examples, all.size(), kReferenceTokens));
    const at::Tensor hidden = parts_.decoder->hidden(batch.ids, batch.segments);
    const auto logps = segment_logps(parts_.decoder->token_losses(hidden, batch.labels), batch.segments);
    all.insert(all.end(), logps.begin(), logps.end());
    if (parts_.progress != nullptr) parts_.progress->advance(static_cast<std::int64_t>(all.size()));
  }
  return all;
}

PairLoss Dpo::judge(const data::Dataset& set, const std::vector<double>& reference, std::size_t pair, double chosen,
                    double rejected, MicroLoss& totals) const {
  const PairLogps logps = {chosen,
                           rejected,
                           reference[2 * pair],
                           reference[2 * pair + 1],
                           set.examples[2 * pair].counted(),
                           set.examples[2 * pair + 1].counted()};
  const PairLoss loss = pair_loss(logps, parts_.loss, parts_.beta);
  totals.value += loss.loss;
  ++totals.count;
  totals.metrics["rewards/chosen"] += loss.chosen_reward;
  totals.metrics["rewards/rejected"] += loss.rejected_reward;
  totals.metrics["rewards/accuracies"] += loss.chosen_reward > loss.rejected_reward ? 1 : 0;
  totals.metrics["rewards/margins"] += loss.chosen_reward - loss.rejected_reward;
  totals.metrics["logps/chosen"] += chosen;
  totals.metrics["logps/rejected"] += rejected;
  return loss;
}

double Dpo::reference_accuracy(std::size_t index) const {
  const std::vector<double>& logps = evaluation_reference_.at(index);
  double wins = 0;
  for (std::size_t i = 0; i + 1 < logps.size(); i += 2) wins += logps[i] > logps[i + 1] ? 1 : 0;
  return wins / static_cast<double>(logps.size() / 2);
}

std::int64_t Dpo::micro_batches(std::int64_t step) const {
  return static_cast<std::int64_t>(plan_.micro_batches(step).size());
}

MicroLoss Dpo::forward(std::int64_t step, std::int64_t micro) {
  const auto& examples = parts_.train.examples;
  const auto batches = plan_.micro_batches(step);
  const auto& pairs = batches.at(static_cast<std::size_t>(micro));
  std::int64_t before = 0;  // dropout counts tokens by their place in the step
  for (std::int64_t m = 0; m < micro; ++m)
    before += tokens_of(examples, both_sides(batches[static_cast<std::size_t>(m)]));
  batch_ = data::make_batch(examples, both_sides(pairs), before);
  dropout_ = {parts_.seed, static_cast<std::uint64_t>(step), batch_.token_in_step.data()};
  models::ForwardOptions options;
  options.dropout = &dropout_;
  options.recompute = parts_.recompute;
  const at::Tensor hidden = parts_.decoder->hidden(batch_.ids, batch_.segments, options);
  const at::Tensor losses = parts_.decoder->token_losses(hidden, batch_.labels, &dropout_);

  MicroLoss result;
  const std::vector<double> logps = segment_logps(losses, batch_.segments);
  std::vector<double> slopes;  // of the loss by each token's cross-entropy, the same all over a segment
  for (std::size_t k = 0; k < pairs.size(); ++k) {
    const PairLoss loss = judge(parts_.train, train_reference_, pairs[k], logps[2 * k], logps[2 * k + 1], result);
    slopes.insert(slopes.end(), {-loss.chosen_slope, -loss.rejected_slope});
  }
  // The tangent of the loss at this point: its gradient is the loss's own; the value is ours, summed in order.
  result.loss_sum = losses.mul(spread(slopes, batch_.segments)).sum();
  result.tokens = batch_.segments.tokens();
  return result;
}

std::string Dpo::describe(std::int64_t step) const {
  return documents_of(parts_.train, both_sides(plan_.step(step).examples));
}

std::vector<EvalResult> Dpo::evaluate() {
  std::vector<EvalResult> results;
  for (std::size_t i = 0; i < parts_.evaluation.size(); ++i) {
    const auto& [name, set] = parts_.evaluation[i];
    const std::vector<double> logps = answer_logps(set);
    MicroLoss totals;
    for (std::size_t pair = 0; 2 * pair < logps.size(); ++pair) {
      judge(set, evaluation_reference_[i], pair, logps[2 * pair], logps[2 * pair + 1], totals);
    }
    results.push_back(result_of_pairs(name, set, totals, "rewards/accuracies"));
  }
  return results;
}

bool Dpo::has_validation() const {
  return !parts_.evaluation.empty() && parts_.evaluation.front().first == "validation";
}

void Dpo::save(const std::filesystem::path& directory) { lora::save_peft(*parts_.adapter, directory); }

void Dpo::check_inputs() {
  if (parts_.weights != nullptr) parts_.weights->check_unchanged();
}

}  // namespace lowrank::train
