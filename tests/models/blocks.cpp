// What no family of the goldens has: each form of a block against the formula, in one pass and through the cache.
#include <torch/nn/functional/loss.h>

#include <cmath>
#include <functional>
#include <map>

#include "lowrank/models/blocks/attention.h"
#include "lowrank/models/blocks/mlp.h"
#include "lowrank/models/description.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;
using models::NormSpec;

namespace {

constexpr std::int64_t kWidth = 12, kHeads = 2, kHeadDim = 6, kTokens = 9, kVocabulary = 23;

struct Model {
  models::AttentionSpec attention;
  models::DenseMlpSpec mlp;
  models::LayerSpec layer;
  models::DecoderSpec spec;

  Model() {
    attention.heads = attention.kv_heads = kHeads;
    attention.head_dim = kHeadDim;
    attention.rotary.reset();
    attention.scale = 0.4;
    mlp.width = 10;
    spec.final_norm = {NormSpec::Kind::kRms, "norm", 1e-5};
  }

  models::Decoder build() const {
    models::DecoderSpec all = spec;
    for (int i = 0; i < 2; ++i) {
      models::LayerSpec one = layer;
      one.mixer = std::make_shared<const models::AttentionSpec>(attention);
      one.mlp = std::make_shared<const models::DenseMlpSpec>(mlp);
      all.layers.push_back(one);
    }
    models::DecoderConfig config;
    config.vocab_size = kVocabulary;
    config.hidden_size = kWidth;
    config.layers = 2;
    config.initializer_range = 0.4;
    config.blocks = std::make_shared<const models::DecoderSpec>(all);
    models::Decoder decoder = models::random_decoder(config, 7, /*trainable=*/false);
    // Norms and biases random too.
    torch::manual_seed(11);
    for (const lora::NamedTensor& weight : decoder->named_weights()) {
      if (weight.tensor.dim() == 1) weight.tensor.add_(0.3 * torch::randn_like(weight.tensor));
    }
    return decoder;
  }
};

// The weights of a layer by their names in it, in fp64.
struct Weights {
  explicit Weights(const models::Decoder& decoder) {
    for (const lora::NamedTensor& weight : decoder->named_weights()) all[weight.name] = weight.tensor.to(at::kDouble);
  }
  at::Tensor operator()(const std::string& name) const {
    const auto found = all.find(name);
    REQUIRE(found != all.end());
    return found->second;
  }
  std::map<std::string, at::Tensor> all;
};

at::Tensor rms(const at::Tensor& x, const at::Tensor& w, double eps = 1e-5) {
  return x * torch::rsqrt(x.square().mean(-1, true) + eps) * w;
}

at::Tensor ids() { return torch::arange(kTokens, at::kLong).mul(5).remainder(kVocabulary); }

using F = std::function<at::Tensor(const at::Tensor&)>;

// softmax(scale q kᵀ) v with a causal mask; q, k, v [T, H, d]; a sink a head where `sinks` is defined.
at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                  const at::Tensor& sinks = {}) {
  at::Tensor scores = torch::matmul(q.transpose(0, 1), k.permute({1, 2, 0})) * scale;
  scores = scores.masked_fill(torch::ones({q.size(0), q.size(0)}, at::kBool).triu(1), -INFINITY);
  if (sinks.defined()) scores = torch::cat({scores, sinks.view({-1, 1, 1}).expand({-1, q.size(0), 1})}, 2);
  return torch::matmul(scores.softmax(-1).narrow(2, 0, q.size(0)), v.transpose(0, 1)).transpose(0, 1);
}

at::Tensor heads(const at::Tensor& x) { return x.view({x.size(0), kHeads, -1}); }

// logits of the formula `layer(prefix, x)`, and the decoder's in one pass and token by token.
void require_formula(const Model& model,
                     const std::function<at::Tensor(const Weights&, const std::string&, at::Tensor)>& layer,
                     const F& embedding_after = {}, const F& logits_after = {}) {
  models::Decoder decoder = model.build();
  const Weights w(decoder);
  torch::NoGradGuard no_grad;
  at::Tensor x = w("model.embed_tokens.weight").index_select(0, ids());
  if (embedding_after) x = embedding_after(x);
  for (const char* prefix : {"model.layers.0.", "model.layers.1."}) x = layer(w, prefix, x);
  at::Tensor expected = rms(x, w("model.norm.weight")).matmul(w("lm_head.weight").t());
  if (logits_after) expected = logits_after(expected);
  CHECK(distance(logits_of(decoder, ids()), expected) <= 1e-4);
  CHECK(largest(expected) > 0.1);
  models::KvCache cache;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const at::Tensor hidden = decoder->hidden(ids().slice(0, t, t + 1), cache.segments({1}), {.cache = &cache});
    CHECK(distance(decoder->logits(hidden)[0], expected[t]) <= 1e-4);
  }
  std::int64_t elements = 0;
  for (const auto& [name, tensor] : w.all) elements += tensor.numel();
  CHECK(decoder->config().parameter_count() == elements);
  // Losses go through the same head.
  const at::Tensor labels = ids().roll(1);
  const at::Tensor losses =
      decoder->token_losses(decoder->hidden(ids(), kernels::Segments::of_lengths({kTokens})), labels);
  CHECK(distance(losses, torch::nn::functional::cross_entropy(
                             expected, labels,
                             torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kNone))) <= 1e-4);
}

