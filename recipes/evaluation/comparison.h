// What a comparison found, apart from how it is shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/eval/bootstrap.h"
#include "lowrank/eval/compare.h"
#include "lowrank/eval/questions.h"
#include "lowrank/eval/report.h"

namespace lowrank::recipes {

/// One of the models: "base" comes first.
struct ComparedModel {
  std::string name;
  std::int64_t trainable = 0;  // parameters that were trained; 0 for the base
  std::uint64_t bytes = 0;     // of its weight files
};

/// One model on one text.
struct TextResult {
  std::int64_t tokens = 0;
  double nll = 0;                            // nats a token
  double kl = 0;                             // KL(base ‖ this), nats a token
  std::optional<eval::Interval> perplexity;  // 95 %; nothing where there is one document or piece alone
  double difference = 0;                     // nll less the base's, nats a token
  std::optional<eval::Interval> difference_interval;
};

struct TextSetResult {
  std::string name, reading;  // what was read, in words
  std::string clean;          // of a perturbed copy: the set it was made of
  std::vector<TextResult> models;
};

/// One model's score of a question set.
struct ScoreResult {
  std::string name;  // "accuracy"
  double value = 0;
  std::optional<eval::Interval> interval;
  double difference = 0;  // value less the base's
  std::optional<eval::Interval> difference_interval;
};

struct QuestionSetResult {
  std::string name, clean;
  std::int64_t questions = 0;
  std::vector<std::vector<ScoreResult>> models;  // [model][score]
  std::vector<std::string> prompts;              // a few, with what each model [model][prompt] generated
  std::vector<std::vector<std::string>> answers;
};

struct Comparison {
  std::vector<ComparedModel> models;
  std::vector<TextSetResult> texts;
  std::vector<QuestionSetResult> questions;
};

/// Intervals by paired bootstrap under `seed`.
std::vector<TextResult> text_results(const std::vector<std::vector<eval::UnitLoss>>& losses, std::uint64_t seed);
std::vector<std::vector<ScoreResult>> score_results(const std::vector<std::vector<eval::QuestionScore>>& scores,
                                                    std::uint64_t seed);

/// Total nats on a perturbed copy over those on the text it was made of, less one: how much worse the text is
/// predicted.
double added_cost(const TextResult& perturbed, const TextResult& clean);

/// {"models": {name: {"trainable", "bytes", "sets": {set: {"tokens", "nll", "perplexity", "ci", "kl", …}}, "questions":
/// …}}}
core::Json to_json(const Comparison& comparison);

/// For the screen and the report.
std::vector<eval::ReportTable> tables(const Comparison& comparison);

}  // namespace lowrank::recipes
