// How much of an adapter's update a model can take before it forgets too much: the scale t of W + t·ΔW is searched.
#pragma once

#include <optional>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/decoder.h"

namespace lowrank::eval {

/// The mean change of the loss against the base, nats a token, on the same tokens.
struct Change {
  double mean = 0;
  /// What the mean of another text of the same kind and size stays below with 99 % confidence (a one-sided prediction
  /// interval): mean + 2.326 √2 standard errors, by pieces (tokens of a piece are not independent). Of a single piece:
  /// the mean.
  double upper = 0;
};
/// Of sums over `counts` tokens each, piece by piece: Σ sums / Σ counts, with the ratio estimator's variance.
Change mean_change(const std::vector<double>& sums, const std::vector<double>& counts);
/// `base` and `now`: losses of the counted tokens of `examples`, in order.
Change paired_change(const data::Examples& examples, const std::vector<double>& base,
                     const std::vector<double>& now);

struct ScalePoint {
  double scale = 0;
  double general_nll = 0;            // nats a token
  Change general;                    // against the base
  std::optional<double> domain_nll;  // on validation data, where there is any
  bool within = false;               // general.upper <= log(1 + bound)
};

struct ForgettingSearch {
  double bound = 0;                // largest rise of general perplexity, 0.05: 5 %
  double base_nll = 0;             // general, adapter off
  double scale = 0;                // the choice; 0: no scale down to 1/512 is within the bound
  std::vector<ScalePoint> points;  // that were tried, by scale
};

/// Tries t = 1/8 … 1, halves the step below the first that breaks the bound six times, and takes, of the scales up to
/// the largest that holds, the one with the lowest loss on `validation` (without it: the largest that holds). The bound
/// must hold for the upper end of the interval, so that it holds on general text that took no part in the choice. The
/// adapter is left as it was.
ForgettingSearch search_scale(models::DecoderImpl& decoder, lora::Adapter& adapter, const data::Dataset& general,
                              const data::Dataset* validation, double bound,
                              core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::eval
