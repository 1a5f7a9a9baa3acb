// `evaluate --frontier`: what an adapter gains and forgets as its update is scaled from nothing to the whole.
#pragma once

#include <string>
#include <vector>

#include "lowrank/apps/inputs/opening.h"
#include "lowrank/data/dataset.h"

namespace lowrank::apps {

/// A set that was measured with the adapter off and on.
struct FrontierSet {
  std::string name;
  const data::Dataset* data = nullptr;
  double base_nll = 0, adapter_nll = 0;
};

/// Every set at the scales 0, 1/8 … 1 of ΔW: prints a table of perplexities and gives [{"scale", "sets": {name: {"nll",
/// "perplexity"}}}].
core::Json frontier(const std::vector<FrontierSet>& sets, Opened& opened, std::int64_t batch_tokens,
                    const Console& console);

}  // namespace lowrank::apps
