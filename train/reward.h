// Rewards of generated answers: any callable, the built-in rules, or the user's own program.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::train {

struct Answer {
  std::string prompt, response;         // as text; the end token is not part of it
  std::int64_t tokens = 0;              // of the response, without the end token
  std::optional<std::string> expected;  // the row's "answer"
  std::string where;                    // the prompt's row, for messages
  std::vector<data::TokenId> ids =
      {};  // prompt and response as the policy saw them, with the end token where it drew one
};

/// A score for each answer; greater is better. It must depend on the answers alone for a run to be reproducible.
using Reward = std::function<std::vector<double>(const std::vector<Answer>&)>;

/// length:N     1 - |tokens - N|/N, at least -1
/// regex:RE     1 where the expression (PCRE2) is found in the response, else 0
/// words:FILE   how many different words of the file (one a line) the response has, letters' case aside
/// exact        1 where the response is the row's "answer", white space at both ends aside, else 0
/// exec:COMMAND a program of the user's (reward_program.h)
/// (adapter:DIR needs the model too: reward_adapter.h.) ConfigError for anything else, with the nearest name;
/// MissingError, DataError for the words' file. `environment`: variables that a program gets beside the usual four.
Reward make_reward(const std::string& spec, double timeout_seconds, const std::vector<std::string>& environment = {});

}  // namespace lowrank::train
