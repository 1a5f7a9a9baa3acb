#include "lowrank/models/answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"

namespace lowrank::models {

std::string StopFilter::push(const std::string& text) {
  held_ += text;
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
  stopped_ = first != std::string::npos;
  const std::size_t certain = stopped_ ? first : held_.size() - possible_beginning();
  std::string out = held_.substr(0, certain);
  held_.erase(0, certain);
  return out;
}

// Length of the longest end of held_ that begins a stop string.
std::size_t StopFilter::possible_beginning() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
      if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

Answer::Answer(const data::Tokenizer& tokenizer, const DecoderConfig& config, const GenerateOptions& options,
               const std::vector<data::TokenId>& prompt, std::string_view prompt_name)
    : config_(config), options_(options), stream_(tokenizer), filter_(options.stop), sequence_(prompt) {
  if (prompt.empty()) throw ConfigError(fmt::format("{} has no tokens; give some text", prompt_name));
  const std::int64_t room = config.max_positions - static_cast<std::int64_t>(prompt.size());
  if (room < 0) {
    throw ConfigError(fmt::format("{} has {} tokens, but the model has positions for {}", prompt_name, prompt.size(),
                                  config.max_positions));
  }
  limit_ = static_cast<std::size_t>(std::min(options.max_new_tokens, room));
  ended_ = limit_ == 0;
  stream_.prime(prompt);
  result_.prompt_ids = prompt;
  result_.finish = "length";
}

std::string Answer::emit(std::string text) {
  result_.text += text;
  return text;
}

std::string Answer::end() {
  ended_ = true;
  std::string text = emit(filter_.push(stream_.flush()));
  if (filter_.stopped()) result_.finish = "stop";
  return text + emit(filter_.flush());
}

std::string Answer::push(data::TokenId id) {
  result_.ids.push_back(id);
  sequence_.push_back(id);
  const auto among = [&](const auto& ends) { return std::find(ends.begin(), ends.end(), id) != ends.end(); };
  if (!options_.ignore_eos && (among(config_.eos_token_ids) || among(options_.end_ids))) {
    result_.finish = "eos";
    return end();
  }
  std::string text = emit(filter_.push(stream_.push(id)));
  if (filter_.stopped()) {
    result_.finish = "stop";
    ended_ = true;
  } else if (result_.ids.size() == limit_) {
    text += end();
  }
  return text;
}

}  // namespace lowrank::models
