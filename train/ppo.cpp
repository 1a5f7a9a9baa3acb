#include "lowrank/train/ppo.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/random.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/models/generate_batch.h"

namespace lowrank::train {
namespace {

constexpr std::int64_t kMeasureTokens = 4096;  // of a batch without gradients
constexpr std::size_t kSamples = 4;            // of a rollout, in the log
constexpr const char* kState = "ppo_state.json";

std::vector<std::int64_t> lengths_of(const std::vector<data::Prompt>& prompts) {
  std::vector<std::int64_t> lengths;
  for (const data::Prompt& prompt : prompts) lengths.push_back(static_cast<std::int64_t>(prompt.ids.size()));
  return lengths;
}

data::PlanOptions rollouts(const Ppo::Parts& parts) {
  data::PlanOptions plan = parts.plan;
  const std::int64_t steps = std::int64_t{parts.epochs} * parts.mini_batches;
  if (parts.max_steps) plan.max_steps = (*parts.max_steps + steps - 1) / steps;
  return plan;
}

}  // namespace

Ppo::Ppo(Parts parts)
    : parts_(std::move(parts)),
      plan_(lengths_of(parts_.prompts), rollouts(parts_)),
      head_(parts_.decoder->config().hidden_size),
      kl_coef_(parts_.ppo.kl_coef) {
  act_as(Role::kPolicy);
}

void Ppo::act_as(Role role) {
  parts_.policy->set_enabled(role == Role::kPolicy);
  parts_.value->set_enabled(role == Role::kValue);
}

std::vector<lora::NamedTensor> Ppo::parameters() {
  std::vector<lora::NamedTensor> all = parts_.policy->parameters();
  for (const lora::NamedTensor& one : parts_.value->parameters()) all.push_back({"value." + one.name, one.tensor});
  all.push_back({"value.score.weight", head_.weight()});
  return all;
}

std::int64_t Ppo::steps() const {
  const std::int64_t all = plan_.steps() * steps_a_rollout();
  return parts_.max_steps ? std::min(all, *parts_.max_steps) : all;
}

std::vector<std::vector<std::uint32_t>> Ppo::cut(std::int64_t step) const {
  const auto episodes = static_cast<std::uint32_t>(plan_.step(rollout_of(step)).examples.size());
  const auto parts = static_cast<std::uint32_t>(parts_.mini_batches);
  const auto mini = static_cast<std::uint32_t>(step % parts);
  // A new order for every pass over the rollout; a rollout with fewer answers than mini-batches repeats some.
  const std::vector<std::uint32_t> order =
      core::RandomStream(parts_.seed, "ppo order").permutation(episodes, static_cast<std::uint64_t>(step / parts));
  const std::uint32_t begin = std::min(episodes * mini / parts, episodes - 1);
  const std::uint32_t end = std::max(episodes * (mini + 1) / parts, begin + 1);
  std::vector<std::vector<std::uint32_t>> micro;
  const auto size = static_cast<std::uint32_t>(parts_.plan.batch_size);
  for (std::uint32_t i = begin; i < end; i += size) {
    micro.emplace_back(order.begin() + i, order.begin() + std::min(i + size, end));
  }
  return micro;
}

std::int64_t Ppo::micro_batches(std::int64_t step) const { return static_cast<std::int64_t>(cut(step).size()); }

Rollout Ppo::roll(const std::vector<data::Prompt>& prompts, const std::vector<std::uint32_t>& which,
                  std::string_view stream, std::uint64_t number) {
  const at::NoGradGuard no_grad;
  act_as(Role::kPolicy);
  models::GenerateOptions options;
  options.max_new_tokens = parts_.response_length;
  options.temperature = 1;
  const auto words = core::RandomStream(parts_.seed, stream).words(number, 0);
  options.seed = (std::uint64_t{words[0]} << 32) | words[1];
  std::vector<models::BatchPrompt> starts;
  for (std::size_t i = 0; i < which.size(); ++i) starts.push_back({prompts[which[i]].ids, i});
  const std::vector<models::Generated> all =
      models::generate_batch(*parts_.decoder, *parts_.tokenizer, starts, options);

  Rollout rollout;
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const data::Prompt& prompt = prompts[which[i]];
    const models::Generated& drawn = all[i];
    const bool ended = drawn.finish == "eos";
    rollout.ended += ended ? 1 : 0;
    data::Example example;
    example.ids = prompt.ids;
    example.ids.insert(example.ids.end(), drawn.ids.begin(), drawn.ids.end());
    example.learned.assign(prompt.ids.size(), 0);
    example.learned.resize(example.ids.size(), 1);
    const auto tokens = static_cast<std::int64_t>(drawn.ids.size()) - (ended ? 1 : 0);
    answers.push_back({prompt.text, drawn.text, tokens, prompt.answer, prompt.where, example.ids});
    rollout.examples.push_back(std::move(example));
    rollout.responses.push_back(drawn.text);
    Episode episode;
    const bool room = static_cast<std::int64_t>(drawn.ids.size()) < parts_.response_length;
    episode.values.resize(drawn.ids.size() + (ended && room ? 1 : 0));
    if (!ended) episode.score = -parts_.ppo.missing_eos_penalty;
    rollout.episodes.push_back(std::move(episode));
  }
  measure(rollout);
  const std::vector<double> scores = parts_.reward(answers);
  if (scores.size() != answers.size()) {
    throw InternalError("the reward gave " + std::to_string(scores.size()) + " scores for " +
                        std::to_string(answers.size()) + " answers");
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) {
      throw DataError(answers[i].where + ": the reward of its answer is " + std::to_string(scores[i]) +
                      ", expected a finite number");
    }
    rollout.episodes[i].score += scores[i];
  }
  return rollout;
}

