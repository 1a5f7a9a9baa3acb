#include "lowrank/models/gguf_tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/models/blocks/norm.h"
#include "lowrank/models/description.h"
#include "lowrank/models/gguf_layout.h"

namespace lowrank::models {

namespace {

using formats::GgmlType;

/// What llama.cpp has in F32 in every file.
bool always_exact(const GgufSource& source) {
  const auto ends = [&](const char* end) { return source.name.ends_with(end); };
  return source.shape.size() == 1 || !ends(".weight") || ends("_norm.weight") || ends(".ffn_gate_inp.weight") ||
         ends(".ffn_gate_inp_shexp.weight") || source.name == "position_embd.weight";
}

/// Lists the tensors of one model.
class Lister {
 public:
  Lister(const DecoderImpl& decoder, const lora::MergePlan& plan)
      : decoder_(decoder), plan_(plan), layout_(gguf_layout(decoder.config())), table_(decoder.slot_table()) {}

  std::vector<GgufSource> list() {
    add(table_.embedding->path(), table_.embedding->stored(), {"weight"}, table_.embedding->base().out_features());
    for (const lora::WholeModule& module : table_.whole) add_module(*module);
    for (const lora::LinearSlot& slot : table_.slots) add_linear(*slot);
    for (const lora::LinearSlot& slot : table_.routers) add_linear(*slot);
    for (const lora::ExpertsSlot& slot : table_.experts) add_experts(*slot);
    return std::move(sources_);
  }

 private:
  [[noreturn]] void refuse(const std::string& path) const {
    throw ModelError(fmt::format("llama.cpp's architecture {} has no tensor for {}", layout_.architecture, path));
  }

  const formats::WeightFiles::Entry& entry(const std::string& stored) const {
    if (plan_.weights.find(stored) == nullptr && !plan_.added.contains(stored))
      throw InternalError(fmt::format("the model's files hold no tensor '{}'", stored));
    return plan_.source(stored);
  }

  /// Rows of a module's tensors "weight" and "bias", all of them by `rows`.
  void add(const std::string& path, const lora::StoredWeight& stored, const std::vector<std::string>& tensors,
           std::int64_t rows) {
    const std::string name = layout_.name_of(path);
    if (name.empty()) refuse(path);
    for (const std::string& own : tensors) {
      GgufSource source;
      source.name = name + "." + own;
      const std::string& tensor = own == "bias" ? stored.bias : stored.tensor;
      const std::vector<std::int64_t>& shape = entry(tensor).info->shape;
      source.shape = {rows};
      if (shape.size() == 2) source.shape.push_back(shape[stored.transposed ? 0 : 1]);
      source.parts = {{tensor, stored.row_begin, rows, stored.transposed && shape.size() == 2}};
      source.heads = layout_.permuted_heads(path);
      sources_.push_back(std::move(source));
    }
  }

  void add_module(const lora::WholeModuleImpl& module) {
    std::vector<std::string> tensors;
    for (const lora::NamedTensor& own : module.base()) {
      if (own.name != "weight" && own.name != "bias") refuse(module.path() + "." + own.name);
      tensors.push_back(own.name);
    }
    add(module.path(), module.stored(), tensors, module.base().front().tensor.size(0));
    if (decoder_.config().blocks->final_norm.kind != NormSpec::Kind::kRmsPlusOne || !module.path().ends_with("norm"))
      return;
    sources_.back().added = 1;
  }

  void add_linear(const lora::LinearSlotImpl& slot) {
    // A head that the embedding is has no tensor of its own, unless the adapter parts them.
    if (slot.path() == table_.head && decoder_.config().tied && !plan_.untied) return;
    std::vector<std::string> tensors = {"weight"};
    if (slot.base().bias().defined()) tensors.emplace_back("bias");
    add(slot.path(), slot.stored(), tensors, slot.base().out_features());
  }

  /// Of each expert the parts of its matrix, each a tensor of all experts.
  void add_experts(const lora::ExpertsSlotImpl& slot) {
    const std::vector<std::string> names = layout_.expert_tensors_of(slot.path());
    if (names.empty() || slot.base().packed) refuse(slot.path());
    const std::int64_t in = slot.weight().in_features();
    const std::int64_t rows = slot.weight().out_features() / static_cast<std::int64_t>(names.size());
    for (std::size_t part = 0; part < names.size(); ++part) {
      GgufSource source;
      source.name = names[part];
      source.shape = {slot.experts(), rows, in};
      for (const auto& stored : slot.base().stored)
        source.parts.push_back(expert_part(stored, static_cast<std::int64_t>(part) * rows, rows, slot.path()));
      sources_.push_back(std::move(source));
    }
  }

  /// Where rows [begin, begin + rows) of one expert's matrix stand.
  GgufPart expert_part(const std::vector<lora::StoredExpert>& stored, std::int64_t begin, std::int64_t rows,
                       const std::string& path) const {
    std::int64_t first = 0;  // of the expert's matrix in this tensor
    for (const lora::StoredExpert& one : stored) {
      if (begin >= first && begin + rows <= first + one.rows && !one.transposed)
        return {one.tensor, std::max<std::int64_t>(one.place, 0) * one.rows + begin - first, rows};
      first += one.rows;
    }
    refuse(path);
  }

  const DecoderImpl& decoder_;
  const lora::MergePlan& plan_;
  lora::GgufLayout layout_;
  lora::SlotTable table_;
  std::vector<GgufSource> sources_;
};

}  // namespace

GgufTensors gguf_tensors(const DecoderImpl& decoder, const lora::MergePlan& plan, GgmlType type) {
  GgufTensors tensors;
  tensors.sources = Lister(decoder, plan).list();
  const bool has_head = std::any_of(tensors.sources.begin(), tensors.sources.end(),
                                    [](const GgufSource& source) { return source.name == "output.weight"; });
  std::map<std::int64_t, int> narrow;
  for (GgufSource& source : tensors.sources) {
    if (always_exact(source)) continue;
    source.type = type;
    const bool head = source.name == (has_head ? "output.weight" : "token_embd.weight");
    if (type == GgmlType::kQ4_0 && head) source.type = GgmlType::kQ8_0;
    if (source.shape.back() % formats::ggml_block(source.type) == 0) continue;
    source.type = GgmlType::kF16;
    ++narrow[source.shape.back()];
  }
  if (type == GgmlType::kQ4_0)
    tensors.notes.push_back(
        fmt::format("{} is Q8_0, as it is the head", has_head ? "output.weight" : "token_embd.weight"));
  for (const auto& [width, count] : narrow)
    tensors.notes.push_back(
        fmt::format("{} tensors with rows of {} values, which are no whole blocks of 32, are F16", count, width));
  return tensors;
}

}  // namespace lowrank::models
