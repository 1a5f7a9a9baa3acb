#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/formats/weight_index.h"

namespace lowrank::formats {

namespace {

using core::printable;

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::symlink_status(file, ignored).type() != fs::file_type::not_found;
}

[[noreturn]] void throw_no_weights(const fs::path& directory) {
  const std::string where = printable(directory.string(), 500);
  if (const auto advice = pickle_advice(directory)) throw FormatError(*advice);
  std::string others;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  for (const fs::directory_iterator end; !error && entries != end; entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (name.ends_with(".safetensors") || name.ends_with(".gguf") || name.ends_with(".h5") ||
        name.ends_with(".msgpack")) {
      others += (others.empty() ? " (it has " : ", ") + printable(name);
    }
  }
  throw MissingError(fmt::format("'{}' holds no weights: neither {} nor {} is there{}", where, kSingle, kIndex,
                                 others.empty() ? "" : others + ")"));
}

}  // namespace

std::optional<std::string> pickle_advice(const fs::path& directory) {
  std::error_code error;
  std::set<std::string> names;
  fs::directory_iterator entries(directory, error);
  for (const fs::directory_iterator end; !error && entries != end; entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    const bool weights = name.starts_with("pytorch_model") || name.starts_with("adapter_model") ||
                         name.starts_with("consolidated") || name.starts_with("model");
    if (weights && (name.ends_with(".bin") || name.ends_with(".bin.index.json") || name.ends_with(".pt") ||
                    name.ends_with(".pth"))) {
      names.insert(name);
    }
  }
  if (names.empty()) return std::nullopt;
  const bool adapter = names.begin()->starts_with("adapter_model");
  return fmt::format(
      "'{}' holds its weights as a pickle file ({}), which can run code and is never read; convert it in Python: "
      "{}.from_pretrained(DIR).save_pretrained(NEW_DIR, safe_serialization=True)",
      printable(directory.string(), 500), printable(*names.begin()),
      adapter ? "peft.AutoPeftModelForCausalLM" : "transformers.AutoModelForCausalLM");
}

WeightFiles WeightFiles::open(const fs::path& directory) {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (!fs::exists(status))
    throw MissingError(fmt::format("there is no folder '{}'", printable(directory.string(), 500)));
  if (!fs::is_directory(status)) {
    throw FormatError(fmt::format("'{}' is not a folder", printable(directory.string(), 500)));
  }
  WeightFiles weights;
  const auto add = [&](const std::shared_ptr<const SafetensorsFile>& file) {
    for (const TensorInfo& info : file->header().tensors) {
      const auto [found, inserted] = weights.entries_.try_emplace(info.name, Entry{file, &info});
      if (!inserted) {
        throw FormatError(fmt::format("the tensor '{}' is in two shards, '{}' and '{}'", printable(info.name),
                                      printable(found->second.file->path().string(), 500),
                                      printable(file->path().string(), 500)));
      }
    }
    weights.files_.push_back(file);
  };

  if (is_there(directory / kSingle)) {  // as in transformers, the single file wins where both are
    add(SafetensorsFile::open(directory / kSingle));
    return weights;
  }
  if (!is_there(directory / kIndex)) throw_no_weights(directory);

  weights.sharded_ = true;
  const std::string index = printable((directory / kIndex).string(), 500);
  const auto shard_of = parse_weight_index(core::read_file(directory / kIndex, 200'000'000), index);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    if (!is_there(directory / shard)) {
      throw MissingError(fmt::format(
          "{}: the shard '{}' is not there; download the rest of the model ({} of {} shards "
          "are present)",
          index, shard,
          std::count_if(shards.begin(), shards.end(), [&](const auto& name) { return is_there(directory / name); }),
          shards.size()));
    }
    add(SafetensorsFile::open(directory / shard));
  }
  for (const auto& [tensor, shard] : shard_of) {
    const Entry* entry = weights.find(tensor);
    if (entry == nullptr) {
      throw FormatError(fmt::format("{}: the tensor '{}' should be in '{}', which does not have it", index,
                                    printable(tensor), shard));
    }
    if (const std::string actual = entry->file->path().filename().string(); actual != shard) {
      throw FormatError(fmt::format("{}: the tensor '{}' should be in '{}', but it is in '{}'", index,
                                    printable(tensor), shard, actual));
    }
  }
  for (const auto& [name, entry] : weights.entries_) {
    if (!shard_of.contains(name)) {
      throw FormatError(fmt::format("{}: the tensor '{}' of '{}' is not in the weight_map", index, printable(name),
                                    entry.file->path().filename().string()));
    }
  }
  return weights;
}

const WeightFiles::Entry* WeightFiles::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<std::string> WeightFiles::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

std::uint64_t WeightFiles::total_bytes() const {
  std::uint64_t total = 0;
  for (const auto& [name, entry] : entries_) total += entry.info->end - entry.info->begin;
  return total;
}

std::vector<std::string> WeightFiles::links() const {
  std::vector<std::string> lines;
  for (const auto& file : files_) {
    if (const std::string line = link_line(file->path()); !line.empty()) lines.push_back(line);
  }
  return lines;
}

std::string link_line(const fs::path& file) {
  const fs::path real = core::leads_out_to(file);
  if (real.empty()) return "";
  return fmt::format("{} is a link out of its folder, to {}", printable(file.string(), 500),
                     printable(real.string(), 500));
}

void WeightFiles::check_unchanged() const {
  for (const auto& file : files_) core::check_unchanged(file->path(), file->mapping()->stamp());
}

}  // namespace lowrank::formats
