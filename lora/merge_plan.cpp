#include "lowrank/lora/merge_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/delta.h"

namespace lowrank::lora {
namespace {

bool is_float(formats::DType dtype) {
  using formats::DType;
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF64;
}

std::string weight_of(const std::string& path) { return path + ".weight"; }

// Everything the adapter changes, by tensor name; shapes are the model's.
struct Wanted {
  std::map<std::string, Change> changes;
  std::map<std::string, std::vector<std::int64_t>> shapes;

  Change& of(const std::string& name, at::IntArrayRef shape) {
    shapes[name] = shape.vec();
    return changes[name];
  }
};

Wanted changes_of(const Adapter& adapter) {
  Wanted wanted;
  for (const LinearSlot& slot : adapter.slots())
    wanted.of(weight_of(slot->path()), {slot->base().out_features(), slot->base().in_features()}).lora =
        adapter.at(slot);
  if (adapter.adapts_embedding()) {
    const EmbeddingSlotImpl& embedding = *adapter.embedding();
    wanted.of(weight_of(embedding.path()), {embedding.base().out_features(), embedding.base().in_features()}).lora =
        by_rows(embedding.lora(adapter.name()));
  }
  for (const WholeModule& module : adapter.whole())
    for (const NamedTensor& copy : module->copies(adapter.name()))
      wanted.of(module->path() + "." + copy.name, copy.tensor.sizes()).replacement = copy.tensor.detach();
  return wanted;
}

// A head that is tied to the embedding parts from it as soon as one of both is changed: then both are written.
void settle_tying(MergePlan& plan, const std::filesystem::path& model, const Adapter& adapter,
                  const std::map<std::string, Change>& changes) {
  if (adapter.head().empty() || adapter.embedding() == nullptr) return;
  const std::string head = weight_of(adapter.head()), embedding = weight_of(adapter.embedding()->path());
  if (changes.count(head) == 0 && changes.count(embedding) == 0) return;
  const bool has_head = plan.weights.find(head) != nullptr, has_embedding = plan.weights.find(embedding) != nullptr;
  if (has_head && has_embedding && !says_tied(model)) return;
  plan.untied = true;
  if (!has_head && has_embedding) plan.added[head] = embedding;
  if (!has_embedding && has_head) plan.added[embedding] = head;
}

}  // namespace

bool says_tied(const std::filesystem::path& model) {
  std::error_code ignored;
  const auto file = model / "config.json";
  if (!std::filesystem::exists(file, ignored)) return false;
  const core::Json json = core::read_json(file);
  return core::JsonView(json, file.string()).get_bool("tie_word_embeddings", false);
}

const formats::WeightFiles::Entry& MergePlan::source(const std::string& name) const {
  const auto tied = added.find(name);
  return *weights.find(tied == added.end() ? name : tied->second);
}

Change MergePlan::change(const std::string& name) const {
  const auto found = changed.find(name);
  return found == changed.end() ? Change{} : found->second;
}

MergePlan plan_merge(const std::filesystem::path& model, const Adapter& adapter) {
  MergePlan plan;
  plan.weights = formats::WeightFiles::open(model);
  plan.bytes = plan.weights.total_bytes();
  const std::vector<std::string> names = plan.weights.names();
  for (const NamedTensor& parameter : adapter.parameters())
    if (!parameter.tensor.detach().isfinite().all().item<bool>())
      throw ModelError(fmt::format("{} has values that are not finite, so it cannot be merged", parameter.name));
  Wanted wanted = changes_of(adapter);
  settle_tying(plan, model, adapter, wanted.changes);
  for (const auto& [name, stored] : plan.added) plan.bytes += plan.weights.find(stored)->bytes().size();
  for (const auto& [name, shape] : wanted.shapes) {
    const bool added = plan.added.count(name) > 0;
    const auto* entry = plan.weights.find(added ? plan.added.at(name) : name);
    if (entry == nullptr)
      throw ModelError(fmt::format("{} holds no tensor '{}', which the adapter changes{}", model.string(), name,
                                   core::did_you_mean(name, names)));
    if (entry->info->shape != shape)
      throw ModelError(fmt::format("{}: '{}' is not [{}], which the adapter was attached to",
                                   entry->file->path().string(), name, fmt::join(shape, ", ")));
    if (!is_float(entry->info->dtype))
      throw ModelError(fmt::format("{}: '{}' is of type {}; only F32, F16 and BF16 weights can be merged into",
                                   entry->file->path().string(), name, formats::dtype_name(entry->info->dtype)));
  }
  plan.changed = std::move(wanted.changes);
  return plan;
}

void for_merged_blocks(const formats::WeightFiles::Entry& source, const Change& change,
                       const std::function<void(std::uint64_t, std::span<const std::byte>)>& block) {
  if (!change.lora.a.defined() && !change.replacement.defined()) {
    constexpr std::size_t kBlock = 8 << 20;
    const auto bytes = source.bytes();
    for (std::size_t begin = 0; begin < bytes.size(); begin += kBlock)
      block(begin, bytes.subspan(begin, std::min(kBlock, bytes.size() - begin)));
    return;
  }
  const at::Tensor weight = formats::tensor_view(source);
  const std::int64_t rows = weight.size(0), step = rows_per_block(weight.dim() == 1 ? 1 : weight.size(1));
  std::uint64_t offset = 0;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t end = std::min(begin + step, rows);
    const at::Tensor merged = change.replacement.defined()
                                  ? change.replacement.slice(0, begin, end).to(weight.scalar_type()).contiguous()
                                  : merged_rows(weight.slice(0, begin, end), change.lora, begin, end).contiguous();
    if (!merged.isfinite().all().item<bool>())
      throw ModelError(fmt::format("merging {} gives values that are not finite in {}", source.info->name,
                                   formats::dtype_name(source.info->dtype)));
    block(offset, {static_cast<const std::byte*>(merged.const_data_ptr()), merged.nbytes()});
    offset += merged.nbytes();
  }
}

}  // namespace lowrank::lora
