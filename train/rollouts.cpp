#include "lowrank/train/rollouts.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/models/generate_batch.h"

namespace lowrank::train {

std::vector<DrawnAnswer> draw_answers(models::DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                      const std::vector<data::Prompt>& prompts, std::span<const std::uint32_t> which,
                                      std::int64_t longest, std::uint64_t seed, std::uint64_t first,
                                      const std::vector<data::TokenId>& ends) {
  const at::NoGradGuard no_grad;
  models::GenerateOptions options;
  options.max_new_tokens = longest;
  options.temperature = 1;
  options.seed = seed;
  options.end_ids = ends;
  std::vector<models::BatchPrompt> starts;
  for (std::size_t i = 0; i < which.size(); ++i) starts.push_back({prompts[which[i]].ids, first + i});
  const std::vector<models::Generated> all = models::generate_batch(decoder, tokenizer, starts, options);
  std::vector<DrawnAnswer> answers;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const data::Prompt& prompt = prompts[which[i]];
    const models::Generated& drawn = all[i];
    DrawnAnswer& one = answers.emplace_back();
    one.ended = drawn.finish == "eos";
    one.prompt = static_cast<std::int64_t>(prompt.ids.size());
    one.example.ids = prompt.ids;
    one.example.ids.insert(one.example.ids.end(), drawn.ids.begin(), drawn.ids.end());
    one.example.learned.assign(prompt.ids.size(), 0);
    one.example.learned.resize(one.example.ids.size(), 1);
    one.answer = {prompt.text,   drawn.text,   one.length() - (one.ended ? 1 : 0),
                  prompt.answer, prompt.where, one.example.ids};
  }
  return answers;
}

std::vector<double> scores_of(const Reward& reward, const std::vector<DrawnAnswer>& answers) {
  std::vector<Answer> asked;
  for (const DrawnAnswer& one : answers) asked.push_back(one.answer);
  std::vector<double> scores = reward(asked);
  if (scores.size() != answers.size()) {
    throw InternalError("the reward gave " + std::to_string(scores.size()) + " scores for " +
                        std::to_string(answers.size()) + " answers");
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) {
      throw DataError(asked[i].where + ": the reward of its answer is " + std::to_string(scores[i]) +
                      ", expected a finite number");
    }
  }
  return scores;
}

std::int64_t prompt_length(const data::Example& example) {
  return std::find(example.learned.begin(), example.learned.end(), 1) - example.learned.begin();
}

}  // namespace lowrank::train
