#include "lowrank/data/tokenizer/normalizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/byte_level.h"
#include "lowrank/data/tokenizer/charsmap.h"
#include "lowrank/data/tokenizer/pattern.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(const core::JsonView& steps) {
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (auto step = make(steps.at(i))) steps_.push_back(std::move(step));
    }
  }
  void apply(NormalizedText& t) const override {
    for (const auto& step : steps_) step->apply(t);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

// Of a text that was made anew whole: its beginning `first`, alone, would have become `alone`. Where that has met what follows it, the
// first character counts.
void became(NormalizedText& t, const std::string& first, const std::string& alone) {
  if (first.empty()) return;
  t.of_first = alone.size();
  if (!alone.empty() && t.text.starts_with(alone)) return;
  t.of_first = 0;
  if (!t.text.empty()) next_character(t.text, t.of_first);
}

// Says which component made too much of a text.
class Growing : public Normalizer {
 protected:
  explicit Growing(const core::JsonView& json) : name_(json.where() + " (" + json.at("type").as_string() + ")") {}
  void check(std::size_t bytes, std::size_t most) const {
    if (bytes <= most) return;
    throw DataError(
        fmt::format("{}: it would make a text of more than {}, which is 64 times the one it was given and "
                    "64 KiB; no tokenizer needs that",
                    name_, core::format_bytes(most)));
  }

 private:
  std::string name_;
};

class Prepend : public Growing {
 public:
  explicit Prepend(const core::JsonView& json) : Growing(json), prefix_(json.at("prepend").as_string()) {}
  void apply(NormalizedText& t) const override {
    if (t.text.empty()) return;
    check(t.text.size() + prefix_.size(), t.most);
    t.text.insert(0, prefix_);
    if (t.of_first > 0) t.of_first += prefix_.size();
  }

 private:
  std::string prefix_;
};

class Replace : public Growing {
 public:
  explicit Replace(const core::JsonView& json)
      : Growing(json), pattern_(json.at("pattern")), content_(json.at("content").as_string()) {}
  void apply(NormalizedText& t) const override {
    std::vector<ByteRange> matches;
    pattern_.find_all(t.text, {0, t.text.size()}, matches);
    if (matches.empty()) return;
    std::size_t bytes = t.text.size() + matches.size() * content_.size();
    for (const ByteRange& m : matches) bytes -= m.end - m.begin;
    check(bytes, t.most);
    t.of_first = first_after(matches, t.of_first);
    t.text = replaced(t.text, matches, content_);
  }

 private:
  // What is put in stands where the last character of its match stood.
  std::size_t first_after(const std::vector<ByteRange>& matches, std::size_t of_first) const {
    std::size_t result = of_first;
    for (const ByteRange& m : matches) {
      if (m.begin >= of_first && m.end > 0) break;
      if (m.end > of_first) return result - (of_first - m.begin);
      result += content_.size() - (m.end - m.begin);
    }
    return result;
  }

  Pattern pattern_;
  std::string content_;
};

class Precompiled : public Growing {
 public:
  explicit Precompiled(const core::JsonView& json) : Growing(json), map_(json.at("precompiled_charsmap")) {}
  void apply(NormalizedText& t) const override {
    const std::string first = t.text.substr(0, t.of_first);
    t.text = map_.apply(t.text, t.most);
    check(t.text.size(), t.most);
    became(t, first, map_.apply(first, t.most));
  }

 private:
  Charsmap map_;
};

// The others make at most 18 times of a text.
class Form : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(NormalizedText& t) const override {
    const std::string first = t.text.substr(0, t.of_first);
    t.text = normalize(t.text, form_);
    became(t, first, normalize(first, form_));
  }

 private:
  NormalForm form_;
};

void lower(NormalizedText& t) {
  const std::string first = t.text.substr(0, t.of_first);
  t.text = lowercase(t.text);
  became(t, first, lowercase(first));
}

class Lowercase : public Normalizer {
 public:
  void apply(NormalizedText& t) const override { lower(t); }
};

