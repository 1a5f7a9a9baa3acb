#include <atomic>

#include "lowrank/kernels/gemm.h"

namespace lowrank::kernels {

namespace {

GemmPath detect() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) return GemmPath::kNativeBf16;
  if (avx512 && !__builtin_cpu_is("intel")) return GemmPath::kPacked;
#endif
  return GemmPath::kPlain;
}

std::atomic<GemmPath>& chosen() {
  static std::atomic<GemmPath> path{detect()};
  return path;
}

}  // namespace

GemmPath gemm_path() { return chosen().load(std::memory_order_relaxed); }
void set_gemm_path(GemmPath path) { chosen().store(path, std::memory_order_relaxed); }

const char* name(GemmPath path) {
  switch (path) {
    case GemmPath::kPlain:
      return "plain";
    case GemmPath::kPacked:
      return "packed";
    case GemmPath::kNativeBf16:
      return "native-bf16";
  }
  return "?";
}

at::ScalarType product_dtype(at::ScalarType dtype) {
  if (dtype == at::kBFloat16 && gemm_path() != GemmPath::kNativeBf16) return at::kFloat;
  return dtype;
}

}  // namespace lowrank::kernels
