// The plan that is made beside other work is the one that whoever asks next would have made.
#include "lowrank/recipes/run/plan_ahead.h"

#include <ATen/Parallel.h>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/train/text_objective.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

data::Dataset rows_of(const std::vector<std::size_t>& lengths) {
  data::Dataset set;
  for (const std::size_t length : lengths) {
    data::Example example;
    example.ids = std::vector<data::TokenId>(length, 1);
    example.learned = std::vector<std::uint8_t>(length, 1);
    set.examples.push_back(std::move(example));
  }
  return set;
}

}  // namespace

TEST_CASE("a plan made ahead is the plan, with any number of threads, and its mistakes are told by who asks for it") {
  const int threads = at::get_num_threads();
  const data::Dataset set = rows_of({3, 5, 2, 7, 11, 1, 4});
  for (const int n : {1, 2}) {
    at::set_num_threads(n);
    data::PlanOptions how;
    how.batch_size = 2;
    how.epochs = 2;
    const data::Plan alone(train::item_lengths(set.examples), how);
    how.memory = data::plan_memory();
    recipes::PlanAhead ahead(how, set);
    const data::Plan planned(train::item_lengths(set.examples), how);
    CHECK(ahead.lengths() == data::Lengths{3, 5, 2, 7, 11, 1, 4});
    REQUIRE(planned.steps() == alone.steps());
    for (std::int64_t step = 0; step < alone.steps(); ++step) {
      CHECK(planned.step(step).examples == alone.step(step).examples);
    }

    const data::Dataset nothing;
    recipes::PlanAhead of_nothing(how, nothing);
    CHECK_THROWS_AS(data::Plan(of_nothing.lengths(), how), ConfigError);
  }
  at::set_num_threads(threads);
}
