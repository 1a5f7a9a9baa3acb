// NEFTune: uniform noise on the embeddings of a training pass.
#pragma once

#include <ATen/core/Tensor.h>

#include "lowrank/kernels/dropout.h"
#include "lowrank/kernels/segments.h"

namespace lowrank::kernels {

/// U(−1, 1) · alpha / √(L · width) for every token of a segment of length L, fp32 [T, width] (Jain et al. 2023,
/// "NEFTune: Noisy Embeddings Improve Instruction Finetuning"; transformers takes the padded length of the batch for L,
/// here there is no padding). Counter-based: column j of a token takes word j % 4 of the Philox4x32-10 block (counter
/// {j / 4, token in step, step low, step high}, key of the seed's stream "neftune"); so the numbers are the same for
/// any cut into micro-batches, number of threads and recomputation. Made on the host.
at::Tensor neftune_noise(const Segments& segments, std::int64_t width, double alpha, const DropoutContext& place,
                         at::Device device = at::kCPU);

}  // namespace lowrank::kernels
