#include "lowrank/recipes/modelfile.h"

#include <fmt/format.h>

#include <set>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/settings_limits.h"

namespace lowrank::recipes {

namespace {

/// A text of a Modelfile: in quotes, which it has no way to escape.
bool can_be_quoted(const std::string& text) {
  return !text.empty() && text.find_first_of("\"\n\r") == std::string::npos;
}

}  // namespace

std::string modelfile(const std::string& gguf, const std::filesystem::path& folder, const data::Tokenizer& tokenizer) {
  std::string text = fmt::format("# ollama create NAME -f Modelfile\nFROM ./{}\n", gguf);
  std::set<std::int64_t> ends;
  if (tokenizer.eos()) ends.insert(*tokenizer.eos());
  core::Json generation = core::Json::object();
  if (std::filesystem::exists(folder / "generation_config.json"))
    generation = core::read_json(folder / "generation_config.json", core::kSettings);
  const auto number = [&](const char* key, const char* parameter) {
    const auto found = generation.find(key);
    if (found != generation.end() && found->is_number())
      text += fmt::format("PARAMETER {} {}\n", parameter, core::json_text(*found));
  };
  if (generation.is_object()) {
    number("temperature", "temperature");
    number("top_k", "top_k");
    number("top_p", "top_p");
    number("min_p", "min_p");
    number("repetition_penalty", "repeat_penalty");
    if (const auto found = generation.find("eos_token_id"); found != generation.end())
      for (const core::Json& id : found->is_array() ? *found : core::Json::array({*found}))
        if (id.is_number_integer()) ends.insert(id.get<std::int64_t>());
  }
  for (const std::int64_t id : ends) {
    if (id < 0 || id >= tokenizer.size()) continue;
    const std::string token = tokenizer.id_to_token(static_cast<data::TokenId>(id));
    if (can_be_quoted(token)) text += fmt::format("PARAMETER stop \"{}\"\n", token);
  }
  return text;
}

}  // namespace lowrank::recipes
