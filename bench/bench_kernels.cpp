// Speed of the kernels beside LibTorch's own ops, on the shapes of SmolLM2-135M and TinyLlama-1.1B: a plain text table.
//   bench_kernels [threads] [repetitions] [part of a row's name]
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/kernels/gemm.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"

namespace {

namespace k = lowrank::kernels;
using Work = std::function<void()>;

int repetitions = 5;
std::string wanted;  // of a row's name

// Best of some runs, in seconds, after one to warm up.
double seconds(const Work& work) {
  double best = 1e30;
  for (int i = 0; i <= repetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    if (i > 0) best = std::min(best, taken.count());
  }
  return best;
}

const char* short_name(at::ScalarType dtype) { return dtype == at::kFloat ? "fp32" : "bf16"; }

void row(const std::string& what, double flops, const std::vector<Work>& works) {
  if (what.find(wanted) == std::string::npos) return;
  std::printf("%-44s", what.c_str());
  for (const Work& work : works) {
    const double s = seconds(work);
    std::printf(" %9.2f ms %6.0f", s * 1e3, flops / s * 1e-9);
  }
  std::printf("\n");
  std::fflush(stdout);
}

void linears() {
  std::printf("\n%-44s %20s%20s%20s\n", "linear, frozen: ms and GFLOP/s", "at::linear / mm", "ours, LibTorch",
              "ours, own");
  struct Shape {
    std::int64_t rows, in, out;
  };
  for (const Shape& s : {Shape{1024, 576, 576},
                         {1024, 576, 192},
                         {1024, 576, 1536},
                         {1024, 1536, 576},
                         {1024, 576, 49152},
                         {512, 2048, 2048},
                         {512, 2048, 5632}}) {
    for (const auto x_dtype : {at::kFloat, at::kBFloat16}) {
      for (const auto w_dtype : {at::kFloat, at::kBFloat16}) {
        if (x_dtype == at::kBFloat16 && w_dtype == at::kFloat) continue;
        const at::Tensor x = torch::randn({s.rows, s.in}).to(x_dtype), g = torch::randn({s.rows, s.out}).to(x_dtype);
        const at::Tensor w = torch::randn({s.out, s.in}).to(w_dtype);
        const k::BaseWeight base = k::BaseWeight::dense(w);
        const double flops = 2.0 * static_cast<double>(s.rows * s.in * s.out);
        const auto with = [](k::GemmPath path, const Work& work) {
          return [=] {
            const k::RuntimeScope scope({.gemm = path});
            work();
          };
        };
        const Work forward = [&] { k::base_forward(x, base); }, backward = [&] { k::base_backward(g, base); };
        const std::string shape = std::to_string(s.rows) + " x " + std::to_string(s.in) + " x " +
                                  std::to_string(s.out) + ", x " + short_name(x_dtype) + ", W " + short_name(w_dtype);
        row(shape, flops,
            {[&] { at::linear(x, w.to(x_dtype)); }, with(k::GemmPath::kPlain, forward),
             with(k::GemmPath::kOwn, forward)});
        row(shape + ", dX", flops,
            {[&] { at::mm(g, w.to(x_dtype)); }, with(k::GemmPath::kPlain, backward),
             with(k::GemmPath::kOwn, backward)});
      }
    }
  }
}

// Forward and backward of an op on leaves.
Work training(const std::vector<at::Tensor>& leaves, const std::function<at::Tensor()>& op) {
  return [=] {
    for (at::Tensor leaf : leaves) leaf.mutable_grad() = at::Tensor();
    const at::Tensor y = op();
    y.backward(torch::ones_like(y));
  };
}

void training_ops() {
  std::printf("\n%-44s %20s%20s\n", "forward + backward: ms and GFLOP/s", "library ops", "ours");
  torch::manual_seed(1);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const std::string tail = std::string(", ") + short_name(dtype);
    {
      const at::Tensor x = torch::randn({1024, 576}).to(dtype).requires_grad_(true),
                       w = torch::randn({1536, 576}).to(dtype);
      k::LoraOperand lora;
      lora.a = torch::randn({16, 576}).requires_grad_(true);
      lora.b = torch::randn({1536, 16}).requires_grad_(true);
      const k::BaseWeight base = k::BaseWeight::dense(w);
      const std::vector<at::Tensor> leaves{x, lora.a, lora.b};
      row("lora_linear 1024 x 576 x 1536, r 16" + tail, 4.0 * 1024 * 576 * 1536 + 6.0 * 1024 * 16 * (576 + 1536),
          {training(leaves,
                    [=] {
                      return k::composite::lora_linear(x, base, {&lora, 1}, nullptr);
                    }),
           training(leaves, [=] {
             return k::lora_linear(x, base, {&lora, 1}, nullptr);
           })});
    }
    for (const std::int64_t n : {std::int64_t{512}, std::int64_t{2048}}) {
      const std::int64_t segments = 1024 / n > 0 ? 1024 / n : 1;
      const auto leaf = [&](std::int64_t heads) {
        return torch::randn({segments * n, heads, 64}).to(dtype).requires_grad_(true);
      };
      const at::Tensor q = leaf(9), key = leaf(3), v = leaf(3);
      const auto split = k::Segments::of_lengths(std::vector<std::int64_t>(static_cast<std::size_t>(segments), n));
      const auto library = [=] {
        const auto heads = [&](const at::Tensor& t, std::int64_t repeat) {
          return t.view({segments, n, t.size(1), 64}).transpose(1, 2).repeat_interleave(repeat, 1);
        };
        return at::scaled_dot_product_attention(heads(q, 1), heads(key, 3), heads(v, 3), {}, 0.0, true);
      };
      row("attention " + std::to_string(segments) + " x " + std::to_string(n) + ", 9/3 heads of 64" + tail,
          7.0 * static_cast<double>(segments * 9 * n * n * 64),
          {training({q, key, v}, library), training({q, key, v}, [=] {
             return k::attention(q, key, v, split, {0.125, {}});
           })});
    }
    {
      const at::Tensor h = torch::randn({1024, 576}).to(dtype).requires_grad_(true);
      const at::Tensor w = (torch::randn({49152, 576}) * 0.05).to(dtype),
                       labels = torch::randint(49152, {1024}, at::kLong);
      row("linear_cross_entropy 1024 x 576 x 49152" + tail, 4.0 * 1024 * 576 * 49152,
          {training({h},
                    [=] {
                      return at::cross_entropy_loss(at::linear(h, w).to(at::kFloat), labels, {}, at::Reduction::None);
                    }),
           training({h}, [=] { return k::linear_cross_entropy(h, k::BaseWeight::dense(w), labels); })});
    }
    {
      const at::Tensor x = torch::randn({1024, 576}).to(dtype).requires_grad_(true), w = torch::randn({576}).to(dtype);
      row("rms_norm 1024 x 576" + tail, 0,
          {training({x}, [=] { return k::composite::rms_norm(x, w, 1e-5); }),
           training({x}, [=] { return k::rms_norm(x, w, 1e-5); })});
      const at::Tensor gate = torch::randn({1024, 1536}).to(dtype).requires_grad_(true);
      const at::Tensor up = torch::randn({1024, 1536}).to(dtype).requires_grad_(true);
      row("swiglu 1024 x 1536" + tail, 0,
          {training({gate, up}, [=] { return k::composite::swiglu(gate, up); }),
           training({gate, up}, [=] { return k::swiglu(gate, up); })});
      const at::Tensor heads = torch::randn({1024, 9, 64}).to(dtype).requires_grad_(true);
      const at::Tensor angle = torch::randn({1024, 32});
      const k::RotaryTables tables{angle.cos(), angle.sin()};
      row("rotary 1024 x 9 x 64" + tail, 0,
          {training({heads}, [=] { return k::composite::rotary(heads, tables); }),
           training({heads}, [=] { return k::rotary(heads, tables); })});
    }
  }
  {
    at::Tensor param = torch::randn({4'900'000}), m = torch::zeros_like(param), v = torch::zeros_like(param);
    const at::Tensor grad = torch::randn({4'900'000});
    row("adamw_step, 4.9 M parameters", 0,
        {[&] { k::composite::adamw_step(param, grad, m, v, 1, {}); },
         [&] { k::adamw_step(param, grad, m, v, 1, {}); }});
  }
}

}  // namespace

int main(int argc, char** argv) {
  lowrank::core::keep_heap();
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  if (argc > 2) repetitions = std::atoi(argv[2]);
  if (argc > 3) wanted = argv[3];
  std::printf("threads %d, CPU capability %s, GEMM path %s, best of %d\n", at::get_num_threads(),
              at::get_cpu_capability().c_str(), k::name(k::gemm_path()), repetitions);
  linears();
  training_ops();
  return 0;
}
