#include "lowrank/lora/merge_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/formats/scratch_safetensors.h"
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

  // `rows` output rows of the tensor `name`, each of shape `row` (none: a vector).
  RowChange& of(const std::string& name, const StoredWeight& stored, std::int64_t rows,
                const std::vector<std::int64_t>& row) {
    const std::int64_t all = stored.of_rows < 0 ? rows : stored.of_rows;
    std::vector<std::int64_t> shape = {all};
    shape.insert(stored.transposed ? shape.begin() : shape.end(), row.begin(), row.end());
    Change& change = changes[name];
    for (const RowChange& other : change.parts)
      if (shapes[name] != shape ||
          (stored.row_begin < other.row_begin + other.rows && other.row_begin < stored.row_begin + rows))
        throw InternalError(fmt::format("two modules of this adapter are the same rows of '{}'", name));
    shapes[name] = std::move(shape);
    change.transposed = !row.empty() && stored.transposed;
    return change.parts.emplace_back(RowChange{stored.row_begin, rows});
  }

  RowChange& of(const StoredWeight& stored, const kernels::BaseWeight& base) {
    return of(stored.tensor, stored, base.out_features(), {base.in_features()});
  }
};

// Every expert's update, where the files keep its matrix. A tensor of all experts counts as a matrix of its first two
// dimensions together: of one that is stored [E, in, out] the update is that of Wᵀ.
void add_experts(const ExpertsSlotImpl& slot, const LoraMatrices& lora, Wanted& wanted) {
  const std::int64_t experts = slot.experts(), in = slot.weight().in_features(), out = slot.weight().out_features();
  if (slot.base().packed)
    throw ModelError(
        fmt::format("'{}' is packed in 4 bits (MXFP4), into which no update can be merged without rounding the weights "
                    "anew; keep the adapter beside the model, or merge it into a bf16 copy",
                    slot.base().stored.front().front().tensor));
  for (std::int64_t e = 0; e < experts; ++e) {
    std::int64_t begin = 0;
    for (const StoredExpert& part : slot.base().stored[static_cast<std::size_t>(e)]) {
      LoraMatrices own = matrices_of(lora, experts, e, begin, part.rows);
      begin += part.rows;
      if (part.transposed) own.a = std::exchange(own.b, own.a.t()).t();
      const std::int64_t rows = part.transposed ? in : part.rows, columns = part.transposed ? out : in;
      std::vector<std::int64_t> shape = {rows, columns};
      if (part.place >= 0) shape.insert(shape.begin(), experts);
      wanted.shapes[part.tensor] = shape;
      wanted.changes[part.tensor].parts.push_back({std::max<std::int64_t>(part.place, 0) * rows, rows, std::move(own)});
    }
  }
}

// Where the files have a module's tensor "weight", "bias" or, beside its weight's name, any other ("A_log").
std::string stored_name(const StoredWeight& stored, const std::string& own) {
  if (own == "weight") return stored.tensor;
  if (own == "bias") return stored.bias;
  return stored.tensor.substr(0, stored.tensor.rfind('.') + 1) + own;
}

// s·bias of the adapters' B, by the path of the layer (PEFT's lora_bias).
std::map<std::string, at::Tensor> biases_of(const Adapter& adapter) {
  std::map<std::string, at::Tensor> result;
  for (const LinearSlot& slot : adapter.slots()) {
    const LoraMatrices& lora = adapter.at(slot);
    if (lora.bias.defined()) result[slot->path()] = lora.bias.detach().mul(lora.scale);
  }
  return result;
}

// Each row of its own that an adapter has of the embedding or the head.
void add_token_rows(const Adapter::OwnRows& own, const StoredWeight& stored, std::int64_t rows, Wanted& wanted) {
  const at::Tensor values = own.rows.values.detach();
  StoredWeight one = stored;
  one.of_rows = rows;
  for (std::size_t i = 0; i < own.rows.ids.size(); ++i) {
    one.row_begin = own.rows.ids[i];
    const auto place = static_cast<std::int64_t>(i);
    wanted.of(stored.tensor, one, 1, {values.size(1)}).replacement = values.slice(0, place, place + 1);
  }
}

