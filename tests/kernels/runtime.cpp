#include "lowrank/kernels/runtime.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>

#include "lowrank/kernels/checkpoint.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

constexpr k::Runtime kTwins{.mode = k::Mode::kComposite};

// y = x, noting under what the forward and the backward pass ran.
at::Tensor noted(const at::Tensor& x, std::vector<k::Runtime>& seen) {
  return k::differentiable({x}, [&]() -> k::ForwardPass {
    seen.push_back(k::runtime());
    return {x.clone(), {}, [&seen](const k::BackwardPass& pass) {
              seen.push_back(k::runtime());
              return std::vector<at::Tensor>{pass.gradient};
            }};
  });
}

// A model that carries its runtime: two layers of a norm, a linear with an adapter in bf16 and a gate.
struct Model {
  k::Runtime runtime;
  at::Tensor norm = random({64}), w = random({64, 64}, at::kBFloat16, 0.2);
  at::Tensor a = random({8, 64}, at::kFloat, 0.3).requires_grad_(),
             b = random({64, 8}, at::kFloat, 0.3).requires_grad_();

  at::Tensor layer(const at::Tensor& x) const {
    k::LoraOperand lora;
    lora.a = a;
    lora.b = b;
    const at::Tensor h = k::rms_norm(x, norm, 1e-5);
    return x + k::swiglu(k::lora_linear(h, k::BaseWeight::dense(w), {&lora, 1}, nullptr), h);
  }
  at::Tensor forward(const at::Tensor& x, bool recompute) const {
    const k::RuntimeScope scope(runtime);
    at::Tensor h = x.detach().requires_grad_();
    for (int i = 0; i < 2; ++i)
      h = recompute ? k::checkpoint([this](const at::Tensor& t) { return layer(t); }, h) : layer(h);
    return h.to(at::kFloat).square();
  }
  // What it gives alone: output, and the gradients of A and B.
  Tensors alone(const at::Tensor& x, bool recompute) {
    const at::Tensor y = forward(x, recompute);
    y.sum().backward();
    return taken(y);
  }
  Tensors taken(const at::Tensor& y) {
    Tensors result{y.detach(), a.grad().clone(), b.grad().clone()};
    a.mutable_grad() = b.mutable_grad() = at::Tensor();
    return result;
  }
};

bool same(const Tensors& x, const Tensors& y) {
  for (std::size_t i = 0; i < x.size(); ++i)
    if (!equal_bytes(x[i], y[i])) return false;
  return true;
}

}  // namespace

TEST_CASE("a runtime holds for its scope, on its thread", "[unit]") {
  CHECK(k::mode() == k::Mode::kFused);
  CHECK(k::gemm_path() != k::GemmPath::kDetected);
  const int threads = at::get_num_threads();
  {
    const k::RuntimeScope outer({.mode = k::Mode::kComposite, .gemm = k::GemmPath::kPlain, .threads = threads + 1});
    CHECK(k::mode() == k::Mode::kComposite);
    CHECK(k::gemm_path() == k::GemmPath::kPlain);
    CHECK(at::get_num_threads() == threads + 1);
    {
      const k::RuntimeScope inner({.gemm = k::GemmPath::kNativeBf16});
      CHECK(k::mode() == k::Mode::kFused);
      CHECK(k::gemm_path() == k::GemmPath::kNativeBf16);
      CHECK(at::get_num_threads() == threads + 1);
    }
    CHECK(k::gemm_path() == k::GemmPath::kPlain);
    k::Mode elsewhere = k::Mode::kComposite;
    std::thread([&] { elsewhere = k::mode(); }).join();
    CHECK(elsewhere == k::Mode::kFused);
  }
  CHECK(k::mode() == k::Mode::kFused);
  CHECK(at::get_num_threads() == threads);
  k::set_default_runtime(kTwins);
  CHECK(k::mode() == k::Mode::kComposite);
  k::set_default_runtime({});
}

TEST_CASE("a backward pass runs under the runtime of its forward pass, and so does a recomputation", "[unit]") {
  std::vector<k::Runtime> seen;
  const at::Tensor x = random({2, 2}).requires_grad_();
  at::Tensor y;
  {
    const k::RuntimeScope scope({.mode = k::Mode::kComposite, .gemm = k::GemmPath::kPlain});
    y = k::checkpoint([&](const at::Tensor& t) { return noted(t, seen); }, x);
  }
  y = noted(y, seen);
  std::thread([&] { y.sum().backward(); }).join();
  REQUIRE(seen.size() == 5);  // forward, the one outside, its backward, forward again, backward
  for (const std::size_t i : {0, 3, 4}) {
    CHECK(seen[i].mode == k::Mode::kComposite);
    CHECK(seen[i].gemm == k::GemmPath::kPlain);
  }
  for (const std::size_t i : {1, 2}) CHECK(seen[i].mode == k::Mode::kFused);
}

