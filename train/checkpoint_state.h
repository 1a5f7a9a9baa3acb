// trainer_state.json of a checkpoint: where a run was, without its tensors. Torch-free.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/core/json.h"

namespace lowrank::train {

struct CheckpointState {
  std::int64_t step = 0;  // completed
  std::int64_t tokens = 0;
  std::int64_t metrics_bytes = 0;  // length of metrics.jsonl at this step
  std::optional<double> best_loss;
  std::int64_t best_step = 0, evals_without_gain = 0;
  core::Json identity, before;                                        // see Trainer; evaluation of the start
  core::Json best = core::Json::array(), last = core::Json::array();  // evaluation at best_step, and the latest
  double last_loss = 0;
  core::Json lr_test;  // of a run that chose its rate (to_json(RateTest)); else null
  core::Json spikes;   // SpikeWatch::to_json() of a run that looks for them; else null
  double seconds = 0;  // of training until then; 0 in a checkpoint of before this was kept
};

/// The step in the name of a checkpoint's folder, checkpoint-N; nothing for another name.
std::optional<std::int64_t> step_of_checkpoint(const std::string& name);

/// `layout`: what says which parameters the tensors are of.
std::string checkpoint_state_text(const CheckpointState& state, const std::string& layout);
/// The trainer_state.json of a checkpoint's folder. FormatError for one that cannot be, or of another step than the folder's
/// name says; `layout` gets what it was written with.
CheckpointState read_checkpoint_state(const std::filesystem::path& checkpoint, std::string* layout = nullptr);

}  // namespace lowrank::train
