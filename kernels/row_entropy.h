// The entropy of the softmax of rows of logits.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace lowrank::kernels {

/// −Σ p log p in nats with p = softmax(logits) a row; logits fp32 [n, V]. Nothing is recorded; independent of the
/// number of threads.
std::vector<double> row_entropies(const at::Tensor& logits);

namespace composite {
std::vector<double> row_entropies(const at::Tensor& logits);
}

}  // namespace lowrank::kernels
