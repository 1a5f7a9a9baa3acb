#include "lowrank/kernels/threads.h"

#include <omp.h>

#include <condition_variable>
#include <cstdlib>
#include <future>
#include <mutex>
#include <thread>

namespace lowrank::kernels {

// The run-time reads its settings when it is loaded, before any code of ours. But it spins a thousand times instead of
// 300,000 once it has more threads than cores in its pools, so it gets a second pool, of threads that sleep for good.
void share_cores() {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  std::promise<void> made;
  std::future<void> is_made = made.get_future();
  std::thread([made = std::move(made)]() mutable {
#pragma omp parallel num_threads(omp_get_num_procs())
    {
      volatile int entered = 0;  // a region without code would not be entered
      entered = entered + 1;
    }
    made.set_value();
    std::mutex mutex;
    std::unique_lock<std::mutex> lock(mutex);
    std::condition_variable().wait(lock, [] { return false; });  // its pool lives as long as it does
  }).detach();
  is_made.wait();
}

}  // namespace lowrank::kernels
