#include "lowrank/eval/forgetting.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>

#include "catch.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/lora/delta_scale.h"
#include "lowrank/lora/update_norms.h"
#include "tiny.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// What the base itself would say, from a first token on: text that it knows and an adapter makes it forget.
data::Dataset own_text(models::DecoderImpl& decoder, std::int32_t count) {
  const at::NoGradGuard no_grad;
  data::Dataset set;
  for (std::int32_t first = 0; first < count; ++first) {
    data::Example example;
    example.ids = {first};
    while (example.ids.size() < 14) {
      at::Tensor ids = torch::empty({static_cast<std::int64_t>(example.ids.size())}, at::kLong);
      for (std::size_t i = 0; i < example.ids.size(); ++i) ids.data_ptr<std::int64_t>()[i] = example.ids[i];
      const at::Tensor logits = decoder.logits(decoder.hidden(ids, kernels::Segments::of_lengths({ids.numel()})));
      example.ids.push_back(static_cast<std::int32_t>(logits[-1].argmax().item<std::int64_t>()));
    }
    example.learned.assign(example.ids.size(), 1);
    set.examples.push_back(std::move(example));
  }
  return set;
}

/// A decoder with an adapter that moves its losses by a fair amount.
struct Adapted {
  Adapted() {
    decoder = models::random_decoder(tiny_config(), 5);
    lora::LoraConfig config;
    config.r = 3;
    config.lora_alpha = 6;
    adapter = lora::attach(decoder->slot_table(), config, 9);
    const at::NoGradGuard no_grad;
    const core::RandomStream random(3, "b");
    std::uint64_t n = 0;
    for (const lora::LinearSlot& slot : adapter.slots()) {
      at::Tensor b = slot->lora().b.detach();
      for (std::int64_t i = 0; i < b.numel(); ++i)
        b.data_ptr<float>()[i] = static_cast<float>(0.2 * random.normal(n++));
    }
  }
  models::Decoder decoder{nullptr};
  lora::Adapter adapter;
};

}  // namespace

TEST_CASE("a scaled update is that of a scaled ΔW, and is put back", "[unit]") {
  Adapted it;
  const data::Dataset set = tiny_rows(4, 1, 8);
  const double whole = eval::perplexity(*it.decoder, set).nll;
  std::vector<at::Tensor> deltas;
  for (const lora::LinearSlot& slot : it.adapter.slots()) deltas.push_back(slot->delta_weight());
  double half = 0;
  {
    lora::DeltaScale scale(it.adapter);
    scale.set(0.5);
    half = eval::perplexity(*it.decoder, set).nll;
    CHECK(torch::allclose(it.adapter.slots()[0]->delta_weight(), 0.5 * deltas[0], 1e-6, 1e-9));
    scale.set(0);
    const double none = eval::perplexity(*it.decoder, set).nll;
    it.adapter.set_enabled(false);
    CHECK(none == Approx(eval::perplexity(*it.decoder, set).nll).epsilon(1e-6));
    it.adapter.set_enabled(true);
  }
  CHECK(eval::perplexity(*it.decoder, set).nll == whole);
  lora::fold_scale(it.adapter, 0.5);
  CHECK(eval::perplexity(*it.decoder, set).nll == Approx(half).epsilon(1e-6));
  for (std::size_t i = 0; i < deltas.size(); ++i) {
    CHECK(torch::allclose(it.adapter.slots()[i]->delta_weight(), 0.5 * deltas[i], 1e-6, 1e-9));
  }
}

TEST_CASE("norms of updates and weights are those of the formed matrices", "[unit]") {
  const Adapted it;
  const auto norms = lora::update_norms(it.adapter);
  REQUIRE(norms.size() == it.adapter.slots().size());
  for (std::size_t i = 0; i < norms.size(); ++i) {
    const lora::LinearSlot& slot = it.adapter.slots()[i];
    CHECK(norms[i].path == slot->path());
    CHECK(norms[i].delta == Approx(slot->delta_weight().to(at::kDouble).norm().item<double>()).epsilon(1e-6));
    CHECK(norms[i].base == Approx(slot->base().rows(0, slot->base().out_features(), at::kDouble).norm().item<double>()).epsilon(1e-9));
  }
}

TEST_CASE("the change of loss is paired, and its interval goes by pieces", "[unit]") {
  data::Dataset set;
  for (const std::size_t length : {3U, 4U, 2U}) {
    data::Example example;
    example.ids.assign(length, 1);
    example.learned.assign(length, 1);
    set.examples.push_back(example);
  }
  // 2, 3 and 1 counted tokens; differences 0.2 0.4 | 0.1 0.1 0.1 | 0.9.
  const std::vector<double> base = {1, 1, 2, 2, 2, 3}, now = {1.2, 1.4, 2.1, 2.1, 2.1, 3.9};
  const eval::Change change = eval::paired_change(set.examples, base, now);
  CHECK(change.mean == Approx(0.3));
  // Residuals of the pieces' sums: 0.6 − 0.6, 0.3 − 0.9, 0.9 − 0.3; variance 3/2 · 0.72 / 36.
  CHECK(change.upper == Approx(0.3 + 2.326 * std::sqrt(2 * 0.03)));
  CHECK(eval::paired_change(set.examples, base, base).upper == 0);
}

TEST_CASE("the scale chosen keeps the bound, and no larger one that was tried does", "[unit]") {
  Adapted it;
  it.adapter.set_enabled(false);
  const data::Dataset general = own_text(*it.decoder, 24), validation = tiny_rows(6, 3, 8);
  it.adapter.set_enabled(true);
  const double whole = eval::perplexity(*it.decoder, general).nll;
  it.adapter.set_enabled(false);
  const double none = eval::perplexity(*it.decoder, general).nll;
  it.adapter.set_enabled(true);
  REQUIRE(whole > none + 0.1);  // it does forget
  const double bound = std::expm1((whole - none) / 4);
  const auto search = eval::search_scale(*it.decoder, it.adapter, general, nullptr, bound);
  CHECK(search.base_nll == none);
  CHECK(search.scale > 0);
  CHECK(search.scale < 1);
  CHECK(search.points.size() == 14);
  for (const eval::ScalePoint& point : search.points) {
    CHECK(point.within == (point.general.upper <= std::log1p(bound)));
    CHECK(point.general.mean == Approx(point.general_nll - none).margin(1e-12));
    if (point.scale == search.scale) CHECK(point.within);
    if (point.scale > search.scale) CHECK_FALSE(point.within);
  }
  CHECK(eval::perplexity(*it.decoder, general).nll == whole);  // left as it was

  // All of it where the bound is wide; with validation data, the scale that is best on them.
  CHECK(eval::search_scale(*it.decoder, it.adapter, general, nullptr, 1e6).scale == 1);
  const auto chosen = eval::search_scale(*it.decoder, it.adapter, general, &validation, 1e6);
  for (const eval::ScalePoint& point : chosen.points) {
    if (point.scale == chosen.scale) {
      for (const eval::ScalePoint& other : chosen.points) CHECK(*point.domain_nll <= *other.domain_nll);
    }
  }
}
