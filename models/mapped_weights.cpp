#include "lowrank/models/mapped_weights.h"

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/mapped_pages.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/aten.h"

namespace lowrank::models {

std::vector<std::int64_t> CodedWeight::shape() const {
  std::vector<std::int64_t> result = transposed ? std::vector{in, out} : std::vector{out, in};
  if (expert >= 0) result.insert(result.begin(), experts);
  return result;
}

at::Tensor WeightSource::take_bytes(const std::string& name, const std::vector<std::int64_t>&) {
  throw InternalError("packed weights are asked for where there are none: " + name);
}

namespace {

// Buffers that old versions of transformers stored; they are computed from config.json.
bool inert(const std::string& name) {
  static constexpr std::array<std::string_view, 4> kSuffixes = {"rotary_emb.inv_freq", "rotary_emb.cos_cached",
                                                                "rotary_emb.sin_cached", ".masked_bias"};
  for (const std::string_view suffix : kSuffixes) {
    if (name.ends_with(suffix)) return true;
  }
  return name.ends_with("self_attn.bias") || name.ends_with(".attn.bias") ||
         name.ends_with(".attention.bias");  // masks
}

// Parts of a model beside its decoder of text: what reads pictures and sounds, what predicts tokens further on, and the
// value head that reinforcement learning leaves.
bool beside_text(std::string_view name) {
  static constexpr std::array<std::string_view, 11> kParts = {"visual.",
                                                              "vision_tower.",
                                                              "vision_model.",
                                                              "vision_embed_tokens.",
                                                              "multi_modal_projector.",
                                                              "audio_tower.",
                                                              "embed_vision.",
                                                              "embed_audio.",
                                                              "mtp.",
                                                              "v_head.",
                                                              "value_head."};
  // Of quantised keys and values that a serving program keeps.
  if (name.ends_with(".k_scale") || name.ends_with(".v_scale")) return true;
  if (name.starts_with("model.")) name.remove_prefix(6);
  return std::any_of(kParts.begin(), kParts.end(), [&](std::string_view part) { return name.starts_with(part); });
}

// The N of "….layers.N.…", of "….h.N.…" or "….blocks.N.…"; -1: it is of no layer.
std::int64_t layer_of(std::string_view name) {
  for (const std::string_view part : {"layers.", "h.", "blocks."}) {
    const std::size_t at = name.find(part);
    if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) continue;
    std::int64_t layer = -1;
    const std::string_view rest = name.substr(at + part.size());
    const auto end = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
    if (end.ec == std::errc() && end.ptr != rest.data() + rest.size() && *end.ptr == '.') return layer;
  }
  return -1;
}

std::string place(const formats::WeightFiles& files) {
  if (files.files().empty()) return "the model's weights";
  const std::filesystem::path first = files.files().front()->path();
  return files.sharded() ? first.parent_path().string() : first.string();
}

}  // namespace

std::string MappedWeights::stored_name(const std::string& name) const {
  std::string stored = name;
  for (const auto& [prefix, in_files] : renamed_) {
    if (!name.starts_with(prefix)) continue;
    stored = in_files + name.substr(prefix.size());
    break;
  }
  const std::size_t at = own_.empty() || files_.find(stored) != nullptr ? std::string::npos : stored.find(own_);
  if (at == std::string::npos) return stored;
  std::string respelt = stored;
  respelt.replace(at, own_.size(), stored_);
  return files_.find(respelt) != nullptr ? respelt : stored;
}

bool MappedWeights::holds(const std::string& name) const { return files_.find(stored_name(name)) != nullptr; }

// Null where it is missing.
const formats::WeightFiles::Entry* MappedWeights::find(const std::string& name,
                                                       const std::vector<std::int64_t>& shape) {
  const std::string stored = stored_name(name);
  const auto* entry = files_.find(stored);
  if (entry == nullptr) {
    missing_.push_back(stored);
    return nullptr;
  }
  if (entry->info->shape != shape) {
    const bool vocabulary = name == embedding_ && entry->info->shape.size() == 2 && entry->info->shape[1] == shape[1];
    throw ModelError(fmt::format("{}: tensor '{}' has shape [{}]; expected [{}] by config.json{}",
                                 entry->file->path().string(), stored, fmt::join(entry->info->shape, ", "),
                                 fmt::join(shape, ", "), vocabulary ? " (its vocab_size)" : ""));
  }
  taken_.insert(stored);
  return entry;
}

at::Tensor MappedWeights::take_bytes(const std::string& name, const std::vector<std::int64_t>& shape) {
  const auto* entry = find(name, shape);
  const at::TensorOptions options = at::TensorOptions(at::kByte).device(device_);
  if (entry == nullptr) return kernels::aten::zeros(shape, options);
  const std::string where = fmt::format("{}: tensor '{}'", entry->file->path().string(), entry->info->name);
  if (entry->info->dtype != formats::DType::kU8)
    throw ModelError(fmt::format("{} is of type {}; expected U8", where, formats::dtype_name(entry->info->dtype)));
  if (shares_ != nullptr)
    throw ConfigError(fmt::format("{} is packed in 4 bits, of which no shares can be kept; leave `shard-base` out", where));
  if (trainable_)
    throw ModelError(
        fmt::format("{} is packed in 4 bits, which cannot be trained whole; train an adapter, or a bf16 copy of the "
                    "model",
                    where));
  return formats::tensor_view(*entry).to(device_);
}

