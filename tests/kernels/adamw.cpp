#include <torch/optim/adamw.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/kernels/rows.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

TEST_CASE("adamw_step follows torch.optim.AdamW", "[unit]") {
  torch::manual_seed(15);
  for (const double decay : {0.0, 0.1}) {
    const at::Tensor start = random({50001}, at::kFloat, 0.4);
    at::Tensor reference = start.clone().requires_grad_(true);
    auto settings = torch::optim::AdamWOptions(3e-3).betas({0.8, 0.95}).eps(1e-7).weight_decay(decay);
    torch::optim::AdamW optimiser({reference}, settings);
    const k::AdamWOptions options{3e-3, 0.8, 0.95, 1e-7, decay};
    at::Tensor param = start.clone(), m = torch::zeros({50001}), v = torch::zeros({50001});
    at::Tensor twin = start.clone(), twin_m = m.clone(), twin_v = v.clone();
    for (int step = 1; step <= 5; ++step) {
      const at::Tensor grad = random({50001}, at::kFloat, step == 3 ? 1e-6 : 1);
      reference.mutable_grad() = grad.clone();
      optimiser.step();
      k::adamw_step(param, grad, m, v, step, options);
      k::composite::adamw_step(twin, grad, twin_m, twin_v, step, options);
      // One rounding of a parameter is 6e-8 of it, and the steps add up.
      CHECK(distance(param, reference.detach()) < 5e-7);
      CHECK(distance(param, twin) < 5e-7);
    }
  }
}

TEST_CASE("adamw_step's bytes do not depend on the number of threads", "[unit]") {
  torch::manual_seed(16);
  const at::Tensor start = random({100003}), grad = random({100003});
  const Op op = [&](const Tensors& t) {
    at::Tensor param = t[0].clone(), m = torch::zeros_like(param), v = torch::zeros_like(param);
    k::adamw_step(param, grad, m, v, 1, {});
    return torch::cat({param, m, v});
  };
  require_thread_independence(op, {start}, {false});
}

TEST_CASE("adamw_step refuses buffers that do not match", "[unit]") {
  at::Tensor param = torch::zeros({4}), m = torch::zeros({4}), v = torch::zeros({3});
  CHECK_THROWS_AS(k::adamw_step(param, torch::zeros({4}), m, v, 1, {}), lowrank::InternalError);
}

TEST_CASE("row chunks cover every row once, whatever the number of threads", "[unit]") {
  for (const std::int64_t rows : {0, 1, 15, 16, 17, 1000}) {
    std::vector<int> seen(static_cast<std::size_t>(rows), 0);
    bool records = false;
    k::for_row_chunks(rows, 16, [&](std::int64_t begin, std::int64_t end) {
      if (at::GradMode::is_enabled()) records = true;
      for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    CHECK_FALSE(records);
    CHECK(std::all_of(seen.begin(), seen.end(), [](int n) { return n == 1; }));
  }
}
