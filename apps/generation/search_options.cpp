#include "lowrank/apps/generation/search_options.h"

#include <fmt/format.h>

namespace lowrank::apps {

void append_search_options(Verb& verb) {
  verb.options.insert(verb.options.end(), {
                                              {"beams",
                                               OptionType::kInt,
                                               "N",
                                               nullptr,
                                               "Beam search",
                                               "Search for the likeliest answer as a whole, N beginnings at a time",
                                               {}},
                                              {"length-penalty",
                                               OptionType::kNumber,
                                               "X",
                                               1.0,
                                               "Beam search",
                                               "Above 0 favours long answers, below 0 short ones",
                                               {}},
                                              {"beam-stop",
                                               OptionType::kText,
                                               "WHEN",
                                               "heuristic",
                                               "Beam search",
                                               "With N ended answers stop at once (full), when a better one is "
                                               "unlikely (heuristic), or when none can come (never)",
                                               {"full", "heuristic", "never"}},
                                          });
}

std::optional<models::BeamOptions> search_options(const Options& options) {
  if (!options.given("beams")) {
    for (const char* name : {"length-penalty", "beam-stop"}) {
      if (options.given(name)) options.fail(name, "goes with --beams");
    }
    return std::nullopt;
  }
  for (const char* name : {"temperature", "top-k", "top-p", "seed"}) {
    if (options.given(name))
      options.fail(name, "does not go with --beams, which searches and draws nothing; leave one of them out");
  }
  models::BeamOptions beams;
  beams.beams = options.integer_in("beams", 1, 1024);
  beams.length_penalty = options.number_in("length-penalty", -100, 100);
  const std::string stop = options.text("beam-stop");
  beams.stop = stop == "full"    ? models::BeamStop::kFull
               : stop == "never" ? models::BeamStop::kNever
                                 : models::BeamStop::kHeuristic;
  return beams;
}

}  // namespace lowrank::apps
