// Rank terms of an adapter against dense decompositions, and the adapters made of the first few.
#include "lowrank/lora/rank_terms.h"

#include "fixture.h"

using namespace lora_test;

namespace {

lora::LoraConfig config(std::int64_t r, double alpha) {
  lora::LoraConfig config;
  config.r = r;
  config.lora_alpha = alpha;
  return config;
}

at::Tensor dense(const lora::Adapter& adapter, std::size_t i) {
  return adapter.slots()[i]->delta_weight(adapter.name()).to(at::kDouble);
}

at::Tensor first(const lora::RankTerms& terms, std::int64_t n) {
  return terms.left.narrow(1, 0, n).mul(terms.sizes.narrow(0, 0, n)).matmul(terms.right.narrow(0, 0, n));
}

std::vector<std::int64_t> same(const std::vector<lora::RankTerms>& terms, std::int64_t rank) {
  std::vector<std::int64_t> ranks;
  for (const lora::RankTerms& one : terms) ranks.push_back(std::min(rank, one.count()));
  return ranks;
}

double frobenius(const at::Tensor& x) { return x.norm().item<double>(); }

}  // namespace

TEST_CASE("rank terms are the singular values of the dense update, and leaving some out costs the others' squares") {
  const lora::SlotTable table = tiny_llama();
  const lora::Adapter adapter = lora::attach(table, config(6, 9));
  randomise(adapter);
  const auto terms = lora::rank_terms(adapter);
  REQUIRE(terms.size() == adapter.slots().size());
  for (std::size_t i = 0; i < terms.size(); ++i) {
    const at::Tensor delta = dense(adapter, i);
    const at::Tensor values = std::get<1>(at::linalg_svd(delta, false));
    REQUIRE(terms[i].count() == 6);
    CHECK(frobenius(terms[i].sizes.sub(values.narrow(0, 0, 6))) < 1e-6 * frobenius(values));
    CHECK(frobenius(first(terms[i], 6).sub(delta)) < 1e-6 * frobenius(delta));
    for (const std::int64_t n : {1, 3, 5}) {
      const double tail = frobenius(values.slice(0, n));
      CHECK(frobenius(first(terms[i], n).sub(delta)) == Approx(tail).epsilon(1e-5));
    }
  }
}

TEST_CASE("an adapter with more rank than its matrices has no more terms than they have") {
  const lora::SlotTable table = tiny_llama();
  const lora::Adapter adapter = lora::attach(table, config(20, 20));
  randomise(adapter);
  for (const lora::RankTerms& one : lora::rank_terms(adapter)) {
    CHECK(one.count() == std::min<std::int64_t>({20, one.left.size(0), one.right.size(1)}));
    CHECK(one.rank == 20);
  }
}

TEST_CASE("an adapter of all terms is the same one, balanced, at its scale; of some, with patterns") {
  const bool rslora = GENERATE(false, true);
  const lora::SlotTable table = tiny_llama();
  lora::LoraConfig wanted = config(6, 9);
  wanted.use_rslora = rslora;
  lora::Adapter adapter = lora::attach(table, wanted);
  randomise(adapter);
  const auto terms = lora::rank_terms(adapter);

  lora::Adapter whole = lora::attach_terms(table, adapter.config(), terms, same(terms, 6), "whole");
  for (std::size_t i = 0; i < terms.size(); ++i) {
    CHECK(frobenius(dense(whole, i).sub(dense(adapter, i))) < 1e-6 * frobenius(dense(adapter, i)));
    const lora::LoraMatrices& lora = whole.at(whole.slots()[i]);
    CHECK(frobenius(lora.a.matmul(lora.a.t()).sub(lora.b.t().matmul(lora.b))) <
          1e-4 * frobenius(lora.a.matmul(lora.a.t())));
    CHECK(lora.scale == Approx(adapter.at(adapter.slots()[i]).scale));
    CHECK(lora.a.requires_grad());
  }
  CHECK(whole.config().rank_pattern.empty());

  std::vector<std::int64_t> ranks = same(terms, 2);
  ranks[0] = 5;
  ranks[1] = 0;
  lora::Adapter some = lora::attach_terms(table, adapter.config(), terms, ranks, "some");
  CHECK(some.slots().size() == terms.size() - 1);
  CHECK(some.config().r == 5);
  CHECK_FALSE(some.config().use_rslora);
  for (std::size_t i = 0; i < terms.size(); ++i) {
    if (ranks[i] == 0) {
      CHECK_FALSE(slot_named(table, terms[i].path)->adapted("some"));
      continue;
    }
    CHECK(some.config().rank_for(terms[i].path) == ranks[i]);
    CHECK(some.config().scale_for(terms[i].path) == Approx(terms[i].scale));
    const at::Tensor delta = slot_named(table, terms[i].path)->delta_weight("some").to(at::kDouble);
    CHECK(frobenius(delta.sub(first(terms[i], ranks[i]))) < 1e-6 * frobenius(first(terms[i], 6)));
  }

  lowrank_test::TempDir dir;  // what is written is what was meant
  lora::save_peft(some, dir.path());
  lora::Adapter read = lora::load_peft(table, dir.path(), nullptr, "read");
  REQUIRE(read.slots().size() == some.slots().size());
  for (std::size_t i = 0; i < read.slots().size(); ++i)
    CHECK(frobenius(dense(read, i).sub(dense(some, i))) <= 1e-7 * frobenius(dense(some, i)));

  CHECK(contains(message_of(ErrorKind::kConfig,
                            [&] { lora::attach_terms(table, adapter.config(), terms, same(terms, 0), "none"); }),
                 "no layer keeps a rank"));
}

