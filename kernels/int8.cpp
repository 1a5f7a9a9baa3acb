#include "lowrank/kernels/int8.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/coded_storage.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/row_stream.h"

namespace lowrank::kernels {

namespace {

class Int8Storage : public CodedStorage {
 public:
  Int8Storage(at::Tensor bytes, std::int64_t out, std::int64_t in, at::Tensor original, at::Device device)
      : CodedStorage(out, in, std::move(original), device), bytes_(std::move(bytes)) {
    const Int8Parts parts = int8_parts(bytes_, out, in);
    codes_ = parts.codes.const_data_ptr<std::int8_t>();
    scales_ = parts.scales.const_data_ptr<float>();
    if (!device.is_cpu()) there_ = int8_parts(to_device(bytes_, device), out, in);
  }

  WeightCodes codes() const override {
    if (!device().is_cpu()) return {};
    return Int8Codes{codes_, scales_, in_features()};
  }

 private:
  void decode(std::int64_t row, std::int64_t column, std::int64_t n, float* to) const override {
    const std::int8_t* const from = codes_ + row * in_features() + column;
    const float scale = scales_[row];
    for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]) * scale * Int8Codes::kInverse;
  }

  DecodedOnDevice decoded_there() const override {
    const auto by_ops = [this](std::int64_t begin, std::int64_t n) {
      const at::Tensor scales = there_.scales.narrow(0, begin, n).unsqueeze(1);
      return there_.codes.narrow(0, begin, n).to(at::kFloat).mul(scales).mul(Int8Codes::kInverse);
    };
    const auto by_kernel = [this](const LowrankCuda& kernels, std::int64_t first, std::int64_t count, const LowrankCudaTarget& to) {
      const LowrankCudaInt8 weight{there_.codes.const_data_ptr<std::int8_t>(), there_.scales.const_data_ptr<float>(), in_features(), first, count};
      return kernels.int8(&weight, &to);
    };
    return {by_ops, by_kernel};
  }

  at::Tensor bytes_;
  const std::int8_t* codes_;
  const float* scales_;
  Int8Parts there_;  // on a device that is not the CPU
};

}  // namespace

std::int64_t int8_bytes(std::int64_t out, std::int64_t in) { return (4 * out + out * in + 63) / 64 * 64; }

Int8Parts int8_parts(const at::Tensor& bytes, std::int64_t out, std::int64_t in) {
  if (bytes.scalar_type() != at::kByte || bytes.numel() != int8_bytes(out, in) || !bytes.is_contiguous())
    throw InternalError("kernels::int8_parts: the bytes of one weight are expected");
  return {bytes.narrow(0, 4 * out, out * in).view(at::kChar).view({out, in}), bytes.narrow(0, 0, 4 * out).view(at::kFloat)};
}

at::Tensor int8_encoded(const at::Tensor& w) {
  const std::int64_t out = w.size(0), in = w.size(1);
  at::Tensor bytes = aten::zeros({int8_bytes(out, in)}, at::kByte);
  auto* const scales = reinterpret_cast<float*>(bytes.mutable_data_ptr<std::uint8_t>());
  auto* const codes = reinterpret_cast<std::int8_t*>(bytes.mutable_data_ptr<std::uint8_t>()) + 4 * out;
  for_value_runs(w, in, [&](std::int64_t first, const float* values, std::int64_t n) {
    for (std::int64_t i = 0; i < n; i += in) {
      float most = 0;
      for (std::int64_t k = 0; k < in; ++k) most = std::max(most, std::abs(values[i + k]));
      const float factor = 1.0F / most * 127.0F;  // infinite for zeros and for what is next to them
      const float bounded = std::isfinite(factor) ? factor : 0;
      for (std::int64_t k = 0; k < in; ++k)
        codes[first + i + k] = static_cast<std::int8_t>(std::nearbyint(values[i + k] * bounded));
      scales[(first + i) / in] = most;
    }
  });
  return bytes;
}

std::shared_ptr<const BaseStorage> int8_storage(at::Tensor bytes, std::int64_t out, std::int64_t in,
                                                at::Tensor original, at::Device device) {
  return std::make_shared<Int8Storage>(std::move(bytes), out, in, std::move(original), device);
}

}  // namespace lowrank::kernels
