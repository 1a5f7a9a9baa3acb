// An adapter added into the model's files, and the proof that the result is what base + adapter was.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lowrank/core/progress.h"
#include "lowrank/lora/merge.h"
#include "lowrank/models/load.h"

namespace lowrank::recipes {

/// A text on which the merged model and base + adapter are compared, where no other is given.
extern const char* const kProbe;

struct MergeResult {
  lora::MergeReport report;
  std::int64_t probe_tokens = 0;
  /// Of the probe's logits: merged against base + adapter, and base + adapter against the base.
  struct Difference {
    double largest = 0;  // of any logit
    double kl = 0;       // mean over positions of KL(softmax(a) || softmax(b)), nats
  } error, effect;
};

/// The type to compute in so that the weights are those of the files: bf16 for bf16 files, else fp32 (exact for fp16).
models::DTypeChoice dtype_of_files(const std::filesystem::path& model);

/// What every element of the result was compared with, in words.
std::string what_is_written(const lora::Adapter& adapter);

/// `model`, loaded in dtype_of_files, with `adapter` on it, into the folder `out`, which is empty or not there. Every
/// element is read back and compared; a merge that is not proven is not left lying around. FieldError by `probe` for a
/// text without tokens.
MergeResult merge(const models::LoadedModel& model, lora::Adapter& adapter, const std::filesystem::path& out,
                  const std::string& probe, core::ProgressObserver& progress);

}  // namespace lowrank::recipes
