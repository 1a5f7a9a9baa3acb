#include "lowrank/recipes/repeated_runs.h"

#include "catch.h"

using lowrank::recipes::learning_curve;

TEST_CASE("a learning curve says whether another doubling is worth it", "[unit]") {
  const auto falling = learning_curve({4.0, 3.6, 3.3, 3.1});
  CHECK(falling.last_gain == Approx(0.2));
  CHECK(falling.next_gain == Approx(0.2 * 0.2 / 0.3));
  CHECK(falling.more_helps);
  const auto flat = learning_curve({4.0, 3.6, 3.5, 3.49});
  CHECK(flat.next_gain == Approx(0.001));
  CHECK_FALSE(flat.more_helps);
  CHECK_FALSE(learning_curve({4.0, 3.6, 3.5, 3.6}).more_helps);          // it got worse
  CHECK(learning_curve({3.5, 3.6, 3.7, 3.5}).next_gain == Approx(0.2));  // no trend: the last gain, not more
}
