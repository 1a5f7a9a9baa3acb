#include "lowrank/lora/peft_by_expert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/peft_tensors.h"
#include "lowrank/lora/target_parameters.h"

namespace lowrank::lora {
namespace {

// As older files spell a path.
std::string older(const std::string& path, const SlotTable& table) {
  if (table.older_spelling.empty()) return path;
  const std::string own = "." + table.own_spelling + ".";
  const std::size_t at = path.find(own);
  if (at == std::string::npos) return path;
  return path.substr(0, at + 1) + table.older_spelling + path.substr(at + own.size() - 1);
}

std::string last_of(const std::string& path) { return path.substr(path.rfind('.') + 1); }

double alpha_of(const LoraMatrices& lora, bool rslora) {
  const auto r = static_cast<double>(lora.r);
  return lora.scale * (rslora ? std::sqrt(r) : r);
}

}  // namespace

void save_by_expert(const Adapter& adapter, const SlotTable& table, at::ScalarType type,
                    const std::filesystem::path& directory) {
  adapter.require_text_alone("this form");
  if (adapter.experts().empty()) throw ConfigError("this adapter is on no experts; PEFT's own form is the one for it");
  if (!table.converts_expert_targets)
    throw ConfigError(
        fmt::format("PEFT does not read adapters on {} in the form of one pair an expert; keep PEFT's form of today",
                    adapter.experts().front()->path()));
  // The rank of the config is that of gate and up, from which PEFT makes that of their common parameter.
  const auto fused =
      std::max_element(adapter.experts().begin(), adapter.experts().end(),
                       [](const auto& a, const auto& b) { return a->base().parts.size() < b->base().parts.size(); });
  LoraConfig config = adapter.config();
  config.r = adapter.at(*fused).r;
  config.lora_alpha = alpha_of(adapter.at(*fused), config.use_rslora);
  config.rank_pattern.clear();
  config.alpha_pattern.clear();
  config.target_parameters.clear();
  config.exclude_modules = std::vector<std::string>{};
  config.layers_to_transform.reset();
  config.layers_pattern.clear();
  std::set<std::string> targets;
  std::map<std::string, std::pair<std::int64_t, double>> patterns;
  const auto differs = [](const std::string& path) {
    throw ConfigError(
        fmt::format("{} has another rank or scale than in other layers, which this form cannot say", path));
  };
  const auto note = [&](const std::string& path, const std::string& pattern, const LoraMatrices& lora) {
    const double alpha = alpha_of(lora, config.use_rslora);
    const auto [known, fresh] = patterns.try_emplace(pattern, lora.r, alpha);
    if (known->second != std::pair(lora.r, alpha)) differs(path);
    if (!fresh) return;
    if (lora.r != config.r) config.rank_pattern.emplace_back(pattern, lora.r);
    if (alpha != config.lora_alpha) config.alpha_pattern.emplace_back(pattern, alpha);
  };

  std::vector<NamedTensor> tensors;
  const auto add = [&](const std::string& path, const at::Tensor& a, const at::Tensor& b) {
    tensors.push_back({peft_name(path, LoraPart::kA), a.detach().to(type).contiguous()});
    tensors.push_back({peft_name(path, LoraPart::kB), b.detach().to(type).contiguous()});
  };
  for (const LinearSlot& slot : adapter.slots()) {
    const std::string path = older(slot->path(), table);
    targets.insert(last_of(path));
    // A router is a module then and a parameter now.
    const bool router = pattern_path(*slot, table, path, adapter.config()) != path;
    note(path, router ? last_of(path) + R"((\.weight)?)" : path, adapter.at(slot));
    add(path, adapter.at(slot).a, adapter.at(slot).b);
  }
  for (const ExpertsSlot& slot : adapter.experts()) {
    const std::vector<std::string>& parts = slot->base().parts;
    const LoraMatrices& lora = adapter.at(slot);
    const std::int64_t rows = slot->weight().out_features() / static_cast<std::int64_t>(parts.size());
    for (const std::string& part : parts) targets.insert(part);
    if (parts.size() == 1) {  // one name, of the layer then and of the parameter now
      note(slot->path(), fmt::format(R"(experts\.(\d+\.)?({}|{}))", parts.front(), slot->base().parameter), lora);
    } else if (lora.r != config.r || alpha_of(lora, config.use_rslora) != config.lora_alpha) {
      differs(slot->path());
    }
    for (std::int64_t e = 0; e < slot->experts(); ++e)
      for (std::size_t part = 0; part < parts.size(); ++part) {
        const LoraMatrices own = matrices_of(lora, slot->experts(), e, static_cast<std::int64_t>(part) * rows, rows);
        add(fmt::format("{}.{}.{}", older(slot->base().owner, table), e, parts[part]), own.a, own.b);
      }
  }
  config.target_modules = std::vector<std::string>(targets.begin(), targets.end());
  write_peft(tensors, config, directory);
}

}  // namespace lowrank::lora
