#include "lowrank/lora/merge.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/lora/carried_files.h"
#include "lowrank/lora/merge_plan.h"

namespace lowrank::lora {
namespace {

namespace fs = std::filesystem;
constexpr const char* kIndex = "model.safetensors.index.json";

// Whether every tensor has the name that the file has for it, and the index too.
bool same_names(const MergePlan& plan) {
  if (!plan.weights.notes().empty()) return false;
  const std::vector<std::string> names = plan.weights.names();
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) { return plan.weights.find(name)->info->name == name; });
}

// The index with the tensors that are new, each in the shard of the one it was tied to.
std::string merged_index(const MergePlan& plan, const fs::path& index) {
  // The same tensors in the same shards, of the same names and sizes.
  if (plan.added.empty() && plan.grown.empty() && !plan.dtype && same_names(plan)) return core::read_file(index);
  core::Json json = fs::exists(index) ? core::read_json(index) : core::Json::object();
  if (!json.contains("metadata")) json = {{"metadata", {{"total_size", plan.weights.total_bytes()}}}};  // transformers reads no index without it
  std::int64_t bytes = 0, elements = 0;  // more than the model's index counts
  const auto count = [&](const formats::WeightFiles::Entry& entry, std::uint64_t size, int sign) {
    bytes += sign * static_cast<std::int64_t>(size);
    elements += sign * static_cast<std::int64_t>(entry.bytes().size()) / formats::dtype_bytes(entry.info->dtype);
  };
  for (const std::string& name : plan.weights.names()) {
    count(plan.source(name), plan.bytes_of(name), 1);
    count(*plan.weights.find(name), plan.weights.find(name)->bytes().size(), -1);
  }
  core::Json& map = json["weight_map"] = core::Json::object();
  for (const std::string& name : plan.weights.names())
    map.get_ref<core::Json::object_t&>().emplace_back(name, plan.shard(name).path().filename().string());
  for (const auto& [name, stored] : plan.added) {
    map[name] = plan.shard(name).path().filename().string();
    count(plan.source(name), plan.bytes_of(name), 1);
  }
  for (const auto& [key, more] : {std::pair{"total_size", bytes}, std::pair{"total_parameters", elements}}) {
    core::Json& metadata = json["metadata"];
    if (!metadata.is_object() || !metadata.contains(key)) continue;
    const core::JsonView total(metadata[key], fmt::format("{}: metadata.{}", index.string(), key));
    metadata[key] = total.as_int(0, std::int64_t{1} << 60) + more;
  }
  return core::json_text(json, 2) + "\n";
}

ConfigChange config_of(const MergePlan& plan) {
  std::string dtype;
  if (plan.dtype) dtype = *plan.dtype == formats::DType::kBF16 ? "bfloat16" : *plan.dtype == formats::DType::kF16 ? "float16" : "float32";
  return {plan.untied, plan.vocabulary, dtype, plan.tied};
}

formats::TensorToWrite merged_tensor(const MergePlan& plan, const std::string& name,
                                     const std::function<void(std::uint64_t)>& wrote) {
  const auto& source = plan.source(name);
  const formats::DType dtype = plan.dtype_of(name);
  formats::TensorToWrite tensor{name, dtype, source.info->shape, {}};
  tensor.produce = [&source, change = plan.change(name), dtype, wrote](const auto& sink) {
    for_merged_blocks(source, change, dtype, [&](std::uint64_t, std::span<const std::byte> bytes) {
      sink(bytes);
      wrote(bytes.size());
    });
  };
  return tensor;
}

}  // namespace

MergeReport merge_files(const fs::path& model, const Adapter& adapter, const fs::path& out,
                        core::ProgressObserver* progress,
                        const std::function<void(const fs::path& made, const MergeReport&)>& last,
                        std::optional<formats::DType> dtype) {
  refuse_merge_place(out, model, adapter.directory());
  const MergePlan plan = plan_merge(model, adapter, dtype);
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
    for (const std::string& own : plan.weights.names_in(*file)) add(own);
    for (const auto& [name, stored] : plan.added)
      if (&plan.shard(name) == file.get()) add(name);
    if (tensors.empty()) continue;  // what it has is in another file too
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
  for (const std::string& name : carry_files(model, adapter.directory(), staged.path(), config_of(plan)))
    report.files.push_back(name);
  plan.weights.check_unchanged();
  if (progress != nullptr) progress->end();
  if (last) last(staged.path(), report);
  staged.commit();
  return report;
}

}  // namespace lowrank::lora