TEST_CASE("the tasks of for_row_chunks run under their caller's runtime", "[unit]") {
  const k::RuntimeScope scope({.mode = k::Mode::kComposite, .gemm = k::GemmPath::kPlain, .threads = 3});
  std::atomic<int> right{0};
  k::for_row_chunks(64, 1, [&](std::int64_t, std::int64_t) {
    if (k::mode() == k::Mode::kComposite && k::gemm_path() == k::GemmPath::kPlain) ++right;
  });
  CHECK(right == 64);
}

TEST_CASE("a lone chunk is computed by its caller, and split no further", "[unit]") {
  const k::RuntimeScope scope({.threads = 3});
  const std::thread::id caller = std::this_thread::get_id();
  bool alone = false;
  k::for_row_chunks(16, 16, [&](std::int64_t begin, std::int64_t end) {
    alone = begin == 0 && end == 16 && std::this_thread::get_id() == caller && at::get_num_threads() == 1;
  });
  CHECK(alone);
  CHECK(at::get_num_threads() == 3);
  CHECK_THROWS_AS(k::for_row_chunks(1, 1, [](std::int64_t, std::int64_t) { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(at::get_num_threads() == 3);
}

TEST_CASE("what several chunks throw is the first chunk's, whichever thread came first", "[unit]") {
  for (const int threads : {1, 2, 4}) {
    const k::RuntimeScope scope({.threads = threads});
    const auto fails = [](std::int64_t begin, std::int64_t) {
      if (begin < 5) return;
      if (begin == 5) std::this_thread::sleep_for(std::chrono::milliseconds(20));
      throw std::runtime_error(std::to_string(begin));
    };
    CHECK_THROWS_WITH(k::for_row_chunks(64, 1, fails), "5");
  }
}

TEST_CASE("two models of one process compute each in its own way, in turn and at once", "[unit]") {
  torch::manual_seed(41);
  Model fused, twins, packed;
  twins = packed = fused;
  for (Model* other : {&twins, &packed}) {
    other->a = fused.a.detach().clone().requires_grad_();
    other->b = fused.b.detach().clone().requires_grad_();
  }
  fused.runtime = {.gemm = k::GemmPath::kPlain};
  twins.runtime = kTwins;
  packed.runtime = {.gemm = k::GemmPath::kNativeBf16};
  const at::Tensor x = random({100, 64}, at::kBFloat16);
  for (const bool recompute : {false, true}) {
    const Tensors by_fused = fused.alone(x, recompute), by_twins = twins.alone(x, recompute),
                  by_packed = packed.alone(x, recompute);
    CHECK_FALSE(same(by_fused, by_twins));  // bf16 products rounded in other places
    if (k::computes_bf16()) CHECK_FALSE(same(by_fused, by_packed));  // elsewhere both are fp32's sums

    const at::Tensor first = fused.forward(x, recompute), second = twins.forward(x, recompute),
                     third = packed.forward(x, recompute);
    first.sum().backward();
    third.sum().backward();
    second.sum().backward();
    CHECK(same(fused.taken(first), by_fused));
    CHECK(same(twins.taken(second), by_twins));
    CHECK(same(packed.taken(third), by_packed));

    std::atomic<int> wrong{0};
    const auto work = [&](Model& model, const Tensors& expected) {
      for (int i = 0; i < 20; ++i)
        if (!same(model.alone(x, recompute), expected)) ++wrong;
    };
    std::thread one(work, std::ref(fused), std::cref(by_fused)), two(work, std::ref(twins), std::cref(by_twins)),
        three(work, std::ref(packed), std::cref(by_packed));
    one.join();
    two.join();
    three.join();
    CHECK(wrong == 0);
  }
}

// MKL's number of threads for the calling thread; null: LibTorch has another BLAS.
extern "C" int MKL_Get_Max_Threads() __attribute__((weak));

TEST_CASE("a worker's first task has MKL to itself too, whatever ATen sets up in it", "[unit]") {
  if (MKL_Get_Max_Threads == nullptr) {
    WARN("this LibTorch has no MKL: nothing is tested");
    return;
  }
  std::vector<int> before(3), after(3);
  std::thread own([&] {  // whose workers are new
    const lowrank::kernels::RuntimeScope scope({.threads = 3});
    lowrank::kernels::for_row_chunks(3, 1, [&](std::int64_t begin, std::int64_t) {
      before[static_cast<std::size_t>(begin)] = MKL_Get_Max_Threads();
      torch::ones({3000, 40}).sum(0);                                      // sets up LibTorch's
      at::parallel_for(0, 8, 1, [](std::int64_t, std::int64_t) {});  // and ours
      after[static_cast<std::size_t>(begin)] = MKL_Get_Max_Threads();
    });
  });
  own.join();
  CHECK(before == std::vector<int>(3, 1));
  CHECK(after == std::vector<int>(3, 1));
}
