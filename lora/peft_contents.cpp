// What an adapter's file holds, tensor by tensor.
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/folder_advice.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/peft_loading.h"
#include "lowrank/lora/target_parameters.h"

namespace lowrank::lora {

void Loading::fail(const std::string& problem) const {
  throw ModelError(fmt::format("{}: {}", file->path().string(), problem));
}

void Loading::fail_missing(const std::string& name, const std::string& asked_by) const {
  std::vector<std::string> present;
  for (const TensorInfo& info : file->header().tensors) present.push_back(info.name);
  fail(fmt::format("the tensor '{}' is missing, although {} asks for it{}{}", name, asked_by,
                   core::did_you_mean(name, present), made_for()));
}

std::string Loading::made_for() const {
  if (config.base_model_name_or_path.empty()) return "";
  return fmt::format("; the adapter was made for '{}'", core::printable(config.base_model_name_or_path));
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
  return text + "]";
}

std::shared_ptr<const formats::SafetensorsFile> open_weights(const std::filesystem::path& directory) {
  const auto file = directory / "adapter_model.safetensors";
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    if (const auto advice = formats::pickle_advice(directory)) throw FormatError(*advice);
    throw MissingError(fmt::format("there is no '{}', which holds the adapter's weights{}", file.string(), formats::folder_advice(directory)));
  }
  return formats::SafetensorsFile::open(file);
}

namespace {

// Why a tensor that is known by its name may not be there.
std::string reason(const std::string& name) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  if (has(".hada_") || has(".lokr_")) return "it is of LoHa or LoKr (LyCORIS), and only LoRA is supported";
  if (has(".lora_down.") || has(".lora_up.")) return "it is named as kohya's trainers name them; convert it to PEFT";
  if (has(".experts."))
    return "copies of experts' parameters (modules_to_save) are not supported; merge the adapter in PEFT (merge_and_unload), and use the model";
  return "it is neither an A or B matrix, nor a magnitude vector, nor a weight or bias of a whole module";
}

}  // namespace

std::vector<LoraPart> parts_of(const LoraConfig& config) {
  if (config.use_dora) return {LoraPart::kA, LoraPart::kB, LoraPart::kMagnitude};
  if (config.lora_bias) return {LoraPart::kA, LoraPart::kB, LoraPart::kBias};
  return {LoraPart::kA, LoraPart::kB};
}

std::vector<std::string> expected_names(const Loading& loading) {
  const SlotTable& table = loading.table;
  const std::vector<std::string> paths =
      match(loading.config, adaptable_paths(table, loading.config), table.head).modules;
  std::vector<std::string> names;
  const std::vector<std::string> parameters =
      match_parameters(loading.config.target_parameters, parameter_paths(table));
  const std::vector<ExpertsSlot> experts = experts_named(table, parameters, "");
  for (const ExpertsSlot& slot : experts)
    for (const LoraPart part : {LoraPart::kA, LoraPart::kB})
      names.push_back(peft_name(experts_path(*slot, experts), part));
  for (const LinearSlot& router : slots_named(table, parameters, ""))
    for (const LoraPart part : {LoraPart::kA, LoraPart::kB}) names.push_back(peft_name(router->path(), part));
  for (const std::string& path : paths) {
    const bool embedding = table.embedding != nullptr && path == table.embedding->path();
    for (const LoraPart part : parts_of(loading.config))
      if (!embedding || part != LoraPart::kBias) names.push_back(peft_name(path, part, embedding));
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

namespace {

void collect_whole(Loading& loading, const TensorInfo& info, Contents& contents) {
  const auto name = parse_whole_name(info.name);
  if (const auto own = name ? std::nullopt : parse_beside_name(loading.table, info.name)) {
    contents.whole[own->path][own->tensor] = &info;
    return;
  }
  if (!name || info.name.find(".lora_") != std::string::npos)
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

}  // namespace

Contents collect(Loading& loading) {
  Contents contents;
  std::string odd;
  const ExpertsNames experts(loading.table, loading.config);
  for (const TensorInfo& info : loading.file->header().tensors) {
    const auto name = parse_peft_name(info.name);
    if (!name) {
      if (const auto rows = parse_token_rows_name(info.name))
        contents.tokens[*rows] = &info;
      else
        collect_whole(loading, info, contents);
      continue;
    }
    if (!name->plain && odd.empty()) odd = info.name;
    if (name->part == LoraPart::kMagnitude && !loading.config.use_dora)
      loading.fail(
          fmt::format("unexpected tensor '{}': it is a magnitude of DoRA, but use_dora in adapter_config.json is false",
                      core::printable(info.name, 200)));
    if (name->part == LoraPart::kBias && !loading.config.lora_bias)
      loading.fail(fmt::format("unexpected tensor '{}': it is a bias of lora_B, but lora_bias in adapter_config.json is "
                               "false",
                               core::printable(info.name, 200)));
    const std::string path = experts.respelt(name->path);
    if (const auto place = experts.place(path); place && name->part != LoraPart::kMagnitude && name->part != LoraPart::kBias) {
      const TensorInfo*& tensor = contents.experts[place->parameter].of(*place, name->part == LoraPart::kA);
      if (tensor != nullptr)
        loading.fail(fmt::format("'{}' and '{}' are the same matrix", core::printable(tensor->name, 200),
                                 core::printable(info.name, 200)));
      tensor = &info;
      continue;
    }
    Found& found = contents.pairs[path];
    found.embedding = found.embedding || name->embedding;
    const TensorInfo*& place = found.of(name->part);
    if (place != nullptr)
      loading.fail(fmt::format("'{}' and '{}' are the same matrix", core::printable(place->name, 200),
                               core::printable(info.name, 200)));
    place = &info;
  }
  if (contents.pairs.empty() && contents.whole.empty() && contents.experts.empty() && contents.tokens.empty()) loading.fail("it holds no tensors");
  if (!odd.empty())
    loading.notes.push_back(fmt::format("tensor names are not as PEFT writes them (such as '{}') and were read as if",
                                        core::printable(odd, 200)));
  return contents;
}

}  // namespace lowrank::lora