class ByteLevel : public Normalizer {
 public:
  void apply(NormalizedText& t) const override {
    std::string out;
    append_byte_level(out, std::string_view(t.text).substr(0, t.of_first));
    const std::size_t of_first = out.size();
    append_byte_level(out, std::string_view(t.text).substr(t.of_first));
    t.text = std::move(out);
    t.of_first = of_first;
  }
};

class StripSpace : public Normalizer {
 public:
  StripSpace(bool left, bool right) : left_(left), right_(right) {}
  void apply(NormalizedText& t) const override {
    const std::string& text = t.text;
    std::size_t begin = 0, end = text.size();
    for (std::size_t at = 0; left_ && at < text.size() && is_white_space(next_character(text, at));) begin = at;
    while (right_ && end > begin) {
      std::size_t start = end - 1;
      while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
      std::size_t at = start;
      if (!is_white_space(next_character(text, at))) break;
      end = start;
    }
    t.of_first -= std::min(t.of_first, begin);
    t.text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

// Writes each character anew with `change(out, c)`, which may leave it out.
template <class Change>
void rewrite(NormalizedText& t, const Change& change) {
  std::string out;
  out.reserve(t.text.size());
  std::size_t of_first = 0;
  for (std::size_t at = 0; at < t.text.size();) {
    const bool first = at < t.of_first;
    change(out, next_character(t.text, at));
    if (first) of_first = out.size();
  }
  t.text = std::move(out);
  t.of_first = of_first;
}

class StripAccents : public Normalizer {
 public:
  void apply(NormalizedText& t) const override {
    rewrite(t, [](std::string& out, char32_t c) {
      if (!is_mark(c)) append_character(out, c);
    });
  }
};

// SentencePiece's rules of old: control characters go, odd spaces become plain ones.
class Nmt : public Normalizer {
 public:
  void apply(NormalizedText& t) const override {
    rewrite(t, [](std::string& out, char32_t c) {
      if ((c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) return;
      const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
                         c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
      append_character(out, space ? U' ' : c);
    });
  }
};

class BertNormalizer : public Normalizer {
 public:
  explicit BertNormalizer(const core::JsonView& json)
      : clean_(json.get_bool("clean_text", true)),
        part_chinese_(json.get_bool("handle_chinese_chars", true)),
        lowercase_(json.get_bool("lowercase", true)),
        strip_accents_(json.get_bool("strip_accents", lowercase_)) {}
  void apply(NormalizedText& t) const override {
    rewrite(t, [this](std::string& out, char32_t c) {
      if (clean_ && is_control(c) && c != '\t' && c != '\n' && c != '\r') return;
      const bool chinese = part_chinese_ && is_chinese(c);
      if (chinese) out.push_back(' ');
      append_character(out, clean_ && is_white_space(c) ? U' ' : c);
      if (chinese) out.push_back(' ');
    });
    if (strip_accents_) {
      Form(NormalForm::kNfd).apply(t);
      rewrite(t, [](std::string& out, char32_t c) {
        if (!is_nonspacing(c)) append_character(out, c);
      });
    }
    if (lowercase_) lower(t);
  }

 private:
  // Without U+2B820 to U+2B91F, which the reference leaves out.
  static bool is_chinese(char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0x2F800 && c <= 0x2FA1F);
  }
  bool clean_, part_chinese_, lowercase_, strip_accents_;
};

}  // namespace

std::unique_ptr<const Normalizer> Normalizer::make(const core::JsonView& json) {
  if (json.is_null()) return nullptr;
  const std::string type = json.at("type").as_string();
  if (type == "Sequence") return std::make_unique<SequenceNormalizer>(json.at("normalizers"));
  if (type == "Prepend") return std::make_unique<Prepend>(json);
  if (type == "Replace") return std::make_unique<Replace>(json);
  if (type == "Precompiled") return std::make_unique<Precompiled>(json);
  if (type == "BertNormalizer") return std::make_unique<BertNormalizer>(json);
  if (type == "NFC") return std::make_unique<Form>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<Form>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "Nmt") return std::make_unique<Nmt>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Strip") {
    return std::make_unique<StripSpace>(json.get_bool("strip_left", true), json.get_bool("strip_right", true));
  }
  json.fail("the normalizer '" + core::printable(type, 40) + "' is not supported");
}

}  // namespace lowrank::data