/// Log-probabilities of policy and reference, and values, of all answers, in batches that depend on the answers alone.
void Ppo::measure(Rollout& rollout) {
  for (std::size_t next = 0; next < rollout.examples.size();) {
    std::vector<std::uint32_t> which;
    for (std::int64_t tokens = 0; next < rollout.examples.size(); ++next) {
      tokens += static_cast<std::int64_t>(rollout.examples[next].ids.size());
      if (!which.empty() && tokens > kMeasureTokens) break;
      which.push_back(static_cast<std::uint32_t>(next));
    }
    const data::Batch batch = data::make_batch(rollout.examples, which);
    for (const Role role : {Role::kPolicy, Role::kReference, Role::kValue}) {
      act_as(role);
      const at::Tensor hidden = parts_.decoder->hidden(batch.ids, batch.segments);
      at::Tensor losses;
      std::vector<double> values;
      if (role == Role::kValue) {
        values = head_.values(hidden);
      } else {
        losses = parts_.decoder->token_losses(hidden, batch.labels).contiguous();
      }
      for (std::size_t k = 0; k < which.size(); ++k) {
        Episode& episode = rollout.episodes[which[k]];
        const std::int64_t first = batch.segments.q_offsets[k] + prompt_length(rollout.examples[which[k]]) - 1;
        if (role == Role::kValue) {
          for (std::size_t t = 0; t < episode.values.size(); ++t) {
            episode.values[t] = values[static_cast<std::size_t>(first) + t];
          }
          continue;
        }
        const std::size_t n =
            rollout.examples[which[k]].ids.size() - static_cast<std::size_t>(prompt_length(rollout.examples[which[k]]));
        std::vector<double>& logprobs = role == Role::kPolicy ? episode.logprobs : episode.reference;
        const float* loss = losses.const_data_ptr<float>() + first;
        for (std::size_t t = 0; t < n; ++t) logprobs.push_back(-double{loss[t]});
      }
    }
  }
  act_as(Role::kPolicy);
}

