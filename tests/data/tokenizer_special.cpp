// Special tokens: from which file they come, what is done with them in a text.
#include "tokenizer_tools.h"

using namespace lowrank_test;
using Ids = std::vector<TokenId>;

TEST_CASE("special tokens in a text are recognised, and BOS comes from the post-processor", "[unit]") {
  const auto tokenizer = load_tokenizer(small_llama(), {{"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}});
  CHECK(tokenizer->encode("a</s>") == Ids{1, 267, 2});
  CHECK(tokenizer->encode("a</s>", false) == Ids{267, 2});
  CHECK(tokenizer->decode(Ids{1, 267, 2}) == "a");
  CHECK(tokenizer->decode(Ids{1, 267, 2}, false) == "<s> a</s>");
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->adds_bos());
  CHECK(!tokenizer->has_chat_template());
  CHECK(tokenizer->decode(Ids{-5, 100000, 267}) == "a");
  CHECK(tokenizer->id_to_token(-1).empty());
  CHECK(!tokenizer->token_to_id("nothing"));
}

TEST_CASE("tokenizer.json's post-processor decides about BOS, not add_bos_token", "[unit]") {
  Json json = small_llama();
  json["post_processor"] = nullptr;
  const auto tokenizer = load_tokenizer(json, {{"bos_token", "<s>"}, {"add_bos_token", true}});
  CHECK(tokenizer->encode("a") == Ids{267});
  CHECK(!tokenizer->adds_bos());
  CHECK(tokenizer->bos() == 1);
}

TEST_CASE("tokens that only tokenizer_config.json names follow the vocabulary", "[unit]") {
  const Json config = {{"eos_token", "</s>"},
                       {"pad_token", "<pad>"},
                       {"additional_special_tokens", {"<tool>", {{"content", "<call>"}, {"lstrip", true}}}},
                       {"chat_template", "{{ messages }}"}};
  const auto tokenizer = load_tokenizer(small_llama(), config);
  CHECK(tokenizer->pad() == 270);
  CHECK(tokenizer->token_to_id("<tool>") == 271);
  CHECK(tokenizer->size() == 273);
  CHECK(tokenizer->encode("<tool> a  <call><pad>", false) == Ids{271, 259, 267, 272, 270});
  CHECK(tokenizer->is_special(272));
  CHECK(tokenizer->has_chat_template());
}

TEST_CASE("special_tokens_map.json counts where there is no added_tokens_decoder; chat_template.jinja always",
          "[unit]") {
  const TempDir dir;
  write_text(dir / "tokenizer.json", small_llama().dump());
  write_text(dir / "tokenizer_config.json", R"({"eos_token": "<s>"})");
  write_text(dir / "special_tokens_map.json", R"({"eos_token": {"content": "</s>", "normalized": false}})");
  write_text(dir / "chat_template.jinja", "{{ messages }}");
  CHECK(Tokenizer::load(dir.path())->eos() == 2);
  CHECK(Tokenizer::load(dir.path())->has_chat_template());
  write_text(dir / "tokenizer_config.json",
             R"({"eos_token": "<s>", "added_tokens_decoder": {"1": {"content": "<s>", "special": true}}})");
  CHECK(Tokenizer::load(dir.path())->eos() == 1);
}

TEST_CASE("config.json names the end where nothing else does, and null means none", "[unit]") {
  const TempDir dir;
  write_text(dir / "tokenizer.json", small_llama().dump());
  write_text(dir / "config.json", R"({"eos_token_id": [2, 5], "pad_token_id": 0})");
  CHECK(Tokenizer::load(dir.path())->eos() == 2);
  write_text(dir / "tokenizer_config.json", R"({"pad_token": null})");
  CHECK(!Tokenizer::load(dir.path())->pad());
}

TEST_CASE("a SentencePiece folder: legacy decides where the space is put, add_bos_token about BOS", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const TempDir dir;
  fs::copy_file(*root / "models" / "stories260K-hf" / "tokenizer.model", dir / "tokenizer.model");
  CHECK(Tokenizer::load(dir.path())->encode("a</s>b") == Ids{1, 261, 2, 430});
  write_text(dir / "tokenizer_config.json", R"({"legacy": true, "add_eos_token": true})");
  CHECK(Tokenizer::load(dir.path())->encode("a</s>b") == Ids{1, 261, 2, 268, 2});
  CHECK(Tokenizer::load(dir.path())->adds_eos());
  write_text(dir / "tokenizer_config.json", R"({"add_bos_token": false, "pad_token": "<pad>"})");
  const auto tokenizer = Tokenizer::load(dir.path());
  CHECK(tokenizer->encode("<pad>a", false) == Ids{512, tokenizer->encode("x</s>a", false).back()});
  CHECK(tokenizer->pad() == 512);
  CHECK(tokenizer->size() == 513);
  CHECK(!tokenizer->adds_bos());
  CHECK(tokenizer->bos() == 1);
}

TEST_CASE("a folder without a tokenizer is missing input", "[unit]") {
  const TempDir dir;
  CHECK_THROWS_AS(Tokenizer::load(dir.path()), lowrank::MissingError);
}
