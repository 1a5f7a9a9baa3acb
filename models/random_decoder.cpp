#include <cmath>
#include <utility>
#include <vector>

#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/models/load.h"

namespace lowrank::models {
namespace {

// transformers' _init_weights: normal(0, initializer_range) for linear and embedding weights, zero biases, unit norms.
class RandomWeights : public WeightSource {
 public:
  RandomWeights(std::uint64_t seed, double deviation, bool trainable, at::Device device)
      : seed_(seed), deviation_(deviation), trainable_(trainable), device_(device) {}

  at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) override {
    return start(name, shape, initial).to(device_).requires_grad_(trainable_);
  }

 private:
  at::Tensor start(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) const {
    const at::Tensor zeros = kernels::aten::zeros(shape, at::kFloat);
    if (initial.kind == Initial::Kind::kZeros) return zeros;
    if (initial.kind == Initial::Kind::kOnes) return zeros.fill_(1);
    const core::RandomStream stream(seed_, "init:" + name);
    std::vector<float> values(static_cast<std::size_t>(zeros.numel()));
    if (initial.kind == Initial::Kind::kLogUniform) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<float>(std::log(0.01 + (16 - 0.01) * stream.uniform(i)));
      }
      return kernels::from_host<float>(values, shape);
    }
    const double deviation = deviation_ * initial.factor;
    const std::int64_t rows = shape.front(), columns = zeros.numel() / rows;
    kernels::for_row_chunks(rows, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int64_t column = 0; column < columns; ++column) {
          const double z = stream.normal(static_cast<std::uint64_t>(row), static_cast<std::uint64_t>(column));
          values[static_cast<std::size_t>(row * columns + column)] = static_cast<float>(deviation * z);
        }
      }
    });
    return kernels::from_host<float>(values, shape);
  }

  std::uint64_t seed_;
  double deviation_;
  bool trainable_;
  at::Device device_;
};

}  // namespace

Decoder random_decoder(const DecoderConfig& config, std::uint64_t seed, bool trainable, at::Device device) {
  RandomWeights weights(seed, config.initializer_range, trainable, device);
  return std::make_shared<DecoderImpl>(config, weights);
}

}  // namespace lowrank::models
