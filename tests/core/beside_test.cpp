#include "lowrank/core/beside.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

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

TEST_CASE("halves of millions are all of them, each once, and part where words of bits do", "[unit]") {
  for (const std::size_t n : {std::size_t{0}, std::size_t{5}, lowrank::core::kMillions, lowrank::core::kMillions + 77}) {
    for (const int threads : {1, 2}) {
      std::vector<std::uint8_t> times(n, 0);
      std::atomic<int> parts = 0;
      lowrank::core::in_halves(threads, n, [&](std::size_t begin, std::size_t end) {
        ++parts;
        if (begin > 0 && begin % 64 != 0) parts += 10;
        for (std::size_t i = begin; i < end; ++i) ++times[i];
      });
      CHECK(parts == (threads == 2 && n >= lowrank::core::kMillions ? 2 : 1));
      CHECK(std::count(times.begin(), times.end(), 1) == static_cast<std::ptrdiff_t>(n));
    }
  }
}
