#include "lowrank/kernels/nf4.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/coded_storage.h"
#include "lowrank/kernels/decoded_rows.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/row_stream.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr float kLeast = 1e-38F;  // what a block's greatest absolute value is at least, as a divisor

// Places of the second quantisation's table, over [−1, 1].
constexpr int kPlaces = 65536;

// Of each place the value of the map that is nearest to it.
const std::vector<std::uint8_t>& nearest_of_place() {
  static const auto table = [] {
    const auto& map = nf4_second_map();
    std::vector<std::uint8_t> result(kPlaces);
    std::size_t at = 0;
    for (int i = 0; i < kPlaces; ++i) {
      const double place = 2.0 * i / (kPlaces - 1) - 1;
      while (at < 255 && static_cast<double>((map[at] + map[at + 1]) * 0.5F) < place) ++at;
      result[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(at);
    }
    return result;
  }();
  return table;
}

// The greatest absolute value of a block, and its codes by the nearest of the 16 values, a tie to the lower.
float encode_block(const float* values, std::int64_t n, std::uint8_t* codes) {
  static const auto bounds = [] {
    std::array<float, 15> result{};
    for (std::size_t i = 0; i < 15; ++i) result[i] = (nf4_values()[i] + nf4_values()[i + 1]) / 2;
    return result;
  }();
  float most = 0;
  for (std::int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(values[i]));
  const bool whole = n == kNf4Block;  // bitsandbytes divides in the last, shorter block, and multiplies elsewhere
  if (!whole) most = std::max(most, kLeast);
  const float inverse = 1.0F / std::max(most, kLeast);
  for (std::int64_t i = 0; i < n; ++i) {
    const float scaled = std::clamp(whole ? values[i] * inverse : values[i] / most, -1.0F, 1.0F);
    int code = 0;
    for (const float bound : bounds) code += scaled > bound ? 1 : 0;
    codes[i] = static_cast<std::uint8_t>(code);
  }
  return most;
}

// Calls f(block, greatest absolute value, codes, n) for every block of w, in parallel.
template <typename F>
void for_blocks(const at::Tensor& w, const F& f) {
  for_value_runs(w, kNf4Block, [&](std::int64_t first, const float* values, std::int64_t n) {
    std::array<std::uint8_t, kNf4Block> codes{};
    for (std::int64_t i = 0; i < n; i += kNf4Block) {
      const std::int64_t count = std::min(kNf4Block, n - i);
      const float most = encode_block(values + i, count, codes.data());
      f((first + i) / kNf4Block, most, codes, count);
    }
  });
}

// The greatest absolute values less their mean, in the dynamic map.
void encode_absmax(const at::Tensor& absmax, const Nf4Parts& parts) {
  at::Tensor mean;
  for_row_chunks(1, 1, [&](std::int64_t, std::int64_t) { mean = absmax.mean(); });  // by one thread: its sum's order
  parts.offset.copy_(mean.view({1}));
  const at::Tensor left = absmax.sub(mean);
  const float* const values = left.const_data_ptr<float>();
  auto* const codes = parts.absmax.mutable_data_ptr<std::uint8_t>();
  float* const scales = parts.scales.mutable_data_ptr<float>();
  const auto& nearest = nearest_of_place();
  const std::int64_t blocks = absmax.numel();
  for (std::int64_t group = 0; group * kNf4SecondBlock < blocks; ++group) {
    const std::int64_t begin = group * kNf4SecondBlock, end = std::min(begin + kNf4SecondBlock, blocks);
    float most = 0;
    for (std::int64_t i = begin; i < end; ++i) most = std::max(most, std::abs(values[i]));
    scales[group] = most;
    const float inverse = most == 0 ? 0 : 1.0F / most;
    for (std::int64_t i = begin; i < end; ++i) {
      const float scaled = most == 0 ? -1.0F : std::clamp(values[i] * inverse, -1.0F, 1.0F);
      const float place = (scaled + 1.0F) * 0.5F * static_cast<float>(kPlaces - 1) + 0.5F;
      codes[i] = nearest[static_cast<std::size_t>(place)];
    }
  }
}

// What a byte's two codes stand for, the upper half first.
const std::array<std::array<float, 2>, 256>& pairs() {
  static const auto table = [] {
    std::array<std::array<float, 2>, 256> result{};
    for (std::size_t byte = 0; byte < 256; ++byte) result[byte] = {nf4_values()[byte >> 4], nf4_values()[byte & 15]};
    return result;
  }();
  return table;
}

class Nf4Storage : public CodedStorage {
 public:
  Nf4Storage(at::Tensor bytes, std::int64_t out, std::int64_t in, at::Tensor original, at::Device device)
      : CodedStorage(out, in, std::move(original), device), bytes_(std::move(bytes)) {
    const Nf4Parts parts = nf4_parts(bytes_, out, in);
    codes_ = parts.codes.const_data_ptr<std::uint8_t>();
    absmax_ = parts.absmax.const_data_ptr<std::uint8_t>();
    scales_ = parts.scales.const_data_ptr<float>();
    offset_ = *parts.offset.const_data_ptr<float>();
    if (device.is_cpu()) return;
    there_ = nf4_parts(to_device(bytes_, device), out, in);
    values_there_ = from_host<float>(nf4_values(), {16}, device);
    map_there_ = from_host<float>(nf4_second_map(), {256}, device);
  }

  WeightCodes codes() const override {
    if (!device().is_cpu() || in_features() % kNf4Block != 0) return {};
    return Nf4Codes{codes_, absmax_, scales_, offset_, nf4_values().data(), nf4_second_map().data(), in_features()};
  }

 private:
  void decode(std::int64_t row, std::int64_t column, std::int64_t n, float* to) const override {
    std::int64_t at = row * in_features() + column;
    for (const std::int64_t end = at + n; at < end;) {
      const std::int64_t block = at / kNf4Block, last = std::min(end, (block + 1) * kNf4Block);
      const float nested = nf4_second_map()[absmax_[block]] * scales_[block / kNf4SecondBlock];
      to = decode_block(at, last, nested + offset_, to);
      at = last;
    }
  }

  at::Tensor rows_there(std::int64_t begin, std::int64_t n) const {
    const std::int64_t first = begin * in_features(), last = first + n * in_features();  // flat places
    const std::int64_t block = first / kNf4Block, blocks = (last + kNf4Block - 1) / kNf4Block - block;
    const std::int64_t group = block / kNf4SecondBlock;
    const std::int64_t groups = (block + blocks + kNf4SecondBlock - 1) / kNf4SecondBlock - group;
    const auto each = [](const at::Tensor& x, std::int64_t times) { return x.unsqueeze(1).expand({-1, times}).flatten(); };
    const at::Tensor second = each(there_.scales.narrow(0, group, groups), kNf4SecondBlock);
    const at::Tensor nested = map_there_.index_select(0, there_.absmax.narrow(0, block, blocks).to(at::kInt))
                                  .mul(second.narrow(0, block - group * kNf4SecondBlock, blocks));
    const at::Tensor scales = each(nested.add(there_.offset), kNf4Block).narrow(0, first - block * kNf4Block, last - first);
    const at::Tensor codes = halves(there_.codes.narrow(0, first / 2, (last + 1) / 2 - first / 2), /*upper_first=*/true);
    return values_there_.index_select(0, codes.narrow(0, first % 2, last - first)).mul(scales).view({n, in_features()});
  }

  DecodedOnDevice decoded_there() const override {
    const auto by_kernel = [this](const LowrankCuda& kernels, std::int64_t first, std::int64_t count, const LowrankCudaTarget& to) {
      const LowrankCudaNf4 weight{there_.codes.const_data_ptr<std::uint8_t>(), there_.absmax.const_data_ptr<std::uint8_t>(),
                                  there_.scales.const_data_ptr<float>(), there_.offset.const_data_ptr<float>(),
                                  values_there_.const_data_ptr<float>(), map_there_.const_data_ptr<float>(), first, count};
      return kernels.nf4(&weight, &to);
    };
    return {[this](std::int64_t begin, std::int64_t n) { return rows_there(begin, n); }, by_kernel};
  }

  // The flat places [at, end) of one block. Gives what comes after the last in `to`.
  float* decode_block(std::int64_t at, std::int64_t end, float scale, float* to) const {
    const auto& table = pairs();
    if (at % 2 == 1) *to++ = table[codes_[at / 2]][1] * scale, ++at;
    for (; at + 2 <= end; at += 2, to += 2) {
      const auto& pair = table[codes_[at / 2]];
      to[0] = pair[0] * scale;
      to[1] = pair[1] * scale;
    }
    if (at < end) *to++ = table[codes_[at / 2]][0] * scale;
    return to;
  }

  at::Tensor bytes_;
  const std::uint8_t* codes_;
  const std::uint8_t* absmax_;
  const float* scales_;
  float offset_;
  Nf4Parts there_;  // on a device that is not the CPU
  at::Tensor values_there_, map_there_;
};

}  // namespace

