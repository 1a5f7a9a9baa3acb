#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/merge.h"
#include "lowrank/lora/merge_plan.h"

namespace lowrank::lora {
namespace {

double value_at(formats::DType dtype, std::span<const std::byte> bytes, std::size_t element) {
  const auto read = [&]<typename T>(T value) {
    std::memcpy(&value, bytes.data() + element * sizeof(T), sizeof(T));
    return static_cast<double>(value);
  };
  switch (dtype) {
    case formats::DType::kF64:
      return read(double{});
    case formats::DType::kF16:
      return read(c10::Half());
    case formats::DType::kBF16:
      return read(c10::BFloat16());
    default:
      return read(float{});
  }
}

// Compares a part of a merged tensor, from `offset` on, with what it must be.
void compare(const formats::WeightFiles::Entry& merged, std::uint64_t offset, std::span<const std::byte> expected,
             bool changed) {
  const auto found = merged.bytes().subspan(offset, expected.size());
  if (std::memcmp(found.data(), expected.data(), expected.size()) == 0) return;
  const auto width = static_cast<std::size_t>(formats::dtype_bytes(merged.info->dtype));
  std::size_t at = 0;
  while (std::memcmp(found.data() + at * width, expected.data() + at * width, width) == 0) ++at;
  const std::size_t element = offset / width + at;
  const std::string name = core::printable(merged.info->name, 200);
  if (!changed)
    throw ModelError(
        fmt::format("{}: element {} of '{}' is not the base model's, although the adapter does not change it",
                    merged.file->path().string(), element, name));
  throw ModelError(fmt::format("{}: element {} of '{}' is {}; base and adapter give {}", merged.file->path().string(),
                               element, name, value_at(merged.info->dtype, found, at),
                               value_at(merged.info->dtype, expected, at)));
}

}  // namespace

void verify_merge(const std::filesystem::path& model, const Adapter& adapter, const std::filesystem::path& merged,
                  core::ProgressObserver* progress, std::optional<formats::DType> dtype) {
  const MergePlan plan = plan_merge(model, adapter, dtype);
  const auto result = formats::WeightFiles::open(merged);
  const auto written = static_cast<std::size_t>(std::count_if(plan.weights.files().begin(), plan.weights.files().end(),
                                                              [&](const auto& file) { return !plan.weights.names_in(*file).empty(); }));
  if (result.sharded() != plan.weights.sharded() || result.files().size() != written)
    throw ModelError(fmt::format("{} has {} weight files where {} has {}", merged.string(), result.files().size(), model.string(), written));
  if (progress != nullptr) progress->begin("verifying", static_cast<std::int64_t>(plan.bytes), "bytes");
  std::uint64_t done = 0;
  std::vector<std::string> names = plan.weights.names();
  for (const auto& [name, stored] : plan.added) names.push_back(name);
  for (const std::string& name : result.names())
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw ModelError(fmt::format("{} holds the tensor '{}', which the base model does not have", merged.string(),
                                   core::printable(name, 200)));
  for (const std::string& name : names) {
    const auto& base = plan.source(name);
    const auto* entry = result.find(name);
    if (entry == nullptr)
      throw ModelError(fmt::format("{} lacks the tensor '{}'", merged.string(), core::printable(name, 200)));
    if (entry->file->path().filename() != plan.shard(name).path().filename() || entry->info->dtype != plan.dtype_of(name) ||
        entry->info->shape != base.info->shape)
      throw ModelError(fmt::format("{}: '{}' is in another shard, or of another type or shape than in the base model",
                                   entry->file->path().string(), core::printable(name, 200)));
    const bool changed = plan.changed.count(name) > 0;
    for_merged_blocks(base, plan.change(name), plan.dtype_of(name), [&](std::uint64_t offset, std::span<const std::byte> expected) {
      compare(*entry, offset, expected, changed);
    });
    done += plan.bytes_of(name);
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(done));
  }
  if (plan.untied && says_tied(merged))
    throw ModelError(
        fmt::format("{}: config.json ties the head to the embedding, which the adapter parts", merged.string()));
  if (progress != nullptr) progress->end();
}

}  // namespace lowrank::lora
