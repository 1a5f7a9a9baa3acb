// checkpoints/checkpoint-N/: the state after optimiser step N, complete or absent.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/flat_parameters.h"

namespace lowrank::train {

/// Beside the adapter's own files: optimizer.safetensors (parameters, exp_avg, exp_avg_sq: flat fp32), trainer_state.json,
/// and manifest.json, written last, with the size and SHA-256 of every file.
struct CheckpointState {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  std::int64_t metrics_bytes = 0;          // length of metrics.jsonl at this step
  std::optional<double> best_loss;
  std::int64_t best_step = 0, evals_without_gain = 0;
  core::Json identity, before;             // see Trainer; evaluation of the start
};

void save_checkpoint(const std::filesystem::path& run, const CheckpointState& state, FlatParameters& parameters,
                     const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq, class Objective& objective);

/// The newest checkpoint whose manifest holds; `skipped` tells of broken ones. Nothing: no valid checkpoint.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& run, std::vector<std::string>* skipped);
CheckpointState load_checkpoint(const std::filesystem::path& checkpoint, FlatParameters& parameters, at::Tensor& exp_avg,
                                at::Tensor& exp_avg_sq);
/// Deletes all but the newest `keep_last` and `best_step`'s.
void prune_checkpoints(const std::filesystem::path& run, std::int64_t keep_last, std::int64_t best_step);

}  // namespace lowrank::train
