// Our products beside LibTorch's (MKL) and OpenBLAS, as shares of the machine's multiply-adds: the linears of the
// 135M and 0.5B shapes, one after the other in one process, best of many, by CPU time.
//   bench_gemm [threads] [rounds] [rows]; LOWRANK_OPENBLAS: libscipy_openblas.so of PyPI's scipy-openblas32.
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/gemm/micro.h"
#include "lowrank/kernels/gemm/product.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/rows.h"

namespace {

namespace k = lowrank::kernels;
using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);

int rounds = 15;
Sgemm openblas = nullptr;

// Of the process's CPU time, shared by its threads: a machine that is busy with other things lengthens the wall's.
double clock_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return (static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec)) / at::get_num_threads();
}

double seconds_of(const std::function<void()>& work) {
  const double begin = clock_seconds();
  work();
  return clock_seconds() - begin;
}

// GFLOP/s of multiply-adds alone, all threads.
double peak() {
  const k::gemm::MicroKernel& kernel = k::gemm::micro_kernel();
  constexpr std::int64_t kRounds = 4'000'000;
  const int threads = at::get_num_threads();
  double best = 1e30;
  for (int i = 0; i < 12; ++i) {
    std::vector<float> sums(static_cast<std::size_t>(threads));
    best = std::min(best, seconds_of([&] {
      k::for_row_chunks(threads, 1, [&](std::int64_t t, std::int64_t) {
        sums[static_cast<std::size_t>(t)] = kernel.multiply_adds(kRounds);
      });
    }));
    if (sums[0] == 1.0F) std::puts("");
  }
  return 2.0 * k::gemm::kFmaChains * kernel.lanes * kRounds * threads / best * 1e-9;
}

void find_openblas() {
  const char* const path = std::getenv("LOWRANK_OPENBLAS");
  void* const library = path != nullptr ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (library == nullptr) return;
  openblas = reinterpret_cast<Sgemm>(dlsym(library, "scipy_cblas_sgemm"));
  if (auto* const set = reinterpret_cast<void (*)(int)>(dlsym(library, "scipy_openblas_set_num_threads"))) {
    set(at::get_num_threads());
  }
}

// c [m, n] = a [m, k] · b, b [k, n] or its transpose.
void call_openblas(const at::Tensor& c, const at::Tensor& a, const at::Tensor& b, bool transposed) {
  const int m = static_cast<int>(c.size(0)), n = static_cast<int>(c.size(1)), inner = static_cast<int>(a.size(1));
  openblas(101, 111, transposed ? 112 : 111, m, n, inner, 1, a.const_data_ptr<float>(), inner, b.const_data_ptr<float>(),
           static_cast<int>(b.size(1)), 0, c.mutable_data_ptr<float>(), n);
}

void row(const std::string& what, double flops, double limit, const std::vector<std::function<void()>>& works) {
  std::vector<double> best(works.size(), 1e30);
  for (int i = 0; i < rounds; ++i) {
    for (std::size_t w = 0; w < works.size(); ++w) {
      if (works[w]) best[w] = std::min(best[w], seconds_of(works[w]));
    }
  }
  std::printf("%-34s", what.c_str());
  for (std::size_t w = 0; w < works.size(); ++w) {
    if (!works[w]) {
      std::printf("           -      ");
      continue;
    }
    const double rate = flops / best[w] * 1e-9;
    std::printf(" %9.1f (%3.0f %%)", rate, 100 * rate / limit);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void products(std::int64_t rows, double limit) {
  struct Shape {
    std::int64_t out, in;
  };
  for (const Shape& s : {Shape{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {896, 896}, {128, 896}, {4864, 896},
                         {896, 4864}, {8192, 576}, {8192, 896}}) {
    const at::Tensor x = torch::randn({rows, s.in}), g = torch::randn({rows, s.out}), w = torch::randn({s.out, s.in});
    const at::Tensor y = torch::empty({rows, s.out}), dx = torch::empty({rows, s.in}), half = w.to(at::kBFloat16);
    const k::BaseWeight base = k::BaseWeight::dense(w), stored = k::BaseWeight::dense(half);
    const double flops = 2.0 * static_cast<double>(rows * s.in * s.out);
    const std::string shape = std::to_string(rows) + " x " + std::to_string(s.out) + " x " + std::to_string(s.in);
    const auto blas = [&](const at::Tensor& to, const at::Tensor& from, bool transposed) -> std::function<void()> {
      if (openblas == nullptr) return {};
      return [=] { call_openblas(to, from, w, transposed); };
    };
    row(shape, flops, limit,
        {[&] { k::multiply_transposed(y, x, base); }, [&] { k::multiply_transposed(y, x, stored); },
         [&] { at::mm_out(const_cast<at::Tensor&>(y), x, w.t()); }, blas(y, x, true)});
    row(shape + ", dX", flops, limit,
        {[&] { k::multiply(dx, g, base); }, [&] { k::multiply(dx, g, stored); },
         [&] { at::mm_out(const_cast<at::Tensor&>(dx), g, w); }, blas(dx, g, false)});
  }
}

void thin(std::int64_t rows, double limit) {
  for (const std::int64_t width : {std::int64_t{576}, std::int64_t{1536}, std::int64_t{896}, std::int64_t{4864}}) {
    const std::int64_t rank = 16;
    const at::Tensor x = torch::randn({rows, width}), a = torch::randn({rank, width}), u = torch::randn({rows, rank});
    const at::Tensor t = torch::empty({rows, rank}), da = torch::empty({rank, width});
    const double flops = 2.0 * static_cast<double>(rows * width * rank);
    const auto blas = [&](const std::function<void()>& f) { return openblas == nullptr ? std::function<void()>() : f; };
    row("A: " + std::to_string(rows) + " x 16 x " + std::to_string(width), flops, limit,
        {[&] { k::gemm::multiply(rows, width + rank, {{x}}, {{a.t(), t, 0, width}}, {}); }, {},
         [&] { at::mm_out(const_cast<at::Tensor&>(t), x, a.t()); }, blas([&] { call_openblas(t, x, a, true); })});
    row("dA: 16 x " + std::to_string(width) + " x " + std::to_string(rows), flops, limit,
        {[&] { k::gemm::multiply_outer(da, u, x, 1, false); }, {},
         [&] { at::mm_out(const_cast<at::Tensor&>(da), u.t(), x); },
         blas([&] {
           openblas(101, 112, 111, static_cast<int>(rank), static_cast<int>(width), static_cast<int>(rows), 1,
                    u.const_data_ptr<float>(), static_cast<int>(rank), x.const_data_ptr<float>(),
                    static_cast<int>(width), 0, da.mutable_data_ptr<float>(), static_cast<int>(width));
         })});
  }
}

}  // namespace

int main(int argc, char** argv) {
  lowrank::core::keep_heap();
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  if (argc > 2) rounds = std::atoi(argv[2]);
  const std::int64_t rows = argc > 3 ? std::atoll(argv[3]) : 1024;
  find_openblas();
  const double limit = peak();
  std::printf("%d threads, %s, multiply-adds alone %.1f GFLOP/s; best of %d, GFLOP/s (share of that)\n",
              at::get_num_threads(), k::gemm::name(k::gemm::instruction_set()), limit, rounds);
  std::printf("%-34s %17s %17s %17s %17s\n", "rows x out x in", "lowrank", "lowrank, W bf16", "LibTorch (MKL)", "OpenBLAS");
  products(rows, limit);
  thin(rows, limit);
  return 0;
}
