#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/folder_advice.h"
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
  throw MissingError(fmt::format("'{}' holds no weights: neither {} nor {} is there{}{}", where, kSingle, kIndex,
                                 others.empty() ? "" : others + ")", folder_advice(directory)));
}

/// Faults of one kind: how many there are, and the first.
struct Fault {
  std::size_t count = 0;
  std::string first;
  void add(const std::string& tensor) {
    if (count++ == 0) first = printable(tensor);
  }
};

bool same_tensor(const WeightFiles::Entry& a, const WeightFiles::Entry& b) {
  const auto x = a.bytes(), y = b.bytes();
  return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape && std::memcmp(x.data(), y.data(), x.size()) == 0;
}

/// What saving a wrapped module puts into the names of its weights: torch.compile, FSDP and recomputation anywhere, since
/// they may wrap a layer alone; parallel training and PEFT before all of them.
class Wrappers {
 public:
  Wrappers(const std::vector<std::string>& names, const fs::path& directory) {
    std::vector<std::string> inner;
    for (const std::string& name : names) {
      inner.push_back(without(name));
      if (inner.back().size() != name.size()) note_first(name, inner.back());
    }
    for (bool found = true; found && !inner.empty();) {
      found = false;
      for (const std::string_view outer : {"module.", "base_model.model."}) {
        if (!std::all_of(inner.begin(), inner.end(), [&](const std::string& name) { return name.starts_with(outer); })) continue;
        if (outer == "base_model.model.") refuse_adapter(inner, directory);
        found = true;
        note_first(inner.front(), inner.front().substr(outer.size()));
        before_ += outer;
        for (std::string& name : inner) name.erase(0, outer.size());
      }
    }
  }

  std::string without(std::string name) const {
    for (const std::string_view part : {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."}) {
      for (std::size_t at = 0; (at = name.find(part, at)) != name.npos;) {
        if (at == 0 || name[at - 1] == '.') {
          name.erase(at, part.size());
        } else {
          ++at;
        }
      }
    }
    return name.substr(name.starts_with(before_) ? before_.size() : 0);
  }

  std::string words() const {
    if (first_.empty()) return "";
    const std::string inner = without(first_);
    const bool before = first_.ends_with(inner);
    return fmt::format("the names of the weights {} '{}', as a wrapped module is saved (by torch.compile, FSDP or PEFT, or in parallel); they "
                       "are read without it", before ? "begin with" : "have wrappers within, such as",
                       printable(before ? first_.substr(0, first_.size() - inner.size()) : first_));
  }

 private:
  void note_first(const std::string& name, const std::string& inner) {
    if (first_.empty() && name != inner) first_ = name;
  }

  // An adapter's matrices beside its base's weights, which no base is read from.
  static void refuse_adapter(const std::vector<std::string>& names, const fs::path& directory) {
    for (const std::string& name : names) {
      if (name.find(".lora_") == name.npos && name.find(".base_layer.") == name.npos) continue;
      throw FormatError(fmt::format("'{}': the names of the weights begin with 'base_model.model.' and an adapter stands among them ('{}'), as "
                                    "the state of a PEFT model is saved; save it in Python by model.merge_and_unload().save_pretrained(NEW_DIR), "
                                    "or give the base and the adapter apart",
                                    printable(directory.string(), 500), printable(name)));
    }
  }

  std::string before_, first_;
};

/// The files of PREFIX-00001-of-0000N.safetensors, in order; none where there is no such set. MissingError where a part is not there.
std::vector<std::string> shards_without_index(const fs::path& directory) {
  constexpr std::string_view kForm = "-NNNNN-of-NNNNN.safetensors";
  std::map<std::pair<std::string, int>, std::set<int>> sets;  // by prefix and count
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  for (const fs::directory_iterator end; !error && entries != end; entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (name.size() <= kForm.size()) continue;
    const std::string tail = name.substr(name.size() - kForm.size());
    std::string form = tail;
    for (char& c : form) c = c >= '0' && c <= '9' ? 'N' : c;
    if (form != kForm) continue;
    const auto digits = [&](std::size_t at) {
      int number = 0;
      std::from_chars(tail.data() + at, tail.data() + at + 5, number);
      return number;
    };
    sets[{name.substr(0, name.size() - kForm.size()), digits(10)}].insert(digits(1));
  }
  if (sets.size() != 1) return {};
  const auto& [prefix, count] = sets.begin()->first;
  std::vector<std::string> names;
  std::string missing;
  for (int part = 1; part <= count; ++part) {
    names.push_back(fmt::format("{}-{:05}-of-{:05}.safetensors", prefix, part, count));
    if (!sets.begin()->second.contains(part) && missing.empty()) missing = names.back();
  }
  if (!missing.empty())
    throw MissingError(fmt::format("'{}': the shard '{}' is not there; download the rest of the model ({} of {} shards are present, and no {})",
                                   printable(directory.string(), 500), printable(missing), sets.begin()->second.size(), count, kIndex));
  return names;
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
  if (is_there(directory / kSingle)) {  // as in transformers, the single file wins where both are
    weights.files_.push_back(SafetensorsFile::open(directory / kSingle));
    weights.take_names(directory);
    return weights;
  }
  weights.sharded_ = true;
  if (!is_there(directory / kIndex)) {
    const std::vector<std::string> shards = shards_without_index(directory);
    if (shards.empty()) throw_no_weights(directory);
    for (const std::string& shard : shards) weights.files_.push_back(SafetensorsFile::open(directory / shard));
    weights.notes_.push_back(fmt::format("{}: there is no {}; its {} shards are read as they are", printable(directory.string(), 500), kIndex,
                                         shards.size()));
    weights.take_names(directory);
    return weights;
  }

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
    weights.files_.push_back(SafetensorsFile::open(directory / shard));
  }
  weights.compare_with(shard_of, index);
  weights.take_names(directory);
  return weights;
}

