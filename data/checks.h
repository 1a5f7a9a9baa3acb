// What a data set has that makes a run worthless, or is probably not meant: found before anything is trained.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

struct Finding {
  std::string check;   // "end-of-turn", "double-bos" …
  bool fatal = false;  // what comes of the run cannot be used
  std::string text;    // one sentence: what, how many, how to mend it
};

/// What examples are.
enum class Learns {
  kAnswers,  // texts or rows with answers
  kPairs,    // two answers each
  kLabels,   // a text's label: its last token stands for it
  kNothing   // prompts: of them only the schedule is looked at
};

/// What is looked at.
struct Patient {
  const Dataset* train = nullptr;
  std::vector<std::pair<std::string, const Dataset*>>
      others;  // "validation", "general": nothing of train belongs there
  const Tokenizer* tokenizer = nullptr;
  const ChatLayout* layout = nullptr;  // of conversations; may be null
  std::vector<std::int64_t> end_ids;   // what generation stops at
  std::vector<std::int64_t> invocation = {};  // of an adapter that acts from the last occurrence of these tokens on alone
  std::int64_t steps = 0, warmup = 0;  // of the optimiser
  double lr = 0;
  bool full = false;            // every weight is trained
  std::int64_t parameters = 0;  // of the model
  Learns learns = Learns::kAnswers;
  std::size_t at_most = 0;  // examples of a set that are looked at, spread over it; 0: all
  int threads = 1;          // that look: leakage takes as long as all else
};

/// All that is found, fatal ones first. Checks: answers (rows without any, or with nothing in them), end-of-turn (never
/// learned, or not what generation stops at), double-bos, special-tokens (of the template, which the tokenizer splits),
/// truncation, duplicates, leakage (the same examples, or runs of 13 learned tokens, in train and elsewhere), sources
/// (one file outweighs the others), scripts (a few examples are in another script than all the others), invocation (what
/// would be learned stands before the tokens from which the adapter acts), learning-rate, warmup.
std::vector<Finding> examine(const Patient& patient);

/// Its two steps: all that does without `steps`, `warmup`, `lr`, `full` and `parameters`; and that with what these say.
std::vector<Finding> examine_data(const Patient& patient);
/// The learning rate that is usual for an adapter of a model of so many parameters, or for all of its weights (`full`).
double usual_rate(std::int64_t parameters, bool full);
std::vector<Finding> with_schedule(std::vector<Finding> found, const Patient& patient);

/// How many examples have how many tokens: bounds that double, each with its count.
std::vector<std::pair<std::int64_t, std::int64_t>> length_histogram(const Dataset& dataset);

}  // namespace lowrank::data
