#include "lowrank/lora/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
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
  LoraMatrices lora = config.splits_base()
                          ? split_from(base, path, r, scale, config.init_lora_weights, seed)
                          : new_matrices(path, base.in_features(), base.out_features(), r, config.init_lora_weights,
                                         seed, at::TensorOptions(at::kFloat).device(base.device()));
  lora.scale = scale;
  lora.dropout = config.lora_dropout;
  if (config.use_dora) {
    const at::Tensor squared = kernels::squared_row_norms(base);
    lora.magnitude = kernels::adapted_row_norms(base, squared, lora.a, lora.b, scale);
  }
  return lora;
}

LoraMatrices beginning(const EmbeddingSlotImpl& embedding, const LoraConfig& config, std::uint64_t seed) {
  const std::string& path = embedding.path();
  if (config.use_dora)
    throw ConfigError(fmt::format(
        "use_dora with {}: DoRA on an embedding is not supported; leave it out of target_modules, or train it whole "
        "(modules_to_save)",
        path));
  if (config.init_lora_weights != "default" && config.init_lora_weights != "gaussian")
    throw ConfigError(
        fmt::format("init_lora_weights is '{}', but the matrices on {} begin by 'default' or 'gaussian' only; leave it "
                    "out of target_modules",
                    config.init_lora_weights, path));
  const kernels::BaseWeight& base = embedding.base();
  LoraMatrices lora = new_embedding_matrices(
      path, base.out_features(), base.in_features(), config.rank_for(path), seed,
      at::TensorOptions(base.dtype() == at::kDouble ? at::kDouble : at::kFloat).device(base.device()));
  lora.scale = config.scale_for(path);
  return lora;
}

// Modules, and the tensors of them that an adapter trains copies of.
using Copied = std::vector<std::pair<WholeModule, std::vector<NamedTensor>>>;

Copied copied_modules(const SlotTable& table, const LoraConfig& config, const std::vector<std::string>& targets) {
  const std::vector<WholeModule> all = whole_modules(table);
  std::vector<std::string> paths;
  for (const WholeModule& module : all) paths.push_back(module->path());
  for (const std::string& entry : config.modules_to_save) {
    LoraConfig one;
    one.modules_to_save = {entry};
    if (std::none_of(paths.begin(), paths.end(), [&](const std::string& path) { return one.saves_whole(path); }))
      throw ConfigError(fmt::format("modules_to_save: no module's path ends in '{}'{}", core::printable(entry),
                                    core::did_you_mean(entry, last_segments(paths))));
  }
  Copied result;
  bool any_bias = false;
  for (const WholeModule& module : all) {
    std::vector<NamedTensor> copies = module->fresh_copies(copied_tensors(config, module->path(), targets));
    if (copies.empty()) continue;
    any_bias = any_bias || copies.back().name == "bias";
    result.emplace_back(module, std::move(copies));
  }
  if (config.bias != "none" && !any_bias)
    throw ConfigError(fmt::format("bias is '{}', but {} no biases; leave it at 'none'", config.bias,
                                  config.bias == "all" ? "this model's modules have" : "the adapted layers have"));
  return result;
}

}  // namespace

const std::vector<NamedTensor>& Adapter::at_whole(const std::string& path) const {
  for (const WholeModule& module : whole_)
    if (module->path() == path) return module->copies(name_);
  throw InternalError(fmt::format("the adapter '{}' keeps no copy of {}", name_, path));
}

std::vector<NamedTensor> Adapter::parameters() const {
  std::vector<NamedTensor> result;
  result.reserve(2 * slots_.size());
  if (adapts_embedding()) {
    const LoraMatrices& lora = embedding_->lora(name_);
    result.push_back({peft_name(embedding_->path(), LoraPart::kA, /*embedding=*/true), lora.a});
    result.push_back({peft_name(embedding_->path(), LoraPart::kB, /*embedding=*/true), lora.b});
  }
  std::set<std::string> adapted;
  for (const LinearSlot& slot : slots_) {
    result.push_back({peft_name(slot->path(), LoraPart::kA), at(slot).a});
    result.push_back({peft_name(slot->path(), LoraPart::kB), at(slot).b});
    const at::Tensor& magnitude = at(slot).magnitude;
    if (magnitude.defined()) result.push_back({peft_name(slot->path(), LoraPart::kMagnitude), magnitude});
    adapted.insert(slot->path());
  }
  for (const WholeModule& module : whole_)
    for (const NamedTensor& copy : module->copies(name_))
      result.push_back({whole_name(module->path(), copy.name, adapted.count(module->path()) > 0), copy.tensor});
  return result;
}

std::int64_t Adapter::parameter_count() const {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : parameters()) count += parameter.tensor.numel();
  return count;
}

void Adapter::set_enabled(bool enabled) {
  for (LinearSlot& slot : slots_) slot->set_enabled(enabled, name_);
  if (embedding_ != nullptr) embedding_->set_enabled(enabled, name_);
  for (WholeModule& module : whole_) module->set_enabled(enabled, name_);
}

void Adapter::merge() {
  for (LinearSlot& slot : slots_) slot->merge();
}

void Adapter::unmerge() {
  for (LinearSlot& slot : slots_) slot->unmerge();
}

void Adapter::detach() {
  for (LinearSlot& slot : slots_) slot->detach(name_);
  if (embedding_ != nullptr) embedding_->detach(name_);
  for (WholeModule& module : whole_) module->detach(name_);
  slots_.clear();
  embedding_.reset();
  whole_.clear();
}

Adapter attach(const SlotTable& table, const LoraConfig& config, std::uint64_t seed, const std::string& name) {
  const std::vector<std::string> adaptable = adaptable_paths(table, config);
  const std::vector<std::string> modules = match_modules(config, adaptable, table.head);
  check_not_saved_whole(config, modules);
  check_patterns_used(config, modules);
  Copied copied = copied_modules(table, config, modules);

  Adapter adapter;
  adapter.name_ = name;
  adapter.slots_ = slots_named(table, modules, name);
  const bool on_embedding = targets_embedding(table, modules);
  LoraMatrices embedding;
  if (on_embedding) embedding = beginning(*table.embedding, config, seed);
  check_free(table, on_embedding, copied, name);
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
  adapter.embedding_ = table.embedding;
  if (on_embedding) table.embedding->attach(std::move(embedding), name);
  for (auto& [module, copies] : copied) {
    module->attach(std::move(copies), name);
    adapter.whole_.push_back(module);
  }

  adapter.config_ = with_portable_targets(config, modules, adaptable, table.others, table.head);
  if (adapter.config_.base_model_name_or_path.empty()) adapter.config_.base_model_name_or_path = table.base_name;
  adapter.config_.fan_in_fan_out = fan_in_fan_out(adapter.slots_);
  adapter.head_ = table.head;
  adapter.head_tensor_ = head_tensor(table);
  return adapter;
}

}  // namespace lowrank::lora