at::Tensor plain_attention(const Weights& w, const std::string& prefix, const at::Tensor& x) {
  const std::string a = prefix + "self_attn.";
  const auto project = [&](const char* name) { return heads(x.matmul(w(a + name + ".weight").t())); };
  return attend(project("q_proj"), project("k_proj"), project("v_proj"), 0.4)
      .reshape({x.size(0), -1})
      .matmul(w(a + "o_proj.weight").t());
}
at::Tensor plain_mlp(const Weights& w, const std::string& prefix, const at::Tensor& x) {
  const std::string m = prefix + "mlp.";
  return (torch::silu(x.matmul(w(m + "gate_proj.weight").t())) * x.matmul(w(m + "up_proj.weight").t()))
      .matmul(w(m + "down_proj.weight").t());
}

NormSpec norm(const char* name) { return {NormSpec::Kind::kWideRms, name, 1e-5}; }

}  // namespace

TEST_CASE("post-norm, parallel and scaled residual streams are their formulas", "[unit]") {
  Model post;
  post.layer.mixer_norm_after = norm("post_attention_layernorm");
  post.layer.mlp_norm_after = norm("post_feedforward_layernorm");
  require_formula(post, [](const Weights& w, const std::string& p, at::Tensor x) {
    x = x + rms(plain_attention(w, p, x), w(p + "post_attention_layernorm.weight"));
    return x + rms(plain_mlp(w, p, x), w(p + "post_feedforward_layernorm.weight"));
  });
  for (const bool shared : {false, true}) {
    Model parallel;
    parallel.layer.parallel = true;
    parallel.layer.mixer_norm = norm("input_layernorm");
    if (!shared) parallel.layer.mlp_norm = norm("post_attention_layernorm");
    require_formula(parallel, [shared](const Weights& w, const std::string& p, at::Tensor x) {
      const at::Tensor h = rms(x, w(p + "input_layernorm.weight"));
      const at::Tensor g = shared ? h : rms(x, w(p + "post_attention_layernorm.weight"));
      return x + plain_attention(w, p, h) + plain_mlp(w, p, g);
    });
  }
  Model scaled;
  scaled.layer.residual_scale = 0.6;
  require_formula(scaled, [](const Weights& w, const std::string& p, at::Tensor x) {
    x = x + 0.6 * plain_attention(w, p, x);
    return x + 0.6 * plain_mlp(w, p, x);
  });
}

TEST_CASE("embeddings with a scale and a norm, and heads with a bias, a scale and a cap, are their formulas",
          "[unit]") {
  Model model;
  model.spec.embedding.scale = 2.5;
  model.spec.embedding.norm = {NormSpec::Kind::kLayer, "embed_norm", 1e-5, /*bias=*/true};
  model.spec.head.scale = 0.7;
  model.spec.head.cap = 1.5;
  model.spec.head.bias = true;
  const Weights w(model.build());
  require_formula(
      model,
      [](const Weights& all, const std::string& p, at::Tensor x) {
        x = x + plain_attention(all, p, x);
        return x + plain_mlp(all, p, x);
      },
      [&](const at::Tensor& x) {
        return torch::layer_norm(x * 2.5, {kWidth}, w("model.embed_norm.weight"), w("model.embed_norm.bias"), 1e-5);
      },
      [&](const at::Tensor& z) { return 1.5 * torch::tanh(0.7 * (z + w("lm_head.bias")) / 1.5); });
}

