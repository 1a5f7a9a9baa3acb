// Keys and values of what was read, in fewer bytes: what is kept of each row, and what a model makes of it.
#include "lowrank/models/kv_cache.h"

#include "lowrank/kernels/runtime.h"
#include "lowrank/models/blocks/attention_state.h"
#include "lowrank/models/next_logits.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;
using models::KvDtype;
using Ids = std::vector<data::TokenId>;

TEST_CASE("a cache of keys and values gives back each row as its form has it, as it grows and its sequences part", "[unit]") {
  torch::manual_seed(3);
  for (const KvDtype dtype : {KvDtype::kAuto, KvDtype::kBFloat16, KvDtype::kInt8}) {
    INFO("form " << static_cast<int>(dtype));
    models::AttentionState state(dtype);
    state.add();
    state.add();
    // Lengths of the two sequences after each pass; 130 is beyond the first capacity. A row of zeros is among them.
    std::vector<std::int64_t> lengths = {0, 0};
    std::vector<at::Tensor> keys(2), values(2);
    const auto pass = [&](const std::vector<std::int64_t>& added) {
      kernels::Segments segments{{0}, {0}};
      std::vector<at::Tensor> k, v;
      for (std::size_t s = 0; s < added.size(); ++s) {
        lengths[s] += added[s];
        segments.q_offsets.push_back(segments.q_offsets.back() + added[s]);
        segments.k_offsets.push_back(segments.k_offsets.back() + lengths[s]);
        k.push_back(torch::randn({added[s], 3, 16}) * 5);
        v.push_back(torch::randn({added[s], 3, 16}));
        if (added[s] > 1) v.back()[1].zero_();
        keys[s] = keys[s].defined() ? torch::cat({keys[s], k.back()}) : k.back();
        values[s] = values[s].defined() ? torch::cat({values[s], v.back()}) : v.back();
      }
      const models::KeysAndValues all = state.append(torch::cat(k), torch::cat(v), segments);
      for (std::size_t s = 0; s < added.size(); ++s) {
        for (const auto& [kept, given] : {std::pair(all.keys[s], keys[s]), std::pair(all.values[s], values[s])}) {
          REQUIRE(kept.sizes() == given.sizes());
          if (dtype == KvDtype::kAuto) CHECK(torch::equal(kept, given));
          if (dtype == KvDtype::kBFloat16) CHECK(torch::equal(kept, given.to(at::kBFloat16)));
          if (dtype == KvDtype::kInt8) {
            const at::Tensor most = given.abs().amax(-1, true) * (0.5 / 127 * (1 + 1e-5));
            CHECK(((kept - given).abs() <= most).all().item<bool>());
          }
        }
      }
    };
    pass({130, 2});
    pass({1, 70});
    state.select({1, 0, 1}, lengths);
    lengths = {lengths[1], lengths[0], lengths[1]};
    keys = {keys[1], keys[0], keys[1]};
    values = {values[1], values[0], values[1]};
    pass({2, 1, 3});
  }
}

TEST_CASE("logits through a cache in fewer bytes are near the model's", "[unit]") {
  for (const std::string name : {"mistral", "qwen3", "llama-llama3", "gemma2", "gemma4", "qwen3_5", "lfm2", "olmo2"}) {
    INFO(name);
    models::DecoderConfig config = models::read_config(golden_dir() / "models" / name);
    config.initializer_range = 0.2;
    models::Decoder decoder = models::random_decoder(config, 11, false);
    const at::NoGradGuard no_grad;
    std::vector<Ids> all(3);
    for (std::size_t s = 0; s < all.size(); ++s) {
      for (std::size_t t = 0; t < 4 + 9 * s; ++t) all[s].push_back(static_cast<data::TokenId>(3 + (7 * t + 11 * s) % 30));
    }
    const auto through = [&](KvDtype dtype) {
      models::KvCache cache(static_cast<std::int64_t>(all.size()), dtype);
      std::vector<Ids> growing = all;
      models::next_logits(*decoder, cache, {growing.begin(), growing.end()});
      for (Ids& ids : growing) ids.push_back(9);
      return models::next_logits(*decoder, cache, {growing.begin(), growing.end()});
    };
    const at::Tensor exact = through(KvDtype::kAuto);
    const double size = exact.std().item<double>();
    for (const auto& [dtype, bound] : {std::pair(KvDtype::kBFloat16, 0.02), std::pair(KvDtype::kInt8, 0.06)}) {
      INFO("form " << static_cast<int>(dtype));
      const at::Tensor logits = through(dtype);
      const double away = (logits - exact).square().mean().sqrt().item<double>() / size;
      INFO("root mean square error over standard deviation " << away);
      CHECK(away > 0);
      CHECK(away < bound);
      const kernels::RuntimeScope twins({.mode = kernels::Mode::kComposite});
      CHECK(distance(through(dtype), logits) <= bound);
    }
  }
}
