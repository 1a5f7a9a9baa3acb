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

TEST_CASE("a model's own special tokens: an object of names, and keys that end in _token", "[unit]") {
  const auto is_known = [](const Json& config, bool special = true) {
    const auto tokenizer = load_tokenizer(small_llama(), config);
    const TokenId id = tokenizer->token_to_id("<image>").value_or(-1);
    return id == 270 && tokenizer->encode("a<image>a", false) == Ids{267, 270, tokenizer->encode("x<image>a", false).back()} &&
           tokenizer->is_special(id) == special;
  };
  const Json image = {{"image_token", "<image>"}};
  CHECK(is_known({{"extra_special_tokens", image}}));
  CHECK(is_known({{"extra_special_tokens", {{"image", {{"content", "<image>"}, {"special", true}}}}}}));
  CHECK(is_known(image));
  CHECK(is_known({{"extra_special_tokens", {"<image>"}}}));
  CHECK(!load_tokenizer(small_llama(), {{"extra_special_tokens", Json::object()}, {"add_bos_token", true}})->token_to_id("<image>"));
  // Named ones come before those of a list; a list that is not empty makes the older name count for nothing.
  const auto both = load_tokenizer(small_llama(), {{"additional_special_tokens", {"<x>"}}, {"extra_special_tokens", image}, {"pad_token", "<p>"}});
  CHECK(both->token_to_id("<p>") == 270);
  CHECK(both->token_to_id("<image>") == 271);
  CHECK(both->token_to_id("<x>") == 272);
  CHECK(!load_tokenizer(small_llama(), {{"additional_special_tokens", {"<x>"}}, {"extra_special_tokens", {"<y>"}}})->token_to_id("<x>"));
  // A token that is there already and no special one becomes one by its name, not by a list.
  const Json decoder = {{"270", {{"content", "<image>"}, {"special", false}, {"normalized", false}}}};
  CHECK(is_known({{"added_tokens_decoder", decoder}}, false));
  CHECK(is_known({{"added_tokens_decoder", decoder}, {"extra_special_tokens", {"<image>"}}}, false));
  CHECK(is_known({{"added_tokens_decoder", decoder}, {"extra_special_tokens", image}}));
  CHECK(is_known({{"added_tokens_decoder", decoder}, {"pad_token", "<image>"}}));
}

TEST_CASE("added_tokens_decoder says how a token of tokenizer.json is found", "[unit]") {
  Json json = small_llama();
  json["added_tokens"].push_back({{"id", 270}, {"content", "<x>"}, {"special", false}, {"normalized", false}});
  CHECK(load_tokenizer(json, Json::object())->encode("a <x>", false).size() == 3);
  const Json decoder = {{"270", {{"content", "<x>"}, {"special", false}, {"normalized", false}, {"lstrip", true}}}};
  CHECK(load_tokenizer(json, {{"added_tokens_decoder", decoder}})->encode("a <x>", false) == Ids{267, 270});
}

TEST_CASE("with split_special_tokens those of a text are text", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const TempDir dir;
  fs::copy_file(*root / "tokenizers" / "gpt2" / "tokenizer.json", dir / "tokenizer.json");
  const Json plain = {{"lstrip", false}, {"rstrip", false}, {"single_word", false}};
  Json image = plain, part = plain, special = plain;
  image.update({{"content", "<image>"}, {"normalized", true}, {"special", false}});
  part.update({{"content", "<img"}, {"normalized", false}, {"special", false}});
  special.update({{"content", "<img!>"}, {"normalized", false}, {"special", true}, {"lstrip", true}});
  Json config = {{"bos_token", "<|endoftext|>"}, {"added_tokens_decoder", {{"50257", image}, {"50258", part}, {"50259", special}}}};
  const std::string text = "Hi <|endoftext|> there <image> a <img!>b<imgc";
  write_text(dir / "tokenizer_config.json", config.dump());
  CHECK(Tokenizer::load(dir.path())->encode(text) == Ids{17250, 220, 50256, 612, 220, 50257, 257, 50259, 65, 50258, 66});
  config["split_special_tokens"] = true;
  write_text(dir / "tokenizer_config.json", config.dump());
  const auto split = Tokenizer::load(dir.path());  // the ids are transformers 5's
  CHECK(split->encode(text) == Ids{17250, 1279, 91, 437, 1659, 5239, 91, 29, 612, 220, 50257, 257, 1279, 9600, 0, 29, 65, 50258, 66});
  CHECK(split->decode(split->encode(text)) == text);
}

