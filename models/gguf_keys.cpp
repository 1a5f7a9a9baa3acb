#include "lowrank/models/gguf_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/models/blocks/attention.h"
#include "lowrank/models/blocks/experts.h"
#include "lowrank/models/description.h"
#include "lowrank/models/gguf_architecture.h"
#include "lowrank/models/gguf_rope.h"

namespace lowrank::models {

namespace {

bool near(double a, double b) { return std::abs(a - b) <= 1e-6 * std::abs(b); }

/// Collects the keys of one model.
class Keys {
 public:
  explicit Keys(const DecoderConfig& config)
      : config_(config), spec_(*config.blocks), architecture_(gguf_architecture(config.model_type)) {
    for (const LayerSpec& layer : spec_.layers) {
      const auto* attention = dynamic_cast<const AttentionSpec*>(layer.mixer.get());
      if (attention == nullptr) refuse("a layer that is no attention");
      attention_.push_back(attention);
    }
  }

  GgufKeys collect() {
    check_tensors();
    put_sizes();
    put_attention();
    put_mlp();
    put_multipliers();
    const GgufRope rope = gguf_rope(config_, full_rotary(), window_rotary(), architecture_);
    out_.values.insert(out_.values.end(), rope.values.begin(), rope.values.end());
    out_.factors = rope.factors;
    out_.notes.insert(out_.notes.end(), rope.notes.begin(), rope.notes.end());
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw ModelError(
        fmt::format("llama.cpp's architecture {} cannot hold this {}: it has {}; keep the merged model in safetensors",
                    architecture_.name, config_.model_type, what));
  }
  template <typename T>
  void put(const std::string& key, T value) {
    out_.values.emplace_back(architecture_.name + "." + key, value);
  }
  void put_count(const std::string& key, std::int64_t value) { put(key, static_cast<std::uint32_t>(value)); }
  void put_real(const std::string& key, double value) { put(key, static_cast<float>(value)); }

  const AttentionSpec& first() const { return *attention_.front(); }

  void check_tensors() const {
    const bool same = std::all_of(attention_.begin(), attention_.end(), [&](const AttentionSpec* one) {
      return one->heads == first().heads && one->kv_heads == first().kv_heads && one->head_dim == first().head_dim;
    });
    if (!same) refuse("layers with different numbers of heads");
    if (first().gate || first().sinks || first().keys_are_values || spec_.shared_keys != 0)
      refuse("attention of another form");
    if (first().o_bias != architecture_.needs_bias && !architecture_.o_bias)
      refuse("a bias behind attention (attention_bias)");
    if (architecture_.needs_bias && !(first().o_bias && first().qkv_bias)) refuse("no biases (use_bias)");
    if (spec_.head.bias) refuse("a bias of the head");
    if (!config_.tied && !architecture_.output) refuse("a head that is not its embedding");
    if (spec_.embedding.per_layer_width != 0 || spec_.embedding.norm.kind != NormSpec::Kind::kNone)
      refuse("another embedding");
    for (std::size_t i = 0; i < attention_.size(); ++i) {
      const bool turns = architecture_.name == "smollm3" ? (i + 1) % 4 != 0 : spec_.rotary.size() > 0;
      if (attention_[i]->rotary.has_value() != turns)
        refuse(fmt::format("{} rotary positions in layer {}", turns ? "no" : "", i));
    }
  }

  void put_sizes() {
    put_count("block_count", config_.layers);
    put_count("context_length", config_.max_positions);
    put_count("embedding_length", config_.hidden_size);
    put_count("vocab_size", config_.vocab_size);
    const NormSpec& norm = spec_.final_norm;
    put_real(norm.kind == NormSpec::Kind::kLayer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
             norm.eps);
  }

  void put_attention() {
    const AttentionSpec& attention = first();
    put_count("attention.head_count", attention.heads);
    put_count("attention.head_count_kv", attention.kv_heads);
    put_count("attention.key_length", attention.head_dim);
    put_count("attention.value_length", attention.head_dim);
    const auto width = static_cast<double>(
        config_.layers == architecture_.wide_scale_layers ? config_.hidden_size / attention.heads : attention.head_dim);
    for (const AttentionSpec* one : attention_) {
      if (!architecture_.multipliers && !near(one->scale, 1 / std::sqrt(width)))
        refuse(fmt::format("scores scaled by {:.6g} and not {:.6g}", one->scale, 1 / std::sqrt(width)));
      if ((one->cap != 0) != architecture_.cap) refuse(architecture_.cap ? "no cap of scores" : "a cap of scores");
    }
    if (architecture_.cap) put_real("attn_logit_softcapping", attention.cap);
    if (spec_.head.cap != 0) put_real("final_logit_softcapping", spec_.head.cap);
    put_windows();
  }

