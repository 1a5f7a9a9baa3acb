#include "lowrank/core/beside.h"

#include <stdexcept>
#include <thread>

#include "catch.h"

using lowrank::core::Beside;

TEST_CASE("work beside other work is done once, by a thread of its own where there may be two, and its error is told", "[unit]") {
  for (const int threads : {1, 2}) {
    CAPTURE(threads);
    int done = 0;
    std::thread::id by;
    Beside work(threads, [&] {
      ++done;
      by = std::this_thread::get_id();
    });
    work.wait();
    CHECK(done == 1);
    CHECK((by == std::this_thread::get_id()) == (threads == 1));

    Beside fails(threads, [] { throw std::runtime_error("no"); });
    CHECK_THROWS_WITH(fails.wait(), "no");
    { const Beside unasked(threads, [] { throw std::runtime_error("nobody asks"); }); }
  }
}
