#include "lowrank/lora/adapter.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/row_norms.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/lora/init.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/target_parameters.h"
#include "lowrank/lora/tying.h"

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

// New matrices for a slot, with their scale and dropout. `known`: its pattern_path.
LoraMatrices beginning(const LinearSlotImpl& slot, const std::string& known, const LoraConfig& config,
                       std::uint64_t seed) {
  const std::string& path = slot.path();
  const kernels::BaseWeight& base = slot.base();
  const std::int64_t r = config.rank_for(known);
  const double scale = config.scale_for(known);
  const bool corrects = config.corrects_base();
  LoraMatrices lora =
      corrects && base.original().defined() ? loftq_from(base, path, r, scale)
      : config.splits_base()
          ? split_from(base, path, r, scale, config.init_lora_weights, seed)
          : new_matrices(path, base.in_features(), base.out_features(), r, corrects ? "default" : config.init_lora_weights,
                         seed, at::TensorOptions(at::kFloat).device(base.device()));
  lora.scale = scale;
  lora.dropout = config.lora_dropout;
  if (config.lora_bias) lora.bias = kernels::aten::zeros({base.out_features()}, lora.b.options().requires_grad(false));
  if (config.use_dora) {
    const at::Tensor squared = kernels::squared_row_norms(base);
    lora.magnitude = kernels::adapted_row_norms(base, squared, lora.a, lora.b, scale);
  }
  return lora;
}

// PEFT's: of A, as of a linear layer of E r rows.
LoraMatrices beginning(const ExpertsSlotImpl& slot, const LoraConfig& config, std::uint64_t seed) {
  const std::string& path = slot.path();
  const kernels::ExpertsWeight& weight = slot.weight();
  const std::int64_t r = config.rank_for(path);
  LoraMatrices lora =
      new_matrices(path, weight.in_features(), weight.out_features(), r * slot.experts(), config.init_lora_weights,
                   seed, at::TensorOptions(at::kFloat).device(weight.device()));
  // "gaussian" is by the rank of one expert.
  if (config.init_lora_weights == "gaussian") lora.a.detach().mul_(static_cast<double>(slot.experts()));
  lora.r = r;
  lora.scale = config.scale_for(path);
  return lora;
}