// DoRA's magnitudes on an embedding are those of its columns: it is the layer of Eᵀ.
void add_embedding(const EmbeddingSlotImpl& embedding, const LoraMatrices& lora, Wanted& wanted) {
  const kernels::BaseWeight& base = embedding.base();
  if (!lora.magnitude.defined()) {
    wanted.of(embedding.stored(), base).lora = by_rows(lora);
    return;
  }
  StoredWeight columns = embedding.stored();
  columns.transposed = !columns.transposed;
  wanted.of(columns.tensor, columns, base.in_features(), {base.out_features()}).lora = lora;
}

Wanted changes_of(const Adapter& adapter) {
  Wanted wanted;
  for (const ExpertsSlot& slot : adapter.experts()) add_experts(*slot, adapter.at(slot), wanted);
  for (const LinearSlot& slot : adapter.slots()) {
    RowChange& part = wanted.of(slot->stored(), slot->base());
    part.lora = adapter.at(slot);
    if (adapter.merges_into_decoded() && slot->base().original().defined()) part.decoded = slot->base();
  }
  if (adapter.adapts_embedding())
    add_embedding(*adapter.embedding(), adapter.embedding()->lora(adapter.name()), wanted);
  for (const Adapter::OwnRows& own : adapter.token_rows()) {
    const bool of_embedding = own.path == adapter.embedding()->path();
    const StoredWeight stored =
        of_embedding ? adapter.embedding()->stored() : StoredWeight{adapter.head_tensor(), {}, false, 0, -1};
    add_token_rows(own, stored, adapter.embedding()->base().out_features(), wanted);
  }
  for (const BesideText& one : adapter.beside_text()) {
    if (!one.merges())
      throw ModelError(fmt::format("the adapter's update of '{}' is not one of a linear layer's matrices, and cannot be merged here; "
                                   "merge it in PEFT (merge_and_unload), or keep it beside the model",
                                   core::printable(one.path, 200)));
    if (one.copy.defined()) {
      std::vector<std::int64_t> row = one.copy.sizes().vec();
      row.erase(row.begin());
      RowChange& part = wanted.of(one.tensor, {}, one.copy.size(0), row);
      part.replacement = one.copy.dim() > 2 ? one.copy.reshape({-1, one.copy.size(-1)}) : one.copy;  // rows as for_merged_blocks counts them
      part.rows = part.replacement.size(0);
    } else {
      wanted.of(one.tensor, {}, one.lora.b.size(0), {one.lora.a.size(1)}).lora = one.lora;
    }
  }
  std::map<std::string, at::Tensor> biases = biases_of(adapter);
  for (const WholeModule& module : adapter.whole()) {
    const StoredWeight& stored = module->stored();
    for (const NamedTensor& copy : module->copies(adapter.name())) {
      at::Tensor values = copy.tensor.detach();
      if (const auto more = biases.find(module->path()); copy.name == "bias" && more != biases.end()) {
        values = values.add(more->second);
        biases.erase(more);
      }
      const bool turned = values.dim() == 2 && stored.transposed;
      std::vector<std::int64_t> row = values.sizes().vec();
      const std::int64_t rows = row[turned ? 1 : 0];
      row.erase(row.begin() + (turned ? 1 : 0));
      RowChange& part = wanted.of(stored_name(stored, copy.name), stored, rows, row);
      part.replacement = values.dim() == 3 ? values.flatten(0, 1) : values;  // rows as for_merged_blocks counts them
      if (values.dim() == 3) part.rows = part.replacement.size(0);
    }
  }
  for (const LinearSlot& slot : adapter.slots()) {
    const auto own = biases.find(slot->path());
    if (own == biases.end()) continue;
    const at::Tensor& bias = slot->base().bias();
    if (!bias.defined())
      throw ModelError(fmt::format("{} has no bias, so that the adapter's (lora_bias) has no place in the merged model; "
                                   "keep the adapter beside the model",
                                   slot->path()));
    const StoredWeight& stored = slot->stored();
    wanted.of(stored_name(stored, "bias"), stored, bias.size(0), {}).replacement =
        bias.detach().to(own->second.scalar_type()).add(own->second);
  }
  return wanted;
}

