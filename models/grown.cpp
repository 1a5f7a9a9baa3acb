#include "lowrank/models/grown.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/models/description.h"

namespace lowrank::models {
namespace {

bool ends_with_module(const std::string& path, const std::string& name) {
  return path == name || path.ends_with("." + name);
}

// One more than the largest of the adapter's token ids; 0: it has none.
std::int64_t rows_of_ids(const std::filesystem::path& adapter) {
  if (!std::filesystem::exists(adapter / "adapter_config.json")) return 0;
  std::int64_t rows = 0;
  for (const auto& [module, ids] : lora::read_adapter_config(adapter).trainable_token_indices)
    for (const std::int64_t id : ids) rows = std::max(rows, id + 1);
  return rows;
}

// [d], fp32, of all rows: in fp64, a block of rows after the other.
at::Tensor mean_row(const at::Tensor& table) {
  constexpr std::int64_t kBlock = 4096;
  at::Tensor sum = kernels::aten::zeros({table.size(1)}, table.options().dtype(at::kDouble));
  for (std::int64_t begin = 0; begin < table.size(0); begin += kBlock)
    sum.add_(table.slice(0, begin, std::min(begin + kBlock, table.size(0))).to(at::kDouble).sum(0));
  return sum.div(static_cast<double>(table.size(0))).to(at::kFloat);
}

}  // namespace

std::optional<GrownVocabulary> grown_vocabulary(const std::filesystem::path& adapter, const DecoderConfig& config) {
  const std::filesystem::path place = adapter / "adapter_model.safetensors";
  if (!std::filesystem::exists(place)) return std::nullopt;
  const auto file = formats::SafetensorsFile::open(place);
  GrownVocabulary grown;
  const auto count = [&](const formats::TensorInfo& info, std::int64_t rows) {
    if (rows <= config.vocab_size) return false;
    if (grown.rows != 0 && grown.rows != rows)
      throw FormatError(fmt::format("{}: '{}' has {} rows where another of the vocabulary has {}", place.string(),
                                    info.name, rows, grown.rows));
    grown.rows = rows;
    return true;
  };
  bool base_embedding = false, base_head = false;  // the base's own, before a trained copy of it
  for (const formats::TensorInfo& info : file->header().tensors) {
    if (const auto pair = lora::parse_peft_name(info.name)) {  // matrices over the vocabulary
      const bool columns = pair->embedding && pair->part == lora::LoraPart::kA && info.shape.size() == 2;
      const bool rows = pair->part == lora::LoraPart::kB && ends_with_module(pair->path, config.blocks->head.name);
      if (columns) count(info, info.shape[1]);
      if (rows && !info.shape.empty()) count(info, info.shape[0]);
      continue;
    }
    const auto name = lora::parse_whole_name(info.name);
    if (!name || info.name.find(".lora_") != std::string::npos || !info.name.ends_with(".weight")) continue;
    const bool embedding = ends_with_module(name->path, config.blocks->embedding.name);
    if (!embedding && !ends_with_module(name->path, config.blocks->head.name)) continue;
    if (info.shape.size() != 2 || info.shape[1] != embedding_width(config) || !count(info, info.shape[0])) continue;
    const bool of_base = name->redundant && !info.name.ends_with(".modules_to_save.weight");
    bool& base = embedding ? base_embedding : base_head;
    if (base && !of_base) continue;
    base = of_base;
    (embedding ? grown.embedding : grown.head) = formats::tensor_view(file, info).clone();
  }
  grown.rows = std::max(grown.rows, rows_of_ids(adapter));
  if (grown.rows <= config.vocab_size) return std::nullopt;
  return grown;
}

at::Tensor beginning_rows(const at::Tensor& table, const std::vector<RowBeginning>& begin) {
  at::Tensor mean;
  std::vector<at::Tensor> rows;
  for (const RowBeginning& tokens : begin) {
    if (tokens.empty()) {
      if (!mean.defined()) mean = mean_row(table);
      rows.push_back(mean);
      continue;
    }
    const std::vector<std::int64_t> ids(tokens.begin(), tokens.end());
    const at::Tensor index = kernels::from_host<std::int64_t>(ids, {static_cast<std::int64_t>(ids.size())}, table.device());
    rows.push_back(mean_row(table.index_select(0, index)));
  }
  if (rows.empty()) return kernels::aten::zeros({0, table.size(1)}, table.options().dtype(at::kFloat));
  for (at::Tensor& row : rows) row = row.unsqueeze(0);
  return kernels::aten::cat(rows);
}

at::Tensor with_further_rows(const at::Tensor& table, std::int64_t rows, const std::vector<RowBeginning>& begin) {
  std::vector<RowBeginning> all = begin;
  all.resize(static_cast<std::size_t>(rows - table.size(0)));
  return kernels::aten::cat({table, beginning_rows(table, all).to(table.scalar_type())});
}

}  // namespace lowrank::models
