#include "lowrank/train/causal_lm.h"

#include <algorithm>
#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/kernels/host.h"
#include "lowrank/train/sequences.h"

namespace lowrank::train {
namespace {

constexpr std::int64_t kBatchTokens = 2048;  // of a batch without gradients

}  // namespace

CausalLm::CausalLm(Parts parts)
    : TextObjective(parts, parts.adapter, std::move(parts.train)),
      tokenizer_(parts.tokenizer),
      evaluation_(std::move(parts.evaluation)),
      whole_(std::move(parts.whole)),
      save_dtype_(parts.save_dtype),
      label_smoothing_(parts.label_smoothing),
      neftune_(parts.neftune),
      router_aux_loss_(parts.router_aux_loss) {
  if (adapter() == nullptr && tokenizer_ == nullptr) {
    throw InternalError("CausalLm needs a tokenizer to save a full model");
  }
}

std::vector<lora::NamedTensor> CausalLm::parameters() {
  if (adapter() != nullptr) return adapter()->parameters();
  std::vector<lora::NamedTensor> trained = decoder().named_weights();
  std::erase_if(trained, [](const lora::NamedTensor& weight) { return !weight.tensor.requires_grad(); });  // buffers
  return trained;
}

void CausalLm::parameters_moved() {
  if (adapter() == nullptr) decoder().rebind();
}

MicroLoss CausalLm::forward(std::int64_t step, std::int64_t micro) {
  const at::Tensor states = hidden(step, micro, neftune_, router_aux_loss_);
  const at::Tensor losses = decoder().token_losses(states, batch().labels, &dropout(), label_smoothing_);
  // The sum of LibTorch depends on the thread count: it only carries the gradient (of ones); the value is ours.
  MicroLoss result{.loss_sum = losses.sum(), .count = batch().counted, .tokens = batch().segments.tokens(), .unread = losses.detach()};
  if (router_aux_loss_ != 0) result.metrics = {{"router_aux_loss", router_aux_loss()}};
  return result;
}

EvalResult CausalLm::measure(const std::string& split, const data::Dataset& set) {
  std::vector<double> own, own_counts;
  together(sync(), [&] {
    const Share share = share_of(set.examples, kBatchTokens, sync());
    for (const std::vector<double>& logps :
         token_logps(decoder(), set.examples, share, kBatchTokens, evaluation_progress(), set.storage)) {
      own.insert(own.end(), logps.begin(), logps.end());
      own_counts.push_back(static_cast<double>(logps.size()));
    }
  });
  const std::vector<double> all = gather(sync(), own);
  if (all.empty()) throw DataError("there is nothing to evaluate: no token of the " + split + " data is predicted");
  const double sum = -std::accumulate(all.begin(), all.end(), 0.0);
  EvalResult result{split, sum / static_cast<double>(all.size()), static_cast<std::int64_t>(all.size())};
  auto next = all.begin();
  for (const double count : gather(sync(), own_counts)) {
    const auto end = next + static_cast<std::ptrdiff_t>(count);
    result.units.push_back({-std::accumulate(next, end, 0.0), static_cast<std::int64_t>(count)});
    next = end;
  }
  return result;
}

std::vector<EvalResult> CausalLm::measure(const std::vector<std::pair<std::string, data::Dataset>>& sets) {
  std::vector<EvalResult> results;
  for (const auto& [split, set] : sets) {
    if (evaluation_progress() != nullptr)
      evaluation_progress()->begin("measuring " + (split == "train" ? "training data" : split),
                                   static_cast<std::int64_t>(set.examples.size()), "pieces");
    results.push_back(measure(split, set));
    if (evaluation_progress() != nullptr) evaluation_progress()->end();
  }
  return results;
}

EvalResult CausalLm::evaluate_train(std::int64_t tokens) {
  const data::Examples& all = train().examples;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < all.size(); ++i) total += all.counted(i);
  const std::int64_t every = std::max<std::int64_t>(1, total / std::max<std::int64_t>(1, tokens));
  data::Dataset sample;
  sample.storage = train().storage;
  for (std::size_t i = 0; i < all.size(); i += static_cast<std::size_t>(every)) sample.examples.push_back(all[i]);
  std::vector<std::pair<std::string, data::Dataset>> sets;
  sets.emplace_back("train", std::move(sample));
  return measure(sets).front();
}

void CausalLm::save(const std::filesystem::path& directory) {
  if (adapter() != nullptr) return TextObjective::save(directory);
  models::save_model(decoder(), *tokenizer_, directory, save_dtype_);
  save_beside(directory);
}

}  // namespace lowrank::train
