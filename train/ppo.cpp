#include "lowrank/train/ppo.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/random.h"
#include "lowrank/models/description.h"
#include "lowrank/train/sequences.h"

namespace lowrank::train {
namespace {

constexpr std::int64_t kMeasureTokens = 4096;  // of a batch without gradients
constexpr std::size_t kSamples = 4;            // of a rollout, in the log
constexpr const char* kState = "ppo_state.json";
// Sums that complete_metrics() makes val/ratio_var of.
constexpr const char *kRatioSum = "ratio sum", *kRatioSquares = "ratio squares";

/// What the plan deals: the prompts, each by its own name, nothing of them learned.
data::Dataset dataset_of(const std::vector<data::Prompt>& prompts) {
  data::Dataset dataset;
  for (const data::Prompt& prompt : prompts) {
    data::Example& example = dataset.examples.emplace_back();
    example.ids = prompt.ids;
    example.learned.assign(prompt.ids.size(), 0);
    example.document = static_cast<std::uint32_t>(dataset.documents.size());
    dataset.documents.push_back({prompt.where});
  }
  return dataset;
}

/// With a plan of rollouts, not of steps.
TextParts by_rollouts(const Ppo::Parts& parts) {
  TextParts text = parts;
  const std::int64_t steps = std::int64_t{parts.epochs} * parts.mini_batches;
  if (parts.max_steps) text.plan.max_steps = (*parts.max_steps + steps - 1) / steps;
  return text;
}

/// As one line; what is no UTF-8 of an answer is replaced.
std::string to_text(const core::Json& json) { return core::json_text(json); }

}  // namespace

Ppo::Ppo(Parts parts)
    : TextObjective(by_rollouts(parts), parts.policy, dataset_of(parts.prompts)),
      value_(parts.value),
      reference_(parts.reference),
      tokenizer_(parts.tokenizer),
      prompts_(std::move(parts.prompts)),
      validation_(std::move(parts.validation)),
      micro_size_(static_cast<std::uint32_t>(parts.plan.batch_size)),
      mini_batches_(parts.mini_batches),
      epochs_(parts.epochs),
      max_steps_(parts.max_steps),
      response_length_(parts.response_length),
      end_ids_(std::move(parts.end_ids)),
      ppo_(parts.ppo),
      reward_(std::move(parts.reward)),
      samples_file_(std::move(parts.samples)),
      head_(models::state_width(decoder().config()), decoder().device()),
      kl_coef_(parts.ppo.kl_coef) {
  if (value_->config().splits_base()) {
    throw ConfigError("the value adapter of PPO cannot begin with a part of the base (" +
                      value_->config().init_lora_weights + "): give it another initialisation");
  }
  act_as(Role::kPolicy);
}

void Ppo::act_as(Role role) {
  adapter()->set_enabled(role == Role::kPolicy);
  value_->set_enabled(role == Role::kValue);
  if (reference_ != nullptr) reference_->set_enabled(role == Role::kReference);
}

std::vector<lora::NamedTensor> Ppo::parameters() {
  std::vector<lora::NamedTensor> all = adapter()->parameters();
  for (const lora::NamedTensor& one : value_->parameters()) all.push_back({"value." + one.name, one.tensor});
  all.push_back({"value.score.weight", head_.weight()});
  return all;
}

std::int64_t Ppo::steps() const {
  const std::int64_t all = plan().steps() * steps_a_rollout();
  return max_steps_ ? std::min(all, *max_steps_) : all;
}

std::vector<std::vector<std::uint32_t>> Ppo::cut(std::int64_t step) const {
  const auto episodes = static_cast<std::uint32_t>(plan().step(rollout_of(step)).examples.size());
  const auto parts = static_cast<std::uint32_t>(mini_batches_);
  const auto mini = static_cast<std::uint32_t>(step % parts);
  // A new order for every pass over the rollout; a rollout with fewer answers than mini-batches repeats some.
  const std::vector<std::uint32_t> order =
      core::RandomStream(seed(), "ppo order").permutation(episodes, static_cast<std::uint64_t>(step / parts));
  const std::uint32_t begin = std::min(episodes * mini / parts, episodes - 1);
  const std::uint32_t end = std::max(episodes * (mini + 1) / parts, begin + 1);
  std::vector<std::vector<std::uint32_t>> micro;
  for (std::uint32_t i = begin; i < end; i += micro_size_) {
    micro.emplace_back(order.begin() + i, order.begin() + std::min(i + micro_size_, end));
  }
  return micro;
}

std::int64_t Ppo::micro_batches(std::int64_t step) const {
  const Share own = share_of(cut(step).size(), sync());
  return static_cast<std::int64_t>(own.last - own.first);
}

Rollout Ppo::roll(const std::vector<data::Prompt>& prompts, const std::vector<std::uint32_t>& which,
                  std::string_view stream, std::uint64_t number) {
  const auto words = core::RandomStream(seed(), stream).words(number, 0);
  const std::uint64_t draws = (std::uint64_t{words[0]} << 32) | words[1];
  Rollout own;
  together(sync(), [&] {
    const Share share = share_of(which.size(), sync());
    own = roll_share(prompts, std::span(which).subspan(share.first, share.last - share.first), draws, share.first);
  });
  if (sync().ranks() == 1) return own;
  Rollout all;
  for (const std::string& text : sync().gather(to_text(to_json(own)))) {
    const core::Json json = core::Json::parse(text);
    append(all, rollout_from_json(core::JsonView(json, "the rollout of a rank")));
  }
  return all;
}

Rollout Ppo::roll_share(const std::vector<data::Prompt>& prompts, std::span<const std::uint32_t> which,
                        std::uint64_t seed, std::uint64_t first) {
  act_as(Role::kPolicy);
  const std::vector<DrawnAnswer> answers =
      draw_answers(decoder(), *tokenizer_, prompts, which, response_length_, seed, first, end_ids_);
  Rollout rollout;
  for (const DrawnAnswer& one : answers) {
    rollout.ended += one.ended ? 1 : 0;
    rollout.examples.push_back(one.example);
    rollout.responses.push_back(one.answer.response);
    Episode& episode = rollout.episodes.emplace_back();
    const bool room = one.length() < response_length_;
    episode.values.resize(static_cast<std::size_t>(one.length() + (one.ended && room ? 1 : 0)));
    if (!one.ended) episode.score = -ppo_.missing_eos_penalty;
  }
  measure(rollout);
  const std::vector<double> scores = scores_of(reward_, answers);
  for (std::size_t i = 0; i < scores.size(); ++i) rollout.episodes[i].score += scores[i];
  return rollout;
}

/// Log-probabilities of policy and reference, and values, of all answers, in batches that depend on the answers alone.
void Ppo::measure(Rollout& rollout) {
  const at::NoGradGuard no_grad;
  const Share all{0, rollout.examples.size()};
  act_as(Role::kPolicy);
  TokenValues logps = token_logps(decoder(), rollout.examples, all, kMeasureTokens);
  act_as(Role::kReference);
  TokenValues reference = token_logps(decoder(), rollout.examples, all, kMeasureTokens);
  for (std::size_t i = 0; i < all.last; ++i) {
    rollout.episodes[i].logprobs = std::move(logps[i]);
    rollout.episodes[i].reference = std::move(reference[i]);
  }
  act_as(Role::kValue);
  for (std::size_t next = 0; next < all.last;) {
    const data::Batch batch =
        data::make_batch(rollout.examples, data::examples_from(rollout.examples, next, kMeasureTokens));
    const std::vector<double> values = head_.values(decoder().hidden(batch.ids, batch.segments));
    for (std::size_t k = 0; k < static_cast<std::size_t>(batch.segments.count()); ++k, ++next) {
      const auto first =
          static_cast<std::size_t>(batch.segments.q_offsets[k] + prompt_length(rollout.examples[next]) - 1);
      std::vector<double>& to = rollout.episodes[next].values;
      for (std::size_t t = 0; t < to.size(); ++t) to[t] = values[first + t];
    }
  }
  act_as(Role::kPolicy);
}

const Rollout& Ppo::rollout_for(std::int64_t step) {
  const std::int64_t index = rollout_of(step);
  if (rollout_.index == index) return rollout_;
  const std::vector<std::uint32_t>& which = plan().step(index).examples;
  rollout_ = roll(prompts_, which, "ppo rollout", static_cast<std::uint64_t>(index));
  rollout_.index = index;
  ratios_ = {};
  rollout_.kl_coef = kl_coef_;
  score_episodes(rollout_.episodes, kl_coef_, ppo_);
  kl_coef_ = adapted_kl_coef(kl_coef_, mean_kl(rollout_.episodes), static_cast<std::int64_t>(which.size()), ppo_);
  log_samples(which);
  return rollout_;
}

void Ppo::log_samples(const std::vector<std::uint32_t>& prompts) {
  if (samples_file_.empty() || sync().rank() != 0) return;
  if (!samples_) samples_.emplace(samples_file_, samples_bytes_);
  for (std::size_t i = 0; i < std::min(kSamples, prompts.size()); ++i) {
    const Episode& episode = rollout_.episodes[i];
    samples_->row({{"rollout", rollout_.index},
                   {"step", rollout_.index * steps_a_rollout()},
                   {"prompt", prompts_[prompts[i]].text},
                   {"response", rollout_.responses[i]},
                   {"score", episode.score},
                   {"kl", mean_kl({episode})}});
  }
  samples_bytes_ = samples_->bytes();
}

/// The value loss of a micro-batch, gone backward; metrics as sums: each mean once for every answer, since the trainer
/// divides by the number of answers.
MicroLoss Ppo::value_part(const std::vector<std::uint32_t>& which) {
  act_as(Role::kValue);
  const at::Tensor states = hidden_of_batch(/*logits=*/false);
  const std::vector<double> values = head_.values(states);
  std::vector<double> slopes(values.size(), 0.0);
  const auto episodes = static_cast<double>(which.size());
  double positions = 0;
  for (const std::uint32_t i : which) positions += static_cast<double>(rollout_.episodes[i].values.size());
  const double scale = episodes * 0.5 / positions;
  double loss = 0, clipped = 0;
  for (std::size_t k = 0; k < which.size(); ++k) {
    const Episode& episode = rollout_.episodes[which[k]];
    const auto first =
        static_cast<std::size_t>(batch().segments.q_offsets[k] + prompt_length(rollout_.examples[which[k]]) - 1);
    for (std::size_t t = 0; t < episode.values.size(); ++t) {
      const ClippedLoss one = value_loss(values[first + t], episode.values[t], episode.returns[t], ppo_.value_clip);
      loss += one.loss;
      clipped += one.clipped ? 1 : 0;
      slopes[first + t] = ppo_.value_coef * scale * one.slope;
    }
  }
  head_.backward(states, slopes);
  act_as(Role::kPolicy);
  MicroLoss result;
  result.value = ppo_.value_coef * scale * loss;
  result.metrics["loss/value_avg"] = scale * loss;
  result.metrics["val/clipfrac_avg"] = episodes * clipped / positions;
  return result;
}

MicroLoss Ppo::forward(std::int64_t step, std::int64_t micro) {
  rollout_for(step);
  const auto batches = cut(step);
  const auto& which = batches.at(share_of(batches.size(), sync()).first + static_cast<std::size_t>(micro));
  take(data::make_batch(rollout_.examples, which));
  MicroLoss result = value_part(which);

  const at::Tensor states = hidden_of_batch(/*logits=*/true);
  const at::Tensor losses = decoder().token_losses(states, batch().labels);
  const TokenValues logps = token_logps(losses, batch());
  TokenValues slopes(which.size());
  const auto episodes = static_cast<double>(which.size());
  double tokens = 0;
  for (const std::vector<double>& of_one : logps) tokens += static_cast<double>(of_one.size());
  const double scale = episodes / tokens;
  double loss = 0, clipped = 0, squares = 0, ratios = 0;
  for (std::size_t k = 0; k < which.size(); ++k) {
    const Episode& episode = rollout_.episodes[which[k]];
    for (std::size_t t = 0; t < episode.logprobs.size(); ++t) {
      const double moved = logps[k][t] - episode.logprobs[t];
      const ClippedLoss one = policy_loss(logps[k][t], episode.logprobs[t], episode.advantages[t], ppo_.clip);
      loss += one.loss;
      clipped += one.clipped ? 1 : 0;
      squares += moved * moved;
      ratios += std::exp(moved);
      slopes[k].push_back(scale * one.slope);
    }
  }
  // The tangent of the loss at this point, as in Dpo.
  result.loss_sum = tangent(losses, batch(), slopes);
  result.value += scale * loss;
  result.count = static_cast<std::int64_t>(which.size());
  result.tokens = 2 * batch().segments.tokens();
  result.metrics["loss/policy_avg"] = scale * loss;
  result.metrics["policy/clipfrac_avg"] = scale * clipped;
  result.metrics["policy/approxkl_avg"] = 0.5 * scale * squares;
  result.metrics["policy/entropy_avg"] = scale * total_entropy(decoder(), states, batch());
  result.metrics["val/ratio"] = scale * ratios;
  const double beyond = ratios / tokens - 1;
  result.metrics[kRatioSum] = beyond;
  result.metrics[kRatioSquares] = beyond * beyond;
  for (const auto& [name, value] : rollout_metrics(rollout_)) {
    result.metrics[name] = value * static_cast<double>(which.size());
  }
  return result;
}

void Ppo::complete_metrics(std::int64_t step, Metrics& metrics) {
  const auto batches = cut(step);
  double episodes = 0;  // what the sums were divided by
  for (const auto& one : batches) episodes += static_cast<double>(one.size());
  ratios_.count += static_cast<double>(batches.size());
  ratios_.sum += metrics.extract(kRatioSum).mapped() * episodes;
  ratios_.squares += metrics.extract(kRatioSquares).mapped() * episodes;
  const double n = ratios_.count;
  metrics["val/ratio_var"] = n < 2 ? 0 : std::max(0.0, ratios_.squares - ratios_.sum * ratios_.sum / n) / (n - 1);
}

std::vector<EvalResult> Ppo::evaluate() {
  if (validation_.empty()) return {};
  std::vector<std::uint32_t> all(validation_.size());
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  Rollout rollout = roll(validation_, all, "ppo validation", 0);
  rollout.kl_coef = ppo_.kl_coef;  // the first, so that evaluations can be compared
  Metrics metrics = rollout_metrics(rollout);
  std::int64_t tokens = 0;
  std::vector<UnitLoss> units;
  for (const Episode& episode : rollout.episodes) {
    tokens += static_cast<std::int64_t>(episode.logprobs.size());
    units.push_back({rollout.kl_coef * mean_kl({episode}) - episode.score, 1});
  }
  const double loss = -metrics["objective/rlhf_reward"];
  return {{"validation", loss, tokens, std::move(metrics), std::move(units)}};
}

void Ppo::save_state(const std::filesystem::path& checkpoint) {
  TextObjective::save_state(checkpoint);
  if (samples_) samples_->sync();
  const core::Json state = {{"kl_coef", kl_coef_},
                            {"samples_bytes", samples_bytes_},
                            {"ratios", {ratios_.count, ratios_.sum, ratios_.squares}},
                            {"rollout", to_json(rollout_)}};
  core::write_file(checkpoint / kState, to_text(state) + "\n");
}

void Ppo::load_state(const std::filesystem::path& checkpoint) {
  TextObjective::load_state(checkpoint);
  const core::Json json = core::read_json(checkpoint / kState);
  const core::JsonView state(json, (checkpoint / kState).string());
  kl_coef_ = state.at("kl_coef").as_double();
  samples_bytes_ = state.at("samples_bytes").as_int(0);
  samples_.reset();
  if (!samples_file_.empty() && sync().rank() == 0) samples_.emplace(samples_file_, samples_bytes_);
  rollout_ = rollout_from_json(state.at("rollout"));
  ratios_ = {};
  if (!state.has("ratios")) return;  // a checkpoint of before they were kept
  const core::JsonView ratios = state.at("ratios");
  ratios_ = {ratios.at(0).as_double(), ratios.at(1).as_double(), ratios.at(2).as_double()};
}

}  // namespace lowrank::train
