// How new adapter matrices begin.
#pragma once

#include <cstdint>
#include <string>

#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// A [r, in] and B [out, r] as leaves that require grad. By `init`: "default" A in U(±1/√in), "gaussian" A in N(0,
/// 1/r²), B zero; "orthogonal" (PEFT's, r even) A = (X Q_even)ᵀ/10 and B = Y Q_odd/10 for normal X [in, r/2] and Y
/// [out, r/2] and the rows of an orthogonal Q [r, r], so that neither is zero and B A is. Each number depends on (seed,
/// name, its place) alone. `options`: the dtype, fp32 or fp64, and the device.
LoraMatrices new_matrices(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t r,
                          const std::string& init, std::uint64_t seed, at::TensorOptions options = at::kFloat);

/// Of an embedding of V rows of d, the other way round as PEFT has it: A [r, V] zeros, B [d, r] of N(0, 1), whatever
/// the initialisation of linear layers.
LoraMatrices new_embedding_matrices(const std::string& name, std::int64_t vocabulary, std::int64_t width,
                                    std::int64_t r, std::uint64_t seed, at::TensorOptions options = at::kFloat);

/// A part of the base's weight W [out, in] as the beginning (LoraMatrices::a0, b0) and as A and B (which require no
/// grad yet), such that s·B A is: "pissa" (Meng et al. 2024) the r greatest terms of W's singular value decomposition,
/// A = √S Vᵀ and B = U √S over √s; "pissa_niter_N" the same from a randomised decomposition of N power iterations
/// (Halko et al. 2011) with r + 8 columns drawn from (seed, name); "olora" (Büyükakyüz 2024) s times the first r
/// columns of Q and rows of R of W = Q R. Computed on the host in fp32 (fp64 for fp64) by one thread, so that it does
/// not depend on their number. The weight itself is left as it is: what is taken off it in every product is exactly
/// what is added, which PEFT, who rounds W − s·B A to W's dtype, has in fp32 only. ConfigError for a rank above W's.
LoraMatrices split_from(const kernels::BaseWeight& base, const std::string& name, std::int64_t r, double scale,
                        const std::string& init, std::uint64_t seed);

/// LoftQ (Li et al. 2023), one iteration: A and B (which require no grad yet) such that s·B A are the r greatest terms
/// of what a coded base has lost, original() − W, A = √S Vᵀ and B = U √S over √s. PEFT's replace_lora_weights_loftq at
/// s = 1; it leaves s out, so that B A counts s times. Further iterations would change the base, and the adapter would
/// fit no other. Computed as split_from does. ConfigError for a rank above W's.
LoraMatrices loftq_from(const kernels::BaseWeight& base, const std::string& name, std::int64_t r, double scale);

}  // namespace lowrank::lora
