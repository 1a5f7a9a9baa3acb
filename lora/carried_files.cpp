#include "lowrank/lora/carried_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/settings_limits.h"

namespace lowrank::lora {
namespace {

namespace fs = std::filesystem;

fs::path resolved(const fs::path& path) {
  const fs::path full = fs::weakly_canonical(fs::absolute(path));
  return full.has_filename() ? full : full.parent_path();  // "dir/" is "dir"
}

void refuse_inside(const fs::path& out, const fs::path& folder, const char* what) {
  if (folder.empty()) return;
  const fs::path a = resolved(out), b = resolved(folder);
  if (std::mismatch(b.begin(), b.end(), a.begin(), a.end()).first == b.end())
    throw ConfigError(
        fmt::format("the merged model cannot go to {}, which is {} the {}'s folder {}; name another folder",
                    out.string(), a == b ? "itself" : "inside", what, folder.string()));
}

// What a model folder needs beside its weights to be used: never code, never the card of the model that it no longer
// is.
bool carried(const std::string& name) {
  const auto begins = [&](std::string_view s) { return name.compare(0, s.size(), s) == 0; };
  return name == "config.json" || name == "generation_config.json" || name == "special_tokens_map.json" ||
         name == "added_tokens.json" || name == "vocab.json" || name == "vocab.txt" || name == "merges.txt" ||
         name == "preprocessor_config.json" || name == "processor_config.json" || name == "video_preprocessor_config.json" ||
         begins("tokenizer") || begins("chat_template") || begins("LICENSE") || begins("NOTICE") ||
         name.ends_with(".jinja") || (name.ends_with(".model") && !begins("."));
}

bool says_of_tying(const core::Json& json) {
  const auto says = [](const core::Json& where) {
    return where.is_object() && where.contains("tie_word_embeddings") && !where["tie_word_embeddings"].is_null();
  };
  return says(json) || (json.contains("text_config") && says(json["text_config"]));
}

std::string merged_config(const core::FileRef& file, const ConfigChange& change) {
  core::Json json = core::read_json(file, core::kSettings);
  const bool now_said = change.tied && !says_of_tying(json);
  if (!now_said && !change.untied && change.vocabulary == 0 && change.dtype.empty()) return core::read_file(file);
  if (now_said) json["tie_word_embeddings"] = true;
  if (change.untied) json["tie_word_embeddings"] = false;
  if (change.vocabulary > 0) {
    const bool nested = json.contains("text_config") && json["text_config"].is_object();
    if (nested) json["text_config"]["vocab_size"] = change.vocabulary;
    if (!nested || json.contains("vocab_size")) json["vocab_size"] = change.vocabulary;
  }
  if (!change.dtype.empty()) {  // transformers 4 wrote torch_dtype, 5 writes dtype, both at either depth
    const auto say = [&](core::Json& where, bool always) {
      if (where.contains("torch_dtype")) where["torch_dtype"] = change.dtype;
      if (where.contains("dtype") || (always && !where.contains("torch_dtype"))) where["dtype"] = change.dtype;
    };
    say(json, true);
    if (json.contains("text_config") && json["text_config"].is_object()) say(json["text_config"], false);
  }
  return core::json_text(json, 2) + "\n";
}

constexpr const char* kMoreTemplates = "additional_chat_templates";

// What of a folder is carried, by the names it gets. An adapter's folder holds the tokenizer, the template and the end
// tokens it was trained with, where they are not its base's; config.json and licences are the base's to give.
std::map<std::string, core::FileRef> carried_of(const fs::path& folder, bool of_adapter) {
  std::map<std::string, core::FileRef> found;
  if (folder.empty()) return found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const bool bases = name == "config.json" || name.starts_with("LICENSE") || name.starts_with("NOTICE");
    if (entry.is_regular_file() && carried(name) && !(of_adapter && bases)) found.insert_or_assign(name, entry.path());
  }
  if (fs::is_directory(folder / kMoreTemplates)) {
    for (const auto& entry : fs::directory_iterator(folder / kMoreTemplates))
      found.insert_or_assign((fs::path(kMoreTemplates) / entry.path().filename()).string(),
                             core::FileRef::within(folder, entry.path()));
  }
  return found;
}

}  // namespace

std::vector<std::string> carry_files(const fs::path& model, const fs::path& adapter, const fs::path& out,
                                     const ConfigChange& change) {
  std::map<std::string, core::FileRef> files = carried_of(model, false);
  for (const auto& [name, file] : carried_of(adapter, true)) files.insert_or_assign(name, file);
  std::vector<std::string> names;
  for (const auto& [name, file] : files) {
    if (name.find('/') != std::string::npos) core::make_folder((out / name).parent_path());
    core::write_file(out / name, name == "config.json" ? merged_config(file, change) : core::read_file(file));
    names.push_back(name);
  }
  return names;
}

void refuse_merge_place(const fs::path& out, const fs::path& model, const fs::path& adapter) {
  refuse_inside(out, model, "model");
  refuse_inside(out, adapter, "adapter");
}

}  // namespace lowrank::lora
