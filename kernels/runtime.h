// How ops compute: a value that a model or a run carries, in force for a scope on a thread. Two models of one process
// may differ in it.
#pragma once

#include <cstdint>

namespace lowrank::kernels {

/// Every fused op has a twin made of plain ATen ops and autograd: its oracle ("--kernels composite"). What is not on
/// the CPU runs the twins in either mode.
enum class Mode : std::int8_t { kFused, kComposite };

/// How products are formed:
/// - kDetected: as suits this CPU best, one of the others.
/// - kPlain: LibTorch's own GEMM (MKL) in fp32; bf16 operands are made fp32 as they are used and results are rounded.
///   CPUs without AVX2.
/// - kOwn: fp32 as kPlain's, by our own micro-kernels (gemm/): CPUs with AVX2 or AVX-512.
/// - kNativeBf16: kOwn, and what is bf16 multiplied as bf16, summed in fp32; with AMX fp32 in parts of bf16 too, as exactly as fp32
///   (gemm/bf16_kernel.h). CPUs with AVX512_BF16 or AMX.
enum class GemmPath : std::int8_t { kDetected, kPlain, kNativeBf16, kOwn };
const char* name(GemmPath path);

struct Runtime {
  Mode mode = Mode::kFused;
  GemmPath gemm = GemmPath::kDetected;
  std::int32_t threads = 0;  // of LibTorch on the computing thread; 0: as they are. Results don't depend on them.
};

/// What is in force on this thread: the innermost scope's, else the process's default.
Runtime runtime();
Mode mode();
/// Never kDetected.
GemmPath gemm_path();
/// Whether this CPU multiplies bf16 as such, faster than fp32: what kDetected finds.
bool computes_bf16();

/// What holds where no scope is open: for an application's main, before it computes. Sets the calling thread's number
/// of threads too.
void set_default_runtime(const Runtime& runtime);

/// Puts a runtime in force on this thread until it is destroyed. What is recorded meanwhile runs its backward pass
/// under the same one, whenever and on whichever thread that is, and so do the tasks of for_row_chunks.
class RuntimeScope {
 public:
  explicit RuntimeScope(const Runtime& runtime);
  ~RuntimeScope();
  RuntimeScope(const RuntimeScope&) = delete;
  RuntimeScope& operator=(const RuntimeScope&) = delete;

 private:
  const Runtime* before_;
  Runtime own_;
  std::int32_t threads_before_ = 0;  // 0: not changed
};

}  // namespace lowrank::kernels
