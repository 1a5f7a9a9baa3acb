// Texts made to be slow, and bytes that are no text.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <random>
#include <sstream>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/onig_regex.h"
#include "lowrank/data/tokenizer/unicode.h"
#include "peak_memory.h"
#include "tokenizer_tools.h"

using namespace lowrank_test;

namespace {

// Of this process, so that others on the machine do not count.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double seconds(const Tokenizer& tokenizer, const std::string& text) {
  const double begin = cpu_seconds();
  const auto ids = tokenizer.encode(text);
  CHECK(!ids.empty());
  return cpu_seconds() - begin;
}

std::string repeat(const std::string& unit, std::size_t bytes) {
  std::string out;
  while (out.size() < bytes) out += unit;
  return out;
}

// Linear up to a logarithm: sixteen times the text takes about 16 to 25 times as long. Quadratic would be 256 times,
// and the bound is far from both.
void check_linear(const Tokenizer& tokenizer, const std::string& unit) {
  seconds(tokenizer, repeat(unit, 1 << 12));  // warm
  const double small = seconds(tokenizer, repeat(unit, 1 << 16));
  const double large = seconds(tokenizer, repeat(unit, 1 << 20));
  INFO("unit '" << unit.substr(0, 20) << "': " << small << " s and " << large << " s");
  CHECK(large < 80 * small + 0.05);
}

}  // namespace

TEST_CASE("a megabyte without a space, of spaces, of marks costs linear time", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  for (const char* name : {"gpt2", "phi-3-mini"}) {
    INFO(name);
    const auto tokenizer = Tokenizer::load(*root / "tokenizers" / name);
    for (const char* unit : {"a", " ", "\n ", "1", "\xCC\x81\xCC\xA3"}) check_linear(*tokenizer, unit);
  }
}

TEST_CASE("spaces before a word, again and again, cost linear time with the Llama-3 pattern", "[unit]") {
  const lowrank::data::OnigRegex regex(
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
      "a test");
  for (const std::string& unit :
       {std::string(" "), std::string("\t"), std::string("a"), std::string(5000, ' ') + "b"}) {
    const std::string text = repeat(unit, 1 << 20) + "x";
    std::vector<lowrank::data::ByteRange> matches;
    const double begin = cpu_seconds();
    regex.find_all(text, {0, text.size()}, matches);
    CHECK(cpu_seconds() - begin < 2);
    std::size_t covered = 0;
    for (const auto& m : matches) covered += m.end - m.begin;
    CHECK(covered == text.size());
  }
}

TEST_CASE("an expression that explodes is stopped and named", "[unit]") {
  const lowrank::data::OnigRegex regex(R"((a|aa)+$|(x+x+)+y)", "tokenizer.json: pre_tokenizer");
  std::vector<lowrank::data::ByteRange> matches;
  const std::string text = std::string(5000, 'x') + std::string(60, 'a') + "b";
  CHECK_THROWS_AS(regex.find_all(text, {0, text.size()}, matches), lowrank::DataError);
}

TEST_CASE("a tokenizer.json takes at most three times its size to read", "[unit]") {
  Json json = small_llama();
  std::string vocab, merges;  // 300,000 tokens, each by a merge
  for (const auto& [token, id] : json["model"]["vocab"].items()) vocab += Json(token).dump() + ":" + id.dump() + ",";
  const int first = static_cast<int>(json["model"]["vocab"].size());
  for (int i = 0; i < 300000; ++i) {
    const std::string left = "abcehlo"[i % 7] + std::to_string(i);
    vocab += fmt::format("\"{}\":{},\"{}a\":{},", left, first + 2 * i, left, first + 2 * i + 1);
    merges += fmt::format("[\"{}\",\"a\"],", left);
  }
  vocab.back() = '}';
  merges.back() = ']';
  json["model"]["vocab"] = "VOCAB";
  json["model"]["merges"] = "MERGES";
  std::string text = json.dump();
  text.replace(text.find("\"VOCAB\""), 7, "{" + vocab);
  text.replace(text.find("\"MERGES\""), 8, "[" + merges);
  const TempDir dir;
  write_text(dir / "tokenizer.json", text);
  const std::size_t size = text.size();
  REQUIRE(size > 10'000'000);
  CHECK(peak_growth([&] {
          if (Tokenizer::load(dir.path())->size() != first + 600000) ::_exit(1);
        }) < 3 * size);
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
  const double begin = cpu_seconds();
  const std::string out = lowrank::data::normalize(text, lowrank::data::NormalForm::kNfc);
  CHECK(cpu_seconds() - begin < 2);
  CHECK(out.size() == text.size());
  CHECK(out.starts_with("\xCC\xA3\xCC\xA3"));
}
