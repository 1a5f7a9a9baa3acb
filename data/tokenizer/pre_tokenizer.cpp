#include "lowrank/data/tokenizer/pre_tokenizer.h"

#include <optional>
#include <utility>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/byte_level.h"
#include "lowrank/data/tokenizer/character_set.h"
#include "lowrank/data/tokenizer/unicode.h"
#include "lowrank/data/tokenizer/unicode_tables.h"

namespace lowrank::data {

namespace {

constexpr const char* kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class SequencePreTokenizer : public PreTokenizer {
 public:
  explicit SequencePreTokenizer(const core::JsonView& steps) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (auto step = make(steps.at(i))) steps_.push_back(std::move(step));
    }
  }
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
};

// `find(text, span, matches)` finds the delimiters.
template <class Find>
void split_all(Pieces& pieces, SplitBehavior behavior, bool invert, const Find& find) {
  std::vector<ByteRange> out, matches;
  out.reserve(pieces.spans.size() * 2);
  for (const ByteRange& span : pieces.spans) {
    matches.clear();
    find(pieces.text, span, matches);
    split(span, matches, behavior, invert, out);
  }
  pieces.spans = std::move(out);
}

class Split : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(Pieces& pieces) const override {
    split_all(pieces, behavior_, invert_,
              [&](const std::string& text, ByteRange span, auto& matches) { pattern_.find_all(text, span, matches); });
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Every character with a property is a delimiter of its own.
class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(bool (*has)(char32_t), SplitBehavior behavior) : has_(has), behavior_(behavior) {}
  void apply(Pieces& pieces) const override {
    split_all(pieces, behavior_, false, [&](const std::string& text, ByteRange span, auto& matches) {
      for (std::size_t at = span.begin; at < span.end;) {
        const std::size_t begin = at;
        if (has_(next_character(text, at))) matches.push_back({begin, at});
      }
    });
  }

 private:
  bool (*has_)(char32_t);
  SplitBehavior behavior_;
};

// Where one script ends and another begins. White space before the first script is left out, as the reference does.
class UnicodeScripts : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    static const CharacterMap scripts(character_runs(unicode::kSplitScripts));
    std::vector<ByteRange> out;
    for (const ByteRange& span : pieces.spans) {
      const std::size_t first = out.size();
      int last = -1;
      for (std::size_t at = span.begin; at < span.end;) {
        const std::size_t begin = at;
        const int script = scripts[next_character(pieces.text, at)];
        if (script == 0) continue;  // at home in every script
        if (script != last) {
          if (out.size() > first) out.back().end = begin;
          out.push_back({begin, span.end});
        }
        last = script;
      }
    }
    pieces.spans = std::move(out);
  }
};

class FixedLength : public PreTokenizer {
 public:
  explicit FixedLength(std::int64_t length) : length_(length) {}
  void apply(Pieces& pieces) const override {
    std::vector<ByteRange> out;
    for (const ByteRange& span : pieces.spans) {
      for (std::size_t at = span.begin; at < span.end;) {
        const std::size_t begin = at;
        for (std::int64_t n = 0; n < length_ && at < span.end; ++n) next_character(pieces.text, at);
        out.push_back({begin, at});
      }
    }
    pieces.spans = std::move(out);
  }

 private:
  std::int64_t length_;
};

class BertSplit : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    spaces_.apply(pieces);
    punctuation_.apply(pieces);
  }

 private:
  CharacterSplit spaces_{is_white_space, SplitBehavior::kRemoved};
  CharacterSplit punctuation_{is_punctuation, SplitBehavior::kIsolated};
};

// \w+|[^\w\s]+
class WordSplit : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    std::vector<ByteRange> out;
    for (const ByteRange& span : pieces.spans) {
      int current = 0;  // 0 white space, 1 word, 2 other
      for (std::size_t at = span.begin; at < span.end;) {
        const std::size_t begin = at;
        const char32_t c = next_character(pieces.text, at);
        const int kind = is_word(c) ? 1 : is_white_space(c) ? 0 : 2;
        if (kind != 0 && kind == current) {
          out.back().end = at;
        } else if (kind != 0) {
          out.push_back({begin, at});
        }
        current = kind;
      }
    }
    pieces.spans = std::move(out);
  }
};

// Rewrites every piece with `append(out, piece)`.
template <class Append>
void rewrite(Pieces& pieces, const Append& append) {
  std::string out;
  out.reserve(pieces.text.size() * 2);
  for (ByteRange& span : pieces.spans) {
    const std::size_t begin = out.size();
    append(out, std::string_view(pieces.text).substr(span.begin, span.end - span.begin), span);
    span = {begin, out.size()};
  }
  pieces.text = std::move(out);
}

