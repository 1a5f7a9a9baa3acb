#include "lowrank/train/reward.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/onig_regex.h"
#include "lowrank/train/reward_program.h"

namespace lowrank::train {
namespace {

/// A reward that looks at one answer at a time.
template <typename Score>
Reward each(Score score) {
  return [score](const std::vector<Answer>& answers) {
    std::vector<double> scores;
    scores.reserve(answers.size());
    for (const Answer& answer : answers) scores.push_back(score(answer));
    return scores;
  };
}

std::string trimmed(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// Runs of letters, digits and bytes beyond ASCII, ASCII letters in lower case.
std::set<std::string> words_of(const std::string& text) {
  std::set<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool part = upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c & 0x80) != 0 || c == '\'';
    if (part) {
      word += upper ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!word.empty()) {
      words.insert(word);
      word.clear();
    }
  }
  return words;
}

Reward length_reward(const std::string& text) {
  double wanted = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted);
  if (error != std::errc() || end != text.data() + text.size() || !(wanted >= 1) || !std::isfinite(wanted)) {
    throw ConfigError("`reward` length:N needs a number of tokens from 1 on, found '" + core::printable(text) + "'");
  }
  return each([wanted](const Answer& answer) {
    return std::max(-1.0, 1 - std::abs(static_cast<double>(answer.tokens) - wanted) / wanted);
  });
}

Reward words_reward(const std::string& file) {
  const std::set<std::string> wanted = words_of(core::read_file(core::FileRef::named(file)));
  if (wanted.empty()) throw DataError(file + " holds no words; `reward` words:FILE expects one a line");
  return each([wanted](const Answer& answer) {
    double found = 0;
    for (const std::string& word : words_of(answer.response)) found += wanted.contains(word) ? 1 : 0;
    return found;
  });
}

Reward regex_reward(const std::string& expression) {
  const data::OnigRegex regex(expression, "`reward` regex:" + expression);
  return each([regex](const Answer& answer) {
    std::vector<data::ByteRange> matches;
    regex.find_all(answer.response, {0, answer.response.size()}, matches);
    return matches.empty() ? 0.0 : 1.0;
  });
}

double exact(const Answer& answer) {
  if (!answer.expected) {
    throw DataError(answer.where + ": `reward` exact compares with the row's \"answer\", and this row has none");
  }
  return trimmed(answer.response) == trimmed(*answer.expected) ? 1 : 0;
}

}  // namespace

Reward make_reward(const std::string& spec, double timeout_seconds, const std::vector<std::string>& environment) {
  const std::size_t colon = spec.find(':');
  const std::string kind = spec.substr(0, colon), rest = colon == std::string::npos ? "" : spec.substr(colon + 1);
  if (kind == "exact" && colon == std::string::npos) return each(exact);
  if (colon != std::string::npos && !rest.empty()) {
    if (kind == "length") return length_reward(rest);
    if (kind == "words") return words_reward(rest);
    if (kind == "regex") return regex_reward(rest);
    if (kind == "exec") {
      const auto program = std::make_shared<RewardProgram>(rest, timeout_seconds, environment);
      return each([program](const Answer& answer) { return program->score(answer); });
    }
  }
  constexpr std::array<const char*, 6> kForms = {"adapter:DIR", "length:N", "regex:RE", "words:FILE", "exact", "exec:COMMAND"};
  for (const std::string form : kForms) {
    if (kind != form.substr(0, form.find(':'))) continue;
    throw ConfigError("`reward`: " + kind + " is written " + form + ", found '" + core::printable(spec, 80) + "'");
  }
  throw ConfigError("`reward`: expected adapter:DIR, length:N, regex:RE, words:FILE, exact or exec:COMMAND, found '" +
                    core::printable(spec, 80) + "'" +
                    core::did_you_mean(kind, {"adapter", "length", "regex", "words", "exact", "exec"}));
}

}  // namespace lowrank::train
