// checkpoints/checkpoint-N/: the state after optimiser step N, complete or absent. Beside the adapter's own files:
// optimizer.safetensors (parameters, flat; the optimiser's state by its names; and ema where one is kept: fp32),
// trainer_state.json, and manifest.json, written last, with the size and SHA-256 of every file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/train/checkpoint_state.h"
#include "lowrank/train/ema.h"
#include "lowrank/train/flat_parameters.h"
#include "lowrank/train/optimizer.h"

namespace lowrank::train {

/// checkpoints/checkpoint-N of a run.
std::filesystem::path checkpoint_path(const std::filesystem::path& run, std::int64_t step);
/// All checkpoints by name, valid or not, as (step, folder), oldest first.
std::vector<std::pair<std::int64_t, std::filesystem::path>> list_checkpoints(const std::filesystem::path& run);
/// Why a checkpoint is not to be trusted (a file missing, or of another size or hash than its manifest says); empty: it
/// holds.
std::string checkpoint_fault(const std::filesystem::path& checkpoint);

/// Complete or not at all: written beside its final name, synced, renamed. A checkpoint of the same step is replaced.
/// With `ema` the adapter's own files are those of the average. DataError when a parameter is not finite, IoError when
/// the disk will not take it; the earlier checkpoints stay as they are.
void save_checkpoint(const std::filesystem::path& run, const CheckpointState& state, FlatParameters& parameters,
                     const Optimizer& optimizer, class Objective& objective, Ema* ema = nullptr);

/// The newest checkpoint whose manifest holds; `skipped` tells of broken ones. Nothing: no valid checkpoint.
std::optional<std::filesystem::path> newest_checkpoint(const std::filesystem::path& run,
                                                       std::vector<std::string>* skipped);
/// The state, and the tensors into the buffers. ModelError when it holds other parameters than these, or another
/// optimiser's state. An average that the checkpoint lacks starts from its parameters.
CheckpointState load_checkpoint(const std::filesystem::path& checkpoint, FlatParameters& parameters,
                                Optimizer& optimizer, Ema* ema = nullptr);
/// Deletes all but the newest `keep_last` (at least one) and `best_step`'s (-1: none).
void prune_checkpoints(const std::filesystem::path& run, std::int64_t keep_last, std::int64_t best_step);
/// Deletes the checkpoints after `step`: a run that goes on from there will write them anew. Sweeps leftovers too.
void discard_checkpoints_after(const std::filesystem::path& run, std::int64_t step);

}  // namespace lowrank::train
