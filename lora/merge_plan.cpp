#include "lowrank/lora/merge_plan.h"

#include <ATen/ops/isfinite.h>
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {
namespace {

// A tied head has no weight of its own in the files, or one that is replaced by the embedding when the model is loaded.
void refuse_tied_head(const std::filesystem::path& model, const std::string& head) {
  throw ModelError(
      fmt::format("the adapter changes {}, but the head of {} is tied to its embedding, so a merged model "
                  "cannot hold the change; train without it (all-linear leaves it out), or untie the model "
                  "first: write {}.weight as a copy of the embedding and set tie_word_embeddings to false",
                  head, model.string(), head));
}

bool says_tied(const std::filesystem::path& model) {
  std::error_code ignored;
  const auto file = model / "config.json";
  if (!std::filesystem::exists(file, ignored)) return false;
  const core::Json json = core::read_json(file);
  return core::JsonView(json, file.string()).get_bool("tie_word_embeddings", false);
}

bool is_float(formats::DType dtype) {
  using formats::DType;
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF64;
}

}  // namespace

MergePlan plan_merge(const std::filesystem::path& model, const Adapter& adapter) {
  MergePlan plan;
  plan.weights = formats::WeightFiles::open(model);
  plan.bytes = plan.weights.total_bytes();
  const std::vector<std::string> names = plan.weights.names();
  for (const NamedTensor& parameter : adapter.parameters())
    if (!at::isfinite(parameter.tensor.detach()).all().item<bool>())
      throw ModelError(fmt::format("{} has values that are not finite, so it cannot be merged", parameter.name));
  for (const LinearSlot& slot : adapter.slots()) {
    const std::string name = slot->path() + ".weight";
    const auto* entry = plan.weights.find(name);
    const bool is_head = !adapter.head().empty() && slot->path() == adapter.head();
    if (is_head && (entry == nullptr || says_tied(model))) refuse_tied_head(model, slot->path());
    if (entry == nullptr)
      throw ModelError(fmt::format("{} holds no tensor '{}', which the adapter changes{}", model.string(), name,
                                   core::did_you_mean(name, names)));
    const std::vector<std::int64_t> shape = slot->base().weight().sizes().vec();
    if (entry->info->shape != shape)
      throw ModelError(fmt::format("{}: '{}' is not [{}, {}], which the adapter was attached to",
                                   entry->file->path().string(), name, shape[0], shape[1]));
    if (!is_float(entry->info->dtype))
      throw ModelError(fmt::format("{}: '{}' is of type {}; only F32, F16 and BF16 weights can be merged into",
                                   entry->file->path().string(), name, formats::dtype_name(entry->info->dtype)));
    plan.changed.emplace(name, adapter.at(slot));
  }
  return plan;
}

void for_merged_blocks(const formats::WeightFiles::Entry& entry, const LoraMatrices& lora,
                       const std::function<void(std::uint64_t, std::span<const std::byte>)>& block) {
  const at::Tensor weight = formats::tensor_view(entry);
  const std::int64_t rows = weight.size(0), step = rows_per_block(weight.size(1));
  std::uint64_t offset = 0;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const at::Tensor merged = merged_rows(weight, lora, begin, std::min(begin + step, rows)).contiguous();
    if (!at::isfinite(merged).all().item<bool>())
      throw ModelError(fmt::format("merging {} gives values that are not finite in {}", entry.info->name,
                                   formats::dtype_name(entry.info->dtype)));
    block(offset, {static_cast<const std::byte*>(merged.const_data_ptr()), merged.nbytes()});
    offset += merged.nbytes();
  }
}

}  // namespace lowrank::lora
