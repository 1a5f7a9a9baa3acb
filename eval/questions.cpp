#include "lowrank/eval/questions.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/data/tokenizer/unicode.h"
#include "lowrank/eval/text_scores.h"
#include "lowrank/models/generate_batch.h"

namespace lowrank::eval {
namespace {

constexpr std::int64_t kAnswersAtATime = 16;

double mean_percent(const Statistics& sums) { return 100 * sums[0] / sums[1]; }
double mean(const Statistics& sums) { return sums[0] / sums[1]; }

/// Drops tokens from the beginning (a BOS stays) until at most `room` are left. Whether it had to.
bool shorten(std::vector<data::TokenId>& ids, std::size_t room, const data::Tokenizer& tokenizer) {
  if (ids.size() <= room) return false;
  const std::size_t kept = tokenizer.adds_bos() && !ids.empty() && ids[0] == tokenizer.bos() ? 1 : 0;
  const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(kept);
  ids.erase(begin, begin + static_cast<std::ptrdiff_t>(ids.size() - room));
  return true;
}

/// Prompt and choice encoded together; the choice begins where the ids of the prompt alone stop agreeing (as rows are
/// masked for training).
data::Example choice_example(const data::Tokenizer& tokenizer, const Question& question, const std::string& choice,
                             std::size_t positions, std::int64_t& shortened) {
  const std::vector<data::TokenId> head = tokenizer.encode_prompt(question.prompt);
  data::Example example;
  example.ids = tokenizer.encode_prompt(question.prompt + choice);
  const auto agree = std::mismatch(head.begin(), head.end(), example.ids.begin(), example.ids.end()).second;
  const auto learned = static_cast<std::size_t>(example.ids.end() - agree);
  if (learned == 0) throw DataError(question.where + ": a choice adds no token to its question");
  if (learned + 2 > positions) {
    throw DataError(fmt::format("{}: a choice has {} tokens, but the model has positions for {}", question.where,
                                learned, positions));
  }
  if (shorten(example.ids.own(), positions, tokenizer)) ++shortened;
  example.learned.assign(example.ids.size(), 0);
  std::fill(example.learned.end() - static_cast<std::ptrdiff_t>(learned), example.learned.end(), std::uint8_t{1});
  return example;
}

QuestionResults ask_choices(const std::vector<Candidate>& candidates, const data::Tokenizer& tokenizer,
                            const QuestionSet& set, const QuestionOptions& options, core::ProgressObserver* progress) {
  QuestionResults results;
  data::Dataset choices;
  Units units;
  const auto positions = static_cast<std::size_t>(candidates.front().decoder->config().max_positions);
  for (const Question& question : set.questions) {
    for (const std::string& choice : question.choices) {
      choices.examples.push_back(choice_example(tokenizer, question, choice, positions, results.shortened));
      units.of_example.push_back(units.count++);
    }
  }
  for (const std::vector<UnitLoss>& losses : compare(candidates, choices, units, options.batch_tokens, progress)) {
    QuestionScore normalised{"accuracy", {}, mean}, whole{"accuracy_unnormalised", {}, mean};
    std::size_t first = 0;
    for (const Question& question : set.questions) {
      std::size_t best = 0, best_whole = 0;
      std::vector<double> cost;
      for (std::size_t c = 0; c < question.choices.size(); ++c) {
        cost.push_back(losses[first + c].nll / static_cast<double>(data::count_characters(question.choices[c])));
        if (cost[c] < cost[best]) best = c;
        if (losses[first + c].nll < losses[first + best_whole].nll) best_whole = c;
      }
      normalised.units.push_back({best == question.answer ? 1.0 : 0.0, 1});
      whole.units.push_back({best_whole == question.answer ? 1.0 : 0.0, 1});
      first += question.choices.size();
    }
    results.scores.push_back({std::move(normalised), std::move(whole)});
  }
  return results;
}

std::vector<QuestionScore> score_answers(const QuestionSet& set, const std::vector<std::string>& generated,
                                         const Extractor* extract) {
  QuestionScore accuracy{"accuracy", {}, mean}, found{"extracted", {}, mean};
  for (std::size_t q = 0; q < set.questions.size(); ++q) {
    std::optional<std::string> expected = set.questions[q].reference, answer = generated[q];
    if (extract != nullptr) {
      expected = (*extract)(set.questions[q].reference);
      answer = (*extract)(generated[q]);
    }
    const bool right = answer && comparable_answer(*answer) == comparable_answer(*expected);
    accuracy.units.push_back({right ? 1.0 : 0.0, 1});
    found.units.push_back({answer ? 1.0 : 0.0, 1});
  }
  if (extract == nullptr) return {std::move(accuracy)};
  return {std::move(accuracy), std::move(found)};
}

std::vector<QuestionScore> score_texts(const QuestionSet& set, const std::vector<std::string>& generated) {
  QuestionScore characters{"chrf", {}, chrf}, words{"bleu", {}, bleu}, sequence{"rouge_l", {}, mean_percent};
  for (std::size_t q = 0; q < set.questions.size(); ++q) {
    const std::string& reference = set.questions[q].reference;
    characters.units.push_back(chrf_statistics(generated[q], reference));
    words.units.push_back(bleu_statistics(generated[q], reference));
    sequence.units.push_back({rouge_l(generated[q], reference), 1});
  }
  return {std::move(characters), std::move(words), std::move(sequence)};
}

QuestionResults ask_for_text(const std::vector<Candidate>& candidates, const data::Tokenizer& tokenizer,
                             const QuestionSet& set, const QuestionOptions& options, core::ProgressObserver* progress) {
  QuestionResults results;
  const std::int64_t positions = candidates.front().decoder->config().max_positions;
  if (options.generate.max_new_tokens >= positions) {
    throw ConfigError(
        fmt::format("`max-new-tokens` {} leaves no room for a prompt in the model's {} positions; give less",
                    options.generate.max_new_tokens, positions));
  }
  std::vector<models::BatchPrompt> prompts;
  for (const Question& question : set.questions) {
    if (set.kind == QuestionKind::kAnswer && options.extract != nullptr && !(*options.extract)(question.reference)) {
      throw DataError(question.where + ": the pattern of `extract` finds nothing in the answer of this row");
    }
    prompts.push_back({tokenizer.encode_prompt(question.prompt), prompts.size()});
    results.shortened +=
        shorten(prompts.back().ids, static_cast<std::size_t>(positions - options.generate.max_new_tokens), tokenizer);
  }
  if (progress != nullptr) {
    progress->begin("generating", static_cast<std::int64_t>(prompts.size() * candidates.size()), "answers");
  }
  std::int64_t done = 0;
  models::BatchOptions batch;
  batch.size = kAnswersAtATime;
  batch.on_answer = [&](std::size_t, const models::Generated&) {
    if (progress != nullptr) progress->advance(++done);
  };
  for (const Candidate& candidate : candidates) {
    const Active active(candidate);
    std::vector<std::string>& texts = results.generated.emplace_back();
    for (models::Generated& answer :
         models::generate_batch(*candidate.decoder, tokenizer, prompts, options.generate, batch)) {
      texts.push_back(std::move(answer.text));
    }
  }
  if (progress != nullptr) progress->end();
  for (const std::vector<std::string>& texts : results.generated) {
    results.scores.push_back(set.kind == QuestionKind::kText ? score_texts(set, texts)
                                                             : score_answers(set, texts, options.extract));
  }
  return results;
}

}  // namespace

QuestionResults ask(const std::vector<Candidate>& candidates, const data::Tokenizer& tokenizer, const QuestionSet& set,
                    const QuestionOptions& options, core::ProgressObserver* progress) {
  if (candidates.empty() || set.questions.empty()) throw InternalError("there is no model to ask, or no question");
  for (const Candidate& candidate : candidates) {
    if (candidate.adapter != nullptr) candidate.adapter->set_enabled(false);
  }
  if (set.kind == QuestionKind::kChoice) return ask_choices(candidates, tokenizer, set, options, progress);
  return ask_for_text(candidates, tokenizer, set, options, progress);
}

}  // namespace lowrank::eval
