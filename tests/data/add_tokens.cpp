#include "lowrank/data/tokenizer/add_tokens.h"

#include "tokenizer_tools.h"

using namespace lowrank_test;
using namespace lowrank;

TEST_CASE("tokens are read from lines and from JSON", "[unit]") {
  TempDir dir;
  write_text(dir / "lines", "<|user|>\tuser\r\n\n<|end|>\n");
  auto tokens = data::read_new_tokens(dir / "lines");
  REQUIRE(tokens.size() == 2);
  CHECK(tokens[0].content == "<|user|>");
  CHECK(tokens[0].from == "user");
  CHECK(tokens[1].content == "<|end|>");
  CHECK(tokens[1].from.empty());
  write_text(dir / "json", R"(["<a>", {"content": "<b>", "special": true, "from": "b"}])");
  tokens = data::read_new_tokens(dir / "json");
  REQUIRE(tokens.size() == 2);
  CHECK_FALSE(tokens[0].special);
  CHECK(tokens[1].special);
  CHECK(tokens[1].from == "b");
  for (const char* bad : {"", "\n\n", "<a>\n<a>\n", "\tx\n", R"([""])"}) {
    write_text(dir / "bad", bad);
    CHECK_THROWS_AS(data::read_new_tokens(dir / "bad"), DataError);
  }
  write_text(dir / "bad", R"([{"content": "<a>", "sort": 1}])");
  CHECK_THROWS_AS(data::read_new_tokens(dir / "bad"), FormatError);
}

TEST_CASE("a tokenizer gets further tokens behind its own, and keeps those that it has", "[unit]") {
  TempDir dir;
  write_text(dir / "tokenizer.json", small_llama().dump());
  write_text(dir / "tokenizer_config.json", R"({"added_tokens_decoder": {}, "eos_token": "</s>"})");
  const auto own = Tokenizer::load(dir.path());
  const TokenId next = own->size();
  const auto extended =
      data::with_new_tokens(dir.path(), {{"<|user|>", "hello"}, {"</s>", ""}, {"<|end|>", "", true}});
  REQUIRE(extended.places.size() == 3);
  CHECK(extended.places[0].id == next);
  CHECK(extended.places[0].begins == own->encode("hello", false));
  CHECK(extended.places[1].id == *own->token_to_id("</s>"));
  CHECK(extended.places[1].known);
  CHECK(extended.places[2].id == next + 1);
  const Tokenizer& made = *extended.tokenizer;
  CHECK(made.size() == next + 2);
  CHECK(made.token_to_id("<|user|>") == next);
  const auto ids = made.encode("<|user|>hello<|end|>", false);
  CHECK(std::count(ids.begin(), ids.end(), next) == 1);
  CHECK(ids.back() == next + 1);
  CHECK(made.is_special(next + 1));
  CHECK_FALSE(made.is_special(next));
  CHECK(made.decode(std::vector<TokenId>{next, next + 1}).find("<|user|>") != std::string::npos);
  const Json config = core::read_json(made.files().back().parent_path() / "tokenizer_config.json");
  CHECK(config["added_tokens_decoder"][std::to_string(next)]["content"] == "<|user|>");
  // A text without the tokens reads as before.
  CHECK(made.encode("hello abc", true) == own->encode("hello abc", true));
}
