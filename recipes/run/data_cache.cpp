#include "lowrank/recipes/run/data_cache.h"

#include <fmt/format.h>

#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/row_map.h"

namespace lowrank::recipes {

data::Dataset DataCache::load(const std::vector<std::filesystem::path>& paths, const data::Tokenizer& tokenizer,
                              const data::DataOptions& options, core::ProgressObserver* progress) {
  std::string key = fmt::format("{} {} {} {} {}", static_cast<int>(options.format), options.seq_len,
                                options.train_on_prompt, static_cast<int>(options.files.part), options.files.temperature);
  if (options.chat) key += " " + options.chat->identity();
  if (options.files.map) key += " " + options.files.map->text();
  for (const auto* files : {&tokenizer.files(), &paths})
    for (const std::filesystem::path& file : *files) key += "\n" + file.string();
  const auto found = read_.find(key);
  if (found != read_.end()) return found->second;
  return read_.emplace(key, data::load(paths, tokenizer, options, progress)).first->second;
}

}  // namespace lowrank::recipes
