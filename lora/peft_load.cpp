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

// The low-rank tensors of a module.
struct Found {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  const TensorInfo* magnitude = nullptr;
  bool embedding = false;

  const TensorInfo*& of(LoraPart part) { return part == LoraPart::kA ? a : part == LoraPart::kB ? b : magnitude; }
  const std::string& any_name() const { return (a != nullptr ? a : b != nullptr ? b : magnitude)->name; }
};

// The file's tensors by the path of their module, in the file's words.
struct Contents {
  std::map<std::string, Found> pairs;
  std::map<std::string, std::map<std::string, const TensorInfo*>> whole;  // path -> "weight" | "bias" -> tensor
  std::map<std::string, const TensorInfo*> redundant;                     // path -> the base's own weight or bias

  const std::string& name_at(const std::string& path) const {
    const auto pair = pairs.find(path);
    return pair != pairs.end() ? pair->second.any_name() : whole.at(path).begin()->second->name;
  }
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

// Why a tensor that is known by its name may not be there.
std::string reason(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (has(".lora_") && name.ends_with(".bias")) return "a bias on lora_B is not supported";
  if (has("trainable_tokens")) return "trained token rows are not supported";
  return "it is neither an A or B matrix, nor a magnitude vector, nor a weight or bias of a whole module";
}

std::vector<LoraPart> parts_of(const LoraConfig& config) {
  if (config.use_dora) return {LoraPart::kA, LoraPart::kB, LoraPart::kMagnitude};
  return {LoraPart::kA, LoraPart::kB};
}

// Of an embedding DoRA is refused, so that it has no magnitude.
std::vector<LoraPart> parts_of(const LoraConfig& config, bool embedding) {
  return embedding ? std::vector{LoraPart::kA, LoraPart::kB} : parts_of(config);
}

// The names that the config asks for, in this model's own paths.
std::vector<std::string> expected_names(const Loading& loading) {
  const SlotTable& table = loading.table;
  const std::vector<std::string> paths =
      match(loading.config, adaptable_paths(table, loading.config), table.head).modules;
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    const bool embedding = table.embedding != nullptr && path == table.embedding->path();
    for (const LoraPart part : parts_of(loading.config, embedding)) names.push_back(peft_name(path, part, embedding));
  }
  for (const WholeModule& module : whole_modules(table))
    for (const NamedTensor& copy : module->base()) {
      const std::vector<std::string> copied = copied_tensors(loading.config, module->path(), paths);
      if (std::find(copied.begin(), copied.end(), copy.name) == copied.end()) continue;
      names.push_back(
          whole_name(module->path(), copy.name, std::find(paths.begin(), paths.end(), module->path()) != paths.end()));
    }
  return names;
}

void collect_whole(Loading& loading, const TensorInfo& info, Contents& contents) {
  const auto name = parse_whole_name(info.name);
  if (!name || info.name.find(".lora_") != std::string::npos || info.name.find("trainable_tokens") != std::string::npos)
    loading.fail(fmt::format("unexpected tensor '{}': {}{}", core::printable(info.name, 200), reason(info.name),
                             core::did_you_mean(info.name, expected_names(loading))));
  if (name->redundant) {
    contents.redundant[name->path] = &info;
    return;
  }
  const TensorInfo*& place = contents.whole[name->path][name->tensor];
  if (place != nullptr)
    loading.fail(fmt::format("'{}' and '{}' are the same tensor", core::printable(place->name, 200),
                             core::printable(info.name, 200)));
  place = &info;
}

Contents collect(Loading& loading) {
  Contents contents;
  std::string odd;
  for (const TensorInfo& info : loading.file->header().tensors) {
    const auto name = parse_peft_name(info.name);
    if (!name) {
      collect_whole(loading, info, contents);
      continue;
    }
    if (!name->plain && odd.empty()) odd = info.name;
    if (name->part == LoraPart::kMagnitude && !loading.config.use_dora)
      loading.fail(
          fmt::format("unexpected tensor '{}': it is a magnitude of DoRA, but use_dora in adapter_config.json is false",
                      core::printable(info.name, 200)));
    Found& found = contents.pairs[name->path];
    found.embedding = found.embedding || name->embedding;
    const TensorInfo*& place = found.of(name->part);
    if (place != nullptr)
      loading.fail(fmt::format("'{}' and '{}' are the same matrix", core::printable(place->name, 200),
                               core::printable(info.name, 200)));
    place = &info;
  }
  if (contents.pairs.empty() && contents.whole.empty()) loading.fail("it holds no tensors");
  if (!odd.empty())
    loading.notes.push_back(fmt::format("tensor names are not as PEFT writes them (such as '{}') and were read as if",
                                        core::printable(odd, 200)));
  return contents;
}

