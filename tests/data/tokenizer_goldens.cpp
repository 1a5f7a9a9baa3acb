// Ids and texts that PyPI tokenizers, sentencepiece, llama.cpp and llama2.c give.
#include <map>

#include "tokenizer_tools.h"

using namespace lowrank_test;

namespace {

Json read(const fs::path& file) { return lowrank::core::read_json(file); }

std::vector<std::string> split_text(const std::string& text, const std::string& separator) {
  std::vector<std::string> out;
  std::size_t at = 0;
  for (std::size_t next; (next = text.find(separator, at)) != std::string::npos; at = next + separator.size()) {
    out.push_back(text.substr(at, next - at));
  }
  out.push_back(text.substr(at));
  return out;
}

std::vector<TokenId> numbers(const std::string& line) {
  std::istringstream in(line);
  std::vector<TokenId> out;
  for (TokenId id; in >> id;) out.push_back(id);
  return out;
}

}  // namespace

TEST_CASE("each component of tokenizer.json does what PyPI tokenizers does", "[parity]") {
  const Json golden = read(golden_dir() / "tokenizer" / "components.json");
  for (const Json& entry : golden["cases"]) {
    Json json = entry["tokenizer"];
    if (json["model"]["vocab"].is_string()) json["model"]["vocab"] = golden["vocab"];
    if (json["model"].contains("merges") && json["model"]["merges"].is_string())
      json["model"]["merges"] = golden["merges"];
    const auto tokenizer = load_tokenizer(json);
    for (const Json& line : entry["lines"]) {
      const auto text = line[0].get<std::string>();
      INFO(entry["name"].get<std::string>() << ": " << line[0].dump());
      CHECK(tokenizer->encode(text) == line[1].get<std::vector<TokenId>>());
      CHECK(tokenizer->decode(line[1].get<std::vector<TokenId>>(), true) == line[2].get<std::string>());
      CHECK(tokenizer->decode(line[3].get<std::vector<TokenId>>(), false) == line[4].get<std::string>());
    }
  }
}

TEST_CASE("the reference's test vectors give their ids", "[parity]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const std::map<std::string, std::string> folders = {
      {"gpt-2", "gpt2"}, {"phi-3", "phi-3-mini"}, {"falcon", "falcon-tokenizer"}};
  for (const auto& [name, folder] : folders) {
    const auto tokenizer = Tokenizer::load(*root / "tokenizers" / folder);
    const fs::path vectors = *root / "tokenizer-vectors" / ("ggml-vocab-" + name + ".gguf");
    const auto texts = split_text(read_text(vectors.string() + ".inp"), "\n__ggml_vocab_test__\n");
    const auto lines = split_text(read_text(vectors.string() + ".out"), "\n");
    REQUIRE(texts.size() > 40);
    REQUIRE(lines.size() >= texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      INFO(name << " line " << i << ": " << texts[i]);
      CHECK(tokenizer->encode(texts[i], false) == numbers(lines[i]));
    }
  }
}

TEST_CASE("a long French text gives GPT-2's and Falcon's ids and comes back", "[parity]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const std::map<std::string, std::string> folders = {{"gpt2_encoded_tokens.json", "gpt2"},
                                                      {"falcon_encoded.json", "falcon-tokenizer"}};
  for (const auto& [file, folder] : folders) {
    const Json json = read(*root / "tokenizer-vectors" / file);
    const auto tokenizer = Tokenizer::load(*root / "tokenizers" / folder);
    const auto ids = json["token_ids"].get<std::vector<TokenId>>();
    CHECK(tokenizer->encode(json["text"].get<std::string>()) == ids);
    CHECK(tokenizer->decode(ids) == json["text"].get<std::string>());
    std::vector<std::string> tokens;
    for (const TokenId id : ids) tokens.push_back(tokenizer->id_to_token(id));
    CHECK(tokens == json["bpe_tokens"].get<std::vector<std::string>>());
  }
}

TEST_CASE("GPT-NeoX: runs of spaces are added tokens of the normalised text", "[parity]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const auto tokenizer = Tokenizer::load(*root / "tokenizers" / "gpt-neox-20b");
  CHECK(tokenizer->encode("    return x\n") == std::vector<TokenId>{50274, 2309, 1269, 187});
  CHECK(tokenizer->decode(tokenizer->encode("  a   b\tc  ")) == "  a   b\tc  ");
  CHECK(tokenizer->token_to_id("<|endoftext|>") == 0);
  CHECK(tokenizer->is_special(0));
  CHECK(!tokenizer->is_special(50274));
  CHECK(tokenizer->size() == 50277);
}

TEST_CASE("SentencePiece models give the library's ids", "[parity]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  for (const Json& entry : read(golden_dir() / "tokenizer" / "sentencepiece.json")) {
    const TempDir dir;
    fs::copy_file(*root / entry["model"].get<std::string>(), dir / "tokenizer.model");
    write_text(dir / "tokenizer_config.json", R"({"legacy": true, "add_bos_token": false})");
    const auto tokenizer = Tokenizer::load(dir.path());
    for (const Json& line : entry["lines"]) {
      INFO(entry["model"].get<std::string>() << ": " << line[0].dump());
      CHECK(tokenizer->encode(line[0].get<std::string>()) == line[1].get<std::vector<TokenId>>());
    }
  }
}

TEST_CASE("stories260K: llama2.c's prompts, and tokenizer.model equal to tokenizer.json", "[parity]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const fs::path model = *root / "models" / "stories260K-hf";
  const auto tokenizer = Tokenizer::load(model);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->unk() == 0);
  CHECK(!tokenizer->pad());
  CHECK(tokenizer->adds_bos());
  CHECK(!tokenizer->adds_eos());
  CHECK(tokenizer->size() == 512);
  CHECK(tokenizer->files().size() == 4);
  for (const Json& entry : read(model / "stories260K.greedy.json")) {
    const auto prompt = entry["prompt"].get<std::string>();
    INFO(prompt);
    CHECK(tokenizer->encode(prompt) == entry["prompt_ids"].get<std::vector<TokenId>>());
  }

  const TempDir dir;
  fs::copy_file(model / "tokenizer.model", dir / "tokenizer.model");
  fs::copy_file(model / "tokenizer_config.json", dir / "tokenizer_config.json");
  const auto library = Tokenizer::load(dir.path());
  const std::string text = read_text(*root / "corpora" / "general" / "tinystories_2MB.txt").substr(0, 100000);
  for (const std::string& sample : {text, std::string(" a</s> b <s>"), std::string("\xF0\x9F\xA6\x99 caf\xC3\xA9")}) {
    const auto ids = tokenizer->encode(sample);
    CHECK(library->encode(sample) == ids);
    CHECK(library->decode(ids) == tokenizer->decode(ids));
    CHECK(library->decode(ids, false) == tokenizer->decode(ids, false));
  }
  CHECK(library->adds_bos());
  CHECK(library->token_to_id("</s>") == 2);
}
