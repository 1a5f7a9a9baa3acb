// A model, with or without an adapter in it, as a GGUF file for llama.cpp and Ollama, and the proof of what it says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/formats/ggml_blocks.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/probe.h"

namespace lowrank::recipes {

/// float32, float16, bfloat16, q8_0, q4_0; "auto": the type of most of the model's files. FieldError for another.
formats::GgmlType gguf_type(const std::string& name, const std::filesystem::path& model);

struct GgufResult {
  std::filesystem::path file;  // in the folder
  std::uint64_t bytes = 0;
  std::int64_t tensors = 0;
  std::string tokenizer;           // its kind, for people
  std::vector<std::string> notes;  // what is not as the model has it, or is rounded otherwise
  std::int64_t probe_tokens = 0;
  /// Perplexity on the probe of the model (with the adapter), and of the file's values, read back.
  double before = 0, after = 0;
  Difference error;  // of the probe's logits
  core::Json json;   // merge_report.json
};

/// NAME-TYPE.gguf with hyperparameters, tokenizer and chat template as llama.cpp's converter writes them, an Ollama
/// Modelfile, a model card and merge_report.json, into the folder `out`, which is empty or not there and appears whole.
/// Tensors are written some rows at a time. The file is read back into a model in fp32, which takes its room on the
/// disk beside `out` for that time, and asked for the probe's logits. `model` is loaded in float32, with `adapter`
/// (null: none) on it. ModelError for what llama.cpp cannot hold.
GgufResult merge_gguf(const models::LoadedModel& model, lora::Adapter* adapter, const std::filesystem::path& out,
                      formats::GgmlType type, const std::string& probe, core::ProgressObserver& progress);

}  // namespace lowrank::recipes
