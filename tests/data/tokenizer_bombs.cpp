// Texts made to be slow, and bytes that are no text.
#include <chrono>
#include <random>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/regex.h"
#include "lowrank/data/tokenizer/unicode.h"
#include "tokenizer_tools.h"

using namespace lowrank_test;

namespace {

double seconds(const Tokenizer& tokenizer, const std::string& text) {
  const auto begin = std::chrono::steady_clock::now();
  const auto ids = tokenizer.encode(text);
  CHECK(!ids.empty());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

std::string repeat(const std::string& unit, std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += unit;
  return out;
}

// Linear up to a logarithm: four times the text takes about four times as long. Quadratic would be sixteen times; the
// bound is far from both, and the best of three runs keeps a busy machine out of it.
void check_linear(const Tokenizer& tokenizer, const std::string& unit) {
  double small = 1e9, large = 1e9;
  for (int i = 0; i < 3; ++i) {
    small = std::min(small, seconds(tokenizer, repeat(unit, 1 << 18)));
    large = std::min(large, seconds(tokenizer, repeat(unit, 1 << 20)));
    if (large < 9 * small) break;
  }
  INFO("unit '" << unit.substr(0, 20) << "': " << small << " s and " << large << " s");
  CHECK(large < 9 * small + 0.02);
}

}  // namespace

TEST_CASE("a megabyte without a space, of spaces, of marks costs linear time", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  for (const char* name : {"gpt2", "phi-3-mini", "gpt-neox-20b", "falcon-tokenizer"}) {
    INFO(name);
    const auto tokenizer = Tokenizer::load(*root / "tokenizers" / name);
    for (const char* unit : {"a", " ", "\n ", "1", "\xCC\x81\xCC\xA3"}) check_linear(*tokenizer, unit);
  }
}

TEST_CASE("spaces before a word, again and again, cost linear time with the Llama-3 pattern", "[unit]") {
  const lowrank::data::Regex regex(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      "a test");
  for (const std::string& unit : {std::string(" "), std::string("\t"), std::string("a"), std::string(5000, ' ') + "b"}) {
    const std::string text = repeat(unit, 1 << 20) + "x";
    std::vector<lowrank::data::Span> matches;
    const auto begin = std::chrono::steady_clock::now();
    regex.find_all(text, {0, text.size()}, matches);
    CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < 5);
    std::size_t covered = 0;
    for (const auto& m : matches) covered += m.end - m.begin;
    CHECK(covered == text.size());
  }
}

TEST_CASE("an expression that explodes is stopped and named", "[unit]") {
  const lowrank::data::Regex regex(R"((a|aa)+$|(x+x+)+y)", "tokenizer.json: pre_tokenizer");
  std::vector<lowrank::data::Span> matches;
  const std::string text = std::string(5000, 'x') + std::string(60, 'a') + "b";
  CHECK_THROWS_AS(regex.find_all(text, {0, text.size()}, matches), lowrank::DataError);
}

TEST_CASE("invalid UTF-8 is read as U+FFFD", "[unit]") {
  const auto tokenizer = load_tokenizer(small_llama());
  CHECK(tokenizer->encode("a\xFF\xC3") == tokenizer->encode("a\xEF\xBF\xBD\xEF\xBF\xBD"));
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int n = static_cast<int>(random() % 40); n > 0; --n) text.push_back(static_cast<char>(random() % 256));
    CHECK(tokenizer->encode(text) == tokenizer->encode(lowrank::core::replace_invalid_utf8(text)));
  }
}

TEST_CASE("a megabyte of combining marks in the wrong order is normalised in linear time", "[unit]") {
  const std::string text = repeat("\xCC\x81\xCC\xA3", 1 << 20);  // classes 230 and 220 by turns
  const auto begin = std::chrono::steady_clock::now();
  const std::string out = lowrank::data::normalize(text, lowrank::data::NormalForm::kNfc);
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < 3);
  CHECK(out.size() == text.size());
  CHECK(out.starts_with("\xCC\xA3\xCC\xA3"));
}