TEST_CASE("attention with a gate, sinks, norms of whole widths and fused layers by head is its formula", "[unit]") {
  const auto with_mlp =
      [](const std::function<at::Tensor(const Weights&, const std::string&, const at::Tensor&)>& mixer) {
        return [mixer](const Weights& w, const std::string& p, at::Tensor x) {
          x = x + mixer(w, p + "self_attn.", x).reshape({kTokens, -1}).matmul(w(p + "self_attn.o_proj.weight").t());
          return x + plain_mlp(w, p, x);
        };
      };
  const auto project = [](const Weights& w, const std::string& name, const at::Tensor& x) {
    return x.matmul(w(name + ".weight").t());
  };
  Model gated;
  gated.attention.gate = true;
  require_formula(gated, with_mlp([&](const Weights& w, const std::string& a, const at::Tensor& x) {
                    const at::Tensor both = project(w, a + "q_proj", x).view({kTokens, kHeads, 2, kHeadDim});
                    const at::Tensor mixed = attend(both.select(2, 0), heads(project(w, a + "k_proj", x)),
                                                    heads(project(w, a + "v_proj", x)), 0.4);
                    return mixed * both.select(2, 1).sigmoid();
                  }));
  Model sinks;
  sinks.attention.sinks = true;
  require_formula(sinks, with_mlp([&](const Weights& w, const std::string& a, const at::Tensor& x) {
                    return attend(heads(project(w, a + "q_proj", x)), heads(project(w, a + "k_proj", x)),
                                  heads(project(w, a + "v_proj", x)), 0.4, w(a + "sinks"));
                  }));
  Model by_head;
  by_head.attention.fused = "query_key_value";
  by_head.attention.fusion = models::AttentionSpec::Fusion::kByHead;
  require_formula(by_head, with_mlp([&](const Weights& w, const std::string& a, const at::Tensor& x) {
                    const at::Tensor all = project(w, a + "query_key_value", x).view({kTokens, kHeads, 3, kHeadDim});
                    return attend(all.select(2, 0), all.select(2, 1), all.select(2, 2), 0.4);
                  }));
  Model whole;
  whole.attention.q_norm = norm("q_norm");
  whole.attention.k_norm = norm("k_norm");
  whole.attention.norms_whole_width = true;
  require_formula(whole, with_mlp([&](const Weights& w, const std::string& a, const at::Tensor& x) {
                    return attend(heads(rms(project(w, a + "q_proj", x), w(a + "q_norm.weight"))),
                                  heads(rms(project(w, a + "k_proj", x), w(a + "k_norm.weight"))),
                                  heads(project(w, a + "v_proj", x)), 0.4);
                  }));
}

TEST_CASE("norms before and after an interleaved rotation that depends on the length are their formulas", "[unit]") {
  for (const bool after : {false, true}) {
    Model model;
    model.attention.rotary = 0;
    model.attention.q_norm = norm("q_norm");
    model.attention.k_norm = norm("k_norm");
    model.attention.norms_after_rotation = after;
    models::RotarySpec rotary;
    rotary.width = 4;
    rotary.theta = 100;
    rotary.interleaved = true;
    for (const std::int64_t positions : {kTokens, std::int64_t{4}}) {
      rotary.max_positions = positions;
      if (positions < kTokens) {
        rotary.scaling.kind = models::RopeScaling::Kind::kDynamic;
        rotary.scaling.factor = 3;
      }
      model.spec.rotary = {rotary};
      const auto turned = [&](const at::Tensor& x) {
        const double growth = positions == kTokens ? 1 : 3.0 * kTokens / 4 - 2;
        const double theta = 100 * std::pow(growth, 4.0 / 2);
        const at::Tensor angle = torch::arange(kTokens, at::kDouble).unsqueeze(1) *
                                 torch::pow(theta, -torch::arange(2, at::kDouble) / 2).unsqueeze(0);
        const at::Tensor cos = angle.cos().unsqueeze(1), sin = angle.sin().unsqueeze(1);
        const at::Tensor a = torch::stack({x.select(2, 0), x.select(2, 2)}, 2);
        const at::Tensor b = torch::stack({x.select(2, 1), x.select(2, 3)}, 2);
        const at::Tensor pairs = torch::stack({a * cos - b * sin, b * cos + a * sin}, 3).flatten(2);
        return torch::cat({pairs, x.narrow(2, 4, 2)}, 2);
      };
      models::Decoder decoder = model.build();
      const Weights w(decoder);
      torch::NoGradGuard no_grad;
      at::Tensor x = w("model.embed_tokens.weight").index_select(0, ids());
      for (const char* p : {"model.layers.0.", "model.layers.1."}) {
        const std::string a = std::string(p) + "self_attn.";
        const auto side = [&](const char* proj, const char* name) {
          const at::Tensor y = heads(x.matmul(w(a + proj + ".weight").t())), weight = w(a + name + ".weight");
          return after ? rms(turned(y), weight) : turned(rms(y, weight));
        };
        const at::Tensor mixed = attend(side("q_proj", "q_norm"), side("k_proj", "k_norm"),
                                        heads(x.matmul(w(a + "v_proj.weight").t())), 0.4);
        x = x + mixed.reshape({kTokens, -1}).matmul(w(a + "o_proj.weight").t());
        x = x + plain_mlp(w, p, x);
      }
      const at::Tensor expected = rms(x, w("model.norm.weight")).matmul(w("lm_head.weight").t());
      CHECK(distance(logits_of(decoder, ids()), expected) <= 1e-4);
    }
  }
}

TEST_CASE("a text longer than the learned positions is an error that says so", "[unit]") {
  models::Decoder decoder = Golden("gpt2").load();
  const at::Tensor ids = torch::ones({65}, at::kLong);
  CHECK_NOTHROW(decoder->hidden(ids.slice(0, 0, 64), kernels::Segments::of_lengths({64})));
  check_refused<ModelError>([&] { decoder->hidden(ids, kernels::Segments::of_lengths({65})); },
                            {"65", "64", "positions"});
}
