#include "lowrank/kernels/neftune.h"

#include "lowrank/core/random.h"
#include "support.h"

namespace k = lowrank::kernels;

namespace {

at::Tensor noise_of(const std::vector<std::int64_t>& lengths, std::int64_t width, double alpha, std::uint64_t step,
                    std::int64_t first_token = 0) {
  const k::Segments segments = k::Segments::of_lengths(lengths);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(segments.tokens()));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = first_token + static_cast<std::int64_t>(i);
  return k::neftune_noise(segments, width, alpha, {42, step, tokens.data()});
}

}  // namespace

TEST_CASE("NEFTune's noise is uniform on ±alpha/√(L·d) by each segment's own length", "[unit]") {
  const at::Tensor noise = noise_of({400, 100}, 66, 5, 3);
  for (const auto& [begin, length] : {std::pair<std::int64_t, std::int64_t>{0, 400}, {400, 100}}) {
    const double largest = 5 / std::sqrt(static_cast<double>(length * 66));
    const at::Tensor part = noise.slice(0, begin, begin + length).to(at::kDouble) / largest;
    INFO("segment of " << length);
    CHECK(part.abs().max().item<double>() <= 1);
    CHECK(part.abs().max().item<double>() > 0.99);
    // Standard errors of a uniform's mean and second moment over at least 6,600 draws: 0.007 and 0.004.
    CHECK(std::abs(part.mean().item<double>()) < 0.03);
    CHECK(std::abs(part.square().mean().item<double>() - 1.0 / 3) < 0.015);
  }
}

TEST_CASE("NEFTune's numbers are those of their place: seed, step, token, column", "[unit]") {
  const at::Tensor noise = noise_of({7}, 10, 2, 5);
  const auto key = lowrank::core::RandomStream(42, "neftune").key();
  const auto words = lowrank::core::philox({2, 4, 5, 0}, key);  // token 4, columns 8 and 9
  const double largest = 2 / std::sqrt(70.0);
  for (const int j : {0, 1}) {
    const double expected =
        largest * ((static_cast<double>(words[static_cast<std::size_t>(j)]) + 0.5) / 2147483648.0 - 1);
    CHECK(noise[4][8 + j].item<double>() == Approx(expected).epsilon(1e-6));
  }
  CHECK_FALSE(torch::equal(noise_of({7}, 10, 2, 6), noise));
  // A later micro-batch sees the numbers of its own tokens.
  CHECK(torch::equal(noise_of({7}, 10, 2, 5, 7), noise_of({7, 7}, 10, 2, 5).slice(0, 7, 14)));
}

TEST_CASE("NEFTune's bytes do not depend on the number of threads", "[unit]") {
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor expected = noise_of({33, 50}, 37, 5, 1);
  for (const int threads : {2, 3}) {
    at::set_num_threads(threads);
    CHECK(torch::equal(noise_of({33, 50}, 37, 5, 1), expected));
  }
  at::set_num_threads(before);
}
