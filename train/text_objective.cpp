#include "lowrank/train/text_objective.h"

#include <unordered_map>
#include <utility>

#include "lowrank/kernels/head_scratch.h"
#include "lowrank/train/documents.h"

namespace lowrank::train {
data::Lengths item_lengths(const data::Examples& examples, std::uint32_t each) {
  return data::Lengths::of(examples.size() / each, [&](std::size_t item) {
    std::size_t tokens = 0;
    for (std::size_t i = item * each; i < (item + 1) * each; ++i) tokens += examples.length(i);
    return tokens;
  });
}

TextObjective::TextObjective(TextParts parts, lora::Adapter* adapter, data::Dataset train, std::uint32_t each)
    : parts_(std::move(parts)),
      adapter_(adapter),
      sync_(or_alone(parts_.sync)),
      train_(std::move(train)),
      along_(train_.storage, true),
      each_(each),
      plan_(parts_.lengths.empty() ? item_lengths(train_.examples, each) : parts_.lengths,
            dealt(parts_.plan, sync_)) {}

std::vector<lora::Factors> TextObjective::factors() {
  return adapter_ != nullptr ? lora::factors_of(*adapter_) : std::vector<lora::Factors>{};
}

std::vector<Penalised> TextObjective::penalised() {
  std::vector<Penalised> all = Objective::penalised();
  if (adapter_ == nullptr) return all;
  std::unordered_map<const void*, at::Tensor> origins;
  for (const lora::LinearSlot& slot : adapter_->slots()) {
    const lora::LoraMatrices& lora = adapter_->at(slot);
    origins[lora.a.unsafeGetTensorImpl()] = lora.a0;
    origins[lora.b.unsafeGetTensorImpl()] = lora.b0;
  }
  for (Penalised& one : all) {
    const auto found = origins.find(one.parameter.unsafeGetTensorImpl());
    if (found != origins.end()) one.origin = found->second;
  }
  return all;
}

std::int64_t TextObjective::micro_batches(std::int64_t step) const {
  return static_cast<std::int64_t>(plan_.micro_batches(step, sync_.rank()).size());
}

std::vector<std::uint32_t> TextObjective::items(std::int64_t step, std::int64_t micro) const {
  return plan_.micro_batches(step, sync_.rank()).at(static_cast<std::size_t>(micro));
}

std::vector<std::uint32_t> TextObjective::examples_of(const std::vector<std::uint32_t>& items) const {
  std::vector<std::uint32_t> examples;
  examples.reserve(each_ * items.size());
  for (const std::uint32_t item : items) {
    for (std::uint32_t k = 0; k < each_; ++k) examples.push_back(each_ * item + k);
  }
  return examples;
}

double TextObjective::router_aux_loss() const {
  return balance_ == nullptr ? 0 : balance_->loss() * static_cast<double>(balance_count_);
}

at::Tensor TextObjective::hidden(std::int64_t step, std::int64_t micro, double neftune, double router_aux_loss,
                                 std::int64_t count) {
  const auto batches = plan_.micro_batches(step, sync_.rank());
  std::int64_t before = plan_.first_token(step, sync_.rank());  // dropout counts tokens by their place in the step
  for (std::int64_t m = 0; m < micro; ++m) {
    for (const std::uint32_t i : examples_of(batches[static_cast<std::size_t>(m)])) {
      before += static_cast<std::int64_t>(train_.examples.length(i));
    }
  }
  const std::vector<std::uint32_t> which = examples_of(batches.at(static_cast<std::size_t>(micro)));
  batch_ = data::make_batch(train_.examples, which, before);
  for (const std::uint32_t i : which) along_.read(train_.examples[i]);
  dropout_ = {parts_.seed, static_cast<std::uint64_t>(step), batch_.token_in_step.data()};
  models::ForwardOptions options;
  options.dropout = &dropout_;
  options.recompute = parts_.recompute;
  options.neftune = neftune;
  // Beside the batch's mean loss, whose sum is what is differentiated.
  balance_count_ = count == 0 ? batch_.counted : count;
  balance_.reset();
  if (router_aux_loss != 0) {
    balance_ = std::make_shared<kernels::RouterBalance>(router_aux_loss * static_cast<double>(balance_count_));
  }
  options.balance = balance_;
  const at::Tensor room = makes_logits() ? room_for_logits() : at::Tensor();
  return parts_.decoder->hidden(batch_.ids, batch_.segments, options);
}

at::Tensor TextObjective::room_for_logits() const {
  const models::Decoder& decoder = parts_.decoder;
  return kernels::room_for_logits(batch_.counted, decoder->config().vocab_size,
                                  at::TensorOptions(decoder->device()).dtype(decoder->dtype()));
}

at::Tensor TextObjective::hidden_of_batch(bool logits) {
  models::ForwardOptions options;
  options.recompute = parts_.recompute;
  const at::Tensor room = logits ? room_for_logits() : at::Tensor();
  return parts_.decoder->hidden(batch_.ids, batch_.segments, options);
}

std::string TextObjective::describe(std::int64_t step) const {
  return documents_of(train_, examples_of(plan_.step(step).examples));
}

void TextObjective::save(const std::filesystem::path& directory) {
  lora::save_peft(*adapter_, directory);
  save_beside(directory);
}

void TextObjective::save_beside(const std::filesystem::path& directory) const {
  if (parts_.save_extra) parts_.save_extra(directory);
}

void TextObjective::save_state(const std::filesystem::path& checkpoint) {
  if (adapter_ != nullptr) lora::save_initial(*adapter_, checkpoint);
}

void TextObjective::load_state(const std::filesystem::path& checkpoint) {
  if (adapter_ != nullptr) lora::load_initial(*adapter_, checkpoint);
}

void TextObjective::check_inputs() {
  if (parts_.weights != nullptr) parts_.weights->check_unchanged();
}

}  // namespace lowrank::train
