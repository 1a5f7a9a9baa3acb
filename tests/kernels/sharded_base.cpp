// A base that ranks hold together: every panel is the whole weight's, and no more than two layers are whole at a time.
#include "lowrank/kernels/sharded_base.h"

#include "../memory_shares.h"
#include "lowrank/core/error.h"
#include "lowrank/kernels/lora_linear.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;
using lowrank_test::SharesOfRanks;

namespace {

using Storages = std::vector<std::shared_ptr<const k::BaseStorage>>;

/// What each rank makes of these tensors, of which the i-th belongs to the layer i; opened. `transposed`: all are.
std::vector<Storages> shared_out(SharesOfRanks& ranks, const Tensors& tensors, bool transposed = false) {
  std::vector<Storages> result;
  for (const auto& base : ranks.bases) {
    auto& own = result.emplace_back();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const auto [first, last] = base->share(tensors[i].size(0));
      own.push_back(base->add(static_cast<int>(i), tensors[i].narrow(0, first, last - first), tensors[i].size(0), transposed));
    }
  }
  for (const auto& base : ranks.bases) base->open();
  return result;
}

}  // namespace

TEST_CASE("panels of a weight that ranks hold together are the whole weight's", "[unit]") {
  torch::manual_seed(1);
  for (const int ranks : {2, 3, 4}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      for (const bool transposed : {false, true}) {
        INFO(ranks << " ranks, " << c10::toString(dtype) << (transposed ? ", transposed" : ""));
        const at::Tensor w = random({45, 64}, dtype), small = random({2, 7}, dtype);
        SharesOfRanks all(ranks);
        const auto storages = shared_out(all, {w, small}, transposed);
        for (const Storages& own : storages) {
          const k::BaseWeight whole = k::BaseWeight::dense(w, {}, {.transposed = transposed});
          const k::BaseWeight found(own[0]), little(own[1]);
          REQUIRE(found.out_features() == whole.out_features());
          REQUIRE(found.in_features() == whole.in_features());
          CHECK(found.dtype() == dtype);
          CHECK(found.transposed() == transposed);
          CHECK(found.gives_views(dtype));
          CHECK_FALSE(found.trains());
          CHECK(torch::equal(found.rows(3, 20, at::kFloat), whole.rows(3, 20, at::kFloat)));
          CHECK(torch::equal(found.rows(0, found.out_features(), dtype), whole.rows(0, whole.out_features(), dtype)));
          CHECK(torch::equal(found.columns(5, 11, dtype), whole.columns(5, 11, dtype)));
          CHECK(torch::equal(little.rows(0, little.out_features(), dtype), transposed ? small.t() : small));
          const at::Tensor ids = torch::tensor({0, 44, 7, 7, 22, 0, 31}, at::kLong);
          CHECK(torch::equal(found.rows_at(ids), whole.rows_at(ids)));
          CHECK(found.rows_at(ids.narrow(0, 0, 0)).size(0) == 0);
        }
      }
    }
  }
}

TEST_CASE("a rank keeps its share and two layers, in a forward and a backward pass", "[unit]") {
  torch::manual_seed(2);
  Tensors layers;
  for (int i = 0; i < 6; ++i) layers.push_back(random({64, 64}));
  SharesOfRanks all(4);
  const auto storages = shared_out(all, layers);
  k::ShardedBase& base = *all.bases[1];
  const std::int64_t layer = 64 * 64 * 4;
  CHECK(base.total_bytes() == 6 * layer);
  CHECK(base.held_bytes() == 6 * layer / 4);
  CHECK(base.buffer_bytes() == 2 * layer);
  const auto use = [&](std::size_t i) {
    const k::BaseWeight w(storages[1][i]);
    CHECK(torch::equal(w.rows(0, 64, at::kFloat), layers[i]));
    CHECK(torch::equal(w.columns(8, 8, at::kFloat), layers[i].narrow(1, 8, 8)));
  };
  const at::Tensor kept = k::BaseWeight(storages[1][0]).rows(0, 64, at::kFloat);
  for (int pass = 0; pass < 3; ++pass) {
    for (std::size_t i = 0; i < 6; ++i) use(i);
    for (std::size_t i = 6; i-- > 0;) use(i);
  }
  CHECK(torch::equal(kept, layers[0]));  // who still looks at a layer sees it
  // Of six layers up and down again five come up and four down, the last being there; each once.
  const std::int64_t came = base.traffic().bytes / (layer * 3 / 4);
  CHECK(came >= 6 + 4);
  CHECK(came <= 3 * (6 + 5) + 1);
}

TEST_CASE("products with a weight that ranks hold together are the dense one's bytes", "[unit]") {
  torch::manual_seed(3);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::int64_t tokens : {1, 3, 40, 300}) {
      INFO(c10::toString(dtype) << ", " << tokens << " tokens");
      const at::Tensor w = random({96, 72}, at::kBFloat16), x = random({tokens, 72}, dtype);
      SharesOfRanks all(3);
      const auto storages = shared_out(all, {w});
      const auto product = [](const k::BaseWeight& base) {
        return [&base](const Tensors& t) { return k::lora_linear(t[0], base, {}, nullptr); };
      };
      const k::BaseWeight dense = k::BaseWeight::dense(w), shared(storages[2][0]);
      const Tensors expected = run(product(dense), {x}, {true}), found = run(product(shared), {x}, {true});
      CHECK(torch::equal(expected[0], found[0]));
      CHECK(torch::equal(expected[1], found[1]));
    }
  }
}

TEST_CASE("who asks a rank that is lost hears of it, then and later", "[unit]") {
  torch::manual_seed(4);
  SharesOfRanks all(3);
  const auto storages = shared_out(all, {random({30, 4}), random({30, 4})});
  const k::BaseWeight first(storages[0][0]), second(storages[0][1]);
  all.shared->lost = 2;
  for (int i = 0; i < 2; ++i) {
    CHECK_THROWS_WITH(first.rows(0, 1, at::kFloat), "rank 2 is lost");
    CHECK_THROWS_WITH(second.rows(0, 1, at::kFloat), "rank 2 is lost");
  }
  CHECK_THROWS_WITH(first.rows_at(torch::tensor({29}, at::kLong)), "rank 2 is lost");
  CHECK(first.rows_at(torch::tensor({0, 19}, at::kLong)).size(0) == 2);  // which are not with it
}

TEST_CASE("nothing is given of rows that a rank does not hold, nor before it is opened", "[unit]") {
  SharesOfRanks all(2);
  const auto early = all.bases[0]->add(0, random({5, 4}), 10, false);
  CHECK_FALSE(early->gives_views(at::kFloat));
  CHECK_THROWS_AS(early->rows(0, 1, at::kFloat), lowrank::InternalError);
  CHECK_THROWS_AS(all.bases[0]->add(0, random({6, 4}), 10, false), lowrank::InternalError);
  all.bases[0]->open();
  const auto& held = all.shared->held[0];
  CHECK(held(0, 1, 4).size() == 4 * 4 * 4);
  CHECK_THROWS_AS(held(0, 1, 5), lowrank::InternalError);
  CHECK_THROWS_AS(held(0, -1, 1), lowrank::InternalError);
  CHECK_THROWS_AS(held(0, 0, -1), lowrank::InternalError);
  CHECK_THROWS_AS(held(1, 0, 1), lowrank::InternalError);
}
