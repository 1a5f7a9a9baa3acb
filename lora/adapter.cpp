#include "lowrank/lora/adapter.h"

#include <fmt/format.h>

#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/row_norms.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/lora/init.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {

// In a file a pattern that nothing uses is harmless; in a config for a new adapter it is a slip.
template <typename Value, typename Get>
void check_patterns_used(const std::vector<std::pair<std::string, Value>>& pattern, const char* what,
                         const std::vector<std::string>& modules, Get hits) {
  for (const auto& entry : pattern) {
    bool used = false;
    for (const std::string& module : modules) used = used || hits(entry, module);
    if (!used)
      throw ConfigError(fmt::format("{}: no adapted module is named '{}'{}", what, core::printable(entry.first),
                                    core::did_you_mean(entry.first, modules)));
  }
}

void check_patterns_used(const LoraConfig& config, const std::vector<std::string>& modules) {
  check_patterns_used(config.rank_pattern, "rank_pattern", modules, [](const auto& entry, const std::string& module) {
    LoraConfig one;
    one.r = 0;
    one.rank_pattern = {entry};
    return one.rank_for(module) != 0;
  });
  check_patterns_used(config.alpha_pattern, "alpha_pattern", modules, [](const auto& entry, const std::string& module) {
    LoraConfig one;
    one.lora_alpha = 0;
    one.alpha_pattern = {entry};
    return one.alpha_for(module) != 0;
  });
}

// New matrices for a slot, with their scale and dropout.
LoraMatrices beginning(const LinearSlotImpl& slot, const LoraConfig& config, std::uint64_t seed) {
  const std::string& path = slot.path();
  const kernels::BaseWeight& base = slot.base();
  const std::int64_t r = config.rank_for(path);
  const double scale = config.scale_for(path);
  LoraMatrices lora = config.splits_base() ? split_from(base.weight(), path, r, scale, config.init_lora_weights, seed)
                                           : new_matrices(path, base.in_features(), base.out_features(), r,
                                                          config.init_lora_weights, seed);
  lora.scale = scale;
  lora.dropout = config.lora_dropout;
  if (config.use_dora) {
    const at::Tensor squared = kernels::squared_row_norms(base.weight());
    lora.magnitude = kernels::adapted_row_norms(base.weight(), squared, lora.a, lora.b, scale);
  }
  return lora;
}

}  // namespace

std::vector<NamedTensor> Adapter::parameters() const {
  std::vector<NamedTensor> result;
  result.reserve(2 * slots_.size());
  for (const LinearSlot& slot : slots_) {
    result.push_back({peft_name(slot->path(), Factor::kA), at(slot).a});
    result.push_back({peft_name(slot->path(), Factor::kB), at(slot).b});
    const at::Tensor& magnitude = at(slot).magnitude;
    if (magnitude.defined()) result.push_back({peft_name(slot->path(), Factor::kMagnitude), magnitude});
  }
  return result;
}

std::int64_t Adapter::parameter_count() const {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : parameters()) count += parameter.tensor.numel();
  return count;
}

void Adapter::set_enabled(bool enabled) {
  for (LinearSlot& slot : slots_) slot->set_enabled(enabled, name_);
}

void Adapter::merge() {
  for (LinearSlot& slot : slots_) slot->merge();
}

void Adapter::unmerge() {
  for (LinearSlot& slot : slots_) slot->unmerge();
}

void Adapter::detach() {
  for (LinearSlot& slot : slots_) slot->detach(name_);
  slots_.clear();
}

Adapter attach(const SlotTable& table, const LoraConfig& config, std::uint64_t seed, const std::string& name) {
  const std::vector<std::string> linears = slot_paths(table);
  const std::vector<std::string> modules = match_modules(config, linears, table.head);
  check_patterns_used(config, modules);

  Adapter adapter;
  adapter.name_ = name;
  adapter.slots_ = slots_named(table, modules, name);
  std::vector<LoraMatrices> matrices(adapter.slots_.size());
  const auto begin = [&](std::size_t i) { matrices[i] = beginning(*adapter.slots_[i], config, seed); };
  if (config.splits_base()) {  // decompositions take a thread each
    kernels::for_row_chunks(static_cast<std::int64_t>(matrices.size()), 1,
                            [&](std::int64_t i, std::int64_t) { begin(static_cast<std::size_t>(i)); });
  } else {
    for (std::size_t i = 0; i < matrices.size(); ++i) begin(i);
  }
  for (LoraMatrices& lora : matrices) {
    for (at::Tensor* tensor : {&lora.a, &lora.b, &lora.magnitude})
      if (tensor->defined()) tensor->set_requires_grad(true);
  }
  for (std::size_t i = 0; i < matrices.size(); ++i) adapter.slots_[i]->attach(std::move(matrices[i]), name);

  adapter.config_ = with_portable_targets(config, modules, linears, table.others, table.head);
  if (adapter.config_.base_model_name_or_path.empty()) adapter.config_.base_model_name_or_path = table.base_name;
  adapter.config_.fan_in_fan_out = false;  // slots hold [out, in]; PEFT warns of the flag on such layers
  adapter.head_ = table.head;
  return adapter;
}

}  // namespace lowrank::lora
