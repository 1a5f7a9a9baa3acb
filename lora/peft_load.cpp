#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/mlx_adapter.h"
#include "lowrank/lora/peft_loading.h"
#include "lowrank/lora/target_parameters.h"

namespace lowrank::lora {
namespace {

// The config in this model's own paths, where the file's differ.
LoraConfig in_own_paths(const LoraConfig& config, const std::vector<std::pair<std::string, std::string>>& own_and_file,
                        const std::vector<std::string>& parameters, const PathChange& change) {
  LoraConfig result = config;
  std::vector<std::string> paths;
  result.rank_pattern.clear();
  result.alpha_pattern.clear();
  const auto keep_patterns = [&](const std::string& own, const std::string& in_file) {
    if (config.rank_for(in_file) != config.r) result.rank_pattern.emplace_back(own, config.rank_for(in_file));
    if (config.alpha_for(in_file) != config.lora_alpha)
      result.alpha_pattern.emplace_back(own, config.alpha_for(in_file));
  };
  for (const auto& [own, in_file] : own_and_file) {
    paths.push_back(own);
    keep_patterns(own, in_file);
  }
  for (const std::string& own : parameters) keep_patterns(own, change.in_file(own));
  result.target_parameters = parameters;
  result.target_modules = paths;
  result.exclude_modules = std::vector<std::string>{};
  result.layers_to_transform.reset();
  result.layers_pattern.clear();
  return result;
}

// How paths in the file become this model's; a path that fits nowhere is an error.
PathChange place(Loading& loading, const Contents& contents) {
  std::set<std::string> file_paths, own_paths;
  for (const auto& [path, pair] : contents.pairs) file_paths.insert(path);
  for (const auto& [path, tensors] : contents.whole) file_paths.insert(path);
  for (const auto& [path, tensors] : contents.experts) file_paths.insert(path);
  for (const auto& [path, rows] : contents.tokens) file_paths.insert(path);
  for (const WholeModule& module : whole_modules(loading.table)) own_paths.insert(module->path());
  for (const ExpertsSlot& slot : loading.table.experts) own_paths.insert(slot->path());
  PathChange change = find_path_change({file_paths.begin(), file_paths.end()}, {own_paths.begin(), own_paths.end()});
  if (!change.unplaced.empty()) {
    if (loading.config.task_type == "SEQ_CLS" && own_paths.count("score") == 0)
      loading.fail(
          "this adapter is a sequence classifier: it has a score head, and makes no text; `lowrank evaluate --task "
          "classification` and `lowrank align ppo --reward adapter:DIR` use such adapters");
    const std::string& name = contents.name_at(change.unplaced);
    loading.fail(fmt::format("unexpected tensor '{}': this model has no {}module '{}'{}{}", core::printable(name, 200),
                             contents.pairs.count(change.unplaced) > 0 ? "linear " : "",
                             core::printable(change.unplaced, 200), core::did_you_mean(name, expected_names(loading)),
                             loading.made_for()));
  }
  if (change.changes())
    loading.notes.push_back(
        fmt::format("module paths in the adapter begin with '{}' where this model's begin with '{}'; "
                    "they were matched by their ends",
                    change.from, change.to));
  return change;
}

// The modules that the config targets, by the names that it speaks of; each tensor must belong to one.
std::set<std::string> targeted(Loading& loading, const Contents& contents, const std::vector<BesideText>& beside,
                               const std::vector<std::string>& names, const std::string& head,
                               const std::vector<std::string>& parameters) {
  const std::string config_file = (loading.directory / "adapter_config.json").string();
  Match matched;
  try {
    matched = match(loading.config, names, head);
  } catch (const ConfigError& error) {  // an expression that explodes
    throw FormatError(fmt::format("{}: {}", config_file, error.what()));
  }
  if (!matched.absent_layers.empty())
    throw ModelError(fmt::format("{}: layers_to_transform has {}, but this model's layers are 0 to {}{}", config_file,
                                 matched.absent_layers.front(), loading.table.layers - 1, loading.made_for()));
  const auto beside_has = [&](const std::string& entry) {
    return std::any_of(beside.begin(), beside.end(), [&](const BesideText& one) { return one.path.ends_with("." + entry); });
  };
  for (const std::string& entry : matched.unused_targets)
    if (!beside_has(entry)) loading.notes.push_back(
        fmt::format("target_modules names '{}', which this model does not have", core::printable(entry)));
  std::set<std::string> result(matched.modules.begin(), matched.modules.end());
  std::vector<std::string> unused;
  const std::vector<std::string> named = match_parameters(loading.config.target_parameters, parameters, &unused);
  try {
    check_named_once(matched.modules, named);
  } catch (const ConfigError& error) {
    loading.fail(error.what());
  }
  for (const std::string& path : named)
    result.insert(path.ends_with(kOfWeight) ? path.substr(0, path.size() - kOfWeight.size()) : path);
  for (const std::string& entry : unused)
    loading.notes.push_back(
        fmt::format("target_parameters names '{}', which this model does not have", core::printable(entry)));
  for (const auto& [path, tensors] : contents.experts)
    if (result.count(path) == 0)
      loading.fail(fmt::format("unexpected tensor '{}': adapter_config.json does not take in '{}'",
                               core::printable(tensors.any_name(), 200), core::printable(path, 200)));
  for (const auto& [path, pair] : contents.pairs) {
    if (result.count(path) != 0) continue;
    const std::string tensor = core::printable(pair.any_name(), 200), module = core::printable(path, 200);
    const bool asked = !match(loading.config, {path}, head).modules.empty() ||
                       !match_parameters(loading.config.target_parameters, {path + std::string(kOfWeight)}).empty();
    if (asked)
      loading.fail(fmt::format("unexpected tensor '{}': '{}' of this model is neither a linear layer nor the token embedding, "
                               "and no other is adapted here; merge the adapter in PEFT (merge_and_unload), and use the model",
                               tensor, module));
    loading.fail(fmt::format("unexpected tensor '{}': target_modules in adapter_config.json does not take in '{}'", tensor,
                             module));
  }
  return result;
}

// Whether `name`, which may be relative to the adapter's folder, is another way to write the folder `base`.
bool same_folder(const std::string& name, const std::filesystem::path& directory, const std::string& base) {
  std::error_code none;
  return std::filesystem::equivalent(name, base, none) || std::filesystem::equivalent(directory / name, base, none);
}

// The config to keep: this model's paths, and targets that PEFT resolves to just these modules.
LoraConfig kept_config(Loading& loading, const std::vector<LinearSlot>& slots,
                       const std::vector<std::pair<std::string, std::string>>& own_and_file,
                       const std::vector<std::string>& adaptable, const PathChange& change,
                       const std::vector<std::string>& parameters) {
  const SlotTable& table = loading.table;
  LoraConfig config =
      change.changes() ? in_own_paths(loading.config, own_and_file, parameters, change) : loading.config;
  if (change.changes()) {
    config.modules_to_save.clear();
    for (const WholeModule& module : whole_modules(table))
      if (loading.config.saves_whole(change.in_file(module->path()))) config.modules_to_save.push_back(module->path());
  }
  std::vector<std::string> own;
  for (const auto& names : own_and_file) own.push_back(names.first);
  config = with_portable_targets(std::move(config), own, adaptable, table.others, table.head);
  if (match_parameters(config.target_parameters, parameter_paths(table)) != parameters)
    config.target_parameters = parameters;
  const bool transposed = fan_in_fan_out(slots);
  if (config.fan_in_fan_out != transposed)
    loading.notes.push_back(fmt::format(
        "fan_in_fan_out says that weights are stored {}; this model's are {}, and the adapter's matrices are the same "
        "for both",
        transposed ? "[out, in]" : "[in, out]", transposed ? "[in, out]" : "[out, in]"));
  config.fan_in_fan_out = transposed;
  std::string& base = config.base_model_name_or_path;
  if (base.empty() || same_folder(base, loading.directory, table.base_name)) base = table.base_name;
  if (base != table.base_name && !table.base_name.empty())
    loading.notes.push_back(fmt::format("the adapter names '{}' as its base; it is used with '{}'",
                                        core::printable(base), table.base_name));
  return config;
}

// Single rows of the embedding and the head, in the file's order.
std::vector<at::Tensor> read_token_rows(Loading& loading, Contents& contents, const PathChange& change,
                                        const std::vector<TokenPlace>& places) {
  std::vector<at::Tensor> values;
  const auto& embedding = loading.table.embedding;
  for (const TokenPlace& place : places) {
    const std::string path = change.in_file(place.path);
    values.push_back(read_rows(loading, contents, path, static_cast<std::int64_t>(place.ids.size()),
                               embedding->base().in_features(), embedding->base().device()));
    contents.tokens.erase(path);
    const std::string head = change.in_file(loading.table.head);
    if (!place.also_of_head || contents.tokens.count(head) == 0) continue;  // PEFT repeats them beside a resized base
    const at::Tensor again = read_rows(loading, contents, head, static_cast<std::int64_t>(place.ids.size()),
                                       embedding->base().in_features(), embedding->base().device());
    if (!again.equal(values.back()))
      loading.fail(fmt::format("'{}' has other rows than the embedding's, to which the head is tied",
                               core::printable(contents.tokens.at(head)->name, 200)));
    contents.tokens.erase(head);
  }
  for (const auto& [path, info] : contents.tokens)
    loading.fail(fmt::format("unexpected tensor '{}': trainable_token_indices in adapter_config.json does not take in "
                             "'{}'",
                             core::printable(info->name, 200), core::printable(path, 200)));
  return values;
}

// The tensors, and the config in PEFT's terms of today.
Contents open_experts(Loading& loading) {
  loading.config = with_expert_targets(std::move(loading.config), loading.table);
  Contents contents = collect(loading);
  const auto older = std::find_if(contents.experts.begin(), contents.experts.end(),
                                  [](const auto& one) { return !one.second.older.empty(); });
  if (older != contents.experts.end()) {
    loading.config = with_expert_targets(std::move(loading.config), loading.table, /*also_linear=*/true);
    loading.notes.push_back(fmt::format(
        "the adapter has the experts' layers one by one (such as '{}'); they were read as adapters on the experts' "
        "parameters, as PEFT reads them: where gate and up are one parameter it has twice the rank and alpha, and is "
        "saved so",
        core::printable(older->second.any_name(), 200)));
  }
  if (!loading.config.target_parameters.empty()) {
    try {
      check_parameter_config(loading.config);
    } catch (const ConfigError& error) {
      throw FormatError(fmt::format("{}: {}", (loading.directory / "adapter_config.json").string(), error.what()));
    }
  }
  return contents;
}

Loading begin_loading(const SlotTable& table, const std::filesystem::path& directory) {
  if (!is_mlx_adapter(directory))
    return {table, directory, read_adapter_config(directory), open_weights(directory), {}};
  MlxAdapter found = read_mlx(directory, table);
  Loading loading{table, directory, std::move(found.config), std::move(found.file), {}};
  loading.notes.push_back("this is an adapter of mlx-lm; it is used as PEFT has such adapters, and saved so");
  return loading;
}

}  // namespace

Adapter load_peft(const SlotTable& table, const std::filesystem::path& directory, std::vector<std::string>* notes,
                  const std::string& name) {
  Loading loading = begin_loading(table, directory);
  const std::string config_file = (directory / "adapter_config.json").string();
  const auto in_config = [&](const auto& check) {
    try {
      return check();
    } catch (const ConfigError& error) {
      throw FormatError(fmt::format("{}: {}", config_file, error.what()));
    }
  };
  loading.config = in_config([&] { return with_tying(loading.config, table); });
  const Tied tied = asks_for(loading.config, table);
  if (loading.config.ensure_weight_tying && tied == Tied::kNothing && loading.config.trainable_token_indices.empty())
    loading.notes.push_back(fmt::format(
        "ensure_weight_tying in adapter_config.json changes nothing: {}",
        table.tied ? "neither target_modules nor modules_to_save names the embedding" : "this model's head is not tied"));
  Contents contents = open_experts(loading);
  std::vector<BesideText> beside = take_beside(loading, contents);
  const std::vector<std::string> adaptable = adaptable_paths(table, loading.config);
  const PathChange change = place(loading, contents);
  if (tied != Tied::kNothing)
    take_shared(loading, contents, tied, change.in_file(table.embedding->path()), change.in_file(table.head));

  std::vector<std::string> names_in_file;
  for (const std::string& path : adaptable) names_in_file.push_back(change.in_file(path));
  const std::vector<std::string> parameters_in_file =
      parameter_paths(table, [&](const std::string& path) { return change.in_file(path); });
  const std::vector<std::string> matched = match_parameters(loading.config.target_parameters, parameters_in_file);
  const std::set<std::string> targets =
      targeted(loading, contents, beside, names_in_file, change.in_file(table.head), parameters_in_file);
  const auto adapted_as_parameter = [&](const std::string& module) {
    return std::find(matched.begin(), matched.end(), module + std::string(kOfWeight)) != matched.end();
  };
  std::vector<std::pair<std::string, std::string>> own_and_file;
  std::vector<std::string> own, in_file, parameters;
  for (std::size_t i = 0; i < adaptable.size(); ++i) {
    if (targets.count(names_in_file[i]) == 0 || adapted_as_parameter(names_in_file[i])) continue;
    own_and_file.emplace_back(adaptable[i], names_in_file[i]);
    own.push_back(adaptable[i]);
    in_file.push_back(names_in_file[i]);
  }
  in_config([&] { check_not_saved_whole(loading.config, in_file); });
  std::vector<TokenPlace> places = in_config([&] { return token_places(loading.config, table, own); });

  const std::vector<std::string> own_parameters = parameter_paths(table);
  for (std::size_t i = 0; i < own_parameters.size(); ++i) {
    if (std::find(matched.begin(), matched.end(), parameters_in_file[i]) != matched.end())
      parameters.push_back(own_parameters[i]);
  }
  Adapter adapter;
  adapter.name_ = name;
  std::vector<std::string> on_slots = own;
  on_slots.insert(on_slots.end(), parameters.begin(), parameters.end());
  adapter.slots_ = slots_named(table, on_slots, name);
  adapter.experts_ = experts_named(table, parameters, name);
  adapter.embedding_ = table.embedding;
  const bool on_embedding = targets_embedding(table, own);
  LoraMatrices embedding;
  if (on_embedding && loading.config.lora_bias)
    throw ModelError(fmt::format("{}: lora_bias with {}: PEFT has no bias on an embedding", config_file,
                                 table.embedding->path()));
  if (on_embedding)
    embedding = read_matrices(loading, contents, change.in_file(table.embedding->path()),
                              change.in_file(table.embedding->path()),
                              {table.embedding->base().out_features(), table.embedding->base().in_features()}, true,
                              table.embedding->base().device());
  std::vector<LoraMatrices> matrices;
  for (const LinearSlot& slot : adapter.slots_)
    matrices.push_back(read_matrices(
        loading, contents, change.in_file(slot->path()), pattern_path(*slot, table, change.in_file(slot->path()), loading.config),
        {slot->base().in_features(), slot->base().out_features()}, false, slot->base().device()));
  std::vector<LoraMatrices> of_experts;
  for (const ExpertsSlot& slot : adapter.experts_)
    of_experts.push_back(read_experts(loading, contents, change.in_file(slot->path()), *slot, adapter.experts_));
  std::vector<std::pair<WholeModule, std::vector<NamedTensor>>> copied;
  for (const WholeModule& module : whole_modules(table)) {
    const std::string path = change.in_file(module->path());
    const std::vector<std::string> wanted = copied_tensors(loading.config, path, in_file);
    std::vector<NamedTensor> copies = read_copies(loading, contents, path, module, wanted, targets.count(path) > 0);
    if (!copies.empty()) copied.emplace_back(module, std::move(copies));
  }
  std::vector<at::Tensor> rows = read_token_rows(loading, contents, change, places);
  refuse_left_over(loading, contents, change);
  check_redundant(loading, contents, change);
  check_free(table, on_embedding, copied, name);
  adapter.config_ = kept_config(loading, adapter.slots_, own_and_file, adaptable, change, parameters);
  if (!beside.empty()) adapter.config_.target_modules = loading.config.target_modules;  // which name these modules too
  adapter.beside_text_ = std::move(beside);

  for (std::size_t i = 0; i < matrices.size(); ++i) adapter.slots_[i]->attach(std::move(matrices[i]), name);
  for (std::size_t i = 0; i < of_experts.size(); ++i) adapter.experts_[i]->attach(std::move(of_experts[i]), name);
  if (on_embedding) table.embedding->attach(std::move(embedding), name);
  for (auto& [module, copies] : copied) {
    module->attach(std::move(copies), name);
    adapter.whole_.push_back(module);
  }
  adapter.attach_rows(table, std::move(places), std::move(rows));
  adapter.share_with_head(table, tied);
  try {
    in_config([&] { adapter.act_on_active(table); });
  } catch (...) {
    adapter.detach();
    throw;
  }
  adapter.head_ = table.head;
  adapter.head_tensor_ = head_tensor(table);
  adapter.directory_ = directory;
  if (notes != nullptr) {
    if (const std::string link = formats::link_line(loading.file->path()); !link.empty()) notes->push_back(link);
    notes->insert(notes->end(), loading.notes.begin(), loading.notes.end());
  }
  return adapter;
}

}  // namespace lowrank::lora
