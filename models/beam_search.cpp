#include "lowrank/models/beam_search.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/softmax.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"
#include "lowrank/models/admission.h"
#include "lowrank/models/answer.h"
#include "lowrank/models/next_logits.h"

namespace lowrank::models {
namespace {

// A beginning that grows.
struct Beam {
  Answer answer;
  double score;  // sum of log-probabilities, penalties included
};

// A beam with one token more.
struct Candidate {
  std::size_t beam;
  data::TokenId id;
  double score;
  double log_prob;  // of the token, before penalties
};

bool better(const Candidate& a, const Candidate& b) {
  if (a.score != b.score) return a.score > b.score;
  return std::pair(a.beam, a.id) < std::pair(b.beam, b.id);
}

// The search for one prompt's answer; its beams' caches are consecutive sequences.
struct Search {
  std::size_t prompt;
  std::vector<Beam> beams;       // best first
  std::vector<Generated> ended;  // best first, at most BeamOptions::beams
};

std::vector<double> log_softmax(const at::Tensor& logits) {
  std::vector<double> result = kernels::to_host<double>(logits);
  const core::ExpSum terms = core::exp_sum(std::span<const double>(result));
  if (std::isnan(terms.sum)) {
    throw ModelError("the model's logits are not numbers (NaN); the weights or the adapter are damaged");
  }
  for (double& x : result) x -= terms.largest + std::log(terms.sum);
  return result;
}

class BeamSearch {
 public:
  BeamSearch(DecoderImpl& decoder, const std::vector<BatchPrompt>& prompts, const GenerateOptions& options,
             const BeamOptions& beams, const BatchOptions& batch)
      : decoder_(decoder),
        prompts_(prompts),
        options_(options),
        beams_(beams),
        batch_(batch),
        width_(static_cast<std::size_t>(beams.beams)),
        // So many that enough are left to go on with when every end token is among them.
        candidates_(width_ *
                    std::max<std::size_t>(2, 1 + decoder.config().eos_token_ids.size() + options.end_ids.size())),
        cache_(0, options.cache),
        results_(prompts.size()) {}

  std::vector<Generated> run(std::vector<Answer> answers) {
    for (std::size_t next = 0; next < answers.size() || !searches_.empty();) {
      for (const std::size_t end = admit(prompts_, next, searches_.size(), batch_.size); next < end; ++next) {
        begin(next, std::move(answers[next]));
      }
      if (!searches_.empty()) step();
    }
    return std::move(results_);
  }

 private:
  void begin(std::size_t prompt, Answer answer) {
    if (answer.ended()) return end(prompt, std::move(answer.result()));
    cache_.add();
    Search& search = searches_.emplace_back(Search{prompt, {}, {}});
    search.beams.push_back({std::move(answer), 0});
  }

  void end(std::size_t prompt, Generated result) {
    results_[prompt] = std::move(result);
    if (batch_.on_answer) batch_.on_answer(prompt, results_[prompt]);
  }

  // One token more for every beam.
  void step() {
    std::vector<std::span<const data::TokenId>> sequences;
    std::vector<std::pair<const Search*, std::size_t>> rows;
    for (Search& search : searches_) {
      for (std::size_t beam = 0; beam < search.beams.size(); ++beam) {
        sequences.emplace_back(search.beams[beam].answer.sequence());
        rows.emplace_back(&search, beam);
      }
    }
    const at::Tensor logits = next_logits(decoder_, cache_, sequences);
    std::vector<std::vector<Candidate>> found(rows.size());
    kernels::for_row_chunks(logits.size(0), 1, [&](std::int64_t i, std::int64_t) {
      const auto row = static_cast<std::size_t>(i);
      found[row] = candidates(*rows[row].first, rows[row].second, logits.select(0, i));
    });

    std::vector<std::int64_t> kept;
    std::vector<Search> going_on;
    std::size_t first = 0;  // row of the search's first beam
    for (Search& search : searches_) {
      const std::size_t beams = search.beams.size();
      std::vector<Candidate> all;
      for (std::size_t row = first; row < first + beams; ++row) {
        all.insert(all.end(), found[row].begin(), found[row].end());
      }
      const std::vector<std::size_t> sources = advance(search, std::move(all));
      if (finished(search)) {
        end(search.prompt, std::move(search.ended.front()));
      } else {
        for (const std::size_t source : sources) kept.push_back(static_cast<std::int64_t>(first + source));
        going_on.push_back(std::move(search));
      }
      first += beams;
    }
    cache_.select(kept);
    searches_ = std::move(going_on);
    if (batch_.on_step) batch_.on_step(static_cast<std::int64_t>(rows.size()));
  }

