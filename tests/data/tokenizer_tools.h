// What the tokenizer tests share: folders made of pieces of JSON, and a small tokenizer.json to start from.
#pragma once

#include <string>
#include <vector>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/hf_tokenizer.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank_test {

using lowrank::core::Json;
using lowrank::data::TokenId;
using lowrank::data::Tokenizer;

/// A folder with this tokenizer.json (and tokenizer_config.json), loaded.
inline std::shared_ptr<const Tokenizer> load_tokenizer(const Json& tokenizer, const Json& config = {}) {
  const TempDir dir;
  write_text(dir / "tokenizer.json", tokenizer.dump());
  if (!config.is_null()) write_text(dir / "tokenizer_config.json", config.dump());
  return Tokenizer::load(dir.path());
}

/// tokenizer.json's text without a file in between.
inline std::shared_ptr<const Tokenizer> parse_tokenizer(const std::string& text) {
  return std::make_shared<lowrank::data::HfTokenizer>(lowrank::core::parse_json(text, "tokenizer.json"),
                                                      "tokenizer.json", lowrank::data::SpecialTokens{});
}

/// The error's message; fails when there is none.
inline std::string load_error(const Json& tokenizer, const Json& config = {}) {
  try {
    load_tokenizer(tokenizer, config);
  } catch (const lowrank::FormatError& error) {
    return error.what();
  }
  return "(no error)";
}

/// Byte fallback, two merges, the Llama layout.
inline Json small_llama() {
  Json vocab = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    vocab[name] = 3 + b;
  }
  int id = 259;
  for (const char* token : {"\u2581", "a", "b", "c", "h", "e", "l", "o", "\u2581a", "ll", "\u00e9"})
    vocab[token] = id++;
  const auto special = [](int i, const char* content) {
    return Json{{"id", i},         {"content", content},  {"single_word", false}, {"lstrip", false},
                {"rstrip", false}, {"normalized", false}, {"special", true}};
  };
  return {
      {"version", "1.0"},
      {"added_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", "\u2581"}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}}}}},
      {"pre_tokenizer", nullptr},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}},
          {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", "<unk>"},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"vocab", vocab},
        {"merges", {"\u2581 a", "l l"}}}},
  };
}

}  // namespace lowrank_test
