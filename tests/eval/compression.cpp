#include "lowrank/eval/compression.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <numeric>

#include "catch.h"
#include "tiny.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct Setting {
  models::Decoder decoder = models::random_decoder(tiny_config(), 5, false);
  lora::Adapter adapter;

  explicit Setting(bool dora = false) : Setting(config_of(dora)) {}
  explicit Setting(const lora::LoraConfig& config) : adapter(attach(config)) {}
  static lora::LoraConfig config_of(bool dora) {
    lora::LoraConfig config;
    config.r = 8;
    config.lora_alpha = 16;
    config.use_dora = dora;
    return config;
  }
  lora::Adapter attach(const lora::LoraConfig& config) {
    lora::Adapter made = lora::attach(decoder->slot_table(), config);
    const torch::NoGradGuard no_grad;
    torch::manual_seed(2);
    for (const auto& slot : made.slots()) {
      const auto& lora = made.at(slot);
      at::Tensor(lora.a).normal_(0, 0.2);
      at::Tensor(lora.b).copy_(torch::randn(lora.b.sizes()).mul(torch::logspace(-1, -2.5, 8)));
    }
    return made;
  }
};

std::int64_t numbers(const std::vector<lora::RankTerms>& terms, const std::vector<std::int64_t>& ranks) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < terms.size(); ++i) sum += ranks[i] * (terms[i].left.size(0) + terms[i].right.size(1));
  return sum;
}

std::vector<std::int64_t> all(const std::vector<lora::RankTerms>& terms) {
  std::vector<std::int64_t> ranks;
  for (const auto& one : terms) ranks.push_back(one.count());
  return ranks;
}

}  // namespace

TEST_CASE("an adapter of all its terms diverges by nothing, the base by the whole") {
  Setting s;
  const data::Dataset data = tiny_rows(24, 1, 16);
  const auto terms = eval::terms_by_divergence(*s.decoder, s.adapter, data, 1);
  CHECK(std::abs(eval::divergence(*s.decoder, s.adapter, terms, all(terms), data).mean) <
        1e-7);  // of log-probabilities in fp32
  const eval::Change whole = eval::divergence(*s.decoder, s.adapter, nullptr, data);
  CHECK(whole.mean > 1e-3);
  CHECK(whole.upper > whole.mean);
  for (const auto& slot : s.adapter.slots()) CHECK(slot->enabled());  // as it was
}

TEST_CASE("layers that target_parameters names are compressed as the others") {
  lora::LoraConfig config = Setting::config_of(false);
  config.target_modules = std::vector<std::string>{"v_proj", "down_proj"};
  config.target_parameters = {"q_proj.weight"};
  Setting s(config);
  const data::Dataset data = tiny_rows(24, 1, 16);
  const auto terms = eval::terms_by_divergence(*s.decoder, s.adapter, data, 1);
  REQUIRE(terms.size() == s.adapter.slots().size());
  CHECK(std::abs(eval::divergence(*s.decoder, s.adapter, terms, all(terms), data).mean) < 1e-7);
}

TEST_CASE("the size of a term predicts the divergence when it is left out") {
  Setting s;
  const data::Dataset data = tiny_rows(128, 1, 16);
  const auto terms = eval::terms_by_divergence(*s.decoder, s.adapter, data, 1);
  // Half of the sum over the left-out squares against the measured divergence, a layer's smaller half at a time.
  double predicted_sum = 0, measured_sum = 0;
  for (std::size_t layer = 0; layer < terms.size(); ++layer) {
    std::vector<std::int64_t> ranks = all(terms);
    ranks[layer] = 3;
    double predicted = 0;
    for (std::int64_t i = 3; i < terms[layer].count(); ++i) predicted += 0.5 * std::pow(terms[layer].size(i), 2);
    const double measured = eval::divergence(*s.decoder, s.adapter, terms, ranks, data).mean;
    INFO(terms[layer].path << ": predicted " << predicted << ", measured " << measured);
    CHECK(measured / predicted > 0.3);
    CHECK(measured / predicted < 2);
    predicted_sum += predicted;
    measured_sum += measured;
  }
  CHECK(measured_sum / predicted_sum > 0.6);
  CHECK(measured_sum / predicted_sum < 1.4);
}

TEST_CASE("chosen ranks hold the bound, fall as it grows, and are fewer numbers than by singular values") {
  Setting s;
  const data::Dataset data = tiny_rows(64, 1, 16);
  const auto terms = eval::terms_by_divergence(*s.decoder, s.adapter, data, 1);
  const auto plain = lora::rank_terms(s.adapter);
  std::int64_t before = numbers(terms, all(terms)) + 1;
  for (const double bound : {1e-4, 1e-3, 1e-2}) {
    const eval::RankChoice choice = eval::choose_ranks(*s.decoder, s.adapter, terms, data, bound);
    CHECK(choice.kl.upper <= bound);
    CHECK(eval::divergence(*s.decoder, s.adapter, terms, choice.ranks, data).mean == choice.kl.mean);
    CHECK(numbers(terms, choice.ranks) < before);
    CHECK(numbers(terms, choice.ranks) <
          numbers(plain, eval::choose_ranks(*s.decoder, s.adapter, plain, data, bound).ranks));
    before = numbers(terms, choice.ranks);
  }
  // A bound that the base itself holds leaves one term.
  const eval::RankChoice least = eval::choose_ranks(*s.decoder, s.adapter, terms, data, 100);
  CHECK(std::accumulate(least.ranks.begin(), least.ranks.end(), std::int64_t{0}) == 1);
}

TEST_CASE("layers with a magnitude keep a rank each") {
  Setting s(true);
  const data::Dataset data = tiny_rows(16, 1, 16);
  const auto terms = eval::terms_by_divergence(*s.decoder, s.adapter, data, 1);
  const eval::RankChoice choice = eval::choose_ranks(*s.decoder, s.adapter, terms, data, 100);
  for (const std::int64_t rank : choice.ranks) CHECK(rank == 1);
  CHECK(std::abs(eval::divergence(*s.decoder, s.adapter, terms, all(terms), data).mean) <
        1e-7);  // of log-probabilities in fp32
}
