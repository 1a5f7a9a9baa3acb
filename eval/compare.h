// Several models over the same text: the loss of each, and how far each has moved from the first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/dataset.h"
#include "lowrank/models/decoder.h"

namespace lowrank::eval {

/// A model to compare: a decoder, with one of the adapters that are on it or with none.
struct Candidate {
  std::string name;
  models::DecoderImpl* decoder = nullptr;
  lora::Adapter* adapter = nullptr;  // null: no adapter
};

/// Its adapter alone is on while this lives; after it, none.
class Active {
 public:
  explicit Active(const Candidate& candidate) : adapter_(candidate.adapter) {
    if (adapter_ != nullptr) adapter_->set_enabled(true);
  }
  ~Active() {
    if (adapter_ != nullptr) adapter_->set_enabled(false);
  }
  Active(const Active&) = delete;
  Active& operator=(const Active&) = delete;

 private:
  lora::Adapter* adapter_;
};

/// Sums over the counted tokens of a unit of text, in nats.
struct UnitLoss {
  std::int64_t tokens = 0;
  double nll = 0;
  double kl = 0;  // Σ KL(first ‖ this) over the vocabulary at each counted token: 0 for the first
};

/// Which unit each example belongs to, for intervals: its document from 20 documents on, else itself (a piece of a
/// text).
struct Units {
  std::vector<std::uint32_t> of_example;
  std::uint32_t count = 0;
  bool documents = true;
};
Units units_of(const data::Dataset& dataset);

/// [candidate][unit]. Every adapter of the candidates is off afterwards. Losses are added in order in double: equal for
/// any thread count, and for any batch size up to GEMM rounding. ModelError where vocabularies differ or a loss is not
/// finite, DataError where no token is predicted.
std::vector<std::vector<UnitLoss>> compare(const std::vector<Candidate>& candidates, const data::Dataset& dataset,
                                           const Units& units, std::int64_t batch_tokens = 2048,
                                           core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::eval
