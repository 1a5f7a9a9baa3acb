#include "lowrank/lora/tying.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/pattern.h"

namespace lowrank::lora {
namespace {

// PEFT's EMBEDDING_LAYER_NAMES: what modules_to_save and target_modules are searched for.
bool embedding_name(const std::string& entry) {
  const std::string last = entry.substr(entry.rfind('.') + 1);
  return last == "embed_tokens" || last == "lm_head";
}

// re.match(r"(^|.*\.)entry($|\..*)", path), for plain names.
bool takes_in(const std::string& entry, const std::string& path) {
  return path == entry || path.ends_with("." + entry) || path.starts_with(entry + ".") ||
         path.find("." + entry + ".") != std::string::npos;
}

bool names_embedding(const std::variant<std::vector<std::string>, std::string>& targets) {
  if (const auto* expression = std::get_if<std::string>(&targets)) {
    const Pattern pattern(Pattern::Kind::kFullMatch, *expression, "target_modules");
    return pattern.matches("embed_tokens") || pattern.matches("lm_head");
  }
  const auto& list = std::get<std::vector<std::string>>(targets);
  return std::any_of(list.begin(), list.end(), embedding_name);
}

// PEFT takes off the first entry only.
void take_off(std::vector<std::string>& entries, const std::string& head) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const std::string& entry) { return takes_in(entry, head); });
  if (found != entries.end()) entries.erase(found);
}

void put_in(std::vector<std::string>& entries, const std::string& path) {
  if (std::find(entries.begin(), entries.end(), path) == entries.end()) entries.push_back(path);
}

// A regular expression that matches this path alone.
std::string escaped(const std::string& path) {
  std::string result;
  for (const char c : path) result += (c == '.' ? "\\." : std::string(1, c));
  return result;
}

}  // namespace

Tied asks_for(const LoraConfig& config, const SlotTable& table) {
  if (!config.ensure_weight_tying || !table.tied || table.embedding == nullptr) return Tied::kNothing;
  const auto& saved = config.modules_to_save;
  if (std::any_of(saved.begin(), saved.end(), embedding_name)) return Tied::kCopies;
  if (!config.all_linear() && names_embedding(config.target_modules)) return Tied::kMatrices;
  return Tied::kNothing;
}

LoraConfig with_tying(LoraConfig config, const SlotTable& table) {
  const Tied tied = asks_for(config, table);
  if (tied == Tied::kNothing) return config;
  const std::string& path = table.embedding->path();
  if (tied == Tied::kCopies) {
    put_in(config.modules_to_save, path);
    take_off(config.modules_to_save, table.head);
    return config;
  }
  if (config.use_dora)
    throw ConfigError(
        fmt::format("use_dora with ensure_weight_tying on {}: a magnitude of the embedding is none of the head; leave "
                    "one of them out",
                    path));
  if (auto* list = std::get_if<std::vector<std::string>>(&config.target_modules)) {
    put_in(*list, path);
    take_off(*list, table.head);
  } else {
    auto& expression = std::get<std::string>(config.target_modules);
    const std::string added = fmt::format("|^{}$)", escaped(path));
    if (!expression.ends_with(added)) expression = fmt::format("(?:{}{}", expression, added);
  }
  return config;
}

std::vector<TokenPlace> token_places(const LoraConfig& config, const SlotTable& table,
                                     const std::vector<std::string>& targets) {
  std::vector<TokenPlace> places;
  if (config.trainable_token_indices.empty()) return places;
  if (table.embedding == nullptr) throw ConfigError("trainable_token_indices: this model has no embedding");
  const std::string& embedding = table.embedding->path();
  const std::int64_t rows = table.embedding->base().out_features();
  for (const auto& [module, ids] : config.trainable_token_indices) {
    const bool of_embedding = module.empty() || embedding.ends_with(module);
    if (!of_embedding && (table.head.empty() || !table.head.ends_with(module)))
      throw ConfigError(fmt::format(
          "trainable_token_indices names '{}', which is neither the embedding ({}) nor the head ({}) of this model",
          core::printable(module), embedding, table.head.empty() ? "it has none" : table.head));
    TokenPlace place{of_embedding ? embedding : table.head, !of_embedding, false, ids};
    for (const std::int64_t id : ids)
      if (id >= rows)
        throw ConfigError(fmt::format("trainable_token_indices has {}, but {} has {} rows", id, place.path, rows));
    if (config.saves_whole(place.path))
      throw ConfigError(fmt::format("trainable_token_indices and modules_to_save both take in {}; leave it out of one",
                                    place.path));
    if (std::find(targets.begin(), targets.end(), place.path) != targets.end())
      throw ConfigError(fmt::format("trainable_token_indices and target_modules both take in {}, which PEFT refuses; "
                                    "leave it out of one",
                                    place.path));
    for (const TokenPlace& other : places)
      if (other.path == place.path)
        throw ConfigError(fmt::format("trainable_token_indices has {} twice", place.path));
    places.push_back(std::move(place));
  }
  if (!table.tied) return places;
  const auto first = std::find_if(places.begin(), places.end(), [](const TokenPlace& one) { return !one.head; });
  if (first == places.end()) return places;
  const auto head = std::find_if(places.begin(), places.end(), [](const TokenPlace& one) { return one.head; });
  if (head != places.end() && head->ids != first->ids) {
    if (config.ensure_weight_tying)
      throw ConfigError(fmt::format("ensure_weight_tying: trainable_token_indices has other ids for {} than for {}, "
                                    "which is tied to it",
                                    table.head, embedding));
    return places;
  }
  first->also_of_head = true;
  if (std::find(targets.begin(), targets.end(), table.head) != targets.end())
    throw ConfigError(fmt::format("trainable_token_indices takes in {0} with the embedding that it is tied to, and target_modules adapts {0} "
                                  "too; PEFT trains both there, and here it is one or the other: leave {0} out of the targets",
                                  table.head));
  if (head != places.end()) places.erase(head);
  return places;
}

LinearSlot head_slot(const SlotTable& table) {
  for (const LinearSlot& slot : table.slots)
    if (slot->path() == table.head) return slot;
  return nullptr;
}

}  // namespace lowrank::lora