const Rollout& Ppo::rollout_for(std::int64_t step) {
  const std::int64_t index = rollout_of(step);
  if (rollout_.index == index) return rollout_;
  const std::vector<std::uint32_t>& which = plan_.step(index).examples;
  rollout_ = roll(parts_.prompts, which, "ppo rollout", static_cast<std::uint64_t>(index));
  rollout_.index = index;
  rollout_.kl_coef = kl_coef_;
  score_episodes(rollout_.episodes, kl_coef_, parts_.ppo);
  kl_coef_ = adapted_kl_coef(kl_coef_, mean_kl(rollout_.episodes), static_cast<std::int64_t>(which.size()), parts_.ppo);
  log_samples(which);
  return rollout_;
}

void Ppo::log_samples(const std::vector<std::uint32_t>& prompts) {
  if (parts_.samples.empty()) return;
  if (!samples_) samples_.emplace(parts_.samples, samples_bytes_);
  for (std::size_t i = 0; i < std::min(kSamples, prompts.size()); ++i) {
    const Episode& episode = rollout_.episodes[i];
    samples_->row({{"rollout", rollout_.index},
                   {"step", rollout_.index * steps_a_rollout()},
                   {"prompt", parts_.prompts[prompts[i]].text},
                   {"response", rollout_.responses[i]},
                   {"score", episode.score},
                   {"kl", mean_kl({episode})}});
  }
  samples_bytes_ = samples_->bytes();
}

/// The value loss of a micro-batch, gone backward; metrics as sums.
MicroLoss Ppo::value_part(const data::Batch& batch, const std::vector<std::uint32_t>& which, double positions,
                          double episodes) {
  act_as(Role::kValue);
  models::ForwardOptions options;
  options.recompute = parts_.recompute;
  const at::Tensor hidden = parts_.decoder->hidden(batch.ids, batch.segments, options);
  const std::vector<double> values = head_.values(hidden);
  std::vector<double> slopes(values.size(), 0.0);
  const double scale = episodes * 0.5 / positions;
  double loss = 0, clipped = 0;
  for (std::size_t k = 0; k < which.size(); ++k) {
    const Episode& episode = rollout_.episodes[which[k]];
    const auto first =
        static_cast<std::size_t>(batch.segments.q_offsets[k] + prompt_length(rollout_.examples[which[k]]) - 1);
    for (std::size_t t = 0; t < episode.values.size(); ++t) {
      const ClippedLoss one =
          value_loss(values[first + t], episode.values[t], episode.returns[t], parts_.ppo.value_clip);
      loss += one.loss;
      clipped += one.clipped ? 1 : 0;
      slopes[first + t] = parts_.ppo.value_coef * scale * one.slope;
    }
  }
  head_.backward(hidden, slopes);
  act_as(Role::kPolicy);
  MicroLoss result;
  result.value = parts_.ppo.value_coef * scale * loss;
  result.metrics["loss/value_avg"] = scale * loss;
  result.metrics["val/clipfrac_avg"] = episodes * clipped / positions;
  return result;
}

