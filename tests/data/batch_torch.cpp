#include "lowrank/data/batch_torch.h"

#include "catch.h"
#include "lowrank/core/error.h"

using namespace lowrank;
using data::Example;

namespace {

std::vector<std::int64_t> values(const at::Tensor& t) {
  REQUIRE(t.scalar_type() == at::kLong);
  return {t.data_ptr<std::int64_t>(), t.data_ptr<std::int64_t>() + t.numel()};
}

}  // namespace

TEST_CASE("labels are the next token inside a segment and never reach over its end", "[unit]") {
  const std::vector<Example> all = {{{10, 11, 12, 13}, {1, 1, 1, 1}, 0},
                                    {{20, 21, 22, 23, 24}, {0, 0, 0, 1, 1}, 1},
                                    {{30, 31}, {1, 0}, 2},
                                    {{40}, {1}, 3}};
  const std::vector<std::uint32_t> which = {1, 0, 2, 3};
  const data::Batch batch = data::make_batch(all, which, 100);
  CHECK(values(batch.ids) == std::vector<std::int64_t>{20, 21, 22, 23, 24, 10, 11, 12, 13, 30, 31, 40});
  const std::int64_t x = -100;
  CHECK(values(batch.labels) == std::vector<std::int64_t>{x, x, 23, 24, x, 11, 12, 13, x, x, x, x});
  CHECK(batch.counted == 5);
  std::int64_t counted = 0;
  for (const Example& example : all) counted += example.counted();
  CHECK(batch.counted == counted);
  CHECK(batch.segments.q_offsets == std::vector<std::int64_t>{0, 5, 9, 11, 12});
  CHECK(batch.segments.k_offsets == batch.segments.q_offsets);
  CHECK(batch.segments.positions() == std::vector<std::int64_t>{0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 0});
  REQUIRE(batch.token_in_step.size() == 12);
  CHECK(batch.token_in_step.front() == 100);
  CHECK(batch.token_in_step.back() == 111);
}

TEST_CASE("cutting a step's list into batches keeps tokens, labels and their places in the step", "[unit]") {
  std::vector<Example> all;
  for (std::int32_t n = 2; n < 12; ++n) {
    Example example;
    for (std::int32_t i = 0; i < n; ++i) {
      example.ids.push_back(100 * n + i);
      example.learned.push_back(static_cast<std::uint8_t>(i % 3 != 1));
    }
    all.push_back(example);
  }
  const std::vector<std::uint32_t> list = {3, 9, 0, 5, 1, 2, 8, 4, 7, 6};
  const data::Batch whole = data::make_batch(all, list);
  for (std::size_t size : {1u, 2u, 3u, 7u}) {
    std::vector<std::int64_t> ids, labels, places;
    std::int64_t counted = 0, first = 0;
    for (std::size_t i = 0; i < list.size(); i += size) {
      const auto part = std::span(list).subspan(i, std::min(size, list.size() - i));
      const data::Batch micro = data::make_batch(all, part, first);
      for (const std::int64_t id : values(micro.ids)) ids.push_back(id);
      for (const std::int64_t label : values(micro.labels)) labels.push_back(label);
      places.insert(places.end(), micro.token_in_step.begin(), micro.token_in_step.end());
      counted += micro.counted;
      first += micro.segments.tokens();
    }
    CHECK(ids == values(whole.ids));
    CHECK(labels == values(whole.labels));
    CHECK(places == whole.token_in_step);
    CHECK(counted == whole.counted);
  }
}

TEST_CASE("a batch of examples that do not exist is an internal error", "[unit]") {
  const std::vector<Example> all = {{{1, 2}, {1, 1}, 0}, {{1, 2}, {1}, 0}};
  for (const std::uint32_t bad : {1u, 2u}) {
    const std::vector<std::uint32_t> which = {0, bad};
    CHECK_THROWS_AS(data::make_batch(all, which), InternalError);
  }
}