// A head that is tied to the embedding parts from it as soon as one of both is changed: then both are written.
void settle_tying(MergePlan& plan, const std::filesystem::path& model, const Adapter& adapter, Wanted& wanted) {
  const std::map<std::string, Change>& changes = wanted.changes;
  if (adapter.head().empty() || adapter.embedding() == nullptr) return;
  plan.tied = plan.weights.find(adapter.head_tensor()) == nullptr;
  const std::string& head = adapter.head_tensor();
  const std::string& embedding = adapter.embedding()->stored().tensor;
  if (adapter.keeps_tied()) {  // both stay one: a head that is stored again gets the same
    if (head == embedding || plan.weights.find(head) == nullptr || plan.weights.find(embedding) == nullptr) return;
    wanted.changes[head] = wanted.changes.at(embedding);
    wanted.shapes[head] = wanted.shapes.at(embedding);
    return;
  }
  if (changes.count(head) == 0 && changes.count(embedding) == 0) return;
  const bool has_head = plan.weights.find(head) != nullptr, has_embedding = plan.weights.find(embedding) != nullptr;
  if (has_head && has_embedding && !says_tied(model)) return;
  plan.untied = true;
  plan.tied = false;
  if (!has_head && has_embedding) plan.added[head] = embedding;
  if (!has_embedding && has_head) plan.added[embedding] = head;
}

// The embedding and the head as the resized base has them, in the dtype of the model's files.
void grow(MergePlan& plan, const Adapter& adapter) {
  if (adapter.file_rows() == 0) return;
  std::vector<formats::TensorToWrite> tensors;
  const auto add = [&](const std::string& name, const WholeModule& module) {
    const auto* entry = plan.weights.find(name);
    if (entry == nullptr || module->base().empty()) return;
    const at::Tensor& own = module->base().front().tensor;
    if (entry->info->shape.front() == own.size(0)) return;
    tensors.push_back(formats::tensor_to_write(name, own.detach().to(formats::to_torch(entry->info->dtype))));
  };
  add(adapter.embedding()->stored().tensor, adapter.embedding()->whole());
  const WholeModule head = adapter.grown_head() != nullptr ? adapter.grown_head()->whole() : adapter.embedding()->whole();
  if (adapter.head_tensor() != adapter.embedding()->stored().tensor) add(adapter.head_tensor(), head);
  const auto file = formats::scratch_safetensors(std::move(tensors));
  for (const formats::TensorInfo& info : file->header().tensors) plan.grown[info.name] = {file, &info};
  plan.vocabulary = adapter.embedding()->base().out_features();
}

// Rows [begin, end) of a stored tensor, `own`, after a change of some of its output rows, into `to`.
void merge_part(const at::Tensor& own, bool transposed, const RowChange& part, const at::Tensor& gain,
                std::int64_t begin, std::int64_t end, at::Tensor& to) {
  if (transposed) {
    const at::Tensor columns = own.narrow(1, part.row_begin, part.rows);
    to.narrow(1, part.row_begin, part.rows)
        .copy_(part.replacement.defined() ? part.replacement.slice(0, begin, end)
                                          : merged_columns(part.columns_before(columns.t(), begin), part.lora, begin, end, gain).t());
    return;
  }
  const std::int64_t first = std::max(begin, part.row_begin), last = std::min(end, part.row_begin + part.rows);
  if (first >= last) return;
  const std::int64_t from = first - part.row_begin, until = last - part.row_begin;
  to.slice(0, first - begin, last - begin)
      .copy_(part.replacement.defined() ? part.replacement.slice(0, from, until)
                                        : merged_rows(part.rows_before(own.slice(0, first - begin, last - begin), from), part.lora,
                                                      from, until));
}

}  // namespace

formats::WeightFiles weights_to_merge(const std::filesystem::path& model, const std::string& embedding, const std::string& head) {
  formats::WeightFiles weights = formats::WeightFiles::open(model);
  if (!embedding.empty() && weights.find(embedding) == nullptr && weights.find(head) != nullptr) weights.rename(head, embedding);
  return weights;
}

bool says_tied(const std::filesystem::path& model) {
  std::error_code ignored;
  const auto file = model / "config.json";
  if (!std::filesystem::exists(file, ignored)) return false;
  const core::Json json = core::read_json(file);
  return core::JsonView(json, file.string()).get_bool("tie_word_embeddings", false);
}

const formats::WeightFiles::Entry& MergePlan::source(const std::string& name) const {
  const auto other = added.find(name);
  const std::string& stored = other == added.end() ? name : other->second;
  const auto larger = grown.find(stored);
  return larger == grown.end() ? *weights.find(stored) : larger->second;
}

const formats::SafetensorsFile& MergePlan::shard(const std::string& name) const {
  const auto other = added.find(name);
  return *weights.find(other == added.end() ? name : other->second)->file;
}

