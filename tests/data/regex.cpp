// The one PCRE2 wrapper, and the cache of pieces: bounds, and several threads at once.
#include "lowrank/data/regex.h"

#include <array>
#include <thread>

#include "lowrank/data/tokenizer/piece_cache.h"
#include "tokenizer_tools.h"

using namespace lowrank_test;
using lowrank::data::ByteRange;
using lowrank::data::PieceCache;
using lowrank::data::Regex;

namespace {

Regex compiled(const std::string& pattern, const Regex::Options& options = {}) {
  std::string problem;
  const auto regex = Regex::compile(pattern, options, problem);
  INFO(problem);
  REQUIRE(regex);
  return *regex;
}

}  // namespace

TEST_CASE("an expression says what it found, what its groups took, and why it does not compile", "[unit]") {
  std::string problem;
  CHECK(!Regex::compile("a(b", {}, problem));
  CHECK(problem.find("at character 4") != std::string::npos);
  const Regex regex = compiled("(?P<x>b)|(c)");
  CHECK(regex.group("x") == 1);
  CHECK(regex.group("y") == -1);
  CHECK(!regex.matches_empty());
  CHECK(compiled("a*").matches_empty());
  std::array<std::optional<ByteRange>, 3> groups;
  REQUIRE(regex.find("abac", 2, 1000, groups, problem) == Regex::Outcome::kFound);
  CHECK(groups[0] == ByteRange{3, 4});
  CHECK(!groups[1]);
  CHECK(groups[2] == ByteRange{3, 4});
  ByteRange match;
  REQUIRE(regex.find("abac", 0, 1000, match, problem) == Regex::Outcome::kFound);
  CHECK(match == ByteRange{1, 2});
  CHECK(regex.find("aaa", 0, 1000, match, problem) == Regex::Outcome::kNotFound);
  CHECK(compiled("b", {.anchored = true}).find("ab", 0, 1000, match, problem) == Regex::Outcome::kNotFound);
  CHECK(compiled("a", {.end_anchored = true}).find("ab", 0, 1000, match, problem) == Regex::Outcome::kNotFound);
  CHECK(compiled(".", {.unicode = false}).find("\xFF", 0, 1000, match, problem) == Regex::Outcome::kFound);
}

TEST_CASE("an expression that explodes gives up, and the next one works", "[unit]") {
  std::string problem;
  ByteRange match;
  const std::string text = std::string(60, 'a') + "b";
  CHECK(compiled("(a+a+)+$").find(text, 0, 100'000, match, problem) == Regex::Outcome::kGaveUp);
  CHECK(!problem.empty());
  CHECK(compiled("a+b").find(text, 0, 100'000, match, problem) == Regex::Outcome::kFound);
}

TEST_CASE("the cache of pieces gives back what was added, and stops at its bounds", "[unit]") {
  PieceCache cache;
  std::vector<TokenId> ids;
  CHECK(!cache.find("a", ids));
  cache.add("a", std::vector<TokenId>{1, 2});
  cache.add("a", std::vector<TokenId>{3});  // what is there stays
  cache.add("nothing", std::vector<TokenId>{});
  CHECK(cache.find("a", ids));
  CHECK(cache.find("nothing", ids));
  CHECK(cache.find("a", ids));
  CHECK(ids == std::vector<TokenId>{1, 2, 1, 2});
  cache.add(std::string(PieceCache::kMaxPieceBytes + 1, 'x'), std::vector<TokenId>{1});
  CHECK(!cache.find(std::string(PieceCache::kMaxPieceBytes + 1, 'x'), ids));
  cache.add("many", std::vector<TokenId>(PieceCache::kMaxIds + 1, 7));
  CHECK(!cache.find("many", ids));
  std::size_t found = 0;
  const std::size_t tried = PieceCache::kMaxPieces + 1000;
  for (std::size_t i = 0; i < tried; ++i) {
    cache.add("piece " + std::to_string(i), std::vector<TokenId>{static_cast<TokenId>(i)});
    ids.clear();
    if (!cache.find("piece " + std::to_string(i), ids)) continue;
    ++found;
    REQUIRE(ids == std::vector<TokenId>{static_cast<TokenId>(i)});
  }
  CHECK(found < PieceCache::kMaxPieces);
  CHECK(found > PieceCache::kMaxPieces - 10);
}

TEST_CASE("one tokenizer encodes in several threads at once", "[unit]") {
  const auto tokenizer = load_tokenizer(small_llama());
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) {
    texts.push_back(std::string(static_cast<std::size_t>(i % 40), "abchelo "[i % 8]) + std::to_string(i));
  }
  std::vector<std::vector<TokenId>> expected;
  const auto alone = load_tokenizer(small_llama());
  for (const auto& text : texts) expected.push_back(alone->encode(text));
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        for (std::size_t i = 0; i < texts.size(); ++i) {
          const std::size_t at = (i + t * 37) % texts.size();
          wrong[t] += tokenizer->encode(texts[at]) != expected[at];
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}