void check_dtype(const Loading& loading, const TensorInfo& info) {
  using formats::DType;
  if (info.dtype != DType::kF32 && info.dtype != DType::kF16 && info.dtype != DType::kBF16 && info.dtype != DType::kF64)
    loading.fail(fmt::format("'{}' is of type {}; expected F32, BF16 or F16", core::printable(info.name, 200),
                             formats::dtype_name(info.dtype)));
}

// The shape of a layer's weight, in the roles that A and B have on it.
struct Widths {
  std::int64_t in = 0, out = 0;
};

void check_shape(const Loading& loading, const TensorInfo& info, std::int64_t r, LoraPart part, const std::string& path,
                 Widths widths) {
  const auto [in, out] = widths;
  const std::vector<std::int64_t> expected = part == LoraPart::kA   ? std::vector{r, in}
                                             : part == LoraPart::kB ? std::vector{out, r}
                                                                    : std::vector{out};
  if (info.shape == expected) return;
  const std::size_t rank_axis = part == LoraPart::kA ? 0 : 1;
  if (part != LoraPart::kMagnitude && info.shape.size() == 2 && info.shape[1 - rank_axis] == expected[1 - rank_axis])
    loading.fail(fmt::format("'{}' has shape {}, so rank {}; adapter_config.json gives {} rank {} (expected shape {})",
                             core::printable(info.name, 200), shape_text(info.shape), info.shape[rank_axis], path, r,
                             shape_text(expected)));
  loading.fail(fmt::format("'{}' has shape {}, expected {} for this model's {} (in {}, out {}, rank {}){}",
                           core::printable(info.name, 200), shape_text(info.shape), shape_text(expected), path, in, out,
                           r, loading.made_for()));
}