formats::DType MergePlan::dtype_of(const std::string& name) const {
  const formats::DType stored = source(name).info->dtype;
  return dtype && is_float(stored) ? *dtype : stored;
}

std::uint64_t MergePlan::bytes_of(const std::string& name) const {
  const auto& entry = source(name);
  const formats::DType from = entry.info->dtype, to = dtype_of(name);
  if (from == to) return entry.bytes().size();
  return entry.bytes().size() / static_cast<std::uint64_t>(formats::dtype_bytes(from)) * static_cast<std::uint64_t>(formats::dtype_bytes(to));
}

Change MergePlan::change(const std::string& name) const {
  const auto found = changed.find(name);
  return found == changed.end() ? Change{} : found->second;
}

MergePlan plan_merge(const std::filesystem::path& model, const Adapter& adapter, std::optional<formats::DType> dtype) {
  if (!adapter.config().alora_invocation_tokens.empty())
    throw ModelError("an activated LoRA (alora_invocation_tokens) acts on the tokens from its invocation on alone, so that no "
                     "merged model says the same: keep it beside the model");
  MergePlan plan;
  plan.dtype = dtype;
  plan.weights = weights_to_merge(model, adapter.embedding() == nullptr ? "" : adapter.embedding()->stored().tensor, adapter.head_tensor());
  const std::vector<std::string> names = plan.weights.names();
  for (const NamedTensor& parameter : adapter.parameters())
    if (!parameter.tensor.detach().isfinite().all().item<bool>())
      throw ModelError(fmt::format("{} has values that are not finite, so it cannot be merged", parameter.name));
  Wanted wanted = changes_of(adapter);
  settle_tying(plan, model, adapter, wanted);
  grow(plan, adapter);
  for (const std::string& name : names) plan.bytes += plan.bytes_of(name);
  for (const auto& [name, stored] : plan.added) plan.bytes += plan.bytes_of(name);
  for (const auto& [name, shape] : wanted.shapes) {
    const bool added = plan.added.count(name) > 0;
    const auto* entry = plan.weights.find(added ? plan.added.at(name) : name);
    if (entry != nullptr) entry = &plan.source(name);
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

void for_merged_blocks(const formats::WeightFiles::Entry& source, const Change& change, formats::DType dtype,
                       const std::function<void(std::uint64_t, std::span<const std::byte>)>& block) {
  const bool converted = dtype != source.info->dtype;
  if (change.parts.empty() && !converted) {
    constexpr std::size_t kBlock = 8 << 20;
    const auto bytes = source.bytes();
    for (std::size_t begin = 0; begin < bytes.size(); begin += kBlock)
      block(begin, bytes.subspan(begin, std::min(kBlock, bytes.size() - begin)));
    return;
  }
  at::Tensor stored = formats::tensor_view(source);
  if (stored.dim() == 0) stored = stored.view({1});
  if (stored.dim() > 2) stored = stored.view({-1, stored.size(-1)});  // of all experts, say
  std::vector<at::Tensor> gains;  // of the parts of a transposed tensor, whose blocks hold no whole rows of W
  for (const RowChange& part : change.parts)
    gains.push_back(
        change.transposed && part.lora.a.defined()
            ? merge_gain(part.decoded.defined() ? part.decoded
                                                : kernels::BaseWeight::dense(stored, {}, {true, part.row_begin, part.rows}),
                         part.lora)
            : at::Tensor());
  const std::int64_t rows = stored.size(0), step = rows_per_block(stored.dim() == 1 ? 1 : stored.size(1));
  std::uint64_t offset = 0;
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t end = std::min(begin + step, rows);
    at::Tensor own = stored.slice(0, begin, end);
    if (converted) own = own.to(at::kFloat);  // so that the sum is rounded once
    at::Tensor merged = own.clone();
    for (std::size_t i = 0; i < change.parts.size(); ++i)
      merge_part(own, change.transposed, change.parts[i], gains[i], begin, end, merged);
    if (converted) merged = merged.to(formats::to_torch(dtype));
    const at::Tensor fits = change.parts.empty() ? merged.isfinite().logical_or(own.isfinite().logical_not()) : merged.isfinite();
    if (!fits.all().item<bool>())
      throw ModelError(fmt::format("merging {} gives values that are not finite in {}", source.info->name, formats::dtype_name(dtype)));
    const auto bytes = formats::tensor_bytes(merged);
    block(offset, bytes);
    offset += bytes.size();
  }
}

}  // namespace lowrank::lora
