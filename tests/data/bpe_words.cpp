// BPE without a pre-tokenizer: words are encoded one by one where that gives the ids of the whole text, and only there.
#include <random>

#include "lowrank/data/tokenizer/token_model.h"
#include "tokenizer_tools.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

const std::string kSpace = "\u2581";

std::unique_ptr<const data::TokenModel> model_of(const Json& tokenizer) {
  const core::JsonView model = core::JsonView(tokenizer, "tokenizer.json").at("model");
  data::ModelTables tables("tokenizer.json");
  tables.read(model);
  return data::TokenModel::make(model, std::move(tables));
}

std::vector<TokenId> in_parts(const data::TokenModel& model, const std::string& text, int* parts = nullptr) {
  std::vector<TokenId> ids;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = model.part_end(text, at);
    REQUIRE(end > at);
    model.encode(std::string_view(text).substr(at, end - at), ids);
    at = end;
    if (parts != nullptr) ++*parts;
  }
  return ids;
}

std::vector<TokenId> at_once(const data::TokenModel& model, const std::string& text) {
  std::vector<TokenId> ids;
  if (!text.empty()) model.encode(text, ids);
  return ids;
}

}  // namespace

TEST_CASE("words of a BPE without a pre-tokenizer, one by one, give the ids of the whole", "[unit]") {
  Json tokenizer = small_llama();
  Json& model = tokenizer["model"];
  TokenId next = 300;
  for (const std::string& token : {kSpace + kSpace, kSpace + kSpace + kSpace, kSpace + "a" + "b"}) model["vocab"][token] = next++;
  model["merges"] = {kSpace + " a", kSpace + " " + kSpace, kSpace + " " + kSpace + kSpace, kSpace + "a b", "l l"};
  const auto words = model_of(tokenizer);
  int parts = 0;
  in_parts(*words, kSpace + "ab" + kSpace + kSpace + "a" + kSpace + "hello" + kSpace, &parts);
  CHECK(parts == 4);
  std::mt19937 random(1);
  const std::vector<std::string> letters = {kSpace, kSpace, "a", "b", "l", "\u00e9", "?", "\xF0\x9F\xA6\x99"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (int i = 0; i < 12; ++i) text += letters[random() % letters.size()];
    CAPTURE(text);
    CHECK(in_parts(*words, text) == at_once(*words, text));
  }

  SECTION("a merge over the beginning of a word leaves the text whole") {
    model["vocab"]["b" + kSpace] = next++;
    model["merges"].push_back("b " + kSpace);
    const std::string text = "ab" + kSpace + "a";
    CHECK(model_of(tokenizer)->part_end(text, 0) == text.size());
  }
  SECTION("so does a vocabulary that leaves unknown characters out") {
    model["byte_fallback"] = false;
    model["unk_token"] = nullptr;
    const std::string text = kSpace + "?" + kSpace + "a";
    CHECK(model_of(tokenizer)->part_end(text, 0) == text.size());
  }
}

TEST_CASE("a whole book in stories260K's tokens, word by word", "[parity]") {
  const auto root = assets();
  if (!root) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  const auto model = model_of(core::parse_json(read_text(*root / "models/stories260K-hf/tokenizer.json"), "tokenizer.json"));
  std::string text;
  for (const char c : read_text(*root / "corpora/art-history/ortigao-culto-da-arte-em-portugal.pg30456.pt.txt").substr(0, 200000))
    c == ' ' ? text += kSpace : text += c;
  CHECK(in_parts(*model, text) == at_once(*model, text));
}
