#include "lowrank/lora/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/lora/merge_plan.h"

namespace lowrank::lora {
namespace {

namespace fs = std::filesystem;
constexpr const char* kIndex = "model.safetensors.index.json";

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
         begins("tokenizer") || begins("chat_template") || begins("LICENSE") || begins("NOTICE") ||
         name.ends_with(".jinja") || (name.ends_with(".model") && !begins("."));
}

// config.json of a model whose head is no longer tied.
std::string untied_config(const fs::path& file) {
  core::Json json = core::read_json(file);
  json["tie_word_embeddings"] = false;
  return json.dump(2, ' ', false, core::Json::error_handler_t::replace) + "\n";
}

std::vector<std::string> carry_files(const fs::path& model, const fs::path& out, bool untied) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(model))
    if (entry.is_regular_file() && carried(entry.path().filename().string()))  // links are followed
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  for (const std::string& name : names)
    core::write_file(out / name,
                     untied && name == "config.json" ? untied_config(model / name) : core::read_file(model / name));
  return names;
}

// The index with the tensors that are new, each in the shard of the one it was tied to.
std::string merged_index(const MergePlan& plan, const fs::path& index) {
  if (plan.added.empty()) return core::read_file(index);  // the same tensors in the same shards, of the same sizes
  core::Json json = core::read_json(index);
  for (const auto& [name, stored] : plan.added) {
    const auto& source = plan.source(name);
    json["weight_map"][name] = source.file->path().filename().string();
    const std::uint64_t bytes = source.bytes().size();
    const auto add = [&](const char* key, std::uint64_t more) {
      core::Json& metadata = json["metadata"];
      if (metadata.contains(key)) metadata[key] = metadata[key].get<std::uint64_t>() + more;
    };
    add("total_size", bytes);
    add("total_parameters", bytes / static_cast<std::uint64_t>(formats::dtype_bytes(source.info->dtype)));
  }
  return json.dump(2, ' ', false, core::Json::error_handler_t::replace) + "\n";
}

formats::TensorToWrite merged_tensor(const MergePlan& plan, const std::string& name,
                                     const std::function<void(std::uint64_t)>& wrote) {
  const auto& source = plan.source(name);
  formats::TensorToWrite tensor{name, source.info->dtype, source.info->shape, {}};
  tensor.produce = [&source, change = plan.change(name), wrote](const auto& sink) {
    for_merged_blocks(source, change, [&](std::uint64_t, std::span<const std::byte> bytes) {
      sink(bytes);
      wrote(bytes.size());
    });
  };
  return tensor;
}

}  // namespace

MergeReport merge_files(const fs::path& model, const Adapter& adapter, const fs::path& out,
                        core::ProgressObserver* progress) {
  refuse_inside(out, model, "model");
  refuse_inside(out, adapter.directory(), "adapter");
  const MergePlan plan = plan_merge(model, adapter);
  core::StagedDirectory staged(out);
  MergeReport report;
  std::uint64_t done = 0;
  if (progress != nullptr) progress->begin("merging", static_cast<std::int64_t>(plan.bytes), "bytes");
  const auto wrote = [&](std::uint64_t bytes) {
    done += bytes;
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(done));
  };
  for (const auto& file : plan.weights.files()) {
    std::vector<formats::TensorToWrite> tensors;
    const auto add = [&](const std::string& name) {
      tensors.push_back(merged_tensor(plan, name, wrote));
      ++report.tensors;
      std::int64_t count = 1;
      for (const std::int64_t n : tensors.back().shape) count *= n;
      report.elements += count;
    };
    for (const formats::TensorInfo& info : file->header().tensors) add(info.name);
    for (const auto& [name, stored] : plan.added)
      if (plan.source(name).file == file) add(name);
    const std::string name = file->path().filename().string();
    formats::write_safetensors(staged.path() / name, std::move(tensors), file->header().metadata);
    report.files.push_back(name);
    report.bytes += fs::file_size(staged.path() / name);
  }
  report.changed = static_cast<std::int64_t>(plan.changed.size());
  report.untied = plan.untied;
  if (plan.weights.sharded()) {
    core::write_file(staged.path() / kIndex, merged_index(plan, model / kIndex));
    report.files.emplace_back(kIndex);
  }
  for (const std::string& name : carry_files(model, staged.path(), plan.untied)) report.files.push_back(name);
  plan.weights.check_unchanged();
  staged.commit();
  if (progress != nullptr) progress->end();
  return report;
}

}  // namespace lowrank::lora
