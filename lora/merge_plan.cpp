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

// Everything the adapter changes, by tensor name; shapes are the model's.
struct Wanted {
  std::map<std::string, Change> changes;
  std::map<std::string, std::vector<std::int64_t>> shapes;

  // `rows` output rows of the tensor `name`, which has `in` columns (0: a vector).
  RowChange& of(const std::string& name, const StoredWeight& stored, std::int64_t rows, std::int64_t in) {
    const std::int64_t all = stored.of_rows < 0 ? rows : stored.of_rows;
    std::vector<std::int64_t> shape = {all};
    if (in > 0) shape.insert(stored.transposed ? shape.begin() : shape.end(), in);
    Change& change = changes[name];
    for (const RowChange& other : change.parts)
      if (shapes[name] != shape ||
          (stored.row_begin < other.row_begin + other.rows && other.row_begin < stored.row_begin + rows))
        throw InternalError(fmt::format("two modules of this adapter are the same rows of '{}'", name));
    shapes[name] = std::move(shape);
    change.transposed = in > 0 && stored.transposed;
    return change.parts.emplace_back(RowChange{stored.row_begin, rows});
  }

  RowChange& of(const StoredWeight& stored, const kernels::BaseWeight& base) {
    return of(stored.tensor, stored, base.out_features(), base.in_features());
  }
};

Wanted changes_of(const Adapter& adapter) {
  Wanted wanted;
  for (const LinearSlot& slot : adapter.slots()) wanted.of(slot->stored(), slot->base()).lora = adapter.at(slot);
  if (adapter.adapts_embedding()) {
    const EmbeddingSlotImpl& embedding = *adapter.embedding();
    wanted.of(embedding.stored(), embedding.base()).lora = by_rows(embedding.lora(adapter.name()));
  }
  for (const WholeModule& module : adapter.whole()) {
    const StoredWeight& stored = module->stored();
    for (const NamedTensor& copy : module->copies(adapter.name())) {
      const at::Tensor values = copy.tensor.detach();
      const bool matrix = values.dim() == 2, turned = matrix && stored.transposed;
      wanted
          .of(copy.name == "bias" ? stored.bias : stored.tensor, stored, values.size(turned ? 1 : 0),
              matrix ? values.size(turned ? 0 : 1) : 0)
          .replacement = values;
    }
  }
  return wanted;
}

// A head that is tied to the embedding parts from it as soon as one of both is changed: then both are written.
void settle_tying(MergePlan& plan, const std::filesystem::path& model, const Adapter& adapter,
                  const std::map<std::string, Change>& changes) {
  if (adapter.head().empty() || adapter.embedding() == nullptr) return;
  const std::string& head = adapter.head_tensor();
  const std::string& embedding = adapter.embedding()->stored().tensor;
  if (changes.count(head) == 0 && changes.count(embedding) == 0) return;
  const bool has_head = plan.weights.find(head) != nullptr, has_embedding = plan.weights.find(embedding) != nullptr;
  if (has_head && has_embedding && !says_tied(model)) return;
  plan.untied = true;
  if (!has_head && has_embedding) plan.added[head] = embedding;
  if (!has_embedding && has_head) plan.added[embedding] = head;
}

// Rows [begin, end) of a stored tensor after a change of some of its output rows, into `to`.
void merge_part(const at::Tensor& stored, bool transposed, const RowChange& part, const at::Tensor& gain,
                std::int64_t begin, std::int64_t end, at::Tensor& to) {
  if (transposed) {
    const at::Tensor own = stored.slice(0, begin, end).narrow(1, part.row_begin, part.rows);
    to.narrow(1, part.row_begin, part.rows)
        .copy_(part.replacement.defined() ? part.replacement.slice(0, begin, end)
                                          : merged_columns(own.t(), part.lora, begin, end, gain).t());
    return;
  }
  const std::int64_t first = std::max(begin, part.row_begin), last = std::min(end, part.row_begin + part.rows);
  if (first >= last) return;
  const std::int64_t from = first - part.row_begin, until = last - part.row_begin;
  to.slice(0, first - begin, last - begin)
      .copy_(part.replacement.defined() ? part.replacement.slice(0, from, until)
                                        : merged_rows(stored.slice(0, first, last), part.lora, from, until));
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
  if (change.parts.empty()) {
    constexpr std::size_t kBlock = 8 << 20;
    const auto bytes = source.bytes();
    for (std::size_t begin = 0; begin < bytes.size(); begin += kBlock)
      block(begin, bytes.subspan(begin, std::min(kBlock, bytes.size() - begin)));
    return;
  }
  const at::Tensor stored = formats::tensor_view(source);
  std::vector<at::Tensor> gains;  // of the parts of a transposed tensor, whose blocks hold no whole rows of W
  for (const RowChange& part : change.parts)
    gains.push_back(
        change.transposed && part.lora.a.defined()
            ? merge_gain(kernels::BaseWeight::dense(stored, {}, {true, part.row_begin, part.rows}), part.lora)
            : at::Tensor());
  const std::int64_t rows = stored.size(0), step = rows_per_block(stored.dim() == 1 ? 1 : stored.size(1));
  std::uint64_t offset = 0;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t end = std::min(begin + step, rows);
    at::Tensor merged = stored.slice(0, begin, end).clone();
    for (std::size_t i = 0; i < change.parts.size(); ++i)
      merge_part(stored, change.transposed, change.parts[i], gains[i], begin, end, merged);
    if (!merged.isfinite().all().item<bool>())
      throw ModelError(fmt::format("merging {} gives values that are not finite in {}", source.info->name,
                                   formats::dtype_name(source.info->dtype)));
    const auto bytes = formats::tensor_bytes(merged);
    block(offset, bytes);
    offset += bytes.size();
  }
}

}  // namespace lowrank::lora
