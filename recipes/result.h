// How a recipe that trains ended.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "lowrank/core/json.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/recipes/run/shared_base.h"
#include "lowrank/train/trainer.h"

namespace lowrank::recipes {

struct RunResult {
  enum class State {
    kTrained,      // to its end; what was asked for lies in `out`
    kStopped,      // by the observer; a checkpoint lies in `out`
    kDryRun,       // nothing was trained or written
    kWasFinished,  // `resume` found a run that had ended; nothing was done
  };
  State state = State::kTrained;
  std::filesystem::path out;
  core::Json run;  // what run.json holds (would hold); null where the run was finished
  std::int64_t planned_steps = 0;
  std::optional<train::TrainResult> training;  // kTrained and kStopped
};

/// With the model as the run left it, to be used on: base->model().decoder, with `adapter` on it where one was trained.
/// The members are set where training began, and not by runs that share their base.
struct ModelResult : RunResult {
  std::shared_ptr<SharedBase> base;
  std::optional<lora::Adapter> adapter;
};

/// An adapter on the base while its run lasts: off it again in the end, however that comes, unless it is handed over.
class Attached {
 public:
  explicit Attached(std::shared_ptr<SharedBase> base) : base_(std::move(base)) {}
  ~Attached() {
    if (adapter_) adapter_->detach();
  }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  lora::Adapter& put(lora::Adapter adapter) { return adapter_.emplace(std::move(adapter)); }
  /// Base and adapter to the result of a run that shares its base with no other.
  void hand_over(ModelResult& result) {
    if (base_->several()) return;
    result.base = base_;
    result.adapter = std::exchange(adapter_, std::nullopt);
  }

 private:
  std::shared_ptr<SharedBase> base_;
  std::optional<lora::Adapter> adapter_;
};

}  // namespace lowrank::recipes
