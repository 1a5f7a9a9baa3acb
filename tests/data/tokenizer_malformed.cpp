// Every way in which tokenizer.json can be wrong has a message of its own; no bytes crash the reader.
#include <random>

#include "tokenizer_tools.h"

using namespace lowrank_test;

namespace {

// The message of the small tokenizer after a change.
template <class Change>
std::string after(const Change& change) {
  Json json = small_llama();
  change(json);
  return load_error(json);
}

bool says(const std::string& message, const std::string& part) {
  INFO(message);
  CHECK(message.find(part) != std::string::npos);
  CHECK(message.find("tokenizer.json") != std::string::npos);
  return true;
}

Json added(Json id, const std::string& content) {
  return {{"id", std::move(id)}, {"content", content}, {"special", true}};
}

}  // namespace

TEST_CASE("a vocabulary that cannot be", "[unit]") {
  says(after([](Json& j) { j["model"]["vocab"]["x"] = 1000000000000000000; }), "model.vocab.x");
  says(after([](Json& j) { j["model"]["vocab"]["x"] = -1; }), "model.vocab.x");
  says(after([](Json& j) { j["model"]["vocab"]["x"] = 1.5; }), "model.vocab.x");
  says(after([](Json& j) { j["model"]["vocab"]["x"] = "7"; }), "model.vocab.x");
  says(after([](Json& j) { j["model"]["vocab"]["x"] = 260; }), "the id 260 is also that of 'a'");
  says(after([](Json& j) { j["model"]["vocab"] = Json::object(); }), "empty vocabulary");
  says(after([](Json& j) { j["model"]["vocab"] = Json::array(); }), "expected an object of tokens");
  says(after([](Json& j) { j["model"].erase("vocab"); }), "vocab");
  says(after([](Json& j) { j["model"]["unk_token"] = "<nothing>"; }), "'<nothing>' is not in the vocabulary");
  says(after([](Json& j) { j["model"]["vocab"].erase("<0x41>"); }), "no byte token '<0x41>'");
}

TEST_CASE("merges that cannot be", "[unit]") {
  says(after([](Json& j) { j["model"]["merges"].push_back("a zz"); }), "'zz' is not in the vocabulary");
  says(after([](Json& j) { j["model"]["merges"].push_back("a b"); }), "'ab' is not in the vocabulary");
  says(after([](Json& j) { j["model"]["merges"].push_back("a  b"); }), "two tokens with one space");
  says(after([](Json& j) { j["model"]["merges"].push_back("ab"); }), "two tokens with one space");
  says(after([](Json& j) { j["model"]["merges"].push_back({"a", "b", "c"}); }), "model.merges[2]");
  says(after([](Json& j) { j["model"]["merges"].push_back(3); }), "model.merges[2]");
  says(after([](Json& j) { j["model"].erase("merges"); }), "merges");
}

TEST_CASE("added tokens that cannot be", "[unit]") {
  says(after([](Json& j) { j["added_tokens"].push_back(added(270, "")); }), "an added token without content");
  says(after([](Json& j) { j["added_tokens"].push_back(added(1000000000000000000, "<x>")); }), "added_tokens[3].id");
  says(after([](Json& j) { j["added_tokens"].push_back(added(900, "<x>")); }), "has id 900, but 270 has it");
  says(after([](Json& j) { j["added_tokens"].push_back(added(5, "<x>")); }), "has id 5, but 270 has it");
  says(after([](Json& j) { j["added_tokens"].push_back(added(1, "<s>")); }), "'<s>' is there twice");
  says(after([](Json& j) { j["added_tokens"].push_back(added("1", "<x>")); }), "added_tokens[3].id");
  says(after([](Json& j) { j["added_tokens"] = 3; }), "expected an array of tokens");
  says(after([](Json& j) {
         j["model"]["vocab"]["far"] = 275;
         j["added_tokens"].push_back(added(271, "<x>"));
       }) + " tokenizer.json",
       "(no error)");  // a gap in the vocabulary is no reason to refuse it
}

