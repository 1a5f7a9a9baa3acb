// What the tests of models/ share: golden cases, and a tokenizer of single bytes.
#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <string>
#include <vector>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/blocks/attention.h"
#include "lowrank/models/description.h"
#include "lowrank/models/load.h"

namespace lowrank_test {

using namespace lowrank;

/// Mixtures of experts (tests/parity/mixture_cases.py).
inline const std::vector<std::string>& mixture_cases() {
  static const std::vector<std::string> all = {"qwen3-moe", "qwen3-moe-attention", "qwen2-moe", "qwen2-moe-window",
                                               "mixtral",   "mixtral-window",      "gpt-oss",   "gpt-oss-mxfp4",
                                               "qwen3_5-moe"};
  return all;
}

inline const std::vector<std::string>& golden_cases() {
  static const std::vector<std::string> all = {"llama",
                                               "llama-llama3",
                                               "llama-linear-tied",
                                               "mistral",
                                               "qwen2",
                                               "qwen3",
                                               "qwen3-bias-tied",
                                               "llama-dynamic",
                                               "llama-yarn",
                                               "llama-yarn-mscale",
                                               "gpt2",
                                               "gpt2-bare",
                                               "gemma2",
                                               "gemma2-uncapped",
                                               "phi3",
                                               "phi3-window",
                                               "gemma3",
                                               "gemma3-pictures",
                                               "ministral3",
                                               "mistral3",
                                               "smollm3",
                                               "smollm3-window",
                                               "granite",
                                               "gemma",
                                               "olmo2",
                                               "olmo3",
                                               "phi",
                                               "phi-qk",
                                               "gpt_neox",
                                               "gpt_neox-serial",
                                               "opt",
                                               "opt-plain",
                                               "starcoder2",
                                               "starcoder2-plain",
                                               "stablelm",
                                               "stablelm-qk",
                                               "gemma4",
                                               "gemma4-keys",
                                               "ernie4_5",
                                               "glm4",
                                               "seed_oss",
                                               "cohere2",
                                               "exaone4",
                                               "hunyuan",
                                               "qwen3_5",
                                               "qwen3_5-tied",
                                               "qwen3_5-pictures",
                                               "lfm2",
                                               "lfm2-bias",
                                               "opt-350m",
                                               "gemma4-experts",
                                               "gemma4-pictures",
                                               "qwen3_5-moe-pictures"};
  static const std::vector<std::string> with_mixtures = [] {
    std::vector<std::string> names = all;
    names.insert(names.end(), mixture_cases().begin(), mixture_cases().end());
    return names;
  }();
  return with_mixtures;
}

/// One folder of tests/goldens/models.
struct Golden {
  explicit Golden(const std::string& name)
      : folder(golden_dir() / "models" / name),
        weights(formats::WeightFiles::open(folder)),
        file(formats::SafetensorsFile::open(folder / "golden.safetensors")) {}

  models::Decoder load(at::ScalarType dtype = at::kFloat, bool trainable = false) const {
    return models::load_decoder(models::read_config(folder), weights, dtype, trainable);
  }
  at::Tensor tensor(const std::string& name) const {
    const formats::TensorInfo* info = file->find(name);
    REQUIRE(info != nullptr);
    return formats::tensor_view(file, *info).clone();
  }
  bool has(const std::string& name) const { return file->find(name) != nullptr; }
  data::Example document(int i) const {
    const at::Tensor ids = tensor("document." + std::to_string(i));
    const std::int64_t* begin = ids.const_data_ptr<std::int64_t>();
    data::Example example;
    example.ids.assign(begin, begin + ids.numel());
    example.learned.assign(example.ids.size(), 1);
    return example;
  }

  fs::path folder;
  formats::WeightFiles weights;
  std::shared_ptr<const formats::SafetensorsFile> file;
};

/// What a family makes of its layers of attention; others are passed over.
inline std::vector<const models::AttentionSpec*> attentions_of(const models::DecoderConfig& config) {
  std::vector<const models::AttentionSpec*> all;
  for (const models::LayerSpec& layer : config.blocks->layers) {
    if (const auto* one = dynamic_cast<const models::AttentionSpec*>(layer.mixer.get())) all.push_back(one);
  }
  return all;
}
inline const models::AttentionSpec& attention_of(const models::DecoderConfig& config, std::size_t layer = 0) {
  return *attentions_of(config).at(layer);
}
inline std::vector<std::optional<std::int64_t>> windows_of(const models::DecoderConfig& config) {
  std::vector<std::optional<std::int64_t>> windows;
  for (const models::AttentionSpec* one : attentions_of(config)) windows.push_back(one->window);
  return windows;
}

inline void clear_gradients(const lora::Adapter& adapter) {
  for (const auto& parameter : adapter.parameters()) parameter.tensor.mutable_grad() = at::Tensor();
}

inline at::Tensor logits_of(models::Decoder& decoder, const at::Tensor& ids) {
  at::NoGradGuard no_grad;
  return decoder->logits(decoder->hidden(ids, kernels::Segments::of_lengths({ids.numel()})));
}

inline double largest(const at::Tensor& x) { return x.to(at::kDouble).abs().max().item<double>(); }
inline double distance(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return largest(a.to(at::kDouble) - b.to(at::kDouble));
}

/// Whether a text has all the parts.
inline bool says(const std::string& text, const std::vector<std::string>& parts) {
  return std::all_of(parts.begin(), parts.end(),
                     [&](const std::string& p) { return text.find(p) != std::string::npos; });
}

/// Runs f and checks that it throws an E whose message has all the parts.
template <typename E = lowrank::Error, typename F>
void check_refused(const F& f, const std::vector<std::string>& parts) {
  std::string message;
  try {
    f();
    message = "(nothing was thrown)";
  } catch (const E& error) {
    message = error.what();
  }
  INFO(message);
  CHECK(says(message, parts));
}

/// Ids are bytes plus 3; 0 pad, 1 BOS, 2 EOS.
class ByteTokenizer : public data::Tokenizer {
 public:
  explicit ByteTokenizer(std::vector<fs::path> files = {}) {
    bos_ = 1;
    eos_ = 2;
    pad_ = 0;
    files_ = std::move(files);
  }
  std::vector<data::TokenId> encode(std::string_view text, bool) const override {
    std::vector<data::TokenId> ids;
    for (const unsigned char c : text) ids.push_back(c + 3);
    return ids;
  }
  std::string decode(std::span<const data::TokenId> ids, bool) const override {
    std::string text;
    for (const data::TokenId id : ids) {
      if (id >= 3) text += static_cast<char>(id - 3);
    }
    return text;
  }
  std::optional<data::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(data::TokenId id) const override { return std::string(1, static_cast<char>(id - 3)); }
  bool is_special(data::TokenId id) const override { return id < 3; }
  data::TokenId size() const override { return 128; }
};

}  // namespace lowrank_test
