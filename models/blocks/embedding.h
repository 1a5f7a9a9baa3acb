// The first block of a decoder: from token ids to the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/segments.h"
#include "lowrank/lora/embedding_slot.h"
#include "lowrank/models/blocks/norm.h"
#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

struct EmbeddingSpec {
  std::string name = "embed_tokens";
  std::int64_t width = 0;            // columns of the table; 0: the model's
  std::string projection = "";       // a linear layer from these to the model's ("project_in"); empty: none
  double scale = 1;                  // rounded to the run's dtype, as Gemma has it
  std::string positions = "";        // learned ones, a module of its own ("wpe"); empty: none
  std::int64_t position_rows = 0;    // of that module
  std::int64_t position_offset = 0;  // the row of position 0
  NormSpec norm = {};
  /// Inputs that every layer has of its own: (norm(projection(x)) + rows) / √2, rows being those of a second table, of
  /// `per_layer_width` columns for each of `per_layer_count` layers (Gemma 4). 0: none.
  std::int64_t per_layer_width = 0, per_layer_count = 0, per_layer_rows = 0;
  NormSpec per_layer_norm = {};
};

class Embedding {
 public:
  /// `rows` [V, columns of the table]: the table, which a tied head may share; `width`: d.
  Embedding(const EmbeddingSpec& spec, const kernels::BaseWeight& rows, std::int64_t width, const Scope& scope);

  /// ids int64 [T] -> [T, d] in the run's dtype. `noise` [T, columns of the table] (or undefined) is added to its rows.
  /// ModelError for an id outside the vocabulary or a position that the model has not.
  at::Tensor forward(const at::Tensor& ids, const kernels::Segments& segments, const kernels::DropoutContext* dropout,
                     const at::Tensor& noise = {}) const;
  /// The per-layer inputs [T, layers, width] of ids and what forward made of them; undefined where there are none.
  at::Tensor per_layer(const at::Tensor& ids, const at::Tensor& x, const kernels::DropoutContext* dropout) const;
  const lora::EmbeddingSlot& slot() const { return slot_; }

 private:
  at::Tensor positions(const kernels::Segments& segments) const;

  EmbeddingSpec spec_;
  at::ScalarType dtype_;
  lora::EmbeddingSlot slot_;
  lora::LinearSlot projection_;
  lora::WholeModule positions_;
  Norm norm_;
  lora::WholeModule per_layer_table_;
  lora::LinearSlot per_layer_projection_;
  Norm per_layer_norm_;
};

}  // namespace lowrank::models
