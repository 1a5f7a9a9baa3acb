// What an adapter trains of an embedding, a head that is tied to it, and single rows of both: PEFT's
// ensure_weight_tying and trainable_token_indices.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// Which tensors of the embedding act on the head that is tied to it too.
enum class Tied { kNothing, kCopies, kMatrices };

/// What ensure_weight_tying asks for of this model: PEFT looks at modules_to_save, then at target_modules, for
/// "embed_tokens" or "lm_head".
Tied asks_for(const LoraConfig& config, const SlotTable& table);

/// The config as PEFT makes it of that: the embedding in modules_to_save or target_modules, the head in neither.
LoraConfig with_tying(LoraConfig config, const SlotTable& table);

/// Rows that are trained of one module.
struct TokenPlace {
  std::string path;
  bool head = false;          // else the embedding
  bool also_of_head = false;  // of an embedding: the head has the same rows
  std::vector<std::int64_t> ids;
};

/// By trainable_token_indices, as PEFT resolves it: of tied modules with the same ids the embedding has the rows, and
/// the head shares them. ConfigError for a module that is neither the embedding nor the head, that A and B or
/// modules_to_save adapt too (`targets`: the paths with A and B), for an id beyond its rows, and for unlike ids with
/// ensure_weight_tying.
std::vector<TokenPlace> token_places(const LoraConfig& config, const SlotTable& table,
                                     const std::vector<std::string>& targets);

/// The slot of the head; null where the model has none.
LinearSlot head_slot(const SlotTable& table);

}  // namespace lowrank::lora
