#include "lowrank/models/mapped_weights.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::models {
namespace {

// Buffers that old versions of transformers stored; they are computed from config.json.
bool inert(const std::string& name) {
  static constexpr std::array<std::string_view, 4> kSuffixes = {"rotary_emb.inv_freq", "rotary_emb.cos_cached",
                                                                "rotary_emb.sin_cached", ".masked_bias"};
  for (const std::string_view suffix : kSuffixes) {
    if (name.ends_with(suffix)) return true;
  }
  return name.ends_with("self_attn.bias") || name.ends_with(".attn.bias");  // masks
}

std::string place(const formats::WeightFiles& files) {
  if (files.files().empty()) return "the model's weights";
  const std::filesystem::path first = files.files().front()->path();
  return files.sharded() ? first.parent_path().string() : first.string();
}

}  // namespace

std::string MappedWeights::stored_name(const std::string& name) const {
  const auto alias = aliases_.find(name);
  if (alias != aliases_.end()) return alias->second;
  return name.starts_with(prefix_) ? stored_prefix_ + name.substr(prefix_.size()) : name;
}

at::Tensor MappedWeights::take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial&) {
  const std::string stored = stored_name(name);
  const auto* entry = files_.find(stored);
  if (entry == nullptr) {
    missing_.push_back(stored);
    return kernels::aten::zeros({}, at::TensorOptions(dtype_).device(device_)).expand(shape);
  }
  if (entry->info->shape != shape) {
    const bool vocabulary = name == embedding_ && entry->info->shape.size() == 2 && entry->info->shape[1] == shape[1];
    throw ModelError(fmt::format("{}: tensor '{}' has shape [{}]; expected [{}] by config.json{}",
                                 entry->file->path().string(), stored, fmt::join(entry->info->shape, ", "),
                                 fmt::join(shape, ", "), vocabulary ? " (its vocab_size)" : ""));
  }
  taken_.insert(stored);
  const at::Tensor view = formats::tensor_view(*entry);
  if (trainable_) return view.to(device_, at::kFloat, /*non_blocking=*/false, /*copy=*/true).requires_grad_(true);
  // In a bf16 run the GEMMs want bf16 operands; in an fp32 run half-precision weights are widened as they are used.
  const bool usable =
      view.scalar_type() == dtype_ ||
      (dtype_ == at::kFloat && (view.scalar_type() == at::kBFloat16 || view.scalar_type() == at::kHalf));
  return usable ? view.to(device_) : view.to(device_, dtype_);
}

void MappedWeights::check_complete() const {
  std::vector<std::string> left_over;
  for (const std::string& name : files_.names()) {
    if (taken_.count(name) == 0 && !inert(name)) left_over.push_back(name);
  }
  if (!missing_.empty()) {
    const std::string others = missing_.size() > 1 ? fmt::format(", and {} more are", missing_.size() - 1) : " is";
    throw ModelError(fmt::format("{}: tensor '{}'{} missing of what config.json describes{}", place(files_),
                                 missing_.front(), others, core::did_you_mean(missing_.front(), left_over)));
  }
  if (!left_over.empty()) {
    throw ModelError(fmt::format("{}: tensor '{}' is not part of the architecture that config.json describes{}",
                                 files_.find(left_over.front())->file->path().string(), left_over.front(),
                                 core::did_you_mean(left_over.front(), {taken_.begin(), taken_.end()})));
  }
}

}  // namespace lowrank::models
