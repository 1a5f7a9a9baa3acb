#include "lowrank/data/shots.h"

#include <set>

#include "catch.h"
#include "errors.h"
#include "lowrank/core/error.h"

using namespace lowrank;
using data::Dataset;
using lowrank_test::contains;
using lowrank_test::message_of;

namespace {

/// Examples of `length` tokens, the i-th all i + first.
Dataset rows(int count, std::size_t length, int first) {
  Dataset set;
  for (int i = 0; i < count; ++i) {
    data::Example example;
    example.ids.assign(length, first + i);
    example.learned.assign(length, 1);
    set.examples.push_back(example);
  }
  return set;
}

}  // namespace

TEST_CASE("shots stand before each example, differ, and are not counted", "[unit]") {
  const Dataset evaluated = rows(6, 5, 0), pool = rows(4, 3, 100);
  const data::Prompted prompted = data::with_shots(evaluated, pool, 3, 100, 1);
  CHECK(prompted.context_tokens == 6 * 9);
  CHECK(prompted.cut == 0);
  std::set<std::vector<std::int32_t>> contexts;
  for (std::size_t i = 0; i < 6; ++i) {
    const data::Example& example = prompted.data.examples[i];
    REQUIRE(example.ids.size() == 14);
    REQUIRE(example.learned.size() == 14);
    CHECK(example.counted() == evaluated.examples[i].counted());
    CHECK(std::set<std::int32_t>(example.ids.begin(), example.ids.begin() + 9).size() == 3);
    CHECK(std::vector<std::int32_t>(example.ids.begin() + 9, example.ids.end()) == evaluated.examples[i].ids);
    contexts.insert({example.ids.begin(), example.ids.begin() + 9});
  }
  CHECK(contexts.size() > 1);
  CHECK(data::with_shots(evaluated, pool, 3, 100, 1).data.examples[2].ids == prompted.data.examples[2].ids);
}

TEST_CASE("a context that does not fit is cut at its start", "[unit]") {
  const data::Prompted prompted = data::with_shots(rows(1, 5, 0), rows(2, 3, 100), 2, 9, 1);
  CHECK(prompted.cut == 1);
  CHECK(prompted.context_tokens == 4);
  const auto& ids = prompted.data.examples[0].ids;
  CHECK(ids.size() == 9);
  CHECK(ids[0] != ids[1]);  // one token of the first shot is left, and all of the second
  CHECK(ids[1] == ids[3]);
}

TEST_CASE("too few examples to show, and no room for any, are refused", "[unit]") {
  CHECK(
      contains(message_of<ConfigError>([] { data::with_shots(rows(1, 5, 0), rows(2, 3, 100), 3, 99, 1); }), "holds 2"));
  CHECK(contains(message_of<ConfigError>([] { data::with_shots(rows(1, 5, 0), rows(2, 3, 100), 1, 5, 1); }),
                 "`seq-len`"));
}
