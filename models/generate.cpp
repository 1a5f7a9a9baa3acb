#include "lowrank/models/generate.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"

namespace lowrank::models {
namespace {

void check(const GenerateOptions& options, std::size_t prompt, const DecoderConfig& config) {
  if (prompt == 0) throw ConfigError("the prompt has no tokens; give some text");
  if (static_cast<std::int64_t>(prompt) > config.max_positions) {
    throw ConfigError(fmt::format("the prompt has {} tokens, but the model has positions for {}", prompt,
                                  config.max_positions));
  }
  if (options.max_new_tokens < 0) throw ConfigError("max-new-tokens must not be negative");
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    throw ConfigError(fmt::format("temperature must be 0 (greedy) or greater, found {}", options.temperature));
  }
  if (options.top_k < 0) throw ConfigError(fmt::format("top-k must be 0 (off) or greater, found {}", options.top_k));
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw ConfigError(fmt::format("top-p must be greater than 0 and at most 1, found {}", options.top_p));
  }
  if (!(options.repetition_penalty > 0) || !std::isfinite(options.repetition_penalty)) {
    throw ConfigError(fmt::format("repetition-penalty must be greater than 0, found {}", options.repetition_penalty));
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) throw ConfigError("a stop string is empty");
  }
}

// Lets text through only when no stop string can begin in it any more.
class StopFilter {
 public:
  explicit StopFilter(const std::vector<std::string>& stops) : stops_(stops) {}

  /// The text that is certain now. After stopped(), nothing more.
  std::string push(const std::string& text) {
    held_ += text;
    std::size_t first = std::string::npos;
    for (const std::string& stop : stops_) first = std::min(first, held_.find(stop));
    stopped_ = first != std::string::npos;
    const std::size_t certain = stopped_ ? first : held_.size() - possible_beginning();
    std::string out = held_.substr(0, certain);
    held_.erase(0, certain);
    return out;
  }
  bool stopped() const { return stopped_; }
  std::string flush() const { return stopped_ ? "" : held_; }

 private:
  // Length of the longest end of held_ that begins a stop string.
  std::size_t possible_beginning() const {
    std::size_t longest = 0;
    for (const std::string& stop : stops_) {
      for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > longest; --n) {
        if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) longest = n;
      }
    }
    return longest;
  }

  const std::vector<std::string>& stops_;
  std::string held_;
  bool stopped_ = false;
};

at::Tensor to_tensor(const std::vector<data::TokenId>& ids) {
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<std::int64_t>());
  return tensor;
}

// Logits of the last of `ids`, which follow what is cached.
at::Tensor next_logits(DecoderImpl& decoder, KvCache& cache, const std::vector<data::TokenId>& ids) {
  const kernels::Segments segments = cache.segments({static_cast<std::int64_t>(ids.size())});
  const at::Tensor hidden = decoder.hidden(to_tensor(ids), segments, {.cache = &cache});
  return decoder.logits(hidden.slice(0, hidden.size(0) - 1)).select(0, 0);
}

}  // namespace

Generated generate(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::vector<data::TokenId>& prompt,
                   const GenerateOptions& options, const std::function<void(const std::string&)>& on_text,
                   KvCache* cache) {
  const DecoderConfig& config = decoder.config();
  check(options, prompt.size(), config);
  at::NoGradGuard no_grad;
  KvCache own(config, decoder.dtype());
  if (cache == nullptr) cache = &own;
  data::StreamDecoder stream(tokenizer);
  stream.prime(prompt);
  StopFilter filter(options.stop);
  Generated result;
  result.prompt_ids = prompt;
  result.finish = "length";
  const auto emit = [&](const std::string& text) {
    if (text.empty()) return;
    result.text += text;
    if (on_text) on_text(text);
  };

  const std::int64_t room = config.max_positions - static_cast<std::int64_t>(prompt.size());
  const std::int64_t limit = std::min(options.max_new_tokens, room);
  std::vector<data::TokenId> seen = prompt;
  std::vector<data::TokenId> input(prompt.begin() + cache->length(), prompt.end());
  for (std::int64_t i = 0; i < limit; ++i) {
    const at::Tensor logits = next_logits(decoder, *cache, input);
    const data::TokenId id = sample(logits, options, seen, static_cast<std::uint64_t>(i));
    result.ids.push_back(id);
    seen.push_back(id);
    input = {id};
    const auto& eos = config.eos_token_ids;
    if (!options.ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end()) {
      result.finish = "eos";
      break;
    }
    emit(filter.push(stream.push(id)));
    if (filter.stopped()) {
      result.finish = "stop";
      return result;
    }
  }
  emit(filter.push(stream.flush()));
  if (filter.stopped()) result.finish = "stop";
  emit(filter.flush());
  return result;
}

}  // namespace lowrank::models