LoraMatrices beginning(const EmbeddingSlotImpl& embedding, const LoraConfig& config, std::uint64_t seed) {
  const std::string& path = embedding.path();
  if (config.lora_bias)
    throw ConfigError(fmt::format("lora_bias with {}: PEFT has no bias on an embedding; leave it out of target_modules",
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
  if (config.use_dora) {
    const kernels::BaseWeight columns = by_columns(base, embedding.whole());
    lora.magnitude = kernels::adapted_row_norms(columns, kernels::squared_row_norms(columns), lora.a.detach(),
                                                lora.b.detach(), lora.scale);
    lora.magnitude.set_requires_grad(true);
  }
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
  const auto require_whole = [&](const std::string& path, const WholeModule& module) {
    if (!config.saves_whole(path) || (!module->base().empty() && module->base().front().name == "weight")) return;
    throw ConfigError(
        fmt::format("modules_to_save: the weight of {} is in codes (int8, nf4) or shared out over ranks, of which no whole "
                    "copy can be trained; load the base whole, as its files have it, or name another module",
                    path));
  };
  for (const LinearSlot& slot : table.slots) require_whole(slot->path(), slot->whole());
  if (table.embedding != nullptr) require_whole(table.embedding->path(), table.embedding->whole());
  Copied result;
  for (const WholeModule& module : all) {
    std::vector<NamedTensor> copies = module->fresh_copies(copied_tensors(config, module->path(), targets));
    if (copies.empty()) continue;
    result.emplace_back(module, std::move(copies));
  }
  return result;
}

// The ends of paths of as many segments as an entry has.
std::vector<std::string> ends_like(const std::string& entry, const std::vector<std::string>& paths) {
  std::set<std::string> ends;
  for (const std::string& path : paths) {
    std::size_t begin = path.size() + 1;
    for (auto dots = std::count(entry.begin(), entry.end(), '.'); dots >= 0 && begin != 0; --dots)
      begin = begin < 2 ? 0 : path.rfind('.', begin - 2) + 1;
    ends.insert(path.substr(begin));
  }
  return {ends.begin(), ends.end()};
}

// The parameters that target_parameters names, as far as exclude_modules and layers_to_transform leave them: PEFT knows
// no such limits for parameters, so that a config that is kept names what is left by whole paths.
std::vector<std::string> wanted_parameters(const LoraConfig& config, const SlotTable& table) {
  if (config.target_parameters.empty()) return {};
  check_parameter_config(config);
  const std::vector<std::string> all = parameter_paths(table);
  std::vector<std::string> unused;
  const std::vector<std::string> matched = match_parameters(config.target_parameters, all, &unused);
  if (!unused.empty())
    throw ConfigError(fmt::format("target_parameters: this model has no parameter '{}' that can be adapted{}",
                                  core::printable(unused.front()),
                                  core::did_you_mean(unused.front(), ends_like(unused.front(), all))));
  LoraConfig limits = config;
  limits.target_modules = matched;
  if (limits.layers_to_transform) {  // as for entries of a list that are no whole paths
    std::vector<std::string> ends;
    for (const std::string& path : matched) ends.push_back(path.substr(path.find('.') + 1));
    limits.target_modules = ends;
  }
  std::vector<std::string> left = match(limits, matched, "").modules;
  if (left.empty())
    throw ConfigError(
        "exclude_modules, modules_to_save and layers_to_transform leave no parameter that target_parameters names");
  return left;
}

std::vector<std::string> portable_parameters(const LoraConfig& config, const std::vector<std::string>& matched,
                                             const SlotTable& table) {
  return match_parameters(config.target_parameters, parameter_paths(table)) == matched ? config.target_parameters
                                                                                       : matched;
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
    if (lora.magnitude.defined())
      result.push_back({peft_name(embedding_->path(), LoraPart::kMagnitude), lora.magnitude});
  }
  std::set<std::string> adapted;
  for (const LinearSlot& slot : slots_) {
    result.push_back({peft_name(slot->path(), LoraPart::kA), at(slot).a});
    result.push_back({peft_name(slot->path(), LoraPart::kB), at(slot).b});
    if (at(slot).bias.defined()) result.push_back({peft_name(slot->path(), LoraPart::kBias), at(slot).bias});
    const at::Tensor& magnitude = at(slot).magnitude;
    if (magnitude.defined()) result.push_back({peft_name(slot->path(), LoraPart::kMagnitude), magnitude});
    adapted.insert(slot->path());
  }
  for (const ExpertsSlot& slot : experts_) {
    const std::string path = experts_path(*slot, experts_);
    result.push_back({peft_name(path, LoraPart::kA), at(slot).a});
    result.push_back({peft_name(path, LoraPart::kB), at(slot).b});
  }
  for (const WholeModule& module : whole_)
    for (const NamedTensor& copy : module->copies(name_))
      result.push_back({whole_name(module->path(), copy.name, adapted.count(module->path()) > 0), copy.tensor});
  for (const OwnRows& own : token_rows_) result.push_back({token_rows_name(own.path), own.rows.values});
  return result;
}

std::int64_t Adapter::parameter_count() const {
  std::int64_t count = 0;
  for (const NamedTensor& parameter : parameters()) count += parameter.tensor.numel();
  return count;
}

void Adapter::set_enabled(bool enabled) {
  for (LinearSlot& slot : slots_) slot->set_enabled(enabled, name_);
  for (ExpertsSlot& slot : experts_) slot->set_enabled(enabled, name_);
  if (embedding_ != nullptr) embedding_->set_enabled(enabled, name_);
  for (WholeModule& module : whole_) module->set_enabled(enabled, name_);
  if (head_slot_ == nullptr) return;
  head_slot_->set_enabled(enabled, name_);
  head_slot_->whole()->set_enabled(enabled, name_);
}

void Adapter::set_dropout(double p) {
  LoraConfig config = config_;
  config.lora_dropout = p;
  config.validate();
  if (!config.target_parameters.empty()) check_parameter_config(config);
  config_ = std::move(config);
  for (LinearSlot& slot : slots_) slot->lora(name_).dropout = p;
  // A tied head drops what the embedding's matrices act on.
  if (head_slot_ != nullptr && head_slot_->adapted(name_)) head_slot_->lora(name_).dropout = p;
}

void Adapter::merge() {
  for (LinearSlot& slot : slots_) slot->merge();
  for (ExpertsSlot& slot : experts_) slot->merge();
}

void Adapter::unmerge() {
  for (LinearSlot& slot : slots_) slot->unmerge();
  for (ExpertsSlot& slot : experts_) slot->unmerge();
}

void Adapter::require_text_alone(const std::string& result) const {
  if (beside_text_.empty()) return;
  throw ConfigError(fmt::format("the adapter in {} is also on modules that text does not pass through (such as '{}'), which {} "
                                "would not have: merge it into the model instead",
                                directory_.string(), core::printable(beside_text_.front().path, 200), result));
}

void Adapter::detach() {
  for (LinearSlot& slot : slots_) slot->detach(name_);
  for (ExpertsSlot& slot : experts_) slot->detach(name_);
  if (embedding_ != nullptr) embedding_->detach(name_);
  for (WholeModule& module : whole_) module->detach(name_);
  if (head_slot_ != nullptr) {
    head_slot_->detach(name_);
    head_slot_->whole()->detach(name_);
    head_slot_.reset();
  }
  token_rows_.clear();
  beside_text_.clear();
  active_.reset();
  slots_.clear();
  experts_.clear();
  embedding_.reset();
  whole_.clear();
}

Adapter attach(const SlotTable& table, const LoraConfig& given, std::uint64_t seed, const std::string& name) {
  given.validate_new();
  const LoraConfig config_tied = with_tying(given, table);
  const Tied tied = asks_for(config_tied, table);
  LoraConfig config = with_expert_targets(config_tied, table);
  const std::vector<std::string> adaptable = adaptable_paths(table, config);
  // PEFT makes an expression the last names of what it matches, for a model whose experts it converts: whole paths
  // stay.
  if (table.converts_expert_targets && !config.all_linear() &&
      std::holds_alternative<std::string>(config.target_modules) && !config.target_parameters.empty())
    config.target_modules = match(config, adaptable, table.head).modules;
  const std::vector<std::string> modules = match_modules(config, adaptable, table.head);
  if (table.converts_expert_targets && std::holds_alternative<std::string>(config.target_modules) &&
      !config.all_linear())
    config.target_modules = modules;
  const std::vector<std::string> parameters = wanted_parameters(config, table);
  check_named_once(modules, parameters);
  std::vector<std::string> adapted = modules;
  adapted.insert(adapted.end(), parameters.begin(), parameters.end());
  check_not_saved_whole(config, modules);
  check_patterns_used(config, adapted);
  Copied copied = copied_modules(table, config, modules);
  std::vector<TokenPlace> places = token_places(config, table, modules);

  Adapter adapter;
  adapter.name_ = name;
  adapter.slots_ = slots_named(table, adapted, name);
  adapter.experts_ = experts_named(table, parameters, name);
  const bool on_embedding = targets_embedding(table, modules);
  LoraMatrices embedding;
  if (on_embedding) embedding = beginning(*table.embedding, config, seed);
  check_free(table, on_embedding, copied, name);
  std::vector<LoraMatrices> matrices(adapter.slots_.size());
  const auto begin = [&](std::size_t i) {
    const LinearSlotImpl& slot = *adapter.slots_[i];
    matrices[i] = beginning(slot, pattern_path(slot, table, slot.path(), config), config, seed);
  };
  if (config.corrects_base() &&
      std::none_of(adapter.slots_.begin(), adapter.slots_.end(),
                   [](const LinearSlot& slot) { return slot->base().original().defined(); }))
    throw ConfigError(
        "init_lora_weights is 'loftq', which begins with what a base in fewer bytes has lost, but none of the adapted "
        "layers is one; load the base in int8 or nf4, or leave the initialisation out");
  if (config.splits_base() || config.corrects_base()) {  // decompositions take a thread each
    kernels::for_row_chunks(static_cast<std::int64_t>(matrices.size()), 1,
                            [&](std::int64_t i, std::int64_t) { begin(static_cast<std::size_t>(i)); });
  } else {
    for (std::size_t i = 0; i < matrices.size(); ++i) begin(i);
  }
  for (LoraMatrices& lora : matrices) {
    for (at::Tensor* tensor : {&lora.a, &lora.b, &lora.magnitude, &lora.bias})
      if (tensor->defined()) tensor->set_requires_grad(true);
  }
  for (std::size_t i = 0; i < matrices.size(); ++i) adapter.slots_[i]->attach(std::move(matrices[i]), name);
  for (const ExpertsSlot& slot : adapter.experts_) {
    LoraMatrices lora = beginning(*slot, config, seed);
    lora.a.set_requires_grad(true);
    lora.b.set_requires_grad(true);
    slot->attach(std::move(lora), name);
  }
  adapter.embedding_ = table.embedding;
  if (on_embedding) table.embedding->attach(std::move(embedding), name);
  for (auto& [module, copies] : copied) {
    module->attach(std::move(copies), name);
    adapter.whole_.push_back(module);
  }

  adapter.config_ = with_portable_targets(config, modules, adaptable, table.others, table.head);
  adapter.config_.target_parameters = portable_parameters(config, parameters, table);
  if (adapter.config_.base_model_name_or_path.empty()) adapter.config_.base_model_name_or_path = table.base_name;
  adapter.config_.fan_in_fan_out = fan_in_fan_out(adapter.slots_);
  adapter.head_ = table.head;
  adapter.head_tensor_ = head_tensor(table);
  adapter.attach_rows(table, std::move(places), {});
  adapter.share_with_head(table, tied);
  try {
    adapter.act_on_active(table);
  } catch (...) {
    adapter.detach();
    throw;
  }
  return adapter;
}

}  // namespace lowrank::lora
