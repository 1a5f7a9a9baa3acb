#include "lowrank/lora/peft_experts.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/lora/target_parameters.h"

namespace lowrank::lora {
namespace {

// The text before and after the last dot.
std::pair<std::string, std::string> split(const std::string& path) {
  const std::size_t dot = path.rfind('.');
  if (dot == std::string::npos) return {"", path};
  return {path.substr(0, dot), path.substr(dot + 1)};
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() < 10 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

const formats::TensorInfo*& ExpertsTensors::of(const ExpertsPlace& place, bool is_a) {
  if (place.expert < 0) return is_a ? a : b;
  Pair& pair = older[{place.expert, place.part}];
  return is_a ? pair.a : pair.b;
}

const std::string& ExpertsTensors::any_name() const {
  for (const formats::TensorInfo* info : {a, b})
    if (info != nullptr) return info->name;
  const Pair& pair = older.begin()->second;
  return (pair.a != nullptr ? pair.a : pair.b)->name;
}

ExpertsNames::ExpertsNames(const SlotTable& table, const LoraConfig& config)
    : own_(table.own_spelling), older_(table.older_spelling), entries_(config.target_parameters) {
  for (const ExpertsSlot& slot : table.experts) {
    module_ = split(slot->base().owner).second;
    const std::string& parameter = slot->base().parameter;
    if (std::none_of(parts_.begin(), parts_.end(), [&](const auto& known) { return known.first == parameter; }))
      parts_.emplace_back(parameter, slot->base().parts);
  }
}

std::vector<std::string> ExpertsNames::adapted_of(const std::string& module) const {
  std::vector<std::string> paths;
  for (const auto& [parameter, parts] : parts_) paths.push_back(module + "." + parameter);
  return match_parameters(entries_, paths);
}

std::string ExpertsNames::respelt(const std::string& path) const {
  const std::string older = "." + older_ + ".";
  const std::size_t at = older_.empty() ? std::string::npos : path.find(older);
  if (at == std::string::npos) return path;
  return path.substr(0, at) + "." + own_ + path.substr(at + older.size() - 1);
}

std::optional<ExpertsPlace> ExpertsNames::place(const std::string& path) const {
  if (parts_.empty()) return std::nullopt;
  const auto [before, layer] = split(path);
  const auto [owner, number] = split(before);
  if (is_number(number) && split(owner).second == module_) {
    for (const auto& [parameter, parts] : parts_) {
      const auto part = std::find(parts.begin(), parts.end(), layer);
      if (part != parts.end())
        return ExpertsPlace{owner + "." + parameter, std::stoll(number),
                            static_cast<std::size_t>(part - parts.begin())};
    }
  }
  std::string module = path;
  std::size_t inside = 0;
  for (; module.ends_with(".base_layer"); ++inside) module = split(module).first;
  if (split(module).second != module_) return std::nullopt;
  const std::vector<std::string> adapted = adapted_of(module);
  if (inside >= adapted.size()) return std::nullopt;
  return ExpertsPlace{adapted[adapted.size() - 1 - inside]};
}

void fuse_experts(const ExpertsTensors& tensors, const ExpertsSlotImpl& slot, const std::string& file,
                  const std::function<at::Tensor(const formats::TensorInfo&)>& read, LoraMatrices& lora) {
  const auto parts = static_cast<std::int64_t>(slot.base().parts.size());
  const std::int64_t experts = slot.experts(), in = slot.weight().in_features(),
                     out = slot.weight().out_features() / parts, r = lora.r / parts;
  const auto fail = [&](const std::string& problem) { throw ModelError(fmt::format("{}: {}", file, problem)); };
  for (const auto& [place, pair] : tensors.older)
    if (place.first >= experts)
      fail(fmt::format("unexpected tensor '{}': this model has {} experts",
                       core::printable((pair.a != nullptr ? pair.a : pair.b)->name, 200), experts));
  const at::TensorOptions options = at::TensorOptions(at::kFloat).device(slot.weight().device());
  const at::Tensor a = kernels::aten::zeros({experts, lora.r, in}, options);
  const at::Tensor b = kernels::aten::zeros({slot.weight().out_features(), lora.r, experts}, options);
  for (std::int64_t e = 0; e < experts; ++e)
    for (std::int64_t part = 0; part < parts; ++part) {
      const auto found = tensors.older.find({e, static_cast<std::size_t>(part)});
      if (found == tensors.older.end() || found->second.a == nullptr || found->second.b == nullptr)
        fail(fmt::format("lora_A and lora_B of '{}.{}.{}' are missing, although other experts have them",
                         slot.base().owner, e, slot.base().parts[static_cast<std::size_t>(part)]));
      const auto check = [&](const formats::TensorInfo& info, std::int64_t rows, std::int64_t columns) {
        if (info.shape != std::vector{rows, columns})
          fail(fmt::format(
              "'{}' is not of shape [{}, {}], which this model's experts and adapter_config.json's rank give",
              core::printable(info.name, 200), rows, columns));
      };
      check(*found->second.a, r, in);
      check(*found->second.b, out, r);
      a.select(0, e).narrow(0, part * r, r).copy_(read(*found->second.a));
      b.select(2, e).narrow(0, part * out, out).narrow(1, part * r, r).copy_(read(*found->second.b));
    }
  lora.a = a.view({experts * lora.r, in}).set_requires_grad(true);
  lora.b = b.view({slot.weight().out_features(), lora.r * experts}).set_requires_grad(true);
}

}  // namespace lowrank::lora