  // The best continuations of one beam.
  std::vector<Candidate> candidates(const Search& search, std::size_t beam, const at::Tensor& logits) const {
    const Beam& from = search.beams[beam];
    const std::vector<double> log_probs = log_softmax(logits);
    std::vector<float> scores(log_probs.begin(), log_probs.end());
    apply_penalties(scores, options_, from.answer.sequence());
    std::vector<Candidate> all;
    for (std::size_t id = 0; id < scores.size(); ++id) {
      if (!std::isfinite(scores[id])) continue;
      all.push_back({beam, static_cast<data::TokenId>(id), from.score + double{scores[id]}, log_probs[id]});
    }
    const std::size_t count = std::min(all.size(), candidates_);
    std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count), all.end(), better);
    all.resize(count);
    return all;
  }

  // The search with the best of its candidates: ended ones are kept if they are among the first `width_`, the best of
  // the others go on. Gives the beams that these come from.
  std::vector<std::size_t> advance(Search& search, std::vector<Candidate> all) const {
    std::sort(all.begin(), all.end(), better);
    std::vector<Beam> next;
    std::vector<std::size_t> sources;
    for (std::size_t i = 0; i < std::min(all.size(), candidates_); ++i) {
      const Candidate& candidate = all[i];
      Answer answer = search.beams[candidate.beam].answer;
      answer.push(candidate.id);
      if (options_.log_probs) answer.result().log_probs.push_back(candidate.log_prob);
      if (!answer.ended()) {
        if (next.size() == width_) continue;
        next.push_back({std::move(answer), candidate.score});
        sources.push_back(candidate.beam);
      } else if (i < width_) {
        Generated& result = answer.result();
        result.score = candidate.score / std::pow(static_cast<double>(result.ids.size()), beams_.length_penalty);
        const auto place = std::upper_bound(search.ended.begin(), search.ended.end(), result.score,
                                            [](double score, const Generated& other) { return score > other.score; });
        search.ended.insert(place, std::move(result));
        if (search.ended.size() > width_) search.ended.pop_back();
      }
    }
    search.beams = std::move(next);
    return sources;
  }

  bool finished(const Search& search) const {
    if (search.beams.empty()) return true;
    if (search.ended.size() < width_) return false;
    if (beams_.stop == BeamStop::kFull) return true;
    const Beam& best = search.beams.front();
    const bool at_full_length = beams_.stop == BeamStop::kNever && beams_.length_penalty > 0;
    const std::size_t length = at_full_length ? best.answer.limit() : best.answer.result().ids.size();
    return best.score / std::pow(static_cast<double>(length), beams_.length_penalty) <= search.ended.back().score;
  }

  DecoderImpl& decoder_;
  const std::vector<BatchPrompt>& prompts_;
  const GenerateOptions& options_;
  const BeamOptions& beams_;
  const BatchOptions& batch_;
  std::size_t width_, candidates_;
  KvCache cache_;
  std::vector<Search> searches_;
  std::vector<Generated> results_;
};

}  // namespace

std::vector<Generated> beam_search(DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                   const std::vector<BatchPrompt>& prompts, const GenerateOptions& options,
                                   const BeamOptions& beams, const BatchOptions& batch) {
  check(options);
  if (beams.beams < 1) throw ConfigError(fmt::format("beams must be 1 or more, found {}", beams.beams));
  if (!std::isfinite(beams.length_penalty)) {
    throw ConfigError(fmt::format("length-penalty must be a number, found {}", beams.length_penalty));
  }
  if (options.temperature != 0 || options.top_k != 0 || options.top_p != 1) {
    throw ConfigError("beam search draws nothing, so temperature must be 0 and top-k and top-p off");
  }
  const at::NoGradGuard no_grad;
  return BeamSearch(decoder, prompts, options, beams, batch).run(begin_answers(decoder, tokenizer, prompts, options));
}

}  // namespace lowrank::models
