// A tiny random decoder with an adapter, and rows of odd and unequal lengths with masked prompts.
#pragma once

#include <fmt/format.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <memory>
#include <vector>

#include "catch.h"
#include "lowrank/core/random.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"
#include "lowrank/train/causal_lm.h"

namespace lowrank_test {

namespace train = lowrank::train;

inline lowrank::models::DecoderConfig tiny_config() {
  const lowrank::core::Json json = {{"model_type", "llama"},    {"vocab_size", 97},
                                    {"hidden_size", 36},        {"intermediate_size", 50},
                                    {"num_hidden_layers", 2},   {"num_attention_heads", 6},
                                    {"num_key_value_heads", 2}, {"max_position_embeddings", 64},
                                    {"initializer_range", 0.2}};
  return lowrank::models::parse_config(lowrank::core::JsonView(json, "tiny"));
}

/// `rows` examples of 3 to 41 tokens; a third of each is a prompt that is not learned.
inline lowrank::data::Dataset tiny_data(std::uint32_t rows, std::uint64_t seed) {
  const lowrank::core::RandomStream random(seed, "tiny data");
  lowrank::data::Dataset dataset;
  for (std::uint32_t i = 0; i < rows; ++i) {
    lowrank::data::Example example;
    const std::uint64_t length = 3 + random.below(39, i);
    for (std::uint64_t t = 0; t < length; ++t) {
      example.ids.push_back(static_cast<std::int32_t>(random.below(97, 1000 + i, t)));
      example.learned.push_back(t >= length / 3 ? 1 : 0);
    }
    example.document = i / 2;
    dataset.examples.push_back(std::move(example));
    if (i % 2 == 0) dataset.documents.push_back({fmt::format("rows.jsonl line {}", i / 2 + 1)});
  }
  return dataset;
}

struct TinyOptions {
  double dropout = 0.1, label_smoothing = 0, neftune = 0, alpha = 10;
  bool rslora = false;
  bool recompute = false, full = false, validation = false;
  int batch_size = 4, grad_accum = 1;
  std::int64_t steps = 20;
};

/// Decoder, adapter with B != 0, and objective, in one place that does not move.
struct Tiny {
  explicit Tiny(const TinyOptions& options, const lowrank::data::Tokenizer* tokenizer = nullptr) {
    decoder = lowrank::models::random_decoder(tiny_config(), 5, options.full);
    if (!options.full) {
      lowrank::lora::LoraConfig config;
      config.r = 5;
      config.lora_alpha = options.alpha;
      config.use_rslora = options.rslora;
      config.lora_dropout = options.dropout;
      adapter = lowrank::lora::attach(decoder->slot_table(), config, 9);
      torch::NoGradGuard no_grad;
      const lowrank::core::RandomStream random(3, "b");
      std::uint64_t n = 0;
      for (auto& [name, tensor] : adapter->parameters()) {
        for (std::int64_t i = 0; i < tensor.numel(); ++i) {
          tensor.data_ptr<float>()[i] += static_cast<float>(0.02 * random.normal(n++));
        }
      }
    }
    train::CausalLm::Parts parts;
    parts.decoder = decoder;
    parts.adapter = adapter ? &*adapter : nullptr;
    parts.tokenizer = tokenizer;
    parts.train = tiny_data(22, 1);
    if (options.validation) parts.evaluation.emplace_back("validation", tiny_data(5, 2));
    parts.plan.batch_size = options.batch_size;
    parts.plan.grad_accum = options.grad_accum;
    parts.plan.max_steps = options.steps;
    parts.recompute = options.recompute;
    parts.label_smoothing = options.label_smoothing;
    parts.neftune = options.neftune;
    objective = std::make_unique<train::CausalLm>(std::move(parts));
  }
  lowrank::models::Decoder decoder{nullptr};
  std::optional<lowrank::lora::Adapter> adapter;
  std::unique_ptr<train::CausalLm> objective;
};

}  // namespace lowrank_test