const std::array<float, 16>& nf4_values() {
  // The 15 and 16 quantiles of N(0, 1) on each side of zero, over the greatest (QLoRA, appendix E).
  static const std::array<float, 16> values = {
      -1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F, -0.28444138169288635F,
      -0.18477343022823334F, -0.09105003625154495F, 0.0F, 0.07958029955625534F, 0.16093020141124725F,
      0.24611230194568634F, 0.33791524171829224F, 0.44070982933044434F, 0.5626170039176941F, 0.7229568362236023F, 1.0F};
  return values;
}

const std::array<float, 256>& nf4_second_map() {
  // Dettmers 2016: ±10^(i − 6) times 2^i fractions, the middles of as many equal steps from 0.1 to 1, i = 0 to 6; 0, 1.
  static const auto map = [] {
    std::vector<float> values = {0.0F, 1.0F};
    for (int i = 0; i < 7; ++i) {
      const int steps = 1 << i;
      const float least = 0.1F, width = (1.0F - least) / static_cast<float>(steps);
      const auto border = [&](int k) {  // of n = steps + 1, from the nearer end, rounded once
        return k < (steps + 1) / 2 ? std::fma(width, static_cast<float>(k), least)
                                   : std::fma(-width, static_cast<float>(steps - k), 1.0F);
      };
      const auto power = static_cast<float>(std::pow(10.0, i - 6));
      for (int k = 0; k < steps; ++k) {
        const float middle = (border(k) + border(k + 1)) / 2;
        values.push_back(power * middle);
        values.push_back(-(power * middle));
      }
    }
    std::array<float, 256> result{};
    std::sort(values.begin(), values.end());
    std::copy(values.begin(), values.end(), result.begin());
    return result;
  }();
  return map;
}

