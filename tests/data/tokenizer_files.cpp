// Files beside tokenizer.json: tekken.json and tiktoken's lines, with the ids that PyPI tiktoken gives.
#include <algorithm>

#include "tokenizer_tools.h"

using namespace lowrank_test;

namespace {

Json golden() { return lowrank::core::read_json(golden_dir() / "tokenizer" / "tiktoken.json"); }

std::string error_of(const fs::path& directory) {
  try {
    Tokenizer::load(directory);
  } catch (const lowrank::FormatError& error) {
    return error.what();
  }
  return "(no error)";
}

void contains(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
}

}  // namespace

TEST_CASE("tekken.json gives tiktoken's ids behind its special tokens", "[parity]") {
  const Json json = golden();
  const TempDir dir;
  write_text(dir / "tekken.json", json["tekken"].dump());
  const auto tokenizer = Tokenizer::load(dir.path());
  const auto reserved = json["tekken"]["config"]["default_num_special_tokens"].get<TokenId>();
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->adds_bos());
  CHECK(tokenizer->size() == json["tekken"]["config"]["default_vocab_size"].get<TokenId>());
  for (const Json& line : json["lines"]) {
    INFO(line[0].dump());
    std::vector<TokenId> ids;
    for (const Json& rank : line[1]) ids.push_back(rank.get<TokenId>() + reserved);
    CHECK(tokenizer->encode(line[0].get<std::string>(), false) == ids);
    CHECK(tokenizer->decode(ids) == line[0].get<std::string>());
  }
  CHECK(tokenizer->encode("</s>") == std::vector<TokenId>{1, 2});
}

TEST_CASE("a tiktoken file gives tiktoken's ids; its special tokens are those of tokenizer_config.json", "[parity]") {
  const Json json = golden();
  const auto lines = json["tiktoken"].get<std::string>();
  const auto tokens = static_cast<TokenId>(std::count(lines.begin(), lines.end(), '\n'));
  const Json end = {{"content", "<|end|>"}, {"special", true}};
  const Json config = {{"pat_str", json["tekken"]["config"]["pattern"]},
                       {"eos_token", "<|end|>"},
                       {"added_tokens_decoder", {{std::to_string(tokens), end}}}};
  for (const char* name : {"tokenizer.model", "own.tiktoken"}) {
    const TempDir dir;
    write_text(dir / name, lines);
    write_text(dir / "tokenizer_config.json", config.dump());
    const auto tokenizer = Tokenizer::load(dir.path());
    CHECK(tokenizer->eos() == tokens);
    for (const Json& line : json["lines"]) {
      INFO(line[0].dump());
      CHECK(tokenizer->encode(line[0].get<std::string>()) == line[1].get<std::vector<TokenId>>());
    }
    CHECK(tokenizer->encode("<|end|>") == std::vector<TokenId>{tokens});
  }
  const TempDir dir;
  write_text(dir / "own.tiktoken", lines);
  contains(error_of(dir.path()), "the pattern that cuts a text is not known");
  write_text(dir / "qwen.tiktoken", "IQ== 0\nIg== 2\n");
  fs::remove(dir / "own.tiktoken");
  contains(error_of(dir.path()), "line 2: expected a token in base64 and the rank 1");
  write_text(dir / "qwen.tiktoken", "IQ== 0\n!g== 1\n");
  contains(error_of(dir.path()), "line 2: expected base64, found '!'");
  write_text(dir / "qwen.tiktoken", "IQ== 0\nIQ== 1\n");
  contains(error_of(dir.path()), "is empty or there twice");
  write_text(dir / "qwen.tiktoken", "IQ== 0\n");
  contains(error_of(dir.path()), "no token is the byte 0x00");
}

TEST_CASE("a tekken.json that cannot be", "[unit]") {
  const auto with = [](auto&& change) {
    Json json = golden()["tekken"];
    change(json);
    const TempDir dir;
    write_text(dir / "tekken.json", json.dump());
    return error_of(dir.path());
  };
  contains(with([](Json& j) { j["config"]["default_vocab_size"] = 100000; }),
           "where config.default_vocab_size asks for");
  contains(with([](Json& j) { j["config"].erase("pattern"); }), "pattern");
  contains(with([](Json& j) { j["vocab"][3]["rank"] = 7; }), "vocab[3].rank");
  contains(with([](Json& j) { j["vocab"][3]["token_bytes"] = "?"; }), "expected base64");
  contains(with([](Json& j) { j["special_tokens"][0]["rank"] = 4000; }), "special_tokens[0].rank");
}
