#include "lowrank/formats/folder_advice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <vector>

#include "lowrank/core/text.h"

namespace lowrank::formats {

namespace {

namespace fs = std::filesystem;

std::string named(const fs::path& path) { return core::printable(path.string(), 500); }

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

// A model or an adapter by its config.
bool is_usable(const fs::path& folder) { return is_file(folder / "config.json") || is_file(folder / "adapter_config.json"); }

std::vector<fs::path> entries_of(const fs::path& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  for (const fs::directory_iterator end; !error && entries != end; entries.increment(error)) found.push_back(entries->path());
  std::sort(found.begin(), found.end());
  return found;
}

/// N of checkpoint-N; -1 for any other name.
std::int64_t step_of(const fs::path& folder) {
  constexpr std::string_view kBegins = "checkpoint-";
  const std::string name = folder.filename().string();
  std::int64_t step = -1;
  if (!name.starts_with(kBegins)) return -1;
  const auto [end, error] = std::from_chars(name.data() + kBegins.size(), name.data() + name.size(), step);
  return error == std::errc() && end == name.data() + name.size() ? step : -1;
}

/// Folders inside that can be given instead; of a trainer's checkpoints the newest.
std::string advice_of_folders(const fs::path& directory) {
  fs::path newest;
  std::vector<std::string> others;
  for (const fs::path& place : {directory, directory / "checkpoints"}) {
    for (const fs::path& entry : entries_of(place)) {
      if (!is_usable(entry)) continue;
      if (step_of(entry) < 0) {
        if (place == directory) others.push_back(named(entry));
      } else if (newest.empty() || step_of(entry) > step_of(newest)) {
        newest = entry;
      }
    }
  }
  if (!newest.empty()) return fmt::format("; give its newest checkpoint, {}", named(newest));
  if (is_usable(directory / "policy")) return fmt::format("; give the policy that was trained, {}", named(directory / "policy"));
  if (others.size() > 4) others.resize(4);
  if (others.empty()) return "";
  return fmt::format("; give {}{}", others.size() == 1 ? "the folder inside it, " : "one of the folders inside it: ", fmt::join(others, ", "));
}

/// The state of training in pieces, which a program of its own puts together.
std::string advice_of_pieces(const fs::path& directory, const std::vector<fs::path>& entries) {
  bool zero = false;
  fs::path sharded;  // by FSDP
  std::error_code none;
  for (const fs::path& entry : entries) {
    const std::string name = entry.filename().string();
    zero = zero || name == "zero_to_fp32.py" || (name.starts_with("global_step") && fs::is_directory(entry, none));
    if (name.ends_with(".distcp")) sharded = directory;
    if (name.starts_with("pytorch_model_fsdp") && fs::is_directory(entry, none)) sharded = entry;
  }
  if (zero)
    return fmt::format("; it holds DeepSpeed's pieces of a training state: put them together by `python zero_to_fp32.py {} OUT` with its option "
                       "safe_serialization, and give OUT with config.json and the tokenizer's files beside the result",
                       named(directory));
  if (!sharded.empty())
    return fmt::format("; it holds FSDP's pieces of a training state (.distcp): put them together by `accelerate merge-weights {} OUT`, with "
                       "config.json and the tokenizer's files beside the result",
                       named(sharded));
  return "";
}

}  // namespace

std::string folder_advice(const fs::path& directory) {
  const std::vector<fs::path> entries = entries_of(directory);
  if (std::string advice = advice_of_pieces(directory, entries); !advice.empty()) return advice;
  if (std::string advice = advice_of_folders(directory); !advice.empty()) return advice;
  for (const fs::path& entry : entries) {
    if (entry.extension() == ".gguf")
      return fmt::format("; it holds {}, which llama.cpp runs: give the model in safetensors that it was made from, a folder or ORG/NAME",
                         core::printable(entry.filename().string(), 200));
  }
  return "";
}

}  // namespace lowrank::formats
