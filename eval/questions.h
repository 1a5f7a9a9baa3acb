// Question sets: multiple choice, exact answers, and texts to be compared with a reference.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/dataset.h"
#include "lowrank/eval/bootstrap.h"
#include "lowrank/eval/compare.h"
#include "lowrank/eval/extract.h"
#include "lowrank/models/generate.h"

namespace lowrank::eval {

/// What the rows of a set ask for, by their keys.
enum class QuestionKind {
  kChoice,  // {"question", "choices", "answer"}: the likeliest of the choices
  kAnswer,  // {"question", "answer"}: the same answer, generated
  kText,    // {"prompt", "completion"} or {"prompt", "reference"}: a generated text near the reference
};

struct Question {
  std::string where;   // "arc.jsonl line 12"
  std::string prompt;  // as the model sees it: a newline follows a question that ends in no white space, as in training
  std::vector<std::string> choices;
  std::size_t answer = 0;  // of the choices
  std::string reference;
};

struct QuestionSet {
  QuestionKind kind = QuestionKind::kAnswer;
  std::vector<Question> questions;
  std::vector<std::string> notes;  // what should be said of the files
};

/// Files of rows (of folders in parts: the test part), all of one kind. The answer to a choice is its index from 0, its letter from A, or
/// its text. DataError naming file and line: no rows, a key missing, an answer that is none of the choices, rows of two
/// kinds.
QuestionSet read_questions(const std::vector<std::filesystem::path>& paths);

/// A set's scores under one model: a name ("accuracy"), the statistics of every question, and what makes a score of
/// sums.
struct QuestionScore {
  std::string name;
  std::vector<Statistics> units;
  Score score;
};

/// Scores [candidate][score], the headline first; and what was generated [candidate][question], empty for choices.
struct QuestionResults {
  std::vector<std::vector<QuestionScore>> scores;
  std::vector<std::vector<std::string>> generated;
  std::int64_t shortened = 0;  // prompts cut at their beginning to leave room for the answer
};

struct QuestionOptions {
  std::int64_t batch_tokens = 2048;
  models::GenerateOptions generate = {};  // greedy
  const Extractor* extract = nullptr;     // of kAnswer, from reference and answer alike; null: the whole text
};

/// Choices: "accuracy" by log-likelihood a character (lm-evaluation-harness's acc_norm), "accuracy_unnormalised" by the
/// whole log-likelihood; of equals the first wins. Answers: "accuracy" after comparable_answer. Texts: "chrf", "bleu",
/// "rouge_l", 0 to 100. Every adapter is off afterwards. DataError for a reference in which the pattern finds nothing.
QuestionResults ask(const std::vector<Candidate>& candidates, const data::Tokenizer& tokenizer, const QuestionSet& set,
                    const QuestionOptions& options, core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::eval