TEST_CASE("regular expressions and patterns that are refused", "[unit]") {
  const auto with = [](const Json& pattern) {
    return after([&](Json& j) {
      j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", pattern}, {"behavior", "Isolated"}, {"invert", false}};
    });
  };
  says(with({{"Regex", "a*"}}), "can match the empty string");
  says(with({{"Regex", "(?=a)"}}), "can match the empty string");
  says(with({{"Regex", "(a"}}), "does not compile");
  says(with({{"Regex", "\\p{Nonsense}"}}), "the class 'Nonsense'");
  says(with({{"Regex", "\\p{Emoji}"}}), "the class 'Emoji'");
  says(with({{"Regex", "[[:odd:]]"}}), "the class '[:odd:]'");
  says(with({{"Regex", "[z-a]"}}), "a range that does not end in a later character");
  says(with({{"Regex", "(a)\\1"}}), "a backslash before a digit");
  says(with({{"Regex", "\\X"}}), "\\X");
  says(with({{"Regex",
              "(?i:stra\xC3\x9F"
              "e)"}}),
       "without regard to case");
  says(with({{"Regex", "(?i:pass)"}}), "'ss' without regard to case");
  says(with({{"Regex", "(?i:[^a])"}}), "without regard to case");
  says(with({{"Regex", "(?~a)"}}), "a group that begins with (?~");
  says(with({{"Regex", "a)"}}), "a closing parenthesis too many");
  says(with({{"Regex", "a{2}?"}}), "{n} followed by ?");
  says(with({{"Regex", "(*UTF)a"}}), "a (*VERB)");
  says(with({{"Regex", "a(?i)b"}}), "options in the middle");
  says(with({{"Regex", "a{1,3}+"}}), "an interval followed by +");
  says(with({{"Regex", "a\\"}}), "a backslash at its end");
  says(with({{"Regex", "[a"}}), "without its closing bracket");
  says(with({{"Regex", "[]"}}), "an empty class");
  says(with({{"Regex", "\\Qa"}}), "\\Q");
  says(with({{"Regex", "\\p{L"}}), "without a closing brace");
  says(with({{"Regex", std::string(100000, 'a')}}), "100000 bytes");
  says(with({{"Regex", std::string(3000, '(') + "a" + std::string(3000, ')')}}), "groups more than 200 deep");
  says(with({{"String", ""}}), "an empty pattern");
  says(with({{"Other", ""}}), "expected {\"String\": ...}");
  says(after([](Json& j) { j["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", "x"}}; }),
       "an empty pattern");
  says(after([](Json& j) { j["decoder"] = {{"type", "Replace"}, {"pattern", {{"Regex", "x?"}}}, {"content", ""}}; }),
       "can match the empty string");
}

TEST_CASE("what is not supported is named", "[unit]") {
  says(after([](Json& j) { j["model"]["type"] = "Trigram"; }), "'Trigram' is not supported");
  says(after([](Json& j) { j["model"]["dropout"] = 0.1; }), "dropout");
  says(after([](Json& j) { j["normalizer"] = {{"type", "Squeeze"}}; }), "the normalizer 'Squeeze' is not supported");
  says(after([](Json& j) { j["pre_tokenizer"] = {{"type", "Scissors"}}; }),
       "the pre-tokenizer 'Scissors' is not supported");
  says(after([](Json& j) { j["decoder"] = {{"type", "Glue"}}; }), "the decoder 'Glue' is not supported");
  says(after([](Json& j) { j["post_processor"] = {{"type", "Frame"}}; }),
       "the post-processor 'Frame' is not supported");
  says(after([](Json& j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Sideways"}};
       }),
       "found 'Sideways'");
  says(after([](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "ab"}}; }), "one character");
  says(after([](Json& j) { j["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", "often"}}; }), "'often'");
}

