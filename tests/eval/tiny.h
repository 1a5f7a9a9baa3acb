// A random decoder of two layers and 31 words, and rows of random tokens for it.
#pragma once

#include "lowrank/core/random.h"
#include "lowrank/data/dataset.h"
#include "lowrank/models/load.h"

namespace lowrank_test {

inline lowrank::models::DecoderConfig tiny_config() {
  const lowrank::core::Json json = {{"model_type", "llama"},    {"vocab_size", 31},
                                    {"hidden_size", 24},        {"intermediate_size", 40},
                                    {"num_hidden_layers", 2},   {"num_attention_heads", 4},
                                    {"num_key_value_heads", 2}, {"max_position_embeddings", 64},
                                    {"initializer_range", 0.2}};
  return lowrank::models::parse_config(lowrank::core::JsonView(json, "tiny"));
}

/// `count` rows of `shortest` to `shortest` + 19 tokens, all learned.
inline lowrank::data::Dataset tiny_rows(std::uint32_t count, std::uint64_t seed, std::uint64_t shortest) {
  const lowrank::core::RandomStream random(seed, "rows");
  lowrank::data::Dataset set;
  for (std::uint32_t i = 0; i < count; ++i) {
    lowrank::data::Example example;
    for (std::uint64_t t = 0; t < shortest + random.below(20, i); ++t) {
      example.ids.push_back(static_cast<std::int32_t>(random.below(31, 100 + i, t)));
      example.learned.push_back(1);
    }
    example.document = i;
    set.examples.push_back(std::move(example));
    set.documents.push_back({"row"});
  }
  return set;
}

}  // namespace lowrank_test