Nf4Layout nf4_layout(std::int64_t out, std::int64_t in) {
  Nf4Layout layout{};
  layout.values = out * in;
  layout.blocks = (layout.values + kNf4Block - 1) / kNf4Block;
  layout.groups = (layout.blocks + kNf4SecondBlock - 1) / kNf4SecondBlock;
  layout.scales = 4;
  layout.absmax = layout.scales + 4 * layout.groups;
  layout.codes = layout.absmax + layout.blocks;
  layout.bytes = (layout.codes + (layout.values + 1) / 2 + 63) / 64 * 64;  // one follows the other in a file
  return layout;
}

Nf4Parts nf4_parts(const at::Tensor& bytes, std::int64_t out, std::int64_t in) {
  const Nf4Layout layout = nf4_layout(out, in);
  if (bytes.scalar_type() != at::kByte || bytes.numel() != layout.bytes || !bytes.is_contiguous())
    throw InternalError("kernels::nf4_parts: the bytes of one weight are expected");
  return {bytes.narrow(0, layout.codes, (layout.values + 1) / 2), bytes.narrow(0, layout.absmax, layout.blocks),
          bytes.narrow(0, layout.scales, 4 * layout.groups).view(at::kFloat), bytes.narrow(0, 0, 4).view(at::kFloat)};
}

at::Tensor nf4_encoded(const at::Tensor& w) {
  const std::int64_t out = w.size(0), in = w.size(1);
  const Nf4Layout layout = nf4_layout(out, in);
  at::Tensor bytes = aten::zeros({layout.bytes}, at::kByte);
  const Nf4Parts parts = nf4_parts(bytes, out, in);
  at::Tensor absmax = aten::empty({layout.blocks}, at::kFloat);
  float* const most_of = absmax.mutable_data_ptr<float>();
  auto* const packed = parts.codes.mutable_data_ptr<std::uint8_t>();
  for_blocks(w, [&](std::int64_t block, float most, std::array<std::uint8_t, kNf4Block>& codes, std::int64_t n) {
    most_of[block] = most;
    if (n % 2 == 1) codes[static_cast<std::size_t>(n)] = 7;  // a half byte over holds the code of zero
    std::uint8_t* const to = packed + block * kNf4Block / 2;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); i += 2)
      to[i / 2] = static_cast<std::uint8_t>(codes[i] << 4 | codes[i + 1]);
  });
  if (layout.blocks > 0) encode_absmax(absmax, parts);
  return bytes;
}

at::Tensor nf4_rounded(const at::Tensor& w) {
  at::Tensor result = aten::empty(w.sizes(), at::kFloat);
  float* const to = result.mutable_data_ptr<float>();
  for_blocks(w, [&](std::int64_t block, float most, const std::array<std::uint8_t, kNf4Block>& codes, std::int64_t n) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
      to[block * kNf4Block + static_cast<std::int64_t>(i)] = nf4_values()[codes[i]] * most;
  });
  return result;
}

std::shared_ptr<const BaseStorage> nf4_storage(at::Tensor bytes, std::int64_t out, std::int64_t in, at::Tensor original,
                                               at::Device device) {
  return std::make_shared<Nf4Storage>(std::move(bytes), out, in, std::move(original), device);
}

}  // namespace lowrank::kernels
