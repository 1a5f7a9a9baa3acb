// What families with mixtures of experts share.
#pragma once

#include <cstdint>
#include <memory>

#include "lowrank/models/blocks/experts.h"
#include "lowrank/models/config_reader.h"
#include "lowrank/models/description.h"

namespace lowrank::models {

/// num_experts (or num_local_experts) and num_experts_per_tok, and what concerns the training of routers:
/// router_aux_loss_coef, output_router_logits, router_jitter_noise. FormatError where a token has more experts than
/// there are.
std::shared_ptr<ExpertsMlpSpec> read_experts(ConfigReader& keys, std::int64_t default_experts,
                                             std::int64_t default_per_token);

/// `mlp` in the layers that mlp_only_layers and decoder_sparse_step leave it (Qwen2-MoE, Qwen3-MoE).
void set_sparse_layers(ConfigReader& keys, const std::shared_ptr<const MlpSpec>& mlp, DecoderSpec& spec);

/// `mlp` in every layer.
void set_mlps(const std::shared_ptr<const MlpSpec>& mlp, DecoderSpec& spec);

/// The gated MLP that llama_blocks gave the layers.
const DenseMlpSpec& dense_mlp(const DecoderSpec& spec);

}  // namespace lowrank::models
