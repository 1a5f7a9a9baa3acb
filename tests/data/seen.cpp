#include "lowrank/data/seen.h"

#include <set>

#include "catch.h"
#include "lowrank/core/random.h"

using namespace lowrank;

TEST_CASE("what was seen is known again", "[unit]") {
  data::Seen seen, roomy;
  roomy.reserve(20000);
  std::set<std::uint64_t> expected;
  const core::RandomStream random(3, "seen");
  bool same = true;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    // Few numbers and many, close together and far apart.
    const std::uint64_t number = i % 2 == 0 ? random.below(5000, i) : random.below(~std::uint64_t{0}, i) >> i % 60;
    seen.expect(number);
    same = same && seen.contains(number) == expected.contains(number) && roomy.contains(number) == expected.contains(number);
    const bool fresh = expected.insert(number).second;
    same = same && seen.add(number) == fresh && roomy.add(number) == fresh;
  }
  CHECK(same);
  CHECK(seen.contains(0));
}
