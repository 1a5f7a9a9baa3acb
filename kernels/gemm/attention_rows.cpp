#include "lowrank/kernels/gemm/attention_rows.h"

#include <algorithm>
#include <cmath>

#include "lowrank/kernels/loops.h"

namespace lowrank::kernels::gemm {
namespace {

void add_sink(float sink, float* sum, float* lse) {
  const double wide = *lse, with = std::max<double>(sink, wide) + std::log1p(std::exp(-std::abs(sink - wide)));
  *sum *= static_cast<float>(std::exp(with - wide));
  *lse = static_cast<float>(with);
}

}  // namespace

Seen seen(const AttentionHead& head, std::int64_t width, std::int64_t begin, std::int64_t end) {
  std::int64_t first = 0;
  if (head.window) first = std::max<std::int64_t>(head.offset + begin + 1 - *head.window, 0);
  return {first / width * width, head.offset + end};
}

std::int64_t first_key(const AttentionHead& head, std::int64_t i, std::int64_t first) {
  return head.window ? std::max<std::int64_t>(head.offset + i + 1 - *head.window - first, 0) : 0;
}

float soften(const AttentionHead& head, std::int64_t i, std::int64_t first, std::int64_t columns, float* row, float* sum) {
  const std::int64_t begin = first_key(head, i, first), end = head.offset + i + 1 - first;
  if (head.cap != 0) loops::cap_row(row, begin, end, head.scale, head.cap);
  float lse = loops::softmax_row(row, columns, begin, end, head.cap != 0 ? 1 : head.scale, sum);
  if (head.sink != nullptr) add_sink(*head.sink, sum, &lse);
  return lse;
}

void soften_backward(const AttentionHead& head, std::int64_t i, std::int64_t first, std::int64_t columns, float lse, float delta, float* row,
                     float* gradient) {
  const std::int64_t begin = first_key(head, i, first), end = head.offset + i + 1 - first;
  if (head.cap != 0) {
    loops::capped_softmax_row_backward(row, gradient, columns, begin, end, head.scale, head.cap, lse, delta);
  } else {
    loops::softmax_row_backward(row, gradient, columns, begin, end, head.scale, lse, delta);
  }
}

}  // namespace lowrank::kernels::gemm
