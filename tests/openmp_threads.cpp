// Our parallel regions on threads that ThreadSanitizer sees: libgomp starts and joins its own by calls of the kernel's. By the linker
// (--wrap) for our objects alone; LibTorch's regions, which share out work by more of libgomp, stay libgomp's, and a thread of ours has
// teams of one there.
#include <algorithm>
#include <thread>
#include <vector>

extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
int __real_omp_get_num_threads();
int __real_omp_get_thread_num();
}

namespace {

thread_local int team = 0, number = 0;  // 0: none of ours

}  // namespace

extern "C" void __wrap_GOMP_parallel(void (*region)(void*), void* data, unsigned threads, unsigned) {
  const int outer_team = team, outer_number = number;
  const int count = outer_team > 1 ? 1 : threads > 0 ? static_cast<int>(threads) : std::max(omp_get_max_threads(), 1);
  const auto run = [&](int own) {
    team = count, number = own;
    region(data);
  };
  std::vector<std::thread> others;
  for (int i = 1; i < count; ++i)
    others.emplace_back([&run, i] {
      omp_set_num_threads(1);
      run(i);
    });
  run(0);
  for (std::thread& other : others) other.join();
  team = outer_team, number = outer_number;
}

extern "C" int __wrap_omp_get_num_threads() { return team > 0 ? team : __real_omp_get_num_threads(); }
extern "C" int __wrap_omp_get_thread_num() { return team > 0 ? number : __real_omp_get_thread_num(); }
