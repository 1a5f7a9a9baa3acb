#include "lowrank/data/tokenizer/train_sentencepiece.h"

#include <fmt/format.h>
#include <sentencepiece_trainer.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/llama_layout.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace fs = std::filesystem;

namespace {

// Bytes; a longer line is given to the trainer in parts. It ends the program at a word of 65,536 characters.
constexpr std::size_t kMaxLine = 1 << 14;

// The lines of files, one after the other: names with commas and invalid UTF-8 are no matter, and nothing is sampled.
class FileLines : public sentencepiece::SentenceIterator {
 public:
  explicit FileLines(const std::vector<std::filesystem::path>& files) : files_(files) { Next(); }

  std::size_t count() const { return count_; }
  bool done() const override { return done_; }
  const std::string& value() const override { return line_; }
  sentencepiece::util::Status status() const override { return {}; }
  void Next() override {
    do {
      while (at_ >= text_.size()) {
        if (file_ == files_.size()) {
          done_ = true;
          return;
        }
        text_ = core::replace_invalid_utf8(core::read_file(core::FileRef::named(files_[file_++])));
        if (text_.starts_with("\xEF\xBB\xBF")) text_.erase(0, 3);
        at_ = 0;
      }
      take_line();
    } while (line_.empty());
  }

 private:
  void take_line() {
    std::size_t end = std::min(text_.find('\n', at_), text_.size());
    if (end - at_ > kMaxLine) {
      end = at_ + core::complete_utf8_prefix(std::string_view(text_).substr(at_, kMaxLine));
      line_.assign(text_, at_, end - at_);
      at_ = end;
    } else {
      line_.assign(text_, at_, end - at_);
      if (line_.ends_with('\r')) line_.pop_back();
      at_ = end + 1;
    }
    std::erase(line_, '\0');
    count_ += line_.empty() ? 0 : 1;
  }

  const std::vector<std::filesystem::path>& files_;
  std::size_t file_ = 0, at_ = 0, count_ = 0;
  std::string text_, line_;
  bool done_ = false;
};

std::string train(const TokenizerTraining& options) {
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"character_coverage", "0.99995"},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"allow_whitespace_only_pieces", "true"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"add_dummy_prefix", "true"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "-1"},
      {"max_sentence_length", std::to_string(2 * kMaxLine)},
      {"input_sentence_size", "0"},
      {"shuffle_input_sentence", "false"},
      {"num_threads", "1"},
      {"minloglevel", "4"},
  };
  sentencepiece::SetRandomGeneratorSeed(static_cast<unsigned int>(options.seed));
  FileLines lines(options.files);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &lines, &model);
  if (!status.ok()) {
    // "Internal: file.cc(660) [condition] sentence": only the sentence is for users, and it may be missing.
    std::string reason = status.ToString();
    if (const auto bracket = reason.rfind("] "); bracket != std::string::npos) reason.erase(0, bracket + 2);
    if (reason.empty() || lines.count() == 0) reason = "there is no text in them";
    throw DataError(fmt::format("a tokenizer of {} tokens could not be trained on these files: {}", options.vocab_size,
                                core::printable(reason, 300)));
  }
  return model;
}

}  // namespace

void train_sentencepiece(const TokenizerTraining& options) {
  constexpr int kFixed = 3 + 256;  // unknown, BOS, EOS and the bytes
  if (options.files.empty()) throw ConfigError("no files to train a tokenizer on");
  if (options.vocab_size <= kFixed || options.vocab_size > 1'000'000) {
    throw ConfigError(
        fmt::format("a vocabulary of {} tokens; expected {} (special tokens, bytes and one more) to 1000000",
                    options.vocab_size, kFixed + 1));
  }
  std::error_code none;
  if (fs::exists(options.out, none) && !(fs::is_directory(options.out, none) && fs::is_empty(options.out, none)))
    throw ConfigError(fmt::format("`out`: {} is there already; a tokenizer gets a folder of its own: name another", core::printable(options.out.string())));
  const std::string bytes = train(options);
  const SentencePieceModel model = SentencePieceModel::parse(bytes, "the trained model");
  core::make_folder(fs::absolute(options.out).lexically_normal().parent_path());
  const core::OutputLock lock(options.out);
  core::StagedDirectory staged(options.out);
  const fs::path& place = staged.path();
  core::write_file(place / "tokenizer.model", bytes);
  core::write_file(place / "tokenizer.json", llama_tokenizer_json(model));
  core::write_file(place / "tokenizer_config.json", llama_tokenizer_config(model));
  core::write_file(place / "special_tokens_map.json", llama_special_tokens_map(model));
  staged.commit();
}

}  // namespace lowrank::data
