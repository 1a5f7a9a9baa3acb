// Tokenizers as llama.cpp has them. (That llama.cpp cuts texts as ours do: tests/parity/llama_cpp_parity.py.)
#include "lowrank/data/tokenizer/gguf_tokens.h"

#include <algorithm>
#include <map>

#include "catch.h"
#include "lowrank/core/error.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

std::map<std::string, formats::GgufValue> values_of(const data::GgufTokenizer& tokenizer) {
  return {tokenizer.values.begin(), tokenizer.values.end()};
}

template <typename T>
const T& at(const std::map<std::string, formats::GgufValue>& values, const std::string& key) {
  INFO(key);
  return std::get<T>(values.at(key));
}

/// A byte-level tokenizer of a few tokens that cuts texts by `pre`.
void write_tokenizer(const fs::path& folder, const std::string& pre) {
  write_text(folder / "tokenizer.json", R"({"version": "1.0", "added_tokens": [
    {"id": 5, "content": "<|end|>", "special": true, "normalized": false},
    {"id": 6, "content": "▁word", "special": false, "normalized": false}],
    "normalizer": null, "pre_tokenizer": )" +
                                            pre + R"(, "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "Ġa": 4}, "merges": [["a", "b"], ["Ġ", "a"]]}})");
  write_text(folder / "tokenizer_config.json", R"({"eos_token": "<|end|>", "chat_template": "{{ messages }}"})");
}

const std::string kGpt2 =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";

}  // namespace

TEST_CASE("a byte-level tokenizer with its merges, types and special tokens", "[unit]") {
  const TempDir folder;
  write_tokenizer(folder.path(), kGpt2);
  write_text(folder.path() / "generation_config.json", R"({"eos_token_id": [5, 6]})");
  const data::GgufTokenizer tokenizer = data::gguf_tokenizer(folder.path(), 8);
  const auto values = values_of(tokenizer);
  CHECK(at<std::string>(values, "tokenizer.ggml.model") == "gpt2");
  CHECK(at<std::string>(values, "tokenizer.ggml.pre") == "gpt-2");
  REQUIRE(tokenizer.notes.size() == 1);  // the converter does not know it
  CHECK(at<std::vector<std::string>>(values, "tokenizer.ggml.tokens") ==
        std::vector<std::string>{"a", "b", "ab", "Ġ", "Ġa", "<|end|>", " word", "[PAD7]"});
  CHECK(at<std::vector<std::int32_t>>(values, "tokenizer.ggml.token_type") ==
        std::vector<std::int32_t>{1, 1, 1, 1, 1, 3, 4, 5});
  CHECK(at<std::vector<std::string>>(values, "tokenizer.ggml.merges") == std::vector<std::string>{"a b", "Ġ a"});
  CHECK(at<std::uint32_t>(values, "tokenizer.ggml.eos_token_id") == 5);
  CHECK(at<std::uint32_t>(values, "tokenizer.ggml.eot_token_id") == 6);  // another that ends an answer
  CHECK_FALSE(at<bool>(values, "tokenizer.ggml.add_bos_token"));
  CHECK(at<std::string>(values, "tokenizer.chat_template") == "{{ messages }}");
}

TEST_CASE("a pre-tokenizer that llama.cpp does not have is refused", "[unit]") {
  const TempDir folder;
  write_tokenizer(folder.path(), R"({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, )" + kGpt2 + "]}");
  CHECK_THROWS_WITH(
      data::gguf_tokenizer(folder.path(), 8),
      Catch::Matchers::Contains("llama.cpp has no pre-tokenizer that is known to cut texts as this one does"));
}

TEST_CASE("released tokenizers for llama.cpp", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const fs::path tokenizers = *assets() / "tokenizers";
  const data::GgufTokenizer gpt2 = data::gguf_tokenizer(tokenizers / "gpt2", 50257);
  CHECK(at<std::string>(values_of(gpt2), "tokenizer.ggml.pre") == "gpt-2");
  CHECK(gpt2.notes.empty());  // known by its hash
  CHECK(at<std::vector<std::string>>(values_of(gpt2), "tokenizer.ggml.merges").size() == 50000);

  const data::GgufTokenizer phi = data::gguf_tokenizer(tokenizers / "phi-3-mini", 32064);
  const auto values = values_of(phi);
  CHECK(at<std::string>(values, "tokenizer.ggml.model") == "llama");
  CHECK(phi.notes.size() == 1);
  const auto& tokens = at<std::vector<std::string>>(values, "tokenizer.ggml.tokens");
  const auto& scores = at<std::vector<float>>(values, "tokenizer.ggml.scores");
  const auto score = [&](const char* token) {
    return scores[static_cast<std::size_t>(std::find(tokens.begin(), tokens.end(), token) - tokens.begin())];
  };
  CHECK(score("▁t") > score("▁the"));                                                 // merged before
  CHECK(at<std::vector<std::int32_t>>(values, "tokenizer.ggml.token_type")[3] == 6);  // <0x00>

  const data::GgufTokenizer stories = data::gguf_tokenizer(*assets() / "models" / "stories260K-hf", 512);
  CHECK(stories.kind == "SentencePiece");
  CHECK(at<bool>(values_of(stories), "tokenizer.ggml.add_space_prefix"));
  CHECK(at<bool>(values, "tokenizer.ggml.add_space_prefix"));
  CHECK(at<std::vector<std::int32_t>>(values_of(stories), "tokenizer.ggml.token_type")[1] == 3);
  CHECK_THROWS_AS(data::gguf_tokenizer(tokenizers / "t5-small", 32128), Error);
}
