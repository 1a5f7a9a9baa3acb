// Norm, rotary embedding, gated activation.
#include "lowrank/core/error.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

const Op norm = [](const Tensors& t) { return k::rms_norm(t[0], t[1], 1e-5); };
const Op gated = [](const Tensors& t) { return k::swiglu(t[0], t[1]); };

// Tables for `rows` tokens and `half` angles, the tokens at odd positions.
k::RotaryTables tables(std::int64_t rows, std::int64_t half) {
  const at::Tensor angle = torch::arange(rows, at::kFloat).mul(3).unsqueeze(1) *
                           torch::pow(100.0, -torch::arange(half, at::kFloat) / static_cast<double>(half));
  return {angle.cos(), angle.sin()};
}
Op turning(std::int64_t rows, std::int64_t half) {
  return [=](const Tensors& t) { return k::rotary(t[0], tables(rows, half)); };
}

}  // namespace

TEST_CASE("rms_norm equals its twin", "[unit]") {
  torch::manual_seed(2);
  for (const std::int64_t d : {1, 63, 64, 577}) {
    const Tensors inputs{random({37, d}, at::kDouble), random({d}, at::kDouble)};
    for (const bool weight : {false, true}) {
      require_twins(norm, inputs, {true, weight}, 1e-11);
      require_twins(norm, to(inputs, at::kFloat), {true, weight}, 1e-5);
      require_twins(norm, to(inputs, at::kBFloat16), {true, weight}, 0.02);
    }
  }
  require_twins(norm, {random({7, 3, 20}, at::kDouble), random({20}, at::kDouble)}, {true, true}, 1e-11);
  require_finite_differences(norm, {random({5, 11}, at::kDouble), random({11}, at::kDouble)}, {true, true});
}

TEST_CASE("rms_norm takes a strided view", "[unit]") {
  const at::Tensor x = random({12, 40}, at::kDouble), w = random({20}, at::kDouble);
  const at::Tensor view = x.narrow(1, 7, 20);
  CHECK(equal_bytes(k::rms_norm(view, w, 1e-6), k::rms_norm(view.contiguous(), w, 1e-6)));
}

TEST_CASE("rotary equals its twin, whole and partial", "[unit]") {
  torch::manual_seed(3);
  for (const std::int64_t half : {32, 20}) {
    const Tensors inputs{random({37, 3, 64}, at::kDouble)};
    require_twins(turning(37, half), inputs, {true}, 1e-11);
    require_twins(turning(37, half), to(inputs, at::kFloat), {true}, 1e-5);
    require_twins(turning(37, half), to(inputs, at::kBFloat16), {true}, 0.01);
  }
  require_finite_differences(turning(5, 4), {random({5, 2, 10}, at::kDouble)}, {true});
}

TEST_CASE("rotary refuses tables that do not fit", "[unit]") {
  CHECK_THROWS_AS(k::rotary(random({5, 2, 8}), tables(5, 5)), lowrank::InternalError);
  CHECK_THROWS_AS(k::rotary(random({5, 2, 8}), tables(4, 4)), lowrank::InternalError);
}

TEST_CASE("swiglu equals its twin", "[unit]") {
  torch::manual_seed(4);
  const Tensors inputs{random({37, 1001}, at::kDouble, 4), random({37, 1001}, at::kDouble)};
  require_twins(gated, inputs, {true, true}, 1e-11);
  require_twins(gated, to(inputs, at::kFloat), {true, true}, 1e-5);
  require_twins(gated, to(inputs, at::kBFloat16), {true, true}, 0.02);
  require_finite_differences(gated, {random({3, 7}, at::kDouble), random({3, 7}, at::kDouble)}, {true, true});
}

TEST_CASE("swiglu of large gates is the limit, and NaN stays NaN", "[unit]") {
  const at::Tensor gate = torch::tensor({-200.0F, -100.0F, 100.0F, 1e30F, NAN}), up = torch::ones({5});
  const at::Tensor y = k::swiglu(gate, up);
  CHECK(std::abs(y[0].item<float>()) < 1e-30F);
  CHECK(std::abs(y[1].item<float>()) < 1e-30F);
  CHECK(y[2].item<float>() == 100.0F);
  CHECK(y[3].item<float>() == 1e30F);
  CHECK(std::isnan(y[4].item<float>()));
}

TEST_CASE("the layer ops' bytes do not depend on the number of threads", "[unit]") {
  torch::manual_seed(5);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    require_thread_independence(norm, to({random({37, 63}), random({63})}, dtype), {true, true});
    require_thread_independence(norm, to({random({301, 577}), random({577})}, dtype), {true, true});
    require_thread_independence(turning(137, 31), to({random({137, 3, 63})}, dtype), {true});
    require_thread_independence(gated, to({random({337, 163}), random({337, 163})}, dtype), {true, true});
  }
}

TEST_CASE("ops on no tokens give no tokens", "[unit]") {
  CHECK(k::rms_norm(random({0, 8}), random({8}), 1e-5).sizes() == at::IntArrayRef({0, 8}));
  CHECK(k::swiglu(random({0, 8}), random({0, 8})).numel() == 0);
  CHECK(k::rotary(random({0, 2, 8}), {torch::empty({0, 4}), torch::empty({0, 4})}).numel() == 0);
}