TEST_CASE("weighted terms are the best of their rank for the curvature, and the same update in all") {
  const lora::SlotTable table = tiny_llama();
  const lora::Adapter adapter = lora::attach(table, config(6, 9));
  randomise(adapter);
  const lora::RankTerms plain = lora::rank_terms(adapter).front();
  torch::manual_seed(3);
  const at::Tensor x = torch::randn({6, 40}, at::kDouble), y = torch::randn({6, 40}, at::kDouble);
  const at::Tensor stretch = torch::tensor({9.0, 5.0, 2.0, 1.0, 0.4, 0.1}, at::kDouble);
  const at::Tensor l = x.mul(stretch.unsqueeze(1)).matmul(x.mul(stretch.unsqueeze(1)).t()), r = y.matmul(y.t());
  const lora::RankTerms terms = lora::weighted(plain, {l, r});
  CHECK(frobenius(first(terms, 6).sub(first(plain, 6))) < 1e-9 * frobenius(first(plain, 6)));

  const auto damped = [](const at::Tensor& m) {
    return m.add(at::eye(6, m.options()).mul(0.1 * m.trace().item<double>() / 6));
  };
  const auto cost = [&](const at::Tensor& approximation) {  // tr(L δ R δᵀ) of δ in the plain terms' coefficients
    const at::Tensor d = plain.left.t().matmul(approximation.sub(first(plain, 6))).matmul(plain.right.t());
    return damped(l).matmul(d).matmul(damped(r)).matmul(d.t()).trace().item<double>();
  };
  for (const std::int64_t n : {1, 2, 4}) {
    double left_out = 0;
    for (std::int64_t i = n; i < 6; ++i) left_out += terms.size(i) * terms.size(i);
    CHECK(cost(first(terms, n)) == Approx(left_out));
    CHECK(cost(first(terms, n)) < cost(first(plain, n)));
  }
  // A layer that the loss does not depend on costs nothing and stays finite.
  const at::Tensor nothing = at::zeros({6, 6}, at::kDouble);
  const lora::RankTerms free = lora::weighted(plain, {nothing, nothing});
  CHECK(frobenius(first(free, 6).sub(first(plain, 6))) < 1e-9 * frobenius(first(plain, 6)));
  CHECK(free.size(0) < 1e-20);
}

TEST_CASE("a magnitude goes along, and a layer that has one keeps a rank") {
  const lora::SlotTable table = tiny_llama();
  lora::LoraConfig wanted = config(4, 8);
  wanted.use_dora = true;
  lora::Adapter adapter = lora::attach(table, wanted);
  randomise(adapter);
  const auto terms = lora::rank_terms(adapter);
  lora::Adapter one = lora::attach_terms(table, adapter.config(), terms, same(terms, 1), "one");
  for (const lora::LinearSlot& slot : one.slots())
    CHECK(at::equal(one.at(slot).magnitude.detach(), adapter.at(slot).magnitude.detach()));
  std::vector<std::int64_t> ranks = same(terms, 1);
  ranks[2] = 0;
  CHECK(contains(
      message_of(ErrorKind::kConfig, [&] { lora::attach_terms(table, adapter.config(), terms, ranks, "none"); }),
      "magnitude"));
}
