#include "lowrank/kernels/threads.h"

#include <omp.h>
#include <pthread.h>
#include <sys/mman.h>

#include <new>

#include "lowrank/kernels/aten.h"

namespace lowrank::kernels {

namespace {

/// Whether so many threads' stacks have room at once.
bool stacks_fit(int threads) {
  std::size_t one = std::size_t{8} << 20;
  pthread_attr_t defaults;
  if (::pthread_getattr_default_np(&defaults) == 0) {
    ::pthread_attr_getstacksize(&defaults, &one);
    ::pthread_attr_destroy(&defaults);
  }
  const std::size_t all = static_cast<std::size_t>(threads) * one;
  void* const room = ::mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return false;
  ::munmap(room, all);
  return true;
}

}  // namespace

void make_threads() {
  prepare_vector_functions();
  if (!stacks_fit(omp_get_max_threads())) throw std::bad_alloc();
#pragma omp parallel
  {
    volatile int entered = 0;  // a region without code would not be entered
    entered = entered + 1;
  }
}

void prepare_vector_functions() {
  static const at::Tensor of_zero = aten::zeros({1}, at::kFloat).cos();
}

}  // namespace lowrank::kernels
