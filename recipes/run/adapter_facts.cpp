#include "lowrank/recipes/run/adapter_facts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/formats/folder_advice.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

void refuse_adapter_as_model(const std::string& model, const models::Resolved& resolved) {
  if (!resolved.adapter) return;
  throw FieldError("adapter", fmt::format("{} is itself an adapter (its base is {}); give that base as MODEL, or leave "
                                          "`adapter` out",
                                          model, resolved.model.string()));
}

fs::path adapter_folder(const fs::path& adapter, const std::string& field) {
  const auto folder = data::hub::local_path(adapter, data::hub::RepoType::kModel);
  if (folder && fs::is_regular_file(*folder / "adapter_config.json")) return *folder;
  if (folder && folder->extension() == ".gguf" && fs::is_regular_file(*folder))
    throw MissingError(fmt::format("{} is a GGUF file, which llama.cpp runs; `{}` takes the PEFT adapter that it was made from: the folder "
                                   "with adapter_config.json",
                                   core::printable(folder->string(), 1000), field));
  const std::string advice = folder ? formats::folder_advice(*folder) : "";
  const std::string problem =
      fmt::format("{}: no adapter there (adapter_config.json is missing); `{}` names a folder that a run "
                  "of lowrank or PEFT's save_pretrained wrote{}",
                  core::printable(folder.value_or(adapter).string(), 1000), field, advice);
  if (folder) throw MissingError(problem);
  data::hub::throw_not_here(problem + ", or ORG/NAME", adapter, data::hub::RepoType::kModel);
}

void refuse_own_tokens(const fs::path& adapter, const models::DecoderImpl& model) {
  const auto grown = models::grown_vocabulary(adapter, model.config());
  if (!grown) return;
  throw ConfigError(fmt::format("the adapter in {} brings tokens of its own (its vocabulary has {} rows, the base's {}), and such "
                                "adapters are used one at a time: give it alone, as the one `adapter`",
                                adapter.string(), grown->rows, model.config().vocab_size));
}

bool trains_bias(const lora::Adapter& adapter) {
  return std::any_of(adapter.whole().begin(), adapter.whole().end(), [&](const lora::WholeModule& module) {
    const std::vector<lora::NamedTensor>& copies = adapter.at_whole(module->path());
    return std::any_of(copies.begin(), copies.end(), [](const lora::NamedTensor& copy) { return copy.name == "bias"; });
  });
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
  if (!adapter.experts().empty()) {
    const std::size_t experts = static_cast<std::size_t>(adapter.experts().front()->experts());
    text += fmt::format("; {} parameters of {} experts each ({})", adapter.experts().size(), experts,
                        fmt::join(adapter.config().target_parameters, ", "));
  }
  for (std::size_t i = 0; i < std::min(kNamed, whole.size()); ++i)
    text += (i == 0 ? "; trained whole: " : ", ") + whole[i];
  if (whole.size() > kNamed) text += fmt::format(" and {} more", whole.size() - kNamed);
  for (const lora::Adapter::OwnRows& own : adapter.token_rows())
    text += fmt::format("; {} of {}{}", core::counted(static_cast<std::int64_t>(own.rows.ids.size()), "row"), own.path, adapter.keeps_tied() ? " and the head" : "");
  if (adapter.config().lora_bias) text += "; a bias beside every B";
  if (biases > 0) text += biases == 1 ? "; a bias" : fmt::format("; {} biases", biases);
  return text;
}

}  // namespace lowrank::recipes
