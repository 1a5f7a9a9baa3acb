// The ways in which options cross: axes and their values, which may not go together, and a walk over all pairs.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "catch.h"

namespace lowrank_test {

enum Axis : std::size_t { kVerb, kMethod, kTarget, kInit, kPenalty, kStart, kBase, kDevice, kAxes };
using Way = std::array<std::string, kAxes>;

inline const std::array<std::vector<std::string>, kAxes>& axes() {
  static const std::array<std::vector<std::string>, kAxes> all = {
      {{"finetune", "classification", "dpo", "reward", "ppo"},
       {"lora", "dora", "rslora", "full"},
       {"linear", "embedding", "head", "whole", "biases"},
       {"default", "gaussian", "orthogonal", "pissa", "olora", "loftq"},
       {"none", "l1", "l2", "delta-l1", "delta-l2", "orthogonality", "max-delta-norm"},
       {"base", "adapter", "activated"},
       {"auto", "nf4"},
       {"cpu", "testdevice"}}};
  return all;
}

inline std::string name_of(const Way& way) { return fmt::format("{}", fmt::join(way, ", ")); }

inline bool on_update(const Way& way) {
  return way[kPenalty].starts_with("delta") || way[kPenalty].starts_with("m") || way[kPenalty].starts_with("o");
}
inline bool splits_base(const Way& way) { return way[kInit] == "pissa" || way[kInit] == "olora"; }
inline bool has_score(const Way& way) { return way[kVerb] == "classification" || way[kVerb] == "reward"; }
inline bool trains_copies(const Way& way) { return way[kTarget] == "whole" || way[kTarget] == "biases"; }

/// Why a way is refused, and what the message names then.
struct Refusal {
  const char* names;
  std::function<bool(const Way&)> applies;
};
inline const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all = {
      // Every weight is trained by finetune of a text alone, from the base, and has nothing of an adapter.
      {"method", [](const Way& w) { return w[kMethod] == "full" && w[kVerb] != "finetune"; }},
      {"method", [](const Way& w) { return w[kMethod] == "full" && w[kStart] != "base"; }},
      {"targets",
       [](const Way& w) { return w[kMethod] == "full" && (w[kTarget] == "embedding" || w[kTarget] == "head"); }},
      {"modules-to-save", [](const Way& w) { return w[kMethod] == "full" && w[kTarget] == "whole"; }},
      {"bias", [](const Way& w) { return w[kMethod] == "full" && w[kTarget] == "biases"; }},
      {"init", [](const Way& w) { return w[kMethod] == "full" && w[kInit] != "default"; }},
      {"base-dtype", [](const Way& w) { return w[kMethod] == "full" && w[kBase] != "auto"; }},
      {"", [](const Way& w) { return w[kMethod] == "full" && on_update(w); }},
      // Forms that there are not.
      {"use_dora", [](const Way& w) { return w[kMethod] == "dora" && splits_base(w); }},
      {"init_lora_weights",
       [](const Way& w) { return w[kTarget] == "embedding" && w[kInit] != "default" && w[kInit] != "gaussian"; }},
      {"target_modules", [](const Way& w) { return w[kTarget] == "head" && has_score(w); }},
      {"init", [](const Way& w) { return w[kInit] == "loftq" && w[kBase] == "auto"; }},
      {"alora_invocation_tokens",
       [](const Way& w) {
         return w[kStart] == "activated" &&
                (has_score(w) || w[kMethod] == "dora" || w[kTarget] == "embedding" || w[kTarget] == "head");
       }},
      {"modules_to_save", [](const Way& w) { return w[kTarget] == "whole" && w[kBase] != "auto"; }},
      // Penalties that would act on what they are not for.
      {"", [](const Way& w) { return on_update(w) && w[kVerb] != "finetune" && w[kVerb] != "classification"; }},
      {"", [](const Way& w) { return on_update(w) && w[kMethod] == "dora"; }},
      {"", [](const Way& w) { return on_update(w) && splits_base(w) && w[kStart] == "base"; }},
      {"", [](const Way& w) { return on_update(w) && (trains_copies(w) || w[kTarget] == "embedding"); }},
      {"", [](const Way& w) { return w[kPenalty].starts_with("l") && trains_copies(w) && w[kMethod] != "full"; }},
  };
  return all;
}

/// Indices of the refusals that apply.
inline std::vector<std::size_t> reasons(const Way& way) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < refusals().size(); ++i)
    if (refusals()[i].applies(way)) found.push_back(i);
  return found;
}

inline std::vector<Way> all_ways() {
  std::vector<Way> ways = {Way{}};
  for (std::size_t axis = 0; axis < kAxes; ++axis) {
    std::vector<Way> longer;
    for (const Way& way : ways) {
      for (const std::string& value : axes()[axis]) {
        longer.push_back(way);
        longer.back()[axis] = value;
      }
    }
    ways = std::move(longer);
  }
  return ways;
}

using Pairs = std::set<std::string>;

inline Pairs pairs_of(const Way& way) {
  Pairs pairs;
  for (std::size_t i = 0; i < kAxes; ++i)
    for (std::size_t j = i + 1; j < kAxes; ++j) pairs.insert(fmt::format("{} {} {} {}", i, way[i], j, way[j]));
  return pairs;
}

/// Ways that have every pair between them which `wanted` has, each chosen for the most that are still missing.
inline std::vector<Way> covering(const std::vector<Way>& ways, Pairs wanted) {
  std::vector<std::pair<Way, Pairs>> left;
  for (const Way& way : ways) left.emplace_back(way, pairs_of(way));
  std::vector<Way> chosen;
  while (!wanted.empty()) {
    const Way* best = nullptr;
    std::size_t most = 0;
    for (auto& [way, pairs] : left) {
      std::erase_if(pairs, [&](const std::string& pair) { return !wanted.contains(pair); });
      if (pairs.size() > most) {
        best = &way;
        most = pairs.size();
      }
    }
    REQUIRE(best != nullptr);
    for (const std::string& pair : pairs_of(*best)) wanted.erase(pair);
    chosen.push_back(*best);
  }
  return chosen;
}

struct Walk {
  std::vector<Way> run, refused;
};

/// Every pair that can be trained is trained in some run; every other is refused in some, and so is every reason where
/// it is the only one.
inline Walk walk() {
  std::vector<Way> allowed, others;
  Pairs possible, rest;
  for (const Way& way : all_ways()) (reasons(way).empty() ? allowed : others).push_back(way);
  for (const Way& way : allowed) possible.merge(pairs_of(way));
  for (const Way& way : others) rest.merge(pairs_of(way));
  std::erase_if(rest, [&](const std::string& pair) { return possible.contains(pair); });
  Walk result = {covering(allowed, possible), covering(others, rest)};
  for (std::size_t i = 0; i < refusals().size(); ++i) {
    const auto alone = std::find_if(others.begin(), others.end(),
                                    [&](const Way& way) { return reasons(way) == std::vector<std::size_t>{i}; });
    REQUIRE(alone != others.end());
    result.refused.push_back(*alone);
  }
  return result;
}

}  // namespace lowrank_test