// Shards are read whole, as transformers reads them, so that where the index has a tensor does not matter: that a tensor which
// the model needs is nowhere is said when it is asked for.
void WeightFiles::compare_with(const std::map<std::string, std::string>& shard_of, const std::string& index) {
  Fault absent, elsewhere, unmapped;
  for (const auto& [tensor, shard] : shard_of) {
    bool there = false, anywhere = false;
    for (const auto& file : files_) {
      if (file->find(tensor) == nullptr) continue;
      anywhere = true;
      there = there || file->path().filename() == shard;
    }
    if (!anywhere) absent.add(tensor);
    if (anywhere && !there) elsewhere.add(tensor);
  }
  for (const auto& file : files_)
    for (const TensorInfo& info : file->header().tensors)
      if (!shard_of.contains(info.name)) unmapped.add(info.name);
  for (const auto& [fault, what] : {std::pair{&absent, "that no shard has"}, std::pair{&elsewhere, "that are in another shard than it says"},
                                    std::pair{&unmapped, "of the shards that it does not have"}})
    if (fault->count > 0) notes_.push_back(fmt::format("{}: tensors {}, {} ('{}'); the shards count", index, what, fault->count, fault->first));
}

// By the names that the model itself has for them: without those of wrappers.
void WeightFiles::take_names(const fs::path& directory) {
  std::vector<std::string> stored;
  for (const auto& file : files_)
    for (const TensorInfo& info : file->header().tensors) stored.push_back(info.name);
  const Wrappers wrappers(stored, directory);
  Fault twice;
  for (const auto& file : files_) {
    for (const TensorInfo& info : file->header().tensors) {
      const auto [found, inserted] = entries_.try_emplace(wrappers.without(info.name), Entry{file, &info});
      if (inserted) continue;
      if (!same_tensor(found->second, {file, &info})) {
        throw FormatError(fmt::format("the tensor '{}' is in '{}' and, with other values, in '{}'; take the file out that is not the model's",
                                      printable(info.name), printable(found->second.file->path().string(), 500),
                                      printable(file->path().string(), 500)));
      }
      twice.add(info.name);
    }
  }
  if (twice.count > 0)
    notes_.push_back(fmt::format("{}: tensors that are there twice, with equal values, {} ('{}')", printable(directory.string(), 500),
                                 twice.count, twice.first));
  if (const std::string words = wrappers.words(); !words.empty()) notes_.push_back(words);
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

void WeightFiles::rename(const std::string& from, const std::string& to) {
  auto node = entries_.extract(from);
  node.key() = to;
  entries_.insert(std::move(node));
}

std::vector<std::string> WeightFiles::names_in(const SafetensorsFile& file) const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_)
    if (entry.file.get() == &file) names.push_back(name);
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
