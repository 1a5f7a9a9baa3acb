// Cross-entropy of a class a row, with its gradient; row by row in double, whatever the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace lowrank::kernels {

struct ClassLoss {
  std::vector<double> losses;           // nats, [n]
  std::vector<std::int64_t> predicted;  // [n], the first of the largest
  at::Tensor gradient;                  // d Σ losses / d logits [n, classes], of the logits' dtype
};

/// logits fp32 or fp64 [n, classes], labels [n] in [0, classes). `smoothing` s: the target is 1 - s on the label and s
/// / classes on every class (torch.nn.CrossEntropyLoss's label_smoothing). Nothing is recorded: multiply the logits by
/// `gradient`.
ClassLoss class_loss(const at::Tensor& logits, std::span<const std::int64_t> labels, double smoothing = 0);

namespace composite {
ClassLoss class_loss(const at::Tensor& logits, std::span<const std::int64_t> labels, double smoothing = 0);
}

}  // namespace lowrank::kernels
