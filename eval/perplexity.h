// Mean negative log-likelihood and perplexity of a data set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/dataset.h"
#include "lowrank/models/decoder.h"

namespace lowrank::eval {

struct Perplexity {
  std::int64_t tokens = 0;  // counted tokens
  double nll = 0;           // mean, nats a token
  double perplexity() const;
  std::vector<double> per_token;  // when asked for, in order
};

/// Losses per token, summed in order in double: equal for any batch size up to GEMM rounding, and for any thread count.
Perplexity perplexity(models::DecoderImpl& decoder, const data::Dataset& dataset, std::int64_t batch_tokens = 2048,
                      bool keep_per_token = false, core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::eval
