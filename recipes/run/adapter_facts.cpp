#include "lowrank/recipes/run/adapter_facts.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

void refuse_adapter_as_model(const std::string& model, const models::Resolved& resolved) {
  if (!resolved.adapter) return;
  throw FieldError("adapter", fmt::format("{} is itself an adapter (its base is {}); give that base as MODEL, or leave "
                                          "`adapter` out",
                                          model, resolved.model.string()));
}

void require_adapter(const fs::path& directory, const std::string& field) {
  if (fs::is_regular_file(directory / "adapter_config.json")) return;
  throw MissingError(
      fmt::format("{}: no adapter there (adapter_config.json is missing); `{}` names a folder that a run "
                  "of lowrank or PEFT's save_pretrained wrote",
                  directory.string(), field));
}

std::string also_trained(const lora::Adapter& adapter) {
  constexpr std::size_t kNamed = 4;
  std::vector<std::string> whole;
  std::size_t biases = 0;
  for (const lora::WholeModule& module : adapter.whole()) {
    if (adapter.config().saves_whole(module->path())) {
      whole.push_back(module->path());
    } else {
      ++biases;
    }
  }
  std::string text = adapter.adapts_embedding() ? "; the embedding" : "";
  for (std::size_t i = 0; i < std::min(kNamed, whole.size()); ++i) text += (i == 0 ? "; whole: " : ", ") + whole[i];
  if (whole.size() > kNamed) text += fmt::format(" and {} more", whole.size() - kNamed);
  if (biases > 0) text += fmt::format("; {} biases", biases);
  return text;
}

}  // namespace lowrank::recipes
