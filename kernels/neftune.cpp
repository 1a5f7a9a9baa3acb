#include "lowrank/kernels/neftune.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lowrank/core/random.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

at::Tensor neftune_noise(const Segments& segments, std::int64_t width, double alpha, const DropoutContext& place,
                         at::Device device) {
  const std::int64_t tokens = segments.tokens();
  std::vector<double> magnitude(static_cast<std::size_t>(tokens));
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    const double largest = alpha / std::sqrt(static_cast<double>(segments.q_length(s) * width));
    for (std::int64_t t = segments.q_offsets[s]; t < segments.q_offsets[s + 1]; ++t) magnitude[t] = largest;
  }
  const auto key = core::RandomStream(place.seed, "neftune").key();
  std::vector<float> noise(static_cast<std::size_t>(tokens * width));
  for_row_chunks(tokens, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const auto token = static_cast<std::uint32_t>(place.token_in_step[t]);
      float* const row = noise.data() + t * width;
      for (std::int64_t j = 0; j < width; j += 4) {
        const auto words =
            core::philox({static_cast<std::uint32_t>(j / 4), token, static_cast<std::uint32_t>(place.step),
                          static_cast<std::uint32_t>(place.step >> 32)},
                         key);
        for (std::int64_t k = 0; k < std::min<std::int64_t>(4, width - j); ++k) {
          const double uniform = std::ldexp(static_cast<double>(words[static_cast<std::size_t>(k)]) + 0.5, -31) - 1;
          row[j + k] = static_cast<float>(magnitude[static_cast<std::size_t>(t)] * uniform);
        }
      }
    }
  });
  return from_host<float>(noise, {tokens, width}, device);
}

}  // namespace lowrank::kernels
