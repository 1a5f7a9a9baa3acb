// What a run comes to, in words that anyone understands: learned, forgotten, and what to do now.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/recipes/run/curves.h"
#include "lowrank/recipes/spec/fields.h"
#include "lowrank/train/trainer.h"

namespace lowrank::recipes {

struct Verdict {
  /// The result is better than the start on held-out data, by more than chance (95 %) where there are 20 units of it to
  /// tell; without held-out data, the training loss fell (PPO's reward rose).
  bool learned = false;
  /// Of the result and the start on validation data.
  struct Change {
    double before = 0, after = 0;
    std::size_t units = 0;
    bool has_interval = false;  // from 20 units on
    double low = 0, high = 0;   // of after - before: paired bootstrap over the units, 95 %
  };
  std::string learned_text, forgotten_text, next_text;
  std::string text() const { return learned_text; }  // one sentence, for run.json
  /// {"learned", "forgotten", "next"}, for people.
  std::vector<std::pair<std::string, std::string>> rows() const;
};

/// What the verdict is drawn from, beside the result itself.
struct VerdictFacts {
  const Fields* fields = nullptr;
  std::string verb, model, out;  // for commands
  std::string base;              // that the adapter is for, where MODEL is itself an adapter; empty: MODEL
  bool of_tokens = true;         // the loss is a token's: it has a perplexity
  std::string unit = "token";
  bool has_adapter = true, generates = true;
  bool lr_auto = true;  // the recipe finds one by itself where it is asked to
  double lr = 0;      // the rate of the run
  double usual_lr = 0;  // for a model of its size; 0: not known
  double update = 0;  // of the adapter, |ΔW|/|W| of the median layer; 0: not known
};

/// Of a run that ended. `curves`: its metrics.jsonl. In the texts fields stand between backticks.
Verdict verdict_of(const VerdictFacts& facts, const train::TrainResult& result, const Curves& curves);

/// The paired difference of two evaluations of one set.
Verdict::Change change_between(const train::EvalResult& before, const train::EvalResult& after);

}  // namespace lowrank::recipes
