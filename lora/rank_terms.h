// An adapter's update as a sum of rank-one terms, ordered by what it costs to leave one out; adapters of the first few.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// One layer's ΔW = left · diag(sizes) · right, fp64 on the host: left [out, k], sizes [k] falling, right [k, in].
struct RankTerms {
  std::string path;
  at::Tensor left, sizes, right;
  double scale = 1;       // that of the adapter the terms were taken from
  at::Tensor magnitude;   // its DoRA magnitude [out] or undefined
  std::int64_t rank = 0;  // its rank; k may be less

  std::int64_t count() const { return sizes.size(0); }
  /// The size of a term; what its leaving costs is the square.
  double size(std::int64_t i) const;
};

/// The singular value decomposition of every slot's s·B A, or s·(B A − B0 A0), by QR decompositions of A and B and that
/// of a matrix of their rank: nothing of the weight's size is made. Values below fp32's rounding of the greatest are
/// left off, but for one term. The first n terms are then the best approximation of rank n, and its squared error the
/// sum of the other squares (Eckart & Young 1936). The same for any number of threads.
std::vector<RankTerms> rank_terms(const Adapter& adapter);

/// How a loss rises when the coefficients of ΔW = left · M · right move off M: ½ · tr(L δM R δMᵀ), L and R [k, k] fp64.
struct Curvature {
  at::Tensor left, right;
};

/// The same ΔW in the terms whose squares are twice what the loss rises by when one of them is left out: the singular
/// value decomposition of L^½ M R^½ taken back by L^-½ and R^-½, so that the first n are the best of rank n for the
/// loss (Fisher-weighted low rank, Hsu et al. 2022, with both Kronecker factors of Martens & Grosse 2015). L and R are
/// damped by a tenth of their mean eigenvalue. `terms`: with orthonormal left and right, as rank_terms gives them.
RankTerms weighted(const RankTerms& terms, const Curvature& curvature);

/// An adapter `like` this one on the layers with a rank above 0, of the first ranks[i] terms of layer i: A and B with
/// the same singular values each, every layer at the scale it had. Its config gives ranks and alphas by patterns,
/// without rsLoRA. ConfigError where no rank is above 0, or a layer with a magnitude has none.
Adapter attach_terms(const SlotTable& table, const LoraConfig& like, const std::vector<RankTerms>& terms,
                     const std::vector<std::int64_t>& ranks, const std::string& name);

}  // namespace lowrank::lora