TEST_CASE("add_prefix_space counts where transformers builds the class by it", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const auto loaded = [&](const char* name, const Json& config, bool without_prepend = false) {
    const TempDir dir;
    Json json = lowrank::core::parse_json(read_text(*root / "tokenizers" / name / "tokenizer.json"), "tokenizer.json");
    if (without_prepend) {
      json["normalizer"] = Json(json["normalizer"]["normalizers"][1]);
      json["decoder"]["decoders"].erase(3);
    }
    write_text(dir / "tokenizer.json", json.dump());
    write_text(dir / "tokenizer_config.json", config.dump());
    return Tokenizer::load(dir.path());
  };
  // The ids are transformers 5's.
  const std::string gpt2 = "Hi<|endoftext|>there x";
  const Ids spaced = {15902, 50256, 612, 2124}, bare = {17250, 50256, 8117, 2124};
  for (const char* of : {"GPT2Tokenizer", "GPT2TokenizerFast", "Qwen2Tokenizer"}) {
    CHECK(loaded("gpt2", {{"tokenizer_class", of}, {"add_prefix_space", true}})->encode(gpt2) == spaced);
    CHECK(loaded("gpt2", {{"tokenizer_class", of}, {"add_prefix_space", false}})->encode(gpt2) == bare);
  }
  for (const Json& config : {Json{{"add_prefix_space", true}}, Json{{"add_prefix_space", true}, {"tokenizer_class", "PreTrainedTokenizerFast"}},
                             Json{{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", nullptr}}})
    CHECK(loaded("gpt2", config)->encode(gpt2) == bare);
  CHECK(loaded("gpt-neox-20b", {{"tokenizer_class", "GPTNeoXTokenizer"}, {"add_prefix_space", true}})->encode(gpt2) == Ids{17459, 0, 627, 1269});

  const std::string llama = "Hi</s>there x<s> y";
  const auto of_llama = [](bool prefix) { return Json{{"tokenizer_class", "LlamaTokenizer"}, {"add_prefix_space", prefix}, {"bos_token", "<s>"}}; };
  const auto never = loaded("phi-3-mini", of_llama(false));
  CHECK(never->encode(llama) == Ids{18567, 2, 12711, 921, 1, 343});
  CHECK(never->decode(Ids{18567}) == "Hi");
  CHECK(never->decode(Ids{6324}) == " Hi");
  CHECK(loaded("phi-3-mini", of_llama(true))->encode(llama) == Ids{6324, 2, 727, 921, 1, 29871, 343});  // as the file has it
  const auto first = loaded("phi-3-mini", of_llama(true), true);
  CHECK(first->encode("Hi </s> there<s>a") == Ids{6324, 29871, 2, 12711, 1, 29874});
  CHECK(first->decode(Ids{6324}) == "Hi");
  Json legacy = of_llama(true);
  legacy["legacy"] = true;
  CHECK(loaded("phi-3-mini", legacy, true)->encode("Hi </s> there<s>a") == Ids{6324, 29871, 2, 727, 1, 263});
}

TEST_CASE("a prompt is without the end that a tokenizer adds", "[unit]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const TempDir dir;
  fs::copy_file(*root / "models" / "stories260K-hf" / "tokenizer.model", dir / "tokenizer.model");
  write_text(dir / "tokenizer_config.json", R"({"add_eos_token": true})");
  const auto tokenizer = Tokenizer::load(dir.path());
  CHECK(tokenizer->encode("a").back() == 2);
  CHECK(tokenizer->encode_prompt("a") == Ids{1, 261});
  CHECK(tokenizer->encode_prompt("a</s>") == Ids{1, 261, 2});
}