class ByteLevel : public PreTokenizer {
 public:
  explicit ByteLevel(const core::JsonView& json) : add_prefix_space_(json.get_bool("add_prefix_space", true)) {
    if (json.get_bool("use_regex", true)) regex_.emplace(kGpt2Pattern, json.where());
  }
  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) {
      rewrite(pieces, [](std::string& out, std::string_view piece, ByteRange) {
        if (!piece.starts_with(' ')) out.push_back(' ');
        out += piece;
      });
    }
    if (regex_) {
      split_all(pieces, SplitBehavior::kIsolated, false,
                [&](const std::string& text, ByteRange span, auto& matches) { regex_->find_all(text, span, matches); });
    }
    rewrite(pieces, [](std::string& out, std::string_view piece, ByteRange) { append_byte_level(out, piece); });
  }

 private:
  bool add_prefix_space_;
  std::optional<OnigRegex> regex_;
};

class Metaspace : public PreTokenizer {
 public:
  explicit Metaspace(const core::JsonView& json) : replacement_(json.get_string("replacement", "\u2581")) {
    if (count_characters(replacement_) != 1) json.at("replacement").fail("expected one character");
    const bool old_always = json.get_bool("add_prefix_space", true);  // before prepend_scheme existed
    scheme_ = json.get_string("prepend_scheme", old_always ? "always" : "never");
    if (scheme_ != "always" && scheme_ != "first" && scheme_ != "never") {
      json.at("prepend_scheme").fail("expected always, first or never, found '" + scheme_ + "'");
    }
    split_ = json.get_bool("split", true);
  }
  void apply(Pieces& pieces) const override {
    rewrite(pieces, [&](std::string& out, std::string_view piece, ByteRange span) {
      const bool wanted = scheme_ == "always" || (scheme_ == "first" && pieces.at_start && span.begin == 0);
      if (wanted && !piece.starts_with(replacement_) && !piece.starts_with(' ')) out += replacement_;
      for (const char c : piece) {
        if (c == ' ') {
          out += replacement_;
        } else {
          out.push_back(c);
        }
      }
    });
    if (!split_) return;
    split_all(pieces, SplitBehavior::kMergedWithNext, false,
              [&](const std::string& text, ByteRange span, auto& matches) {
                const std::string_view inside = std::string_view(text).substr(0, span.end);
                for (std::size_t at = inside.find(replacement_, span.begin); at != std::string_view::npos;
                     at = inside.find(replacement_, at + replacement_.size())) {
                  matches.push_back({at, at + replacement_.size()});
                }
              });
  }

 private:
  std::string replacement_, scheme_;
  bool split_ = true;
};

}  // namespace

std::unique_ptr<const PreTokenizer> PreTokenizer::make(const core::JsonView& json) {
  if (json.is_null()) return nullptr;
  const std::string type = json.at("type").as_string();
  if (type == "Sequence") return std::make_unique<SequencePreTokenizer>(json.at("pretokenizers"));
  if (type == "Split") {
    return std::make_unique<Split>(Pattern(json.at("pattern")), split_behavior(json.at("behavior")),
                                   json.get_bool("invert", false));
  }
  if (type == "CharDelimiterSplit") {
    const std::string delimiter = json.at("delimiter").as_string();
    if (count_characters(delimiter) != 1) json.at("delimiter").fail("expected one character");
    return std::make_unique<Split>(Pattern(delimiter), SplitBehavior::kRemoved, false);
  }
  if (type == "BertPreTokenizer") return std::make_unique<BertSplit>();
  if (type == "UnicodeScripts") return std::make_unique<UnicodeScripts>();
  if (type == "FixedLength") return std::make_unique<FixedLength>(json.get_int("length", 5, 1, 1 << 20));
  if (type == "ByteLevel") return std::make_unique<ByteLevel>(json);
  if (type == "Metaspace") return std::make_unique<Metaspace>(json);
  if (type == "Whitespace") return std::make_unique<WordSplit>();
  if (type == "WhitespaceSplit") return std::make_unique<CharacterSplit>(is_white_space, SplitBehavior::kRemoved);
  if (type == "Digits") {
    const bool each = json.get_bool("individual_digits", false);
    return std::make_unique<CharacterSplit>(is_numeric, each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const auto behavior = json.has("behavior") ? split_behavior(json.at("behavior")) : SplitBehavior::kIsolated;
    return std::make_unique<CharacterSplit>(is_punctuation, behavior);
  }
  json.fail("the pre-tokenizer '" + core::printable(type, 40) + "' is not supported");
}

}  // namespace lowrank::data
