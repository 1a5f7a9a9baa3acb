#include "lowrank/train/causal_lm.h"

#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/train/documents.h"

namespace lowrank::train {
namespace {

std::vector<std::int64_t> lengths_of(const std::vector<data::Example>& examples) {
  std::vector<std::int64_t> lengths;
  lengths.reserve(examples.size());
  for (const data::Example& example : examples) lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  return lengths;
}

/// Tokens of the step that earlier micro-batches hold: dropout counts tokens by their place in the step.
std::int64_t tokens_before(const std::vector<std::vector<std::uint32_t>>& batches, std::int64_t micro,
                           const std::vector<data::Example>& examples) {
  std::int64_t tokens = 0;
  for (std::int64_t m = 0; m < micro; ++m) {
    for (const std::uint32_t i : batches[static_cast<std::size_t>(m)])
      tokens += static_cast<std::int64_t>(examples[i].ids.size());
  }
  return tokens;
}

double ordered_total(const at::Tensor& losses) {
  const float* values = losses.const_data_ptr<float>();
  return std::accumulate(values, values + losses.numel(), 0.0);
}

}  // namespace

CausalLm::CausalLm(Parts parts) : parts_(std::move(parts)), plan_(lengths_of(parts_.train.examples), parts_.plan) {
  if (parts_.adapter == nullptr && parts_.tokenizer == nullptr) {
    throw InternalError("CausalLm needs a tokenizer to save a full model");
  }
}

std::vector<lora::NamedTensor> CausalLm::parameters() {
  return parts_.adapter != nullptr ? parts_.adapter->parameters() : parts_.decoder->named_weights();
}

std::vector<lora::Factors> CausalLm::factors() {
  return parts_.adapter != nullptr ? lora::factors_of(*parts_.adapter) : std::vector<lora::Factors>{};
}

void CausalLm::parameters_moved() {
  if (parts_.adapter == nullptr) parts_.decoder->rebind();
}

std::int64_t CausalLm::micro_batches(std::int64_t step) const {
  return static_cast<std::int64_t>(plan_.micro_batches(step).size());
}

MicroLoss CausalLm::forward(std::int64_t step, std::int64_t micro) {
  const auto& examples = parts_.train.examples;
  const auto batches = plan_.micro_batches(step);
  batch_ =
      data::make_batch(examples, batches.at(static_cast<std::size_t>(micro)), tokens_before(batches, micro, examples));
  dropout_ = {parts_.seed, static_cast<std::uint64_t>(step), batch_.token_in_step.data()};
  models::ForwardOptions options;
  options.dropout = &dropout_;
  options.recompute = parts_.recompute;
  options.neftune = parts_.neftune;
  const at::Tensor hidden = parts_.decoder->hidden(batch_.ids, batch_.segments, options);
  const at::Tensor losses = parts_.decoder->token_losses(hidden, batch_.labels, &dropout_, parts_.label_smoothing);
  // The sum of LibTorch depends on the thread count: it only carries the gradient (of ones); the value is ours.
  return {losses.sum(), ordered_total(losses.detach()), batch_.counted, batch_.segments.tokens()};
}

std::string CausalLm::describe(std::int64_t step) const {
  return documents_of(parts_.train, plan_.step(step).examples);
}

std::vector<EvalResult> CausalLm::evaluate() {
  std::vector<EvalResult> results;
  for (const auto& [split, dataset] : parts_.evaluation) {
    const eval::Perplexity found = eval::perplexity(*parts_.decoder, dataset);
    results.push_back({split, found.nll, found.tokens});
  }
  return results;
}

EvalResult CausalLm::evaluate_train(std::int64_t tokens) {
  const std::vector<data::Example>& all = parts_.train.examples;
  std::int64_t total = 0;
  for (const data::Example& example : all) total += example.counted();
  const std::int64_t every = std::max<std::int64_t>(1, total / std::max<std::int64_t>(1, tokens));
  data::Dataset sample;
  for (std::size_t i = 0; i < all.size(); i += static_cast<std::size_t>(every)) sample.examples.push_back(all[i]);
  const eval::Perplexity found = eval::perplexity(*parts_.decoder, sample);
  return {"train", found.nll, found.tokens};
}

bool CausalLm::has_validation() const {
  return !parts_.evaluation.empty() && parts_.evaluation.front().first == "validation";
}

void CausalLm::save(const std::filesystem::path& directory) {
  if (parts_.adapter != nullptr) {
    lora::save_peft(*parts_.adapter, directory);
  } else {
    models::save_model(*parts_.decoder, *parts_.tokenizer, directory, parts_.save_dtype);
  }
  if (parts_.save_extra) parts_.save_extra(directory);
}

void CausalLm::save_state(const std::filesystem::path& checkpoint) {
  if (parts_.adapter != nullptr) lora::save_initial(*parts_.adapter, checkpoint);
}

void CausalLm::load_state(const std::filesystem::path& checkpoint) {
  if (parts_.adapter != nullptr) lora::load_initial(*parts_.adapter, checkpoint);
}

void CausalLm::check_inputs() {
  if (parts_.weights != nullptr) parts_.weights->check_unchanged();
}

}  // namespace lowrank::train
