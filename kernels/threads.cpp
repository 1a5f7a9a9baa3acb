#include "lowrank/kernels/threads.h"

#include <omp.h>
#include <pthread.h>
#include <sys/mman.h>

#include <condition_variable>
#include <cstdlib>
#include <future>
#include <mutex>
#include <new>
#include <thread>

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

void enter_region() {
  volatile int entered = 0;  // a region without code would not be entered
  entered = entered + 1;
}

}  // namespace

// The run-time reads its settings when it is loaded, before any code of ours. But it spins a thousand times instead of
// 300,000 once it has more threads than cores in its pools, so it gets a second pool, of threads that sleep for good.
void share_cores() {
  if (!stacks_fit(omp_get_max_threads() + omp_get_num_procs())) throw std::bad_alloc();
#pragma omp parallel  // the threads that compute, while there is room
  enter_region();
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::promise<void> made;
  std::future<void> is_made = made.get_future();
  std::thread([made = std::move(made)]() mutable {
#pragma omp parallel num_threads(omp_get_num_procs())
    enter_region();
    made.set_value();
    std::mutex mutex;
    std::unique_lock<std::mutex> lock(mutex);
    std::condition_variable().wait(lock, [] { return false; });  // its pool lives as long as it does
  }).detach();
  is_made.wait();
}

}  // namespace lowrank::kernels
