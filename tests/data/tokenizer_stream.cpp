// Streaming: pieces that join to the whole text and never split a character.
#include <random>

#include "lowrank/core/text.h"
#include "tokenizer_tools.h"

using namespace lowrank_test;
using lowrank::data::StreamDecoder;

namespace {

// Joined pieces; checks that each is whole characters.
std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids, bool skip = true) {
  StreamDecoder stream(tokenizer, skip);
  std::string out;
  const auto take = [&](const std::string& piece) {
    CHECK(lowrank::core::find_invalid_utf8(piece) == std::string::npos);
    out += piece;
  };
  for (const TokenId id : ids) take(stream.push(id));
  take(stream.flush());
  return out;
}

}  // namespace

TEST_CASE("a character made of several tokens comes out when it is complete", "[unit]") {
  const auto tokenizer = load_tokenizer(small_llama());
  const auto ids = tokenizer->encode("a\u4e2db", false);
  REQUIRE(ids.size() == 5);  // a, three bytes, b
  StreamDecoder stream(*tokenizer);
  CHECK(stream.push(ids[0]) == "a");
  CHECK(stream.push(ids[1]).empty());
  CHECK(stream.push(ids[2]).empty());
  CHECK(stream.push(ids[3]).empty());  // another byte could still make the run invalid
  CHECK(stream.push(ids[4]) == "\u4e2db");
  CHECK(stream.flush().empty());
}

TEST_CASE("a stream that goes on behind a prompt keeps the space before its first word", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const auto tokenizer = Tokenizer::load(*root / "models" / "stories260K-hf");
  for (const std::string begin :
       {"Once upon", "Once upon a time, there was a little girl who had a red ball and a dog and"}) {
    const auto prompt = tokenizer->encode(begin, true), whole = tokenizer->encode(begin + " a time", true);
    REQUIRE(std::equal(prompt.begin(), prompt.end(), whole.begin()));
    StreamDecoder stream(*tokenizer);
    stream.prime(prompt);
    std::string out;
    for (std::size_t i = prompt.size(); i < whole.size(); ++i) out += stream.push(whole[i]);
    CHECK(out + stream.flush() == " a time");
  }
}

TEST_CASE("streams of random ids join to the decoded text", "[unit]") {
  std::mt19937 random(7);
  const auto tokenizer = load_tokenizer(small_llama());
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> ids;
    for (int n = static_cast<int>(random() % 80); n > 0; --n) {
      ids.push_back(static_cast<TokenId>(random() % 3 == 0 ? random() % 259 : 259 + random() % 12));
    }
    CHECK(streamed(*tokenizer, ids) == tokenizer->decode(ids));
    CHECK(streamed(*tokenizer, ids, false) == tokenizer->decode(ids, false));
  }
}

TEST_CASE("streams of GPT-2's ids, broken bytes among them, join to the decoded text", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  std::mt19937 random(11);
  const auto tokenizer = Tokenizer::load(*root / "tokenizers" / "gpt2");
  for (int round = 0; round < 200; ++round) {
    std::vector<TokenId> ids;
    for (int n = static_cast<int>(random() % 120); n > 0; --n) {
      ids.push_back(static_cast<TokenId>(random() % 2 == 0 ? random() % 256 : random() % 50260));
    }
    CHECK(streamed(*tokenizer, ids) == tokenizer->decode(ids));
  }
  // Nothing but bytes that never become a character: the window must not grow with them.
  const std::vector<TokenId> broken(20000, tokenizer->token_to_id("\u00ff").value());
  CHECK(streamed(*tokenizer, broken) == tokenizer->decode(broken));
}