  std::optional<std::int64_t> window() const {
    for (const AttentionSpec* one : attention_)
      if (one->window) return one->window;
    return std::nullopt;
  }

  void put_windows() {
    const std::optional<std::int64_t> sliding = window();
    if (architecture_.name == "phi3") put_count("attention.sliding_window", sliding.value_or(0));
    if (architecture_.window_period == 0) {
      if (sliding && *sliding < config_.max_positions)
        out_.notes.push_back(fmt::format(
            "llama.cpp has no sliding window for the architecture {}: in texts of more than {} tokens it sees "
            "further back than the model was made to",
            architecture_.name, *sliding));
      return;
    }
    if (!sliding) {
      put_count("attention.sliding_window", config_.max_positions);
      return;
    }
    put_count("attention.sliding_window", *sliding);
    std::vector<bool> pattern;
    bool usual = true;
    for (std::size_t i = 0; i < attention_.size(); ++i) {
      if (attention_[i]->window && attention_[i]->window != sliding) refuse("windows of different lengths");
      pattern.push_back(attention_[i]->window.has_value());
      usual = usual && pattern.back() == ((static_cast<std::int64_t>(i) + 1) % architecture_.window_period != 0);
    }
    if (!usual) put("attention.sliding_window_pattern", pattern);
  }

  void put_mlp() {
    for (const LayerSpec& layer : spec_.layers) {
      if (layer.parallel || layer.scalar) refuse("layers of another form");
      const auto* dense = dynamic_cast<const DenseMlpSpec*>(layer.mlp.get());
      const auto* experts = dynamic_cast<const ExpertsMlpSpec*>(layer.mlp.get());
      if (architecture_.experts ? experts == nullptr : dense == nullptr)
        refuse(architecture_.experts ? "layers without experts" : "another MLP");
      if ((dense != nullptr ? dense->activation : experts->activation) != architecture_.activation)
        refuse("another activation");
      if (dense != nullptr && dense->bias != architecture_.needs_bias && !architecture_.mlp_bias)
        refuse("biases in the MLP (mlp_bias)");
      if (dense != nullptr && architecture_.needs_bias && !dense->bias) refuse("no biases (use_bias)");
      if (experts != nullptr && experts->routing != architecture_.routing)
        refuse("another weighting of experts (norm_topk_prob)");
      if (experts != nullptr && (experts->transposed || experts->bias || experts->router_bias || experts->interleaved))
        refuse("experts of another form");
    }
    const MlpSpec* mlp = spec_.layers.front().mlp.get();
    if (const auto* dense = dynamic_cast<const DenseMlpSpec*>(mlp)) put_count("feed_forward_length", dense->width);
    const auto* experts = dynamic_cast<const ExpertsMlpSpec*>(mlp);
    if (experts == nullptr) return;
    const core::JsonView keys(config_.family_keys, "config.json");
    put_count("feed_forward_length", keys.get_int("intermediate_size", experts->width));
    put_count("expert_count", experts->experts);
    put_count("expert_used_count", experts->per_token);
    if (architecture_.name != "llama") put_count("expert_feed_forward_length", experts->width);
    if (experts->shared != nullptr) put_count("expert_shared_feed_forward_length", experts->shared->width);
  }

  void put_multipliers() {
    const double residual = spec_.layers.front().residual_scale, embedding = spec_.embedding.scale,
                 head = spec_.head.scale;
    if (architecture_.multipliers) {
      put_real("attention.scale", first().scale);
      put_real("embedding_scale", embedding);
      put_real("residual_scale", residual);
      put_real("logit_scale", 1 / head);
      return;
    }
    const bool gemma = architecture_.name.starts_with("gemma");
    const double expected = gemma ? std::sqrt(static_cast<double>(config_.hidden_size)) : 1;
    if (residual != 1 || head != 1 || !near(embedding, expected)) refuse("multipliers");
  }

  /// The rotation of layers that see all, or of all where every layer has a window.
  const RotarySpec* full_rotary() const {
    for (const bool windowed : {false, true})
      for (const AttentionSpec* one : attention_)
        if (one->rotary && one->window.has_value() == windowed) return &spec_.rotary[*one->rotary];
    return nullptr;
  }
  /// That of layers with a window, where it is another one.
  const RotarySpec* window_rotary() const {
    for (const AttentionSpec* one : attention_)
      if (one->rotary && one->window && spec_.rotary[*one->rotary] != *full_rotary())
        return &spec_.rotary[*one->rotary];
    return nullptr;
  }

  const DecoderConfig& config_;
  const DecoderSpec& spec_;
  const GgufArchitecture& architecture_;
  std::vector<const AttentionSpec*> attention_;  // of the layers
  GgufKeys out_;
};

}  // namespace

GgufKeys gguf_keys(const DecoderConfig& config) { return Keys(config).collect(); }

}  // namespace lowrank::models
