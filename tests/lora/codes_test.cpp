// Weights in int8 and NF4, to the bit as bitsandbytes makes them, and LoftQ's beginnings as PEFT makes them
// (tests/parity/make_codes_goldens.py).
#include <torch/types.h>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/base_form.h"
#include "lowrank/kernels/base_weight.h"
#include "lowrank/kernels/int8.h"
#include "lowrank/kernels/nf4.h"
#include "lowrank/lora/init.h"

namespace f = lowrank::formats;
namespace k = lowrank::kernels;
namespace lora = lowrank::lora;

namespace {

class Golden {
 public:
  Golden() : file_(f::SafetensorsFile::open(lowrank_test::golden_dir() / "lora" / "codes.safetensors")) {}
  at::Tensor operator()(const std::string& name) const {
    const f::TensorInfo* const info = file_->find(name);
    REQUIRE(info != nullptr);
    return f::tensor_view(file_, *info);
  }

 private:
  std::shared_ptr<const f::SafetensorsFile> file_;
};

at::Tensor weight_of(const Golden& golden, const std::string& name) {
  const at::Tensor w = golden(name + ".weight");
  return name == "transposed" ? w.t() : w;
}

}  // namespace

TEST_CASE("NF4 and int8 are bitsandbytes' to the bit: codes, scales, offset and values", "[parity]") {
  const Golden golden;
  CHECK(torch::equal(torch::tensor(at::ArrayRef<float>(k::nf4_values().data(), 16)), golden("values")));
  CHECK(torch::equal(torch::tensor(at::ArrayRef<float>(k::nf4_second_map().data(), 256)), golden("second_map")));
  for (const std::string name : {"even", "odd", "transposed"}) {
    INFO(name);
    const at::Tensor w = weight_of(golden, name);
    const std::int64_t out = w.size(0), in = w.size(1);
    const at::Tensor nf4 = k::nf4_encoded(w), int8 = k::int8_encoded(w);
    const k::Nf4Parts parts = k::nf4_parts(nf4, out, in);
    CHECK(torch::equal(parts.codes, golden(name + ".nf4.codes")));
    CHECK(torch::equal(parts.absmax, golden(name + ".nf4.absmax")));
    CHECK(torch::equal(parts.scales, golden(name + ".nf4.scales")));
    CHECK(torch::equal(parts.offset, golden(name + ".nf4.offset")));
    // bitsandbytes rounds the values to the weight's own type.
    const at::Tensor values = k::nf4_storage(nf4, out, in)->rows(0, out, at::kFloat);
    CHECK(torch::equal(values.to(w.scalar_type()).to(at::kFloat), golden(name + ".nf4.values")));

    const k::Int8Parts rows = k::int8_parts(int8, out, in);
    CHECK(torch::equal(rows.codes, golden(name + ".int8.codes")));
    CHECK(torch::equal(rows.scales, golden(name + ".int8.scales")));
    CHECK(torch::equal(k::int8_storage(int8, out, in)->rows(0, out, at::kFloat), golden(name + ".int8.values")));
  }
}

TEST_CASE("LoftQ begins with the greatest terms of what the codes have lost, as PEFT's", "[parity]") {
  const Golden golden;
  const at::Tensor w = golden("loftq.weight"), delta = golden("loftq.delta");
  const auto storage = k::coded_storage(k::BaseForm::kNf4, k::nf4_encoded(w), 40, 64, w);
  const k::BaseWeight base(storage);
  for (const double scale : {1.0, 2.0}) {
    const lora::LoraMatrices found = lora::loftq_from(base, "p", 4, scale);
    CHECK((found.b.matmul(found.a).mul(scale) - delta).abs().max().item<double>() < 1e-6);
    const at::Tensor all = base.rows(0, 40, at::kFloat) + scale * found.b.matmul(found.a);
    CHECK((w - all).norm().item<double>() < 0.95 * (w - base.rows(0, 40, at::kFloat)).norm().item<double>());
  }
  CHECK_THROWS_AS(lora::loftq_from(base, "p", 41, 1), lowrank::ConfigError);
}
