#include "lowrank/data/hub/choice.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>

#include "lowrank/core/ascii.h"
#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/data/data_names.h"

namespace lowrank::data::hub {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool ends_in(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return name.ends_with(ending); });
}

bool is_card(const std::string& name) {
  const std::string low = core::ascii_lower(name);
  return low.starts_with("readme") || low.starts_with("license") || low.starts_with("licence") || low.starts_with("notice") ||
         low.starts_with("use_policy");
}

// Weights as formats/weight_files.h finds them: one file, or an index with its shards.
bool is_weights(const std::string& path, bool single) {
  if (path == "adapter_model.safetensors" || path == "adapters.safetensors") return true;
  if (single) return path == kSingle;
  return path == kIndex || (path.starts_with("model") && path.ends_with(".safetensors"));
}

bool is_pickled(const std::string& path) {
  const bool weights = path.starts_with("pytorch_model") || path.starts_with("adapter_model") ||
                       path.starts_with("consolidated") || path.starts_with("model");
  return weights && ends_in(path, {".bin", ".pt", ".pth", ".pkl", ".ckpt"});
}

bool is_wanted_of_model(const std::string& path, bool single) {
  if (path.find('/') != path.npos) return matches(path, {"additional_chat_templates/*.jinja"});
  return is_weights(path, single) || describes_model(path);
}

bool is_wanted_of_data(const std::string& path) {
  const std::string name = core::ascii_lower(path.substr(path.rfind('/') + 1));
  if (name.starts_with('.')) return false;
  return is_card(name) || is_data_name(name) || is_packed_name(name) || ends_in(name, {".png", ".jpg", ".jpeg"});
}

std::string left_note(const std::vector<RemoteFile>& left, const Repo& repo) {
  std::uint64_t bytes = 0;
  std::vector<const RemoteFile*> by_size;
  for (const RemoteFile& file : left) {
    bytes += file.size;
    by_size.push_back(&file);
  }
  std::sort(by_size.begin(), by_size.end(), [](const auto* a, const auto* b) { return a->size > b->size; });
  std::string names;
  for (std::size_t i = 0; i < by_size.size() && i < 3; ++i) {
    names += (i == 0 ? "" : ", ") + core::printable(by_size[i]->path, 60);
  }
  return fmt::format("{} of {} not taken ({}{}); `lowrank pull {} --include PATTERN` takes others",
                     core::counted(static_cast<std::int64_t>(left.size()), "file"), core::format_bytes(bytes), names,
                     by_size.size() > 3 ? ", …" : "", repo.spelled());
}

}  // namespace

bool matches(const std::string& path, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const std::string whole = pattern.ends_with('/') ? pattern + "*" : pattern;
    return ::fnmatch(whole.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
  });
}

bool describes_model(const std::string& name) {
  static const std::vector<std::string> kNot = {"trainer_state.json", "training_args.json", "optimizer.json"};
  if (std::find(kNot.begin(), kNot.end(), name) != kNot.end() || name.ends_with(".index.json")) return false;
  return ends_in(name, {".json", ".jinja", ".model", ".tiktoken"}) || name == "merges.txt" || name == "vocab.txt" ||
         is_card(name);
}

Choice choose(const Listing& listing, const Repo& repo, const std::vector<std::string>& include,
              const std::vector<std::string>& exclude) {
  const bool model = repo.type == RepoType::kModel;
  const auto has = [&](const std::string& path) {
    return std::any_of(listing.files.begin(), listing.files.end(), [&](const RemoteFile& f) { return f.path == path; });
  };
  const bool single = has(kSingle);
  Choice choice;
  std::vector<RemoteFile> left;
  bool weights = false, pickled = false;
  for (const RemoteFile& file : listing.files) {
    const bool wanted = !include.empty() ? matches(file.path, include)
                        : model          ? is_wanted_of_model(file.path, single)
                                         : is_wanted_of_data(file.path);
    weights = weights || is_weights(file.path, single);
    pickled = pickled || is_pickled(file.path);
    (wanted && !matches(file.path, exclude) ? choice.files : left).push_back(file);
  }
  if (model && include.empty() && pickled && !weights) {
    throw ModelError(fmt::format("{} has its weights only as pickled files (.bin, .pt), which are programs and are not read; "
                                 "take a repository or a revision with .safetensors, such as {}@refs/convert/safetensors "
                                 "where it exists, or give `include` to download them all the same",
                                 repo.spelled(), repo.id));
  }
  if (choice.files.empty()) {
    throw MissingError(fmt::format("{} has no file that {} ({} in all)", repo.spelled(),
                                   include.empty() && exclude.empty() ? "is read here; name some with `include`"
                                                                      : "`include` and `exclude` leave",
                                   core::counted(static_cast<std::int64_t>(listing.files.size()), "file")));
  }
  if (include.empty() && !left.empty()) choice.notes.push_back(left_note(left, repo));
  if (model) {
    for (const char* name : {"adapter_config.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
                             "generation_config.json", "processor_config.json", "special_tokens_map.json", "tokenizer.json",
                             kSingle, kIndex}) {
      if (!has(name)) choice.absent.emplace_back(name);
    }
  }
  return choice;
}

}  // namespace lowrank::data::hub
