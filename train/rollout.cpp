#include "lowrank/train/rollout.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace lowrank::train {
namespace {

std::vector<double> doubles(const core::JsonView& json) {
  std::vector<double> values;
  for (std::size_t i = 0; i < json.size(); ++i) values.push_back(json.at(i).as_double());
  return values;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

}  // namespace

Metrics rollout_metrics(const Rollout& rollout) {
  const auto n = static_cast<double>(rollout.episodes.size());
  double entropy = 0, scores = 0;
  for (const Episode& episode : rollout.episodes) {
    entropy -= sum(episode.logprobs);
    scores += episode.score;
  }
  const double kl = mean_kl(rollout.episodes);
  return {{"objective/kl", kl},
          {"objective/kl_coef", rollout.kl_coef},
          {"objective/entropy", entropy / n},
          {"objective/non_score_reward", -rollout.kl_coef * kl},
          {"objective/rlhf_reward", scores / n - rollout.kl_coef * kl},
          {"objective/scores", scores / n},
          {"val/num_eos_tokens", static_cast<double>(rollout.ended)}};
}

void append(Rollout& all, Rollout more) {
  std::move(more.examples.own().begin(), more.examples.own().end(), std::back_inserter(all.examples.own()));
  std::move(more.episodes.begin(), more.episodes.end(), std::back_inserter(all.episodes));
  std::move(more.responses.begin(), more.responses.end(), std::back_inserter(all.responses));
  all.ended += more.ended;
}

core::Json to_json(const Rollout& rollout) {
  core::Json episodes = core::Json::array();
  for (std::size_t i = 0; i < rollout.episodes.size(); ++i) {
    const Episode& e = rollout.episodes[i];
    episodes.push_back({{"ids", rollout.examples[i].ids},
                        {"prompt", prompt_length(rollout.examples[i])},
                        {"response", rollout.responses[i]},
                        {"logprobs", e.logprobs},
                        {"reference", e.reference},
                        {"values", e.values},
                        {"score", e.score},
                        {"rewards", e.rewards},
                        {"returns", e.returns},
                        {"advantages", e.advantages}});
  }
  return {{"index", rollout.index}, {"ended", rollout.ended}, {"kl_coef", rollout.kl_coef}, {"episodes", episodes}};
}

Rollout rollout_from_json(const core::JsonView& json) {
  Rollout rollout;
  rollout.index = json.at("index").as_int(-1);
  rollout.ended = json.at("ended").as_int(0);
  rollout.kl_coef = json.at("kl_coef").as_double();
  const core::JsonView episodes = json.at("episodes");
  for (std::size_t i = 0; i < episodes.size(); ++i) {
    const core::JsonView one = episodes.at(i);
    data::Example example;
    const core::JsonView ids = one.at("ids");
    for (std::size_t t = 0; t < ids.size(); ++t) {
      example.ids.push_back(static_cast<data::TokenId>(ids.at(t).as_int(0, std::numeric_limits<std::int32_t>::max())));
    }
    const auto prompt = static_cast<std::size_t>(one.at("prompt").as_int(1, static_cast<std::int64_t>(ids.size())));
    example.learned.assign(prompt, 0);
    example.learned.resize(example.ids.size(), 1);
    rollout.examples.push_back(std::move(example));
    rollout.responses.push_back(one.at("response").as_string());
    rollout.episodes.push_back({doubles(one.at("logprobs")), doubles(one.at("reference")), doubles(one.at("values")),
                                one.at("score").as_double(), doubles(one.at("rewards")), doubles(one.at("returns")),
                                doubles(one.at("advantages"))});
  }
  return rollout;
}

}  // namespace lowrank::train
