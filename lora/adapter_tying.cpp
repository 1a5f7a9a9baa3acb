// What of an adapter is not A and B of a module: single rows of the embedding and the head, and what both share.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/host.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/tying.h"

namespace lowrank::lora {
namespace {

// The base's own rows as an fp32 leaf that requires grad.
at::Tensor fresh_rows(const kernels::BaseWeight& base, const std::vector<std::int64_t>& ids) {
  const at::Tensor index =
      kernels::from_host<std::int64_t>(ids, {static_cast<std::int64_t>(ids.size())}, base.device());
  return base.rows_at(index).detach().to(at::kFloat).clone().set_requires_grad(true);
}

}  // namespace

// `values`: of each place; none: the base's own.
void Adapter::attach_rows(const SlotTable& table, std::vector<TokenPlace> places, std::vector<at::Tensor> values) {
  if (places.empty()) return;
  const LinearSlot head = head_slot(table);
  for (std::size_t i = 0; i < places.size(); ++i) {
    TokenPlace& place = places[i];
    const kernels::BaseWeight& base = place.head ? head->base() : table.embedding->base();
    TokenRows rows{std::move(place.ids), {}};
    rows.values = values.empty() ? fresh_rows(base, rows.ids) : values[i];
    if (place.head || place.also_of_head) {
      head->attach_rows(rows, name_);
      head_slot_ = head;
    }
    if (!place.head) table.embedding->attach_rows(rows, name_);
    keeps_tied_ = keeps_tied_ || place.also_of_head;
    token_rows_.push_back({place.path, std::move(rows)});
  }
}

void Adapter::share_with_head(const SlotTable& table, Tied tied) {
  file_rows_ = table.file_rows;
  if (file_rows_ > 0 && !table.tied) head_of_grown_ = head_slot(table);
  if (tied == Tied::kNothing) return;
  const LinearSlot head = head_slot(table);
  const std::string& embedding = table.embedding->path();
  if (tied == Tied::kCopies) {
    const bool copied = std::any_of(whole_.begin(), whole_.end(),
                                    [&](const WholeModule& module) { return module->path() == embedding; });
    if (!copied) return;
    head->whole()->attach(at_whole(embedding), name_);
  } else {
    if (!table.embedding->adapted(name_)) return;
    LoraMatrices matrices = table.embedding->lora(name_);
    matrices.dropout = config_.lora_dropout;
    head->attach_tied(std::move(matrices), name_);
  }
  head_slot_ = head;
  keeps_tied_ = true;
}

void Adapter::act_on_active(const SlotTable& table) {
  if (config_.alora_invocation_tokens.empty()) return;
  const bool on_head = std::any_of(slots_.begin(), slots_.end(), [&](const auto& slot) { return slot->path() == table.head; });
  if (adapts_embedding() || on_head || !experts_.empty())
    throw ConfigError("alora_invocation_tokens: an activated LoRA acts on linear layers inside the model alone; leave the "
                      "embedding and the head out of target_modules");
  if (table.activations == nullptr)
    throw ConfigError("alora_invocation_tokens: an activated LoRA acts in models that continue text, where its invocation is "
                      "looked for; in PEFT too it does nothing in a classifier");
  active_ = std::make_shared<ActiveTokens>(ActiveTokens{config_.alora_invocation_tokens});
  table.activations->push_back(active_);
  for (LinearSlot& slot : slots_) slot->lora(name_).active = active_;
}

std::vector<NamedTensor> Adapter::saved_beside() const {
  std::vector<NamedTensor> result;
  const auto has_whole = [&](const std::string& path) {
    return std::any_of(whole_.begin(), whole_.end(), [&](const WholeModule& one) { return one->path() == path; });
  };
  if (keeps_tied_ && has_whole(embedding_->path()))
    result.push_back({whole_name(head_, "weight", false), at_whole(embedding_->path()).front().tensor});
  if (keeps_tied_ && adapts_embedding()) {
    const LoraMatrices shared = by_rows(embedding_->lora(name_));
    result.push_back({peft_name(head_, LoraPart::kA), shared.a});
    result.push_back({peft_name(head_, LoraPart::kB), shared.b});
  }
  for (const BesideText& one : beside_text_) result.insert(result.end(), one.saved.begin(), one.saved.end());
  if (file_rows_ == 0) return result;
  // Rows that neither this adapter nor the model's files have: PEFT saves them so too.
  const auto add_rows = [&](const WholeModule& module, bool adapted, const TokenRowsList& tokens) {
    if (module->base().empty()) return;
    const at::Tensor& weight = module->base().front().tensor;
    std::string middle = adapted ? ".base_layer" : "";
    if (has_whole(module->path())) {
      // The base's own rows are the tied head's, where that has no copy too.
      const bool of_head = head_of_grown_ == nullptr && !keeps_tied_ && !has_whole(head_);
      if (!of_head) return;
      middle = ".original_module";
    }
    if (tokens.has(name_)) {
      const auto& ids = tokens.at(name_, module->path()).ids;
      const auto further = std::count_if(ids.begin(), ids.end(), [&](std::int64_t id) { return id >= file_rows_; });
      if (further == weight.size(0) - file_rows_) return;
      middle = ".token_adapter.base_layer";
    }
    result.push_back({fmt::format("base_model.model.{}{}.weight", module->path(), middle), weight});
  };
  add_rows(embedding_->whole(), adapts_embedding(), embedding_->rows());
  if (head_of_grown_ != nullptr)
    add_rows(head_of_grown_->whole(), head_of_grown_->adapted(name_), head_of_grown_->rows());
  return result;
}

}  // namespace lowrank::lora
