// gpt-oss (20B, 120B): attention with sinks and a window in every other layer, and a mixture of experts with a clamped
// gate, biases, and a softmax over the logits of those that a token takes (transformers' GptOssForCausalLM). Files keep
// the experts' matrices in MXFP4.
#include "lowrank/core/error.h"
#include "lowrank/models/families/experts.h"
#include "lowrank/models/families/family.h"
#include "lowrank/models/families/parts.h"
#include "lowrank/models/limits.h"

namespace lowrank::models {
namespace {

constexpr std::int64_t kDefaultKvHeads = 8, kDefaultHeadDim = 64, kDefaultWindow = 128;

Windows read_windows(ConfigReader& keys, std::int64_t layers) {
  const std::optional<std::int64_t> window = read_window(keys, kDefaultWindow);
  std::vector<std::string> types;
  if (keys.has_value("layer_types")) types = read_layer_types(keys, layers, {"sliding_attention", "full_attention"});
  for (std::int64_t i = static_cast<std::int64_t>(types.size()); i < layers; ++i) {
    types.emplace_back(i % 2 == 0 ? "sliding_attention" : "full_attention");
  }
  keys.write("layer_types", types);
  Windows windows;
  for (const std::string& type : types) windows.push_back(type == "sliding_attention" ? window : std::nullopt);
  return windows;
}

// The experts may lie in MXFP4, which their tensors show; any other quantisation is refused.
void check_quantisation(ConfigReader& keys) {
  if (!keys.has_value("quantization_config")) return;
  const core::JsonView config = keys.at("quantization_config");
  if (config.get_string("quant_method", "") != "mxfp4")
    throw ModelError(config.where() + ": of gpt-oss the weights as they were published (quant_method 'mxfp4') and bfloat16 "
                                      "ones are read; download openai's own repository");
}

DecoderSpec describe(ConfigReader& keys, const DecoderConfig& config) {
  LlamaParts parts{.heads = read_heads(keys, config, kDefaultKvHeads, kDefaultHeadDim)};
  parts.qkv_bias = parts.o_bias = keys.boolean("attention_bias", true);
  parts.norm = NormSpec::Kind::kWideRms;
  parts.default_eps = 1e-5;
  parts.windows = read_windows(keys, config.layers);
  parts.rope.default_theta = 150000;
  parts.rope.absent = {{"rope_type", "yarn"}, {"factor", 32.0},    {"beta_fast", 32.0},
                       {"beta_slow", 1.0},    {"truncate", false}, {"original_max_position_embeddings", 4096}};
  check_quantisation(keys);
  DecoderSpec spec = llama_blocks(keys, config, parts);
  for (LayerSpec& layer : spec.layers) {
    auto attention = std::make_shared<AttentionSpec>(dynamic_cast<const AttentionSpec&>(*layer.mixer));
    attention->sinks = true;
    layer.mixer = attention;
  }
  const auto mlp = read_experts(keys, 128, 4);
  mlp->width = dense_mlp(spec).width;
  mlp->routing = kernels::Router::kSoftmaxOfTop;
  mlp->router = "router", mlp->router_bias = true;
  mlp->bias = mlp->transposed = mlp->interleaved = true;
  mlp->alpha = keys.number("swiglu_alpha", 1.702);
  mlp->limit = keys.number("swiglu_limit", 7.0);
  mlp->parts = {};
  set_mlps(mlp, spec);
  return spec;
}

}  // namespace

const Family& gpt_oss_family() {
  static const Family family{.model_type = "gpt_oss",
                             .architecture = "GptOssForCausalLM",
                             .describe = describe,
                             .default_max_positions = 131072,
                             .spellings = {{"num_experts", "num_local_experts"}}};
  return family;
}

}  // namespace lowrank::models
