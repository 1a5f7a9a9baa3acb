// Training a SentencePiece model, and the tokenizer.json that is written beside it.
#include "lowrank/core/files.h"
#include "lowrank/data/tokenizer/train_sentencepiece.h"
#include "tokenizer_tools.h"

using namespace lowrank_test;
using lowrank::data::TokenizerTraining;
using lowrank::data::train_sentencepiece;

namespace {

std::string prose() {
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += "The painter number " + std::to_string(i * 37) + " painted a pale panel, and the panel was praised.\r\n";
    text += "Caf\u00e9 walls held its twin; nobody knew the author's name.\n\n";
  }
  return text;
}

}  // namespace

TEST_CASE("a trained tokenizer loads, and its two files give the same ids", "[unit]") {
  const TempDir dir;
  write_text(dir / "a, with a comma.txt", prose());
  write_text(dir / "b.txt", "\xEF\xBB\xBFSecond file \xFF of words and walls\n" + std::string(200000, 'z') + "\n");
  TokenizerTraining options;
  options.files = {dir / "a, with a comma.txt", dir / "b.txt"};
  options.out = dir / "out";
  options.vocab_size = 420;
  train_sentencepiece(options);

  const auto json = Tokenizer::load(options.out);
  CHECK(json->size() == 420);
  CHECK(json->bos() == 1);
  CHECK(json->eos() == 2);
  CHECK(json->unk() == 0);
  CHECK(json->adds_bos());
  fs::create_directories(dir / "model");
  fs::copy_file(options.out / "tokenizer.model", dir / "model/tokenizer.model");
  fs::copy_file(options.out / "tokenizer_config.json", dir / "model/tokenizer_config.json");
  const auto model = Tokenizer::load(dir / "model");
  for (const std::string& text :
       {prose(), std::string("  the  panel\t</s> 2024 \u4e2d\U0001f642 "), std::string(), std::string(" ")}) {
    const auto ids = json->encode(text);
    CHECK(ids == model->encode(text));
    CHECK(json->decode(ids) == model->decode(ids));
  }
  CHECK(json->decode(json->encode(prose())) == prose());
  CHECK(json->encode("the panel", false).size() < 5);
  // Digits stay apart.
  CHECK(json->encode("37", false).size() >= 3);

  CHECK_THROWS_WITH(train_sentencepiece(options), Catch::Matchers::Contains("is there already"));
  options.out = dir / "below/again/";  // made with the folder above it
  train_sentencepiece(options);
  for (const char* file : {"tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    CHECK(read_text(dir.path() / "out" / file) == read_text(dir.path() / "below/again" / file));
  }
}

TEST_CASE("training that cannot be says why and writes nothing", "[unit]") {
  const TempDir dir;
  write_text(dir / "few.txt", "only a few words\n");
  write_text(dir / "empty.txt", "\n\n");
  const auto error_of = [&](const std::string& file, int vocab_size) -> std::string {
    TokenizerTraining options;
    if (!file.empty()) options.files = {dir / file};
    options.out = dir / "out";
    options.vocab_size = vocab_size;
    try {
      train_sentencepiece(options);
    } catch (const lowrank::Error& error) {
      return error.what();
    }
    return "(no error)";
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  contains(error_of("few.txt", 4096), "Vocabulary size too high");
  contains(error_of("few.txt", 200), "expected 260");
  contains(error_of("empty.txt", 300), "there is no text in them");
  contains(error_of("missing.txt", 300), "missing.txt");
  contains(error_of("", 300), "no files");
  CHECK(!fs::exists(dir / "out"));
}
