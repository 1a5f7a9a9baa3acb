#include "lowrank/kernels/rows.h"

#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <omp.h>

#include <algorithm>
#include <exception>
#include <mutex>

#include "lowrank/kernels/runtime.h"
#include "lowrank/kernels/threads.h"

// MKL's number of threads for the calling thread alone (0: the process's); gives the number before. Weak: a LibTorch
// built on another BLAS has none. Without it MKL cuts a product by the number of threads of the process even in a
// worker.
extern "C" int MKL_Set_Num_Threads_Local(int threads) __attribute__((weak));

namespace lowrank::kernels {

namespace {

/// ATen's number of threads. A thread's first parallel loop, of each library that has one (what remembers it is inline), sets the process's
/// number in it, for MKL too: that is to be done before ours is set.
int threads_of_aten() {
  at::internal::lazy_init_num_threads();
  return at::get_num_threads();
}

class SingleThreadedMkl {
 public:
  SingleThreadedMkl() {
    threads_of_aten();
    if (MKL_Set_Num_Threads_Local != nullptr) before_ = MKL_Set_Num_Threads_Local(1);
  }
  ~SingleThreadedMkl() {
    if (MKL_Set_Num_Threads_Local != nullptr) MKL_Set_Num_Threads_Local(before_);
  }
  SingleThreadedMkl(const SingleThreadedMkl&) = delete;
  SingleThreadedMkl& operator=(const SingleThreadedMkl&) = delete;

 private:
  int before_ = 0;
};

/// As if there were no threads but this one, for what it calls: ATen splits nothing, as inside a parallel region.
class Alone {
 public:
  Alone() {
    if (before_ > 1) omp_set_num_threads(1);
  }
  ~Alone() {
    if (before_ > 1) omp_set_num_threads(before_);
  }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;

 private:
  int before_ = threads_of_aten();
};

}  // namespace

void for_row_chunks(std::int64_t rows, std::int64_t chunk, const std::function<void(std::int64_t, std::int64_t)>& f) {
  if (rows <= 0) return;
  prepare_vector_functions();
  const std::int64_t chunks = (rows + chunk - 1) / chunk;
  Runtime now = runtime();
  now.threads = 0;  // the tasks are the threads
  std::mutex mutex;
  std::exception_ptr failure;
  std::int64_t failed = chunks;
  const auto run = [&](std::int64_t first, std::int64_t last) {
    // Worker threads do not inherit the caller's thread-local state, so each says for itself that nothing is recorded.
    const at::NoGradGuard no_grad;
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    const RuntimeScope same(now);
    const SingleThreadedMkl single_threaded;
    for (std::int64_t c = first; c < std::min(last, chunks); ++c) {
      try {
        f(c * chunk, std::min(rows, (c + 1) * chunk));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (c < failed) failed = c, failure = std::current_exception();
        return;
      }
    }
  };
  if (chunks == 1) {  // waking the others to do nothing takes longer than a small chunk itself
    const Alone alone;
    run(0, 1);
  } else {
    at::parallel_for(0, chunks, 1, run);
  }
  if (failure != nullptr) std::rethrow_exception(failure);
}

}  // namespace lowrank::kernels
