// An answer as it grows token by token: its text as it becomes certain, and why it ended. Generation one by one, in
// batches and by beams share it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lowrank/models/generate.h"

namespace lowrank::models {

/// Lets text through only when no stop string can begin in it any more.
class StopFilter {
 public:
  /// `stops` must outlive the filter.
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  /// The text that is certain now. After stopped(), nothing more.
  std::string push(const std::string& text);
  bool stopped() const { return stopped_; }
  std::string flush() const { return stopped_ ? "" : held_; }

 private:
  std::size_t possible_beginning() const;

  const std::vector<std::string>& stops_;
  std::string held_;
  bool stopped_ = false;
};

class Answer {
 public:
  /// ConfigError for a prompt without tokens or longer than the model's positions, said of `prompt_name` ("the
  /// prompt"). All but the prompt must outlive the answer.
  Answer(const data::Tokenizer& tokenizer, const DecoderConfig& config, const GenerateOptions& options,
         const std::vector<data::TokenId>& prompt, std::string_view prompt_name = "the prompt");

  /// One more token; gives the text that became certain by it.
  std::string push(data::TokenId id);
  /// By an end token, a stop string, max_new_tokens, or the last position (at once, where the prompt reaches it).
  bool ended() const { return ended_; }
  /// Tokens it may have at most.
  std::size_t limit() const { return limit_; }
  /// The prompt and the new tokens.
  const std::vector<data::TokenId>& sequence() const { return sequence_; }
  const Generated& result() const { return result_; }
  Generated& result() { return result_; }

 private:
  std::string emit(std::string text);
  std::string end();

  const DecoderConfig& config_;
  const GenerateOptions& options_;
  data::StreamDecoder stream_;
  StopFilter filter_;
  std::vector<data::TokenId> sequence_;
  Generated result_;
  std::size_t limit_ = 0;
  bool ended_ = false;
};

}  // namespace lowrank::models
