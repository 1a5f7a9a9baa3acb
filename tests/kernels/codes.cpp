// Weights in int8 and NF4: their panels, products and bounds. That they are bitsandbytes' stands in tests/lora/codes_test.cpp.
#include "lowrank/core/error.h"
#include "lowrank/kernels/base_form.h"
#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

k::BaseWeight coded(k::BaseForm form, const at::Tensor& w) {
  return k::BaseWeight(k::coded_storage(form, k::encoded(form, w), w.size(0), w.size(1), w));
}

}  // namespace

TEST_CASE("panels of codes are parts of the whole, in every dtype", "[unit]") {
  torch::manual_seed(3);
  for (const auto form : {k::BaseForm::kInt8, k::BaseForm::kNf4}) {
    for (const auto& [out, in] : {std::pair{45, 63}, {64, 128}, {5, 7}, {33, 1}}) {
      const at::Tensor w = random({out, in}, at::kBFloat16, 0.3);
      const k::BaseWeight base = coded(form, w);
      const at::Tensor all = base.rows(0, out, at::kFloat);
      CHECK(distance(all, w) < (form == k::BaseForm::kInt8 ? 0.006 : 0.16));
      CHECK(base.original().is_same(w));
      CHECK_FALSE(base.gives_views(at::kFloat));
      for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
        for (std::int64_t begin = 0; begin < out; begin += 3) {
          const std::int64_t n = std::min<std::int64_t>(5, out - begin);
          CHECK(torch::equal(base.rows(begin, n, dtype), all.narrow(0, begin, n).to(dtype)));
        }
        for (std::int64_t begin = 0; begin < in; begin += 3) {
          const std::int64_t n = std::min<std::int64_t>(7, in - begin);
          CHECK(torch::equal(base.columns(begin, n, dtype), all.narrow(1, begin, n).to(dtype)));
        }
      }
      const at::Tensor ids = torch::tensor({static_cast<std::int64_t>(out) - 1, std::int64_t{0}}, at::kLong);
      CHECK(torch::equal(base.rows_at(ids), all.index_select(0, ids)));
    }
  }
}

TEST_CASE("products with codes and their gradients are those with the decoded weight", "[unit]") {
  torch::manual_seed(4);
  const at::Tensor w = random({45, 63}, at::kFloat, 0.5), bias = random({45});
  for (const auto form : {k::BaseForm::kInt8, k::BaseForm::kNf4}) {
    const k::BaseWeight base = coded(form, w).with_bias(bias);
    const k::BaseWeight dense = k::BaseWeight::dense(base.rows(0, 45, at::kFloat), bias);
    const auto op = [](const k::BaseWeight& weight) {
      return [&weight](const Tensors& t) {
        k::LoraOperand lora;
        lora.a = t[1], lora.b = t[2], lora.scale = 1.5;
        return k::lora_linear(t[0], weight, {&lora, 1}, nullptr);
      };
    };
    for (const std::int64_t rows : {3, 100}) {
      const Tensors inputs{random({rows, 63}), random({4, 63}, at::kFloat, 0.2), random({45, 4})};
      const std::vector<bool> trains{true, true, true};
      require_twins(op(base), inputs, trains, 1e-5);
      const Tensors found = run(op(base), inputs, trains), expected = run(op(dense), inputs, trains);
      for (std::size_t i = 0; i < found.size(); ++i) CHECK(distance(found[i], expected[i]) < 2e-6);
    }
  }
}

TEST_CASE("codes have no values that are not finite, and zeros stay zeros", "[unit]") {
  at::Tensor w = torch::zeros({4, 64});
  for (const auto form : {k::BaseForm::kInt8, k::BaseForm::kNf4}) {
    CHECK(coded(form, w).rows(0, 4, at::kFloat).abs().max().item<float>() == 0);
    at::Tensor bad = w.clone();
    bad[2][5] = std::nanf("");
    CHECK_THROWS_AS(k::encoded(form, bad), lowrank::ModelError);
    CHECK(k::encoded(form, w).numel() == k::form_bytes(form, 4, 64));
  }
  CHECK(k::form_bytes(k::BaseForm::kNf4, 576, 576) * 8 / (576.0 * 576) < 4.13);
}