at::Tensor MappedWeights::take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial&) {
  if (const auto own = replaced_.find(name); own != replaced_.end()) {
    taken_.insert(stored_name(name));
    return own->second.to(device_, dtype_);
  }
  const auto* entry = find(name, shape);
  if (entry == nullptr) return kernels::aten::zeros({}, at::TensorOptions(dtype_).device(device_)).expand(shape);
  if (form_ != kernels::BaseForm::kAsStored && base_ == nullptr)  // only noted: nothing is read, or converted
    return kernels::aten::zeros({}, at::TensorOptions(dtype_).device(device_)).expand(shape);
  const at::Tensor view = formats::tensor_view(*entry);
  if (trainable_) return view.to(device_, at::kFloat, /*non_blocking=*/false, /*copy=*/true).requires_grad_(true);
  return usable(view.scalar_type()) ? view.to(device_) : view.to(device_, dtype_);
}

// In a bf16 run the GEMMs want bf16 operands; in an fp32 run half-precision weights are widened as they are used.
bool MappedWeights::usable(at::ScalarType stored) const {
  return stored == dtype_ || (dtype_ == at::kFloat && (stored == at::kBFloat16 || stored == at::kHalf));
}

std::shared_ptr<const kernels::BaseStorage> MappedWeights::sharded(const CodedWeight& weight) {
  if (shares_ == nullptr || !holds(weight.tensor)) return nullptr;
  const auto* entry = find(weight.tensor, weight.shape());
  core::release_pages(entry->bytes());  // what has been read of others' shares
  at::Tensor all = formats::tensor_view(*entry);
  if (weight.expert >= 0) all = all.select(0, weight.expert);
  const auto [first, last] = shares_->share(all.size(0));
  at::Tensor held = all.narrow(0, first, last - first);
  if (usable(held.scalar_type())) {
    core::map_apart(formats::tensor_bytes(held));
  } else {
    held = held.to(dtype_);
  }
  int layer = kernels::ShardedBase::kAlone;
  if (weight.tensor.starts_with(layers_))
    std::from_chars(weight.tensor.data() + layers_.size(), weight.tensor.data() + weight.tensor.size(), layer);
  return shares_->add(layer, std::move(held), all.size(0), weight.transposed);
}

std::shared_ptr<const kernels::BaseStorage> MappedWeights::coded(const CodedWeight& weight) {
  if (form_ == kernels::BaseForm::kAsStored) return nullptr;
  const auto* entry = find(weight.tensor, weight.shape());
  if (entry == nullptr) return nullptr;  // take() says so once all are counted
  CodedWeight stored = weight;
  stored.tensor = stored_name(weight.tensor);
  if (base_ == nullptr) {
    wanted_.push_back(std::move(stored));
    return nullptr;
  }
  at::Tensor original = formats::tensor_view(*entry);
  if (weight.expert >= 0) original = original.select(0, weight.expert);
  return base_->storage(stored, weight.transposed ? original.t() : original, device_);
}

std::vector<std::string> MappedWeights::check_complete(std::int64_t layers) const {
  std::vector<std::string> left_over, beside;
  std::set<std::int64_t> predicting;  // layers that predict tokens further on: they bring the two states together
  for (const std::string& name : files_.names())
    if (name.find(".eh_proj.") != std::string::npos) predicting.insert(layer_of(name));
  for (const std::string& name : files_.names()) {
    if (taken_.count(name) > 0 || inert(name)) continue;
    const std::int64_t layer = layer_of(name);
    const bool further = layer >= layers && predicting.count(layer) > 0;
    (beside_text(name) || further ? beside : left_over).push_back(name);
  }
  if (!missing_.empty()) {
    const std::string others = missing_.size() > 1 ? fmt::format(", and {} more are", missing_.size() - 1) : " is";
    throw ModelError(fmt::format("{}: tensor '{}'{} missing of what config.json describes{}", place(files_),
                                 missing_.front(), others, core::did_you_mean(missing_.front(), left_over)));
  }
  if (!left_over.empty() && layer_of(left_over.front()) >= layers)
    throw ModelError(fmt::format("{}: tensor '{}' is of a layer beyond the {} that num_hidden_layers in config.json counts; give the "
                                 "number that the weights have",
                                 files_.find(left_over.front())->file->path().string(), left_over.front(), layers));
  if (!left_over.empty()) {
    throw ModelError(fmt::format("{}: tensor '{}' is not part of the architecture that config.json describes{}",
                                 files_.find(left_over.front())->file->path().string(), left_over.front(),
                                 core::did_you_mean(left_over.front(), {taken_.begin(), taken_.end()})));
  }
  return beside;
}

}  // namespace lowrank::models
