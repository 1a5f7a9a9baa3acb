// AdamW's inner loop, rounded where torch.optim.AdamW rounds: multiply and add stay apart.
#include "lowrank/kernels/loops_inline.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace lowrank::kernels::loops {

LOWRANK_ISA_CLONES void adamw(float* p, const float* g, float* m, float* v, std::int64_t n, const AdamWStep& step) {
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif
  const auto decay = static_cast<float>(step.decay), eps = static_cast<float>(step.eps);
  const auto weight1 = static_cast<float>(1 - step.beta1), beta2 = static_cast<float>(step.beta2);
  const auto weight2 = static_cast<float>(1 - step.beta2), size = static_cast<float>(-step.step_size);
  const auto root_correction = static_cast<float>(step.root_correction);
  for (std::int64_t i = 0; i < n; ++i) {
    const float gi = g[i];
    const float mi = m[i] + weight1 * (gi - m[i]);
    const float vi = v[i] * beta2 + weight2 * gi * gi;
    m[i] = mi;
    v[i] = vi;
    p[i] = p[i] * decay + size * mi / (std::sqrt(vi) / root_correction + eps);
  }
}

}  // namespace lowrank::kernels::loops