MicroLoss Ppo::forward(std::int64_t step, std::int64_t micro) {
  rollout_for(step);
  const auto batches = cut(step);
  double tokens = 0, positions = 0, episodes = 0;  // of the whole mini-batch
  for (const auto& batch : batches) {
    for (const std::uint32_t i : batch) {
      tokens += static_cast<double>(rollout_.episodes[i].logprobs.size());
      positions += static_cast<double>(rollout_.episodes[i].values.size());
      episodes += 1;
    }
  }
  const auto& which = batches.at(static_cast<std::size_t>(micro));
  batch_ = data::make_batch(rollout_.examples, which);
  MicroLoss result = value_part(batch_, which, positions, episodes);

  models::ForwardOptions options;
  options.recompute = parts_.recompute;
  const at::Tensor hidden = parts_.decoder->hidden(batch_.ids, batch_.segments, options);
  const at::Tensor losses = parts_.decoder->token_losses(hidden, batch_.labels);
  const at::Tensor numbers = losses.detach().contiguous();
  const float* minus_logprob = numbers.const_data_ptr<float>();
  at::Tensor slopes = kernels::aten::zeros({batch_.segments.tokens()}, at::kFloat);
  float* slope = slopes.data_ptr<float>();
  const double scale = episodes / tokens;  // the trainer divides by the number of episodes
  double loss = 0, clipped = 0, squares = 0, ratios = 0;
  for (std::size_t k = 0; k < which.size(); ++k) {
    const Episode& episode = rollout_.episodes[which[k]];
    const std::int64_t first = batch_.segments.q_offsets[k] + prompt_length(rollout_.examples[which[k]]) - 1;
    for (std::size_t t = 0; t < episode.logprobs.size(); ++t) {
      const std::int64_t at = first + static_cast<std::int64_t>(t);
      const double logprob = -double{minus_logprob[at]}, moved = logprob - episode.logprobs[t];
      const ClippedLoss one = policy_loss(logprob, episode.logprobs[t], episode.advantages[t], parts_.ppo.clip);
      loss += one.loss;
      clipped += one.clipped ? 1 : 0;
      squares += moved * moved;
      ratios += std::exp(moved);
      slope[at] = static_cast<float>(-scale * one.slope);
    }
  }
  // The tangent of the loss at this point, as in Dpo.
  result.loss_sum = losses.mul(slopes).sum();
  result.value += scale * loss;
  result.count = static_cast<std::int64_t>(which.size());
  result.tokens = 2 * batch_.segments.tokens();
  result.metrics["loss/policy_avg"] = scale * loss;
  result.metrics["policy/clipfrac_avg"] = scale * clipped;
  result.metrics["policy/approxkl_avg"] = 0.5 * scale * squares;
  result.metrics["val/ratio"] = scale * ratios;
  for (const auto& [name, value] : rollout_metrics(rollout_)) {
    result.metrics[name] = value * static_cast<double>(which.size());
  }
  return result;
}

std::string Ppo::describe(std::int64_t step) const {
  std::string text;
  const auto& prompts = plan_.step(rollout_of(step)).examples;
  for (std::size_t i = 0; i < std::min<std::size_t>(prompts.size(), 8); ++i) {
    text += (i > 0 ? ", " : "") + parts_.prompts[prompts[i]].where;
  }
  return text + (prompts.size() > 8 ? " and " + std::to_string(prompts.size() - 8) + " more" : "");
}

std::vector<EvalResult> Ppo::evaluate() {
  if (parts_.validation.empty()) return {};
  std::vector<std::uint32_t> all(parts_.validation.size());
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  Rollout rollout = roll(parts_.validation, all, "ppo validation", 0);
  rollout.kl_coef = parts_.ppo.kl_coef;  // the first, so that evaluations can be compared
  Metrics metrics = rollout_metrics(rollout);
  std::int64_t tokens = 0;
  for (const Episode& episode : rollout.episodes) tokens += static_cast<std::int64_t>(episode.logprobs.size());
  const double loss = -metrics["objective/rlhf_reward"];
  return {{"validation", loss, tokens, std::move(metrics)}};
}

void Ppo::save(const std::filesystem::path& directory) { lora::save_peft(*parts_.policy, directory); }

void Ppo::save_state(const std::filesystem::path& checkpoint) {
  if (samples_) samples_->sync();
  const core::Json state = {{"kl_coef", kl_coef_}, {"samples_bytes", samples_bytes_}, {"rollout", to_json(rollout_)}};
  core::write_file(checkpoint / kState, state.dump(-1, ' ', false, core::Json::error_handler_t::replace) + "\n");
}

void Ppo::load_state(const std::filesystem::path& checkpoint) {
  const core::Json json = core::read_json(checkpoint / kState);
  const core::JsonView state(json, (checkpoint / kState).string());
  kl_coef_ = state.at("kl_coef").as_double();
  samples_bytes_ = state.at("samples_bytes").as_int(0);
  samples_.reset();
  if (!parts_.samples.empty()) samples_.emplace(parts_.samples, samples_bytes_);
  rollout_ = rollout_from_json(state.at("rollout"));
}

void Ppo::check_inputs() {
  if (parts_.weights != nullptr) parts_.weights->check_unchanged();
}

}  // namespace lowrank::train
