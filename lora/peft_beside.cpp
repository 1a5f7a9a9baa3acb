#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/peft_loading.h"

namespace lowrank::lora {
namespace {

// The tensor of the model's files that is meant by this name of an adapter, which may have further parts before; empty: none.
std::string tensor_beside(const SlotTable& table, const std::string& own) {
  for (const std::string& name : table.beside)
    if (own == name || own.ends_with("." + name) || name == "model." + own) return name;
  return "";
}

at::Tensor values_of(const Loading& loading, const TensorInfo& info) {
  const at::Tensor values = formats::tensor_view(loading.file, info).to(at::kFloat);
  if (!values.isfinite().all().item<bool>())
    loading.fail(fmt::format("'{}' has values that are not finite (NaN or infinity); the run that made it went wrong",
                             core::printable(info.name, 200)));
  return values;
}

BesideText read_pair(const Loading& loading, const Contents& contents, const std::string& path, Found pair,
                     const std::string& tensor) {
  BesideText result{path, tensor, {}, {}, {}};
  for (const LoraPart part : {LoraPart::kA, LoraPart::kB, LoraPart::kMagnitude, LoraPart::kBias})
    if (const TensorInfo* const info = pair.of(part)) result.saved.push_back({info->name, values_of(loading, *info)});
  const bool matrices = pair.a != nullptr && pair.b != nullptr && pair.a->shape.size() == 2 && pair.b->shape.size() == 2;
  if (!matrices || pair.embedding || pair.bias != nullptr) return result;
  result.lora = read_matrices(loading, contents, path, path, {pair.a->shape[1], pair.b->shape[0]}, false, at::kCPU);
  for (at::Tensor* const one : {&result.lora.a, &result.lora.b, &result.lora.magnitude})
    if (one->defined()) *one = one->detach();
  return result;
}

}  // namespace

std::optional<WholeName> parse_beside_name(const SlotTable& table, const std::string& name) {
  constexpr std::string_view kPrefix = "base_model.model.";
  const std::string own = name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
  const std::size_t dot = own.rfind('.');
  if (dot == std::string::npos || tensor_beside(table, own).empty()) return std::nullopt;
  WholeName result;
  result.path = own.substr(0, dot);
  result.tensor = own.substr(dot + 1);
  return result;
}

std::vector<BesideText> take_beside(Loading& loading, Contents& contents) {
  std::vector<BesideText> result;
  if (loading.table.beside.empty()) return result;
  for (auto pair = contents.pairs.begin(); pair != contents.pairs.end();) {
    const std::string tensor = tensor_beside(loading.table, pair->first + std::string(kOfWeight));
    if (!tensor.empty()) result.push_back(read_pair(loading, contents, pair->first, pair->second, tensor));
    pair = tensor.empty() ? std::next(pair) : contents.pairs.erase(pair);
  }
  for (auto module = contents.whole.begin(); module != contents.whole.end();) {
    std::erase_if(module->second, [&](const auto& one) {
      const std::string tensor = tensor_beside(loading.table, module->first + "." + one.first);
      if (tensor.empty()) return false;
      const at::Tensor copy = values_of(loading, *one.second);
      result.push_back({module->first, tensor, {}, copy, {{one.second->name, copy}}});
      return true;
    });
    module = module->second.empty() ? contents.whole.erase(module) : std::next(module);
  }
  std::erase_if(contents.redundant, [&](const auto& one) {
    return !tensor_beside(loading.table, one.first + "." + one.second->name.substr(one.second->name.rfind('.') + 1)).empty();
  });
  if (!result.empty())
    loading.notes.push_back(fmt::format("the adapter is also on {} of the base that text does not pass through (such as '{}'): "
                                        "what it has there is not trained, and is saved and merged as it is",
                                        core::counted(static_cast<std::int64_t>(result.size()), "module"),
                                        core::printable(result.front().path, 200)));
  return result;
}

}  // namespace lowrank::lora
