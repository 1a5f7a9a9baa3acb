#include "lowrank/kernels/runtime.h"

#include <ATen/Parallel.h>

#include <atomic>

#include "lowrank/kernels/gemm/bf16_kernel.h"
#include "lowrank/kernels/gemm/micro.h"

namespace lowrank::kernels {

namespace {

GemmPath detect() {
  if (computes_bf16()) return GemmPath::kNativeBf16;
  return gemm::widest_instruction_set() == gemm::InstructionSet::kBaseline ? GemmPath::kPlain : GemmPath::kOwn;
}

std::atomic<Runtime>& fallback() {
  static std::atomic<Runtime> value{Runtime()};
  return value;
}

thread_local const Runtime* innermost = nullptr;

}  // namespace

const char* name(GemmPath path) {
  switch (path) {
    case GemmPath::kDetected:
      return "detected";
    case GemmPath::kPlain:
      return "plain";
    case GemmPath::kNativeBf16:
      return "native-bf16";
    case GemmPath::kOwn:
      return "own";
  }
  return "?";
}

Runtime runtime() { return innermost != nullptr ? *innermost : fallback().load(std::memory_order_relaxed); }

Mode mode() { return runtime().mode; }

GemmPath gemm_path() {
  static const GemmPath detected = detect();
  const GemmPath path = runtime().gemm;
  return path == GemmPath::kDetected ? detected : path;
}

bool computes_bf16() { return gemm::bf16_kernel() != nullptr; }

void set_default_runtime(const Runtime& runtime) {
  fallback().store(runtime, std::memory_order_relaxed);
  if (runtime.threads > 0) at::set_num_threads(runtime.threads);
}

RuntimeScope::RuntimeScope(const Runtime& runtime) : before_(innermost), own_(runtime) {
  innermost = &own_;
  if (runtime.threads <= 0 || at::in_parallel_region()) return;
  const int now = at::get_num_threads();
  if (now == runtime.threads) return;
  threads_before_ = now;
  at::set_num_threads(runtime.threads);
}

RuntimeScope::~RuntimeScope() {
  innermost = before_;
  if (threads_before_ > 0) at::set_num_threads(threads_before_);
}

}  // namespace lowrank::kernels
