#include "lowrank/data/tokenizer/normalizer.h"

#include <optional>
#include <utility>
#include <vector>

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
  void apply(std::string& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<const Normalizer>> steps_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(const core::JsonView& pattern, std::string content) : pattern_(pattern), content_(std::move(content)) {}
  void apply(std::string& text) const override {
    std::vector<ByteRange> matches;
    pattern_.find_all(text, {0, text.size()}, matches);
    if (matches.empty()) return;
    std::string out;
    std::size_t at = 0;
    for (const ByteRange& m : matches) {
      out.append(text, at, m.begin - at).append(content_);
      at = m.end;
    }
    out.append(text, at);
    text = std::move(out);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Form : public Normalizer {
 public:
  explicit Form(NormalForm form) : form_(form) {}
  void apply(std::string& text) const override { text = normalize(text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public Normalizer {
 public:
  void apply(std::string& text) const override { text = lowercase(text); }
};

class StripSpace : public Normalizer {
 public:
  StripSpace(bool left, bool right) : left_(left), right_(right) {}
  void apply(std::string& text) const override {
    std::size_t begin = 0, end = text.size();
    for (std::size_t at = 0; left_ && at < text.size() && is_white_space(next_character(text, at));) begin = at;
    while (right_ && end > begin) {
      std::size_t start = end - 1;
      while (start > begin && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
      std::size_t at = start;
      if (!is_white_space(next_character(text, at))) break;
      end = start;
    }
    text = text.substr(begin, end - begin);
  }

 private:
  bool left_, right_;
};

}  // namespace

std::unique_ptr<const Normalizer> Normalizer::make(const core::JsonView& json) {
  if (json.is_null()) return nullptr;
  const std::string type = json.at("type").as_string();
  if (type == "Sequence") return std::make_unique<SequenceNormalizer>(json.at("normalizers"));
  if (type == "Prepend") return std::make_unique<Prepend>(json.at("prepend").as_string());
  if (type == "Replace") return std::make_unique<Replace>(json.at("pattern"), json.at("content").as_string());
  if (type == "NFC") return std::make_unique<Form>(NormalForm::kNfc);
  if (type == "NFD") return std::make_unique<Form>(NormalForm::kNfd);
  if (type == "NFKC") return std::make_unique<Form>(NormalForm::kNfkc);
  if (type == "NFKD") return std::make_unique<Form>(NormalForm::kNfkd);
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "Strip") {
    return std::make_unique<StripSpace>(json.get_bool("strip_left", true), json.get_bool("strip_right", true));
  }
  json.fail("the normalizer '" + type +
            "' is not supported (Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase and Strip are)");
}

}  // namespace lowrank::data