TEST_CASE("other models that cannot be", "[unit]") {
  const auto model = [](Json value) {
    return after([&](Json& j) {
      j["added_tokens"] = Json::array();
      j["post_processor"] = nullptr;
      j["model"] = value;
    });
  };
  const auto scored = [](const char* token, Json score) { return Json::array({token, std::move(score)}); };
  const auto unigram = [&](Json vocab) {
    return model({{"type", "Unigram"}, {"unk_id", 7}, {"vocab", std::move(vocab)}});
  };
  says(unigram(Json::array()), "an empty vocabulary");
  says(unigram(Json::array({scored("a", "b")})), "model.vocab[0]: expected [\"token\", score]");
  says(unigram(Json::array({"a"})), "model.vocab[0]: expected [\"token\", score]");
  says(unigram(Json::array({scored("a", -1), scored("a", -2)})), "model.vocab[1]: 'a' is there twice");
  says(unigram(Json::array({scored("a", -1)})), "unk_id");
  says(model({{"type", "WordPiece"}, {"vocab", {{"a", 0}}}}), "unk_token");
  says(model({{"type", "WordLevel"}, {"vocab", Json::array()}, {"unk_token", "x"}}), "expected an object of tokens");
  says(after([](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; }), "does not begin with");
  for (const char* map : {"!!", "AAA=", "////AAAA"}) {
    says(after([&](Json& j) { j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", map}}; }),
         "precompiled_charsmap");
  }
}

TEST_CASE("a text that no token has, and what may not grow", "[unit]") {
  const auto encode_error = [](const Json& json, const std::string& text) -> std::string {
    try {
      load_tokenizer(json)->encode(text);
    } catch (const lowrank::DataError& error) {
      return error.what();
    }
    return "(no error)";
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  Json words = small_llama();
  words["normalizer"] = nullptr;
  words["added_tokens"] = Json::array();
  words["post_processor"] = nullptr;
  words["model"] = {{"type", "WordLevel"}, {"vocab", {{"a", 0}}}, {"unk_token", "<unk>"}};
  contains(encode_error(words, "b"), "'b' is not in the vocabulary");
  words["model"] = {{"type", "Unigram"}, {"vocab", Json::array({Json::array({"a", -1.0})})}};
  contains(encode_error(words, "ab"), "no token has the character 'b'");
  CHECK(load_tokenizer(words)->encode("aa") == std::vector<TokenId>{0, 0});

  Json bomb = small_llama();
  const std::string many(400, 'a');
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", many}};
  const Json prepend = {{"type", "Prepend"}, {"prepend", std::string(70000, 'b')}};
  bomb["normalizer"] = {{"type", "Sequence"}, {"normalizers", {replace, replace, replace, replace}}};
  contains(encode_error(bomb, std::string(500, 'a')), "normalizer.normalizers[0] (Replace)");
  contains(encode_error(bomb, "a"), "normalizer.normalizers[1] (Replace)");
  bomb["normalizer"] = prepend;
  contains(encode_error(bomb, "a"), "normalizer (Prepend)");
  bomb["normalizer"] = nullptr;
  bomb["decoder"] = {{"type", "Sequence"}, {"decoders", {replace, replace, replace}}};
  CHECK_THROWS_AS(load_tokenizer(bomb)->decode(std::vector<TokenId>{260}), lowrank::DataError);
  // The whole of what the steps make is bounded, not each step by what the one before it made.
  const Json sixty = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(60, 'a')}};
  bomb["decoder"]["decoders"] = {sixty, sixty, sixty};
  CHECK_THROWS_AS(load_tokenizer(bomb)->decode(std::vector<TokenId>{260}), lowrank::DataError);
}

TEST_CASE("post-processors that cannot be", "[unit]") {
  says(after([](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"] = {9999}; }),
       "the id 9999 is not in the vocabulary");
  says(after([](Json& j) { j["post_processor"]["special_tokens"] = Json::object(); }),
       "'<s>' is not in special_tokens");
  says(after([](Json& j) { j["post_processor"]["single"].erase(1); }), "the text (Sequence A) is missing");
  says(after([](Json& j) { j["post_processor"]["single"].push_back(j["post_processor"]["single"][1]); }),
       "the text is there twice");
}

TEST_CASE("the files beside it", "[unit]") {
  const auto with = [](const Json& config) { return load_error(small_llama(), config) + " tokenizer.json"; };
  says(with({{"eos_token", 5}}), "tokenizer_config.json: eos_token: expected a token");
  says(with({{"eos_token", {{"lstrip", true}}}}), "content");
  says(with({{"added_tokens_decoder", {{"x", {{"content", "<x>"}}}}}}), "'x' is no token id");
  says(with({{"added_tokens_decoder", {{"999999999999", {{"content", "<x>"}}}}}}), "is no token id");
  says(with({{"added_tokens_decoder", {{"400", {{"content", "<x>"}}}}}}), "has id 400, but 270 has it");
  says(with({{"add_bos_token", "yes"}}), "add_bos_token");
  says(with(Json::array({1})), "tokenizer_config.json: expected an object");
}

TEST_CASE("SentencePiece models that cannot be", "[unit]") {
  const auto error_of = [](const std::string& bytes) -> std::string {
    const TempDir dir;
    write_text(dir / "tokenizer.model", bytes);
    try {
      Tokenizer::load(dir.path());
    } catch (const lowrank::FormatError& error) {
      return error.what();
    }
    return "(no error)";
  };
  const auto contains = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  const auto piece = [](const std::string& text, const std::string& score, char kind) {
    std::string message = "\x0A" + std::string(1, static_cast<char>(text.size())) + text + "\x15" + score + "\x18";
    message.push_back(kind);
    return "\x0A" + std::string(1, static_cast<char>(message.size())) + message;
  };
  const std::string zero(4, '\0'), nan("\x00\x00\xC0\x7F", 4), unknown = piece("<unk>", zero, 2);
  contains(error_of(""), "no pieces");
  contains(error_of("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer");
  contains(error_of(unknown.substr(0, unknown.size() - 3)), "no protocol buffer");
  contains(error_of(unknown + piece("a", nan, 1)), "a score that is not finite");
  contains(error_of(unknown + piece("a", zero, 1) + piece("a", zero, 1)), "is there twice");
  contains(error_of(unknown + piece("", zero, 1)), "is empty");
  contains(error_of(unknown + piece("\xFF", zero, 1)), "not valid UTF-8");
  contains(error_of(unknown + piece("a", zero, 9)), "unknown kind 9");
  contains(error_of(piece("a", zero, 1)), "0 unknown pieces");
  contains(error_of(unknown + piece("<0x00>", zero, 6)), "1 byte pieces");
}

TEST_CASE("a hundred thousand mutations of a tokenizer.json end in success or an error of ours", "[unit][slow]") {
  Json json = small_llama();
  json["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers",
                            {{{"type", "Split"},
                              {"pattern", {{"Regex", R"((?i:'s)|[^\r\n\p{L}]?\p{L}+|\p{N}{1,3}|\s+(?!\S)|\s+)"}}},
                              {"behavior", "Isolated"},
                              {"invert", false}},
                             {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}}}}};
  json["model"]["byte_fallback"] = false;  // the 256 byte tokens would take most of the mutations
  Json vocab = Json::object();
  for (const char* token : {"<unk>", "<s>", "</s>", "\u2581", "a", "b", "l", "\u2581a", "ll"}) {
    vocab[token] = static_cast<int>(vocab.size());
  }
  json["model"]["vocab"] = vocab;
  const std::string valid = json.dump();
  REQUIRE(load_error(json) == "(no error)");

  std::mt19937 random(2024);
  int accepted = 0, refused = 0;
  const int rounds = 100000;
  for (int round = 0; round < rounds; ++round) {
    std::string text = valid;
    for (int n = 1 + static_cast<int>(random() % 3); n > 0; --n) {
      const std::size_t at = random() % text.size();
      switch (random() % 5) {
        case 0:
          text[at] = static_cast<char>(random() % 256);
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        case 2:
          text.insert(at, 1, "0123456789{}[]\",:-+*?()\\"[random() % 24]);
          break;
        case 3:
          text.insert(at, text.substr(random() % text.size(), random() % 30));
          break;
        default:
          text[at] = "0123456789{}[]\",:-+*?()\\"[random() % 24];
          break;
      }
      if (text.empty()) text = "x";
    }
    try {
      const auto tokenizer = lowrank_test::parse_tokenizer(text);
      tokenizer->decode(tokenizer->encode("a ball 's 12\n\xFF"));
      ++accepted;
    } catch (const lowrank::Error&) {
      ++refused;
    }
  }
  CHECK(accepted + refused == rounds);
  CHECK(accepted > rounds / 100);
  CHECK(refused > rounds / 4);
}
