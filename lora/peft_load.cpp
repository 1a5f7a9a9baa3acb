#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/path_change.h"
#include "lowrank/lora/peft_names.h"

namespace lowrank::lora {
namespace {

using formats::TensorInfo;

// The tensors of a module.
struct Found {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  const TensorInfo* magnitude = nullptr;

  const TensorInfo*& of(Factor factor) { return factor == Factor::kA ? a : factor == Factor::kB ? b : magnitude; }
  const std::string& any_name() const { return (a != nullptr ? a : b != nullptr ? b : magnitude)->name; }
};

// Everything known while an adapter's file is checked, for the messages.
struct Loading {
  const SlotTable& table;
  std::filesystem::path directory;
  LoraConfig config;
  std::shared_ptr<const formats::SafetensorsFile> file;
  std::vector<std::string> notes;

  [[noreturn]] void fail(const std::string& problem) const {
    throw ModelError(fmt::format("{}: {}", file->path().string(), problem));
  }
  std::string made_for() const {
    if (config.base_model_name_or_path.empty()) return "";
    return fmt::format("; the adapter was made for '{}'", core::printable(config.base_model_name_or_path));
  }
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

// Why a tensor that is no lora_A or lora_B matrix may be there.
std::string reason(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (has(".lora_embedding_")) return "an adapter on an embedding is not supported";
  if (has(".lora_") && name.ends_with(".bias")) return "a bias on lora_B is not supported";
  if (has("trainable_tokens")) return "trained token rows are not supported";
  if (has(".lora_")) return "it is neither a lora_A nor a lora_B weight, nor a magnitude vector";
  return "whole modules saved beside the adapter (modules_to_save, trained biases or embeddings) are not supported";
}

std::vector<Factor> factors_of(const LoraConfig& config) {
  if (config.use_dora) return {Factor::kA, Factor::kB, Factor::kMagnitude};
  return {Factor::kA, Factor::kB};
}

std::vector<std::string> expected_names(const LoraConfig& config, const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  for (const std::string& path : paths)
    for (const Factor factor : factors_of(config)) names.push_back(peft_name(path, factor));
  return names;
}

// Path in the file -> its tensors.
std::map<std::string, Found> collect(Loading& loading) {
  std::map<std::string, Found> pairs;
  std::string odd;
  for (const TensorInfo& info : loading.file->header().tensors) {
    const auto name = parse_peft_name(info.name);
    if (!name) {
      const auto expected =
          expected_names(loading.config, match(loading.config, slot_paths(loading.table), loading.table.head).modules);
      loading.fail(fmt::format("unexpected tensor '{}': {}{}", core::printable(info.name, 200), reason(info.name),
                               core::did_you_mean(info.name, expected)));
    }
    if (!name->plain && odd.empty()) odd = info.name;
    if (name->factor == Factor::kMagnitude && !loading.config.use_dora)
      loading.fail(
          fmt::format("unexpected tensor '{}': it is a magnitude of DoRA, but use_dora in adapter_config.json is false",
                      core::printable(info.name, 200)));
    const TensorInfo*& place = pairs[name->path].of(name->factor);
    if (place != nullptr)
      loading.fail(fmt::format("'{}' and '{}' are the same matrix", core::printable(place->name, 200),
                               core::printable(info.name, 200)));
    place = &info;
  }
  if (pairs.empty()) loading.fail("it holds no tensors");
  if (!odd.empty())
    loading.notes.push_back(fmt::format("tensor names are not as PEFT writes them (such as '{}') and were read as if",
                                        core::printable(odd, 200)));
  return pairs;
}

void check_dtype(const Loading& loading, const TensorInfo& info) {
  using formats::DType;
  if (info.dtype != DType::kF32 && info.dtype != DType::kF16 && info.dtype != DType::kBF16 && info.dtype != DType::kF64)
    loading.fail(fmt::format("'{}' is of type {}; expected F32, BF16 or F16", core::printable(info.name, 200),
                             formats::dtype_name(info.dtype)));
}

void check_shape(const Loading& loading, const TensorInfo& info, std::int64_t r, Factor factor,
                 const LinearSlot& slot) {
  const std::int64_t in = slot->base().in_features(), out = slot->base().out_features();
  const std::vector<std::int64_t> expected = factor == Factor::kA   ? std::vector{r, in}
                                             : factor == Factor::kB ? std::vector{out, r}
                                                                    : std::vector{out};
  if (info.shape == expected) return;
  const std::size_t rank_axis = factor == Factor::kA ? 0 : 1;
  if (factor != Factor::kMagnitude && info.shape.size() == 2 && info.shape[1 - rank_axis] == expected[1 - rank_axis])
    loading.fail(fmt::format("'{}' has shape {}, so rank {}; adapter_config.json gives {} rank {} (expected shape {})",
                             core::printable(info.name, 200), shape_text(info.shape), info.shape[rank_axis],
                             slot->path(), r, shape_text(expected)));
  loading.fail(fmt::format("'{}' has shape {}, expected {} for this model's {} (in {}, out {}, rank {}){}",
                           core::printable(info.name, 200), shape_text(info.shape), shape_text(expected), slot->path(),
                           in, out, r, loading.made_for()));
}

at::Tensor read_matrix(const Loading& loading, const TensorInfo& info) {
  at::Tensor matrix = formats::tensor_view(loading.file, info).to(at::kFloat, false, /*copy=*/true);
  if (!at::isfinite(matrix).all().item<bool>())
    loading.fail(fmt::format("'{}' has values that are not finite (NaN or infinity); the run that made it went wrong",
                             core::printable(info.name, 200)));
  return matrix.set_requires_grad(true);
}

// The config in this model's own paths, where the file's differ.
LoraConfig in_own_paths(const LoraConfig& config,
                        const std::vector<std::pair<std::string, std::string>>& own_and_file) {
  LoraConfig result = config;
  std::vector<std::string> paths;
  result.rank_pattern.clear();
  result.alpha_pattern.clear();
  for (const auto& [own, in_file] : own_and_file) {
    paths.push_back(own);
    if (config.rank_for(in_file) != config.r) result.rank_pattern.emplace_back(own, config.rank_for(in_file));
    if (config.alpha_for(in_file) != config.lora_alpha)
      result.alpha_pattern.emplace_back(own, config.alpha_for(in_file));
  }
  result.target_modules = paths;
  result.exclude_modules = std::vector<std::string>{};
  result.layers_to_transform.reset();
  result.layers_pattern.clear();
  return result;
}

std::shared_ptr<const formats::SafetensorsFile> open_weights(const std::filesystem::path& directory) {
  const auto file = directory / "adapter_model.safetensors";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    if (const auto advice = formats::pickle_advice(directory)) throw FormatError(*advice);
    throw MissingError(fmt::format("there is no '{}', which holds the adapter's weights", file.string()));
  }
  return formats::SafetensorsFile::open(file);
}

// How paths in the file become this model's; a path that fits nowhere is an error.
PathChange place(Loading& loading, const std::map<std::string, Found>& pairs, const std::vector<std::string>& linears) {
  std::vector<std::string> file_paths;
  for (const auto& [path, pair] : pairs) file_paths.push_back(path);
  PathChange change = find_path_change(std::move(file_paths), linears);
  if (!change.unplaced.empty()) {
    const std::string& name = pairs.at(change.unplaced).any_name();
    const auto expected = expected_names(loading.config, match(loading.config, linears, loading.table.head).modules);
    loading.fail(fmt::format("unexpected tensor '{}': this model has no linear module '{}'{}{}",
                             core::printable(name, 200), core::printable(change.unplaced, 200),
                             core::did_you_mean(name, expected), loading.made_for()));
  }
  if (change.changes())
    loading.notes.push_back(
        fmt::format("module paths in the adapter begin with '{}' where this model's begin with '{}'; "
                    "they were matched by their ends",
                    change.from, change.to));
  return change;
}

// The modules that the config targets, by the names that it speaks of; each tensor must belong to one.
std::set<std::string> targeted(Loading& loading, const std::map<std::string, Found>& pairs,
                               const std::vector<std::string>& names, const std::string& head) {
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
  for (const std::string& entry : matched.unused_targets)
    loading.notes.push_back(
        fmt::format("target_modules names '{}', which this model does not have", core::printable(entry)));
  std::set<std::string> result(matched.modules.begin(), matched.modules.end());
  for (const auto& [path, pair] : pairs)
    if (result.count(path) == 0)
      loading.fail(fmt::format("unexpected tensor '{}': target_modules in adapter_config.json does not take in '{}'",
                               core::printable(pair.any_name(), 200), core::printable(path, 200)));
  return result;
}

LoraMatrices read_matrices(const Loading& loading, const std::map<std::string, Found>& pairs, const std::string& path,
                           const LinearSlot& slot) {
  const auto found = pairs.find(path);
  Found pair = found == pairs.end() ? Found{} : found->second;
  for (const Factor factor : factors_of(loading.config)) {
    if (pair.of(factor) != nullptr) continue;
    std::vector<std::string> present;
    for (const TensorInfo& info : loading.file->header().tensors) present.push_back(info.name);
    const std::string name = peft_name(path, factor);
    loading.fail(fmt::format("the tensor '{}' is missing, although {} asks for it{}{}", name,
                             factor == Factor::kMagnitude ? "use_dora" : "target_modules",
                             core::did_you_mean(name, present), loading.made_for()));
  }
  const std::int64_t r = loading.config.rank_for(path);
  if (pair.a->shape.size() == 2 && pair.b->shape.size() == 2 && pair.a->shape[0] != pair.b->shape[1])
    loading.fail(fmt::format("{}: lora_A {} has rank {} but lora_B {} has rank {}", path, shape_text(pair.a->shape),
                             pair.a->shape[0], shape_text(pair.b->shape), pair.b->shape[1]));
  for (const Factor factor : factors_of(loading.config)) {
    check_dtype(loading, *pair.of(factor));
    check_shape(loading, *pair.of(factor), r, factor, slot);
  }
  LoraMatrices lora = {read_matrix(loading, *pair.a), read_matrix(loading, *pair.b), r, loading.config.scale_for(path),
                       loading.config.lora_dropout};
  if (pair.magnitude != nullptr) lora.magnitude = read_matrix(loading, *pair.magnitude);
  return lora;
}

// The config to keep: this model's paths, and targets that PEFT resolves to just these modules.
LoraConfig kept_config(Loading& loading, const std::vector<std::pair<std::string, std::string>>& own_and_file,
                       const std::vector<std::string>& linears, bool paths_differ) {
  const SlotTable& table = loading.table;
  LoraConfig config = paths_differ ? in_own_paths(loading.config, own_and_file) : loading.config;
  std::vector<std::string> own;
  for (const auto& names : own_and_file) own.push_back(names.first);
  config = with_portable_targets(std::move(config), own, linears, table.others, table.head);
  if (config.fan_in_fan_out)
    loading.notes.push_back(
        "fan_in_fan_out is set for weights stored [in, out]; this model's are [out, in], and the "
        "adapter's matrices are the same for both");
  config.fan_in_fan_out = false;
  std::string& base = config.base_model_name_or_path;
  if (base.empty()) base = table.base_name;
  if (base != table.base_name && !table.base_name.empty())
    loading.notes.push_back(fmt::format("the adapter names '{}' as its base; it is used with '{}'",
                                        core::printable(base), table.base_name));
  return config;
}

}  // namespace

Adapter load_peft(const SlotTable& table, const std::filesystem::path& directory, std::vector<std::string>* notes,
                  const std::string& name) {
  Loading loading{table, directory, read_adapter_config(directory), open_weights(directory), {}};
  const std::map<std::string, Found> pairs = collect(loading);
  const std::vector<std::string> linears = slot_paths(table);
  const PathChange change = place(loading, pairs, linears);

  std::vector<std::string> names_in_file;
  for (const std::string& path : linears) names_in_file.push_back(change.in_file(path));
  const std::set<std::string> targets = targeted(loading, pairs, names_in_file, change.in_file(table.head));
  std::vector<std::pair<std::string, std::string>> own_and_file;
  std::vector<std::string> own;
  for (std::size_t i = 0; i < linears.size(); ++i) {
    if (targets.count(names_in_file[i]) == 0) continue;
    own_and_file.emplace_back(linears[i], names_in_file[i]);
    own.push_back(linears[i]);
  }

  Adapter adapter;
  adapter.name_ = name;
  adapter.slots_ = slots_named(table, own, name);
  std::vector<LoraMatrices> matrices;
  for (std::size_t i = 0; i < own.size(); ++i)
    matrices.push_back(read_matrices(loading, pairs, own_and_file[i].second, adapter.slots_[i]));
  adapter.config_ = kept_config(loading, own_and_file, linears, change.changes());
  for (std::size_t i = 0; i < own.size(); ++i) adapter.slots_[i]->attach(std::move(matrices[i]), name);
  adapter.head_ = table.head;
  adapter.directory_ = directory;
  if (notes != nullptr) notes->insert(notes->end(), loading.notes.begin(), loading.notes.end());
  return adapter;
}

}  // namespace lowrank::lora
