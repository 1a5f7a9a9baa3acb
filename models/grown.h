// Bases whose vocabulary is larger than their files': an adapter that was trained on a resized base brings the rows, or
// tokens are added.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

/// Tokens whose mean a new row begins as; none: the mean of all rows that are there.
using RowBeginning = std::vector<data::TokenId>;

struct GrownVocabulary {
  std::int64_t rows = 0;
  at::Tensor embedding, head;  // [rows, d] as the adapter has them; undefined: the base's with further rows
  /// How the further rows begin that nobody brings, from the first on; what is not there: as the mean of all.
  std::vector<RowBeginning> begin = {};
};

/// What the adapter in this folder brings or needs of a larger vocabulary than the model's: whole tables, or rows of
/// its own (trainable_token_indices) beyond them. Nothing where it has no more rows. FormatError for an embedding and a
/// head of different numbers of rows.
std::optional<GrownVocabulary> grown_vocabulary(const std::filesystem::path& adapter, const DecoderConfig& config);

/// Rows [n, d] fp32 that begin so, from a table [V, d] of any float dtype. Independent of the number of threads.
at::Tensor beginning_rows(const at::Tensor& table, const std::vector<RowBeginning>& begin);

/// The table with further rows up to `rows`, in its dtype.
at::Tensor with_further_rows(const at::Tensor& table, std::int64_t rows, const std::vector<RowBeginning>& begin);

}  // namespace lowrank::models
