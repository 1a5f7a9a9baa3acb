#include "lowrank/models/generate.h"

#include <ATen/core/grad_mode.h>

#include <utility>

#include "lowrank/models/answer.h"
#include "lowrank/models/next_logits.h"

namespace lowrank::models {

Generated generate(DecoderImpl& decoder, const data::Tokenizer& tokenizer, const std::vector<data::TokenId>& prompt,
                   const GenerateOptions& options, const std::function<void(const std::string&)>& on_text,
                   KvCache* cache) {
  check(options);
  const at::NoGradGuard no_grad;
  KvCache own(1, options.cache);
  if (cache == nullptr) cache = &own;
  Answer answer(tokenizer, decoder.config(), options, prompt);
  for (std::uint64_t place = 0; !answer.ended(); ++place) {
    const at::Tensor logits = next_logits(decoder, *cache, {answer.sequence()}).select(0, 0);
    const data::TokenId id = sample(logits, options, answer.sequence(), place);
    if (options.log_probs) answer.result().log_probs.push_back(log_probability(logits, options.temperature, id));
    const std::string text = answer.push(id);
    if (on_text && !text.empty()) on_text(text);
  }
  return std::move(answer.result());
}

}  // namespace lowrank::models
