// What mixers with a state of fixed size keep of each sequence of a cache: a few tensors, each made anew by a pass and
// never written again, so that sequences may share them.
#pragma once

#include <cstddef>
#include <vector>

#include "lowrank/models/blocks/mixer.h"

namespace lowrank::models {

class RecurrentState : public MixerState {
 public:
  /// `kinds`: how many tensors there are of a sequence.
  explicit RecurrentState(std::size_t kinds) : kinds_(kinds) {}

  /// To be called before a pass: sequences whose keys are all new begin anew.
  void begin(const kernels::Segments& segments) {
    for (std::int64_t s = 0; s < segments.count(); ++s) {
      if (segments.k_length(s) != segments.q_length(s)) continue;
      for (std::vector<at::Tensor>& kind : kinds_) kind[static_cast<std::size_t>(s)] = at::Tensor();
    }
  }
  /// One tensor a sequence; undefined at its beginning.
  std::vector<at::Tensor>& of(std::size_t kind) { return kinds_.at(kind); }

  void add() override {
    for (std::vector<at::Tensor>& kind : kinds_) kind.emplace_back();
  }
  void select(const std::vector<std::int64_t>& kept, const std::vector<std::int64_t>&) override {
    for (std::vector<at::Tensor>& kind : kinds_) {
      std::vector<at::Tensor> selected;
      for (const std::int64_t sequence : kept) selected.push_back(kind.at(static_cast<std::size_t>(sequence)));
      kind = std::move(selected);
    }
  }
  bool rewinds() const override { return false; }

 private:
  std::vector<std::vector<at::Tensor>> kinds_;
};

}  // namespace lowrank::models
