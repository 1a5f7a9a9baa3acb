// Bytes that somebody else may have made: each input of the corpora ends in a result or in an error of ours, and so does each
// with bytes of it replaced, left out or repeated, in LOWRANK_FUZZ_ROUNDS ways (40).
#include <algorithm>

#include "catch.h"
#include "fuzz.h"
#include "lowrank/core/random.h"

using namespace lowrank_test;

namespace {

std::uint64_t rounds() {
  const char* const asked = std::getenv("LOWRANK_FUZZ_ROUNDS");
  return asked == nullptr ? 40 : std::strtoull(asked, nullptr, 10);
}

std::string damaged(std::string bytes, const lowrank::core::RandomStream& random, std::uint64_t round) {
  for (std::uint64_t edit = 0; edit <= round % 3; ++edit) {
    if (bytes.empty()) return bytes;
    const auto draw = [&](std::uint64_t n, std::uint64_t what) { return random.below(n, round, 8 * edit + what); };
    const std::size_t at = draw(bytes.size(), 0), length = 1 + draw(16, 1);
    switch (draw(4, 2)) {
      case 0:
        bytes[at] = static_cast<char>(draw(256, 3));
        break;
      case 1:
        bytes.erase(at, length);
        break;
      case 2:
        bytes.insert(at, bytes.substr(at, length));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

}  // namespace

TEST_CASE("bytes of others, whole and damaged, end in a result or an error of ours", "[unit]") {
  REQUIRE(!lowrank_fuzz::targets().empty());
  for (const lowrank_fuzz::Target& target : lowrank_fuzz::targets()) {
    std::vector<fs::path> inputs;
    for (const auto& entry : fs::directory_iterator(source_dir() / "tests" / "fuzz" / "corpus" / target.name)) {
      inputs.push_back(entry.path());
    }
    std::sort(inputs.begin(), inputs.end());
    int results = 0;
    for (const fs::path& input : inputs) {
      INFO(input.string());
      const std::string bytes = read_text(input);
      results += lowrank_fuzz::succeeds([&] { target.run(bytes); }) ? 1 : 0;
      const lowrank::core::RandomStream random(1, input.filename().string());
      for (std::uint64_t round = 0; round < rounds(); ++round) {
        INFO("damaged, round " << round);
        const std::string input_now = damaged(bytes, random, round);
        lowrank_fuzz::succeeds([&] { target.run(input_now); });
      }
    }
    INFO(target.name);
    CHECK(results > 0);  // what is valid is read
  }
}
