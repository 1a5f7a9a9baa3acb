// An adapter added into the model's files, and the proof that the result is what base + adapter was.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/formats/dtype.h"
#include "lowrank/lora/merge.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/probe.h"

namespace lowrank::recipes {

struct MergeResult {
  lora::MergeReport report;
  std::int64_t probe_tokens = 0;
  Difference error, effect;  // merged against base + adapter, and base + adapter against the base
  core::Json json;  // merge_report.json
};

/// The type to compute in so that the weights are those of the files: bf16 for bf16 files, else fp32 (exact for fp16).
models::DTypeChoice dtype_of_files(const std::filesystem::path& model);

/// "float32", "float16" or "bfloat16": the type of every weight that is written; "auto": none, each as in the files. FieldError by
/// `dtype` for another name.
std::optional<formats::DType> dtype_to_write(const std::string& name);

/// What every element of the result was compared with, in words.
std::string what_is_written(const lora::Adapter& adapter);

/// `model`, loaded in dtype_of_files, or in fp32 where it is written in another `dtype`, with `adapter` on it, into the folder `out`, which is empty or not there. Every
/// element is read back and compared, and merge_report.json says so; then the folder appears, whole. IoError while
/// another process writes there. FieldError by `probe` for a text without tokens.
MergeResult merge(const models::LoadedModel& model, lora::Adapter& adapter, const std::filesystem::path& out,
                  const std::string& probe, core::ProgressObserver& progress, std::optional<formats::DType> dtype = {});

}  // namespace lowrank::recipes
