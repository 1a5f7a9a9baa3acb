#include "lowrank/recipes/combine.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/lora/peft_tensors.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/opened.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

core::Json combine_adapters(models::LoadedModel& model, const std::vector<std::string>& adapters,
                            const lora::CombineOptions& options, const fs::path& out,
                            core::ProgressObserver& progress) {
  lora::SlotTable table = model.decoder->slot_table();
  std::vector<lora::Adapter> loaded;
  loaded.reserve(adapters.size());
  for (const std::string& directory : adapters) {
    const fs::path folder = adapter_folder(directory, "adapter");
    if (form_of_loftq(folder))
      throw ConfigError(fmt::format("the adapter in {} began with LoftQ: it holds what the codes of its base had lost, which a "
                                    "combination would weigh as if it were learned; merge it alone",
                                    directory));
    refuse_own_tokens(folder, *model.decoder);
    std::vector<std::string> notes;
    loaded.push_back(lora::load_peft(table, folder, &notes, fmt::format("combined{}", loaded.size())));
    for (const std::string& note : notes) progress.warning(fmt::format("{}: {}", directory, note));
  }
  std::vector<const lora::Adapter*> all;
  for (const lora::Adapter& adapter : loaded) all.push_back(&adapter);
  const lora::CombinedAdapter made = lora::combine(table, all, options);
  for (lora::Adapter& adapter : loaded) adapter.detach();
  core::StagedDirectory staged(out);
  lora::write_peft(made.tensors, made.config, staged.path());
  staged.commit();
  core::Json json = {{"combine", options.method}, {"adapters", adapters}, {"weights", options.weights},
                     {"rank", made.config.r}};
  if (options.density) json["density"] = *options.density;
  if (options.method.starts_with("dare")) json["seed"] = options.seed;
  return json;
}

}  // namespace lowrank::recipes
