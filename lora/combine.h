// Several adapters made one, by the methods, names and numbers of PEFT's add_weighted_adapter.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

struct CombineOptions {
  /// cat: exactly Σ wᵢ ΔWᵢ, the ranks added up. svd: the best approximation of it of a rank. linear, ties, dare_linear,
  /// dare_ties, magnitude_prune: of A and of B by themselves with √|wᵢ sᵢ|, so that products of unlike adapters come in
  /// (PEFT's way); ties_svd, dare_linear_svd, dare_ties_svd, magnitude_prune_svd: of ΔW, then of a rank.
  std::string method = "cat";
  std::vector<double> weights;     // one for each adapter, may be negative
  std::optional<double> density;   // share of the values that ties, dare and magnitude_prune keep, in (0, 1]
  std::int64_t svd_rank = 0;       // of svd; 0: the adapters' largest
  bool sign_by_frequency = false;  // ties elects a sign by how many have it, not by their sum
  std::uint64_t seed = 0;          // of dare's masks: those of torch.bernoulli after torch.manual_seed(seed)
};

/// Names of the methods.
const std::vector<std::string>& combine_methods();

struct CombinedAdapter {
  LoraConfig config;
  std::vector<NamedTensor> tensors;  // under PEFT's names
};

/// Of adapters on the model of this table, each under a name of its own. Adapters need not have the same layers. The
/// scale of the result is 1 (lora_alpha = r). ConfigError for what has no sum of this kind (DoRA, trained copies, rows
/// of tokens, biases of B, parameters of experts), for options that do not go with the method, and for unlike ranks
/// where the method takes A and B by themselves.
CombinedAdapter combine(const SlotTable& table, const std::vector<const Adapter*>& adapters,
                        const CombineOptions& options);

/// The combination of one matrix of each adapter by linear, ties, dare_linear, dare_ties or magnitude_prune: PEFT's
/// merge_utils, in fp32. `density` ≥ 1: nothing is pruned.
at::Tensor combine_tensors(const std::string& method, const std::vector<at::Tensor>& tensors,
                           const std::vector<double>& weights, double density, bool sign_by_frequency,
                           const at::Generator& generator);

}  // namespace lowrank::lora