at::Tensor read_matrix(const Loading& loading, const TensorInfo& info, at::Device device) {
  at::Tensor matrix = formats::tensor_view(loading.file, info).to(at::kFloat, false, /*copy=*/true);
  if (!matrix.isfinite().all().item<bool>())
    loading.fail(fmt::format("'{}' has values that are not finite (NaN or infinity); the run that made it went wrong",
                             core::printable(info.name, 200)));
  return matrix.to(device).set_requires_grad(true);
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
PathChange place(Loading& loading, const Contents& contents) {
  std::set<std::string> file_paths, own_paths;
  for (const auto& [path, pair] : contents.pairs) file_paths.insert(path);
  for (const auto& [path, tensors] : contents.whole) file_paths.insert(path);
  for (const WholeModule& module : whole_modules(loading.table)) own_paths.insert(module->path());
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
std::set<std::string> targeted(Loading& loading, const Contents& contents, const std::vector<std::string>& names,
                               const std::string& head) {
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
  for (const auto& [path, pair] : contents.pairs)
    if (result.count(path) == 0)
      loading.fail(fmt::format("unexpected tensor '{}': target_modules in adapter_config.json does not take in '{}'",
                               core::printable(pair.any_name(), 200), core::printable(path, 200)));
  return result;
}

[[noreturn]] void fail_missing(const Loading& loading, const std::string& name, const std::string& asked_by) {
  std::vector<std::string> present;
  for (const TensorInfo& info : loading.file->header().tensors) present.push_back(info.name);
  loading.fail(fmt::format("the tensor '{}' is missing, although {} asks for it{}{}", name, asked_by,
                           core::did_you_mean(name, present), loading.made_for()));
}

LoraMatrices read_matrices(const Loading& loading, const Contents& contents, const std::string& path, Widths widths,
                           bool embedding, at::Device device) {
  const auto found = contents.pairs.find(path);
  Found pair = found == contents.pairs.end() ? Found{} : found->second;
  if (found != contents.pairs.end() && pair.embedding != embedding)
    loading.fail(fmt::format("unexpected tensor '{}': '{}' is {} embedding in this model",
                             core::printable(pair.any_name(), 200), path, embedding ? "an" : "no"));
  const std::vector<LoraPart> parts = parts_of(loading.config, embedding);
  for (const LoraPart part : parts)
    if (pair.of(part) == nullptr)
      fail_missing(loading, peft_name(path, part, embedding),
                   part == LoraPart::kMagnitude ? "use_dora" : "target_modules");
  const std::int64_t r = loading.config.rank_for(path);
  if (pair.a->shape.size() == 2 && pair.b->shape.size() == 2 && pair.a->shape[0] != pair.b->shape[1])
    loading.fail(fmt::format("{}: lora_A {} has rank {} but lora_B {} has rank {}", path, shape_text(pair.a->shape),
                             pair.a->shape[0], shape_text(pair.b->shape), pair.b->shape[1]));
  for (const LoraPart part : parts) {
    check_dtype(loading, *pair.of(part));
    check_shape(loading, *pair.of(part), r, part, path, widths);
  }
  LoraMatrices lora = {read_matrix(loading, *pair.a, device), read_matrix(loading, *pair.b, device), r,
                       loading.config.scale_for(path), loading.config.lora_dropout};
  if (pair.magnitude != nullptr) lora.magnitude = read_matrix(loading, *pair.magnitude, device);
  return lora;
}

// The copies of one module; `beside_lora`: the adapter has A and B there too.
std::vector<NamedTensor> read_copies(Loading& loading, Contents& contents, const std::string& path,
                                     const WholeModule& module, const std::vector<std::string>& wanted,
                                     bool beside_lora) {
  auto& present = contents.whole[path];
  std::vector<NamedTensor> result;
  for (const NamedTensor& own : module->base()) {
    if (std::find(wanted.begin(), wanted.end(), own.name) == wanted.end()) continue;
    const bool saved_whole = wanted.size() > 1;
    if (present.count(own.name) == 0)
      fail_missing(loading, whole_name(path, own.name, beside_lora),
                   saved_whole
                       ? "modules_to_save"
                       : fmt::format("bias = '{}' (early versions of PEFT lost such biases)", loading.config.bias));
    const TensorInfo& info = *present.at(own.name);
    check_dtype(loading, info);
    if (at::IntArrayRef(info.shape) != own.tensor.sizes())
      loading.fail(fmt::format("'{}' has shape {}, expected {} for this model's {}{}", core::printable(info.name, 200),
                               shape_text(info.shape), shape_text(own.tensor.sizes().vec()), module->path(),
                               loading.made_for()));
    result.push_back({own.name, read_matrix(loading, info, own.tensor.device())});
    present.erase(own.name);
  }
  return result;
}

// What the adapter was not told to bring.
void refuse_left_over(const Loading& loading, const Contents& contents) {
  for (const auto& [path, tensors] : contents.whole)
    for (const auto& [name, info] : tensors)
      loading.fail(
          fmt::format("unexpected tensor '{}': modules_to_save and bias in adapter_config.json do not ask for "
                      "it (a whole embedding is there when the vocabulary was resized, which is not supported)",
                      core::printable(info->name, 200)));
}

// PEFT saves the base's own weight with a targeted embedding or head; it may not be another one than this model's.
void check_redundant(Loading& loading, const Contents& contents, const PathChange& change) {
  for (const auto& [path, info] : contents.redundant) {
    for (const WholeModule& module : whole_modules(loading.table)) {
      if (change.in_file(module->path()) != path || !info->name.ends_with(".base_layer.weight")) continue;
      if (module->base().empty() || module->base().front().name != "weight") continue;
      const at::Tensor own = module->base().front().tensor.detach();
      const at::Tensor stored = formats::tensor_view(loading.file, *info);
      if (stored.sizes() != own.sizes() || !stored.to(own.device(), own.scalar_type()).equal(own))
        loading.fail(
            fmt::format("'{}' is not this model's {}: the adapter was made on a base whose {} was changed (or "
                        "resized), and such a base is not supported{}",
                        core::printable(info->name, 200), module->path(), module->path(), loading.made_for()));
    }
  }
  if (contents.redundant.empty()) return;
  const std::size_t more = contents.redundant.size() - 1;
  loading.notes.push_back(fmt::format("'{}' is a copy of the base's own tensor{}, and was passed over",
                                      core::printable(contents.redundant.begin()->second->name, 200),
                                      more > 0 ? fmt::format(", as are {} more", more) : ""));
}

// The config to keep: this model's paths, and targets that PEFT resolves to just these modules.
LoraConfig kept_config(Loading& loading, const std::vector<LinearSlot>& slots,
                       const std::vector<std::pair<std::string, std::string>>& own_and_file,
                       const std::vector<std::string>& adaptable, const PathChange& change) {
  const SlotTable& table = loading.table;
  LoraConfig config = change.changes() ? in_own_paths(loading.config, own_and_file) : loading.config;
  if (change.changes()) {
    config.modules_to_save.clear();
    for (const WholeModule& module : whole_modules(table))
      if (loading.config.saves_whole(change.in_file(module->path()))) config.modules_to_save.push_back(module->path());
  }
  std::vector<std::string> own;
  for (const auto& names : own_and_file) own.push_back(names.first);
  config = with_portable_targets(std::move(config), own, adaptable, table.others, table.head);
  const bool transposed = fan_in_fan_out(slots);
  if (config.fan_in_fan_out != transposed)
    loading.notes.push_back(fmt::format(
        "fan_in_fan_out says that weights are stored {}; this model's are {}, and the adapter's matrices are the same "
        "for both",
        transposed ? "[out, in]" : "[in, out]", transposed ? "[in, out]" : "[out, in]"));
  config.fan_in_fan_out = transposed;
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
  Contents contents = collect(loading);
  const std::vector<std::string> adaptable = adaptable_paths(table, loading.config);
  const PathChange change = place(loading, contents);

  std::vector<std::string> names_in_file;
  for (const std::string& path : adaptable) names_in_file.push_back(change.in_file(path));
  const std::set<std::string> targets = targeted(loading, contents, names_in_file, change.in_file(table.head));
  std::vector<std::pair<std::string, std::string>> own_and_file;
  std::vector<std::string> own, in_file;
  for (std::size_t i = 0; i < adaptable.size(); ++i) {
    if (targets.count(names_in_file[i]) == 0) continue;
    own_and_file.emplace_back(adaptable[i], names_in_file[i]);
    own.push_back(adaptable[i]);
    in_file.push_back(names_in_file[i]);
  }
  try {
    check_not_saved_whole(loading.config, in_file);
  } catch (const ConfigError& error) {
    throw FormatError(fmt::format("{}: {}", (directory / "adapter_config.json").string(), error.what()));
  }

  Adapter adapter;
  adapter.name_ = name;
  adapter.slots_ = slots_named(table, own, name);
  adapter.embedding_ = table.embedding;
  const bool on_embedding = targets_embedding(table, own);
  LoraMatrices embedding;
  if (on_embedding && loading.config.use_dora)
    throw ModelError(fmt::format("{}: use_dora with {}: DoRA on an embedding is not supported",
                                 (directory / "adapter_config.json").string(), table.embedding->path()));
  if (on_embedding)
    embedding = read_matrices(loading, contents, change.in_file(table.embedding->path()),
                              {table.embedding->base().out_features(), table.embedding->base().in_features()}, true,
                              table.embedding->base().device());
  std::vector<LoraMatrices> matrices;
  for (const LinearSlot& slot : adapter.slots_)
    matrices.push_back(read_matrices(loading, contents, change.in_file(slot->path()),
                                     {slot->base().in_features(), slot->base().out_features()}, false,
                                     slot->base().device()));
  std::vector<std::pair<WholeModule, std::vector<NamedTensor>>> copied;
  for (const WholeModule& module : whole_modules(table)) {
    const std::string path = change.in_file(module->path());
    const std::vector<std::string> wanted = copied_tensors(loading.config, path, in_file);
    std::vector<NamedTensor> copies = read_copies(loading, contents, path, module, wanted, targets.count(path) > 0);
    if (!copies.empty()) copied.emplace_back(module, std::move(copies));
  }
  refuse_left_over(loading, contents);
  check_redundant(loading, contents, change);
  check_free(table, on_embedding, copied, name);
  adapter.config_ = kept_config(loading, adapter.slots_, own_and_file, adaptable, change);

  for (std::size_t i = 0; i < matrices.size(); ++i) adapter.slots_[i]->attach(std::move(matrices[i]), name);
  if (on_embedding) table.embedding->attach(std::move(embedding), name);
  for (auto& [module, copies] : copied) {
    module->attach(std::move(copies), name);
    adapter.whole_.push_back(module);
  }
  adapter.head_ = table.head;
  adapter.head_tensor_ = head_tensor(table);
  adapter.directory_ = directory;
  if (notes != nullptr) notes->insert(notes->end(), loading.notes.begin(), loading.notes.end());
  return adapter;
}

}  // namespace lowrank::lora
