// The first block of a decoder: from token ids to the residual stream.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "lowrank/kernels/segments.h"
#include "lowrank/lora/embedding_slot.h"
#include "lowrank/models/blocks/norm.h"
#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

struct EmbeddingSpec {
  std::string name = "embed_tokens";
  double scale = 1;                  // rounded to the run's dtype, as Gemma has it
  std::string positions = "";        // learned ones, a module of its own ("wpe"); empty: none
  std::int64_t position_rows = 0;    // of that module
  std::int64_t position_offset = 0;  // the row of position 0
  NormSpec norm = {};
};

class Embedding {
 public:
  /// `rows` [V, d]: the table, which a tied head may share.
  Embedding(const EmbeddingSpec& spec, const at::Tensor& rows, const Scope& scope);

  /// ids int64 [T] -> [T, d] in the run's dtype. `noise` [T, d] (or undefined) is added before the norm. ModelError for
  /// an id outside the vocabulary or a position that the model has not.
  at::Tensor forward(const at::Tensor& ids, const kernels::Segments& segments, const at::Tensor& noise = {}) const;
  const lora::EmbeddingSlot& slot() const { return slot_; }

 private:
  at::Tensor positions(const kernels::Segments& segments) const;

  EmbeddingSpec spec_;
  at::ScalarType dtype_;
  lora::EmbeddingSlot slot_;
  lora::WholeModule positions_;
  Norm norm_;
};

}  // namespace lowrank::models
