#include "lowrank/data/token_cache.h"

#include <chrono>
#include <thread>
#include <unordered_map>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/own_binary.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/data/row_map.h"
#include "lowrank/data/standard_input.h"

namespace lowrank::data {

namespace fs = std::filesystem;
using core::Json;

namespace {

constexpr int kFormat = 3;  // of the files (token_store.h)
constexpr std::int64_t kSettled = 2'000'000'000;  // ns

Json stamp_json(const core::FileStamp& stamp) {
  return {stamp.size, stamp.mtime_ns, stamp.inode, stamp.device};
}

/// A new build may tokenize otherwise.
Json program() {
  const core::FileStamp stamp = core::stamp_of(core::FileRef::named(core::own_binary()));
  return {stamp.size, stamp.mtime_ns};
}

}  // namespace

std::string remembered_sha256(const core::FileRef& file, const fs::path& memory) {
  if (file.path().string().starts_with("/proc/")) return core::sha256_file(file);
  const std::string name = fs::absolute(file.path()).lexically_normal().string();
  const fs::path note = memory / (core::sha256(name) + ".json");
  const core::FileStamp stamp = core::stamp_of(file);
  try {
    if (fs::exists(note)) {
      const Json json = core::read_json(core::FileRef::named(note));
      const core::JsonView known(json, note.string());
      if (known.at("stamp").raw() == stamp_json(stamp)) return known.at("sha256").as_string();
    }
  } catch (const FormatError&) {  // it is written anew
  }
  const std::string sha256 = core::sha256_file(file);
  core::check_unchanged(file, stamp);
  const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  if (now - stamp.mtime_ns > kSettled) {
    core::make_folder(memory);
    core::write_file(note, core::json_text(Json({{"file", name}, {"stamp", stamp_json(stamp)}, {"sha256", sha256}})) + "\n");
  }
  return sha256;
}

std::string token_cache_key(const std::vector<Source>& sources, const std::vector<std::string>& digests,
                            const std::vector<std::string>& notes, const Tokenizer& tokenizer,
                            const ChatLayout& layout, const DataOptions& options) {
  if (tokenizer.files().empty()) return "";
  const auto id = [](const std::optional<TokenId>& token) { return token ? Json(*token) : Json(nullptr); };
  Json files = Json::array(), read = Json::array();
  for (const fs::path& file : tokenizer.files()) {
    files.push_back({file.filename().string(), remembered_sha256(core::FileRef::named(file), options.cache->folder / "files")});
  }
  std::string vocabulary;  // tokens may have been added to what the files say
  for (TokenId token = 0; token < tokenizer.size(); ++token) vocabulary += tokenizer.id_to_token(token) + '\n';
  vocabulary = core::sha256(vocabulary);
  std::unordered_map<std::string, std::size_t> names;  // of the sources: which of them share one counts, not what it is
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const Source& source = sources[i];
    const std::size_t first = names.emplace(name_of(source.file), i).first->second;
    read.push_back({digests[i], first, static_cast<int>(source.kind), source.given, source.weight,
                    source.map == nullptr ? "" : source.map->text()});
  }
  const Json key = {{"format", kFormat},
                    {"program", program()},
                    {"sources", read},
                    {"notes", notes},
                    {"tokenizer", files},
                    {"vocabulary", vocabulary},
                    {"special", {id(tokenizer.bos()), id(tokenizer.eos()), id(tokenizer.pad()), id(tokenizer.unk()),
                                 tokenizer.adds_bos(), tokenizer.adds_eos()}},
                    {"layout", layout.identity()},
                    {"options", {static_cast<int>(options.format), options.seq_len, options.train_on_prompt,
                                 options.files.temperature}}};
  return core::sha256(core::json_text(key)).substr(0, 32);
}

std::unique_ptr<core::DirectoryLock> wait_for(const fs::path& folder, core::ProgressObserver* progress) {
  std::unique_ptr<core::ProgressScope> waiting;
  while (true) {
    try {
      return std::make_unique<core::DirectoryLock>(folder);
    } catch (const IoError& error) {
      if (std::string(error.what()).find(" is in use by ") == std::string::npos) throw;
    }
    if (waiting == nullptr) {
      waiting = std::make_unique<core::ProgressScope>(progress, "waiting for another process that tokenizes the same", 0, "");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

}  // namespace lowrank::data
