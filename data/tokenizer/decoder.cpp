#include "lowrank/data/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/byte_level.h"
#include "lowrank/data/tokenizer/normalizer.h"
#include "lowrank/data/tokenizer/pattern.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

constexpr const char* kReplacementCharacter = "\xEF\xBF\xBD";

std::string join(const std::vector<std::string>& tokens) {
  std::string out;
  for (const std::string& t : tokens) out += t;
  return out;
}

class SpaceJoin : public Decoder {
 public:
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) tokens[i].push_back(' ');
  }
};

class SequenceDecoder : public Decoder {
 public:
  explicit SequenceDecoder(const core::JsonView& steps) {
    for (std::size_t i = 0; i < steps.size(); ++i) steps_.push_back(make(steps.at(i)));
  }
  void change(std::vector<std::string>& tokens, std::size_t most) const override {
    for (const auto& step : steps_) step->change(tokens, most);
  }
  bool joins_byte_tokens() const override {
    for (const auto& step : steps_) {
      if (step->joins_byte_tokens()) return true;
    }
    return false;
  }

 private:
  std::vector<std::unique_ptr<const Decoder>> steps_;
};

class ByteLevelDecoder : public Decoder {
 public:
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    std::string bytes;
    for (const std::string& token : tokens) bytes += byte_level_bytes(token).value_or(token);
    tokens = {core::replace_invalid_utf8(bytes)};
  }
};

// A run of byte tokens is a text if its bytes are UTF-8; else one U+FFFD a byte, also for the valid ones among them.
class ByteFallback : public Decoder {
 public:
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    std::vector<std::string> out;
    out.reserve(tokens.size());
    std::string run;
    const auto end_run = [&] {
      if (core::find_invalid_utf8(run) == std::string_view::npos) {
        if (!run.empty()) out.push_back(run);
      } else {
        out.insert(out.end(), run.size(), kReplacementCharacter);
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      if (const int byte = byte_of_token(token); byte >= 0) {
        run.push_back(static_cast<char>(byte));
      } else {
        end_run();
        out.push_back(std::move(token));
      }
    }
    end_run();
    tokens = std::move(out);
  }
  bool joins_byte_tokens() const override { return true; }
};

class ReplaceDecoder : public Decoder {
 public:
  explicit ReplaceDecoder(const core::JsonView& json)
      : pattern_(json.at("pattern")), content_(json.at("content").as_string()), name_(json.where() + " (Replace)") {}
  void change(std::vector<std::string>& tokens, std::size_t most) const override {
    std::size_t after = 0;
    std::vector<ByteRange> matches;
    for (std::string& token : tokens) {
      matches.clear();
      pattern_.find_all(token, {0, token.size()}, matches);
      after += token.size() + matches.size() * content_.size();
      if (after > most) {
        throw DataError(name_ + ": it would make a text of more than 64 times its tokens and 64 KiB; no tokenizer needs that");
      }
      if (!matches.empty()) token = replaced(token, matches, content_);
    }
  }

 private:
  Pattern pattern_;
  std::string content_, name_;
};

class Fuse : public Decoder {
 public:
  void change(std::vector<std::string>& tokens, std::size_t) const override { tokens = {join(tokens)}; }
};

class StripDecoder : public Decoder {
 public:
  explicit StripDecoder(const core::JsonView& json)
      : content_(json.at("content").as_string()),
        start_(json.get_int("start", 0, 0, 1 << 20)),
        stop_(json.get_int("stop", 0, 0, 1 << 20)) {
    if (count_characters(content_) != 1) json.at("content").fail("expected one character");
  }
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (std::int64_t i = 0; i < start_ && rest.starts_with(content_); ++i) rest.remove_prefix(content_.size());
      for (std::int64_t i = 0; i < stop_ && rest.ends_with(content_); ++i) rest.remove_suffix(content_.size());
      if (rest.size() != token.size()) token = std::string(rest);
    }
  }

 private:
  std::string content_;
  std::int64_t start_, stop_;
};

class MetaspaceDecoder : public Decoder {
 public:
  explicit MetaspaceDecoder(const core::JsonView& json) : replacement_(json.get_string("replacement", "\u2581")) {
    if (count_characters(replacement_) != 1) json.at("replacement").fail("expected one character");
    const bool old_always = json.get_bool("add_prefix_space", true);
    never_ = json.get_string("prepend_scheme", old_always ? "always" : "never") == "never";
  }
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const char* instead = i == 0 && !never_ ? "" : " ";
      std::string out;
      std::size_t at = 0;
      for (std::size_t m = tokens[i].find(replacement_); m != std::string::npos; m = tokens[i].find(replacement_, at)) {
        out.append(tokens[i], at, m - at).append(instead);
        at = m + replacement_.size();
      }
      tokens[i] = out.append(tokens[i], at);
    }
  }

 private:
  std::string replacement_;
  bool never_ = false;
};

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  if (what.empty() || text.find(what) == std::string::npos) return;
  std::vector<ByteRange> matches;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) {
    matches.push_back({at, at + what.size()});
  }
  text = replaced(text, matches, with);
}

// English spaces before punctuation and contractions.
void clean_up(std::string& text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},    {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [what, with] : kRules) replace_all(text, what, with);
}

class WordPieceDecoder : public Decoder {
 public:
  explicit WordPieceDecoder(const core::JsonView& json)
      : prefix_(json.get_string("prefix", "##")), clean_(json.get_bool("cleanup", true)) {}
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0 && token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else if (i > 0) {
        token.insert(0, " ");
      }
      if (clean_) clean_up(token);
    }
  }

 private:
  std::string prefix_;
  bool clean_;
};

class BpeDecoder : public Decoder {
 public:
  explicit BpeDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      replace_all(tokens[i], suffix_, i + 1 < tokens.size() ? " " : "");
    }
  }

 private:
  std::string suffix_;
};

// What a speech model says: repeated tokens are one.
class CtcDecoder : public Decoder {
 public:
  explicit CtcDecoder(const core::JsonView& json)
      : pad_(json.get_string("pad_token", "<pad>")),
        delimiter_(json.get_string("word_delimiter_token", "|")),
        clean_(json.get_bool("cleanup", true)) {}
  void change(std::vector<std::string>& tokens, std::size_t) const override {
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (std::string& token : tokens) {
      replace_all(token, pad_, "");
      if (!clean_) continue;
      clean_up(token);
      replace_all(token, delimiter_, " ");
    }
    std::erase(tokens, "");
  }

 private:
  std::string pad_, delimiter_;
  bool clean_;
};

}  // namespace

void Decoder::apply(std::vector<std::string>& tokens) const {
  std::size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  change(tokens, normalized_limit(bytes));
}

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
  };
  const int high = digit(token[3]), low = digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::unique_ptr<const Decoder> Decoder::make(const core::JsonView& json) {
  if (json.is_null()) return std::make_unique<SpaceJoin>();
  const std::string type = json.at("type").as_string();
  if (type == "Sequence") return std::make_unique<SequenceDecoder>(json.at("decoders"));
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Replace") return std::make_unique<ReplaceDecoder>(json);
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") return std::make_unique<StripDecoder>(json);
  if (type == "Metaspace") return std::make_unique<MetaspaceDecoder>(json);
  if (type == "WordPiece") return std::make_unique<WordPieceDecoder>(json);
  if (type == "BPEDecoder") return std::make_unique<BpeDecoder>(json.get_string("suffix", "</w>"));
  if (type == "CTC") return std::make_unique<CtcDecoder>(json);
  json.fail("the decoder '" + core::printable(type, 40) + "' is not supported");
}

}  // namespace lowrank::data
