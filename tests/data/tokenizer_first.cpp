// Metaspace's "first": which texts begin with its mark, after normalizers that put in, take out and replace. What is expected is what PyPI's
// tokenizers 0.23 gives.
#include "tokenizer_tools.h"

using namespace lowrank_test;

namespace {

Json replace(const char* what, const char* by) { return {{"type", "Replace"}, {"pattern", {{"String", what}}}, {"content", by}}; }
Json replace_regex(const char* what, const char* by) { return {{"type", "Replace"}, {"pattern", {{"Regex", what}}}, {"content", by}}; }
Json plain(const char* type) { return {{"type", type}}; }

// The texts of which a normalizer leaves a beginning that gets the mark, and those that do not.
struct Case {
  Json steps;
  std::vector<const char*> marked, not_marked;
};

}  // namespace

TEST_CASE("the mark of Metaspace's first goes by what became of the text's first character", "[unit]") {
  const std::vector<Case> cases = {
      // albert's: half of U+0E33's decomposition is taken out again, and two characters that one quote replaces are not the first one.
      {{replace("``", "\""), replace("''", "\""), plain("NFKD"), plain("StripAccents"), plain("Lowercase")},
       {"\u0E33a", "'a", "\uFB01a", "\u00E9", "\u0130x", "a``"},
       {"``a", "''a", "\u0301a"}},
      {{replace("q", "zz"), replace("w", "")}, {"qa", "qwa"}, {"wa", "wqa"}},
      {{{{"type", "Prepend"}, {"prepend", "__"}}, replace("__a", "b")}, {"a", "ca"}, {}},
      {{plain("NFKD"), {{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}}, {"\u00A8a"}, {" a"}},
      {{plain("BertNormalizer")}, {"\u00C9a", "\u0E33a"}, {"\u0001a"}},
      {{plain("ByteLevel"), replace_regex("^.", "")}, {"\u00E9a"}, {"aa"}},
  };
  for (const Case& c : cases) {
    Json json = small_llama();
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", c.steps}};
    json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}, {"split", false}};
    json["model"]["merges"] = Json::array();
    const auto tokenizer = load_tokenizer(json);
    const auto is_marked = [&](const char* text) { return tokenizer->id_to_token(tokenizer->encode(text, false).at(0)) == "\u2581"; };
    CAPTURE(c.steps.dump());
    for (const char* text : c.marked) {
      CAPTURE(text);
      CHECK(is_marked(text));
    }
    for (const char* text : c.not_marked) {
      CAPTURE(text);
      CHECK_FALSE(is_marked(text));
    }
  }
}
