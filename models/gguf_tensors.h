// The tensors of a model as llama.cpp has them, made of those of its files, and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/formats/gguf.h"
#include "lowrank/formats/gguf_read.h"
#include "lowrank/lora/merge_plan.h"
#include "lowrank/models/decoder.h"

namespace lowrank::models {

/// Rows of a tensor of the model's files, counted as lora::merged_values counts them.
struct GgufPart {
  std::string stored;
  std::int64_t begin = 0, rows = 0;
  bool transposed = false;  // stored [in, out]: the rows are columns there
};

/// One tensor: rows of those of the files, one behind the other.
struct GgufSource {
  std::string name;
  std::vector<std::int64_t> shape;  // as in PyTorch
  std::vector<GgufPart> parts;
  std::int64_t heads = 0;  // whose rows [2, half] stand as [half, 2]; 0: none
  float added = 0;         // to every value: norms that multiply by 1 + w
  formats::GgmlType type = formats::GgmlType::kF32;
};

struct GgufTensors {
  std::vector<GgufSource> sources;
  std::vector<std::string> notes;  // tensors that are of another type than the one asked for, and why
};

/// Those of `decoder` under the names of its architecture, in `type` but for what llama.cpp wants in F32 (norms,
/// biases, routers, positions). Where rows are no whole blocks, F16. In a Q4_0 file the head (or the embedding that is
/// one) is Q8_0. ModelError for a part that the architecture has no tensor for.
GgufTensors gguf_tensors(const DecoderImpl& decoder, const lora::MergePlan& plan, formats::GgmlType type);

/// For write_gguf: values with the changes of `plan` (which must outlive the result) in them, some rows at a time.
/// ModelError where one is beyond its type. `wrote`: called with the values of each step.
formats::GgufTensor gguf_tensor(const GgufSource& source, const lora::MergePlan& plan,
                                const std::function<void(std::int64_t values)>& wrote);

/// A model.safetensors (F32) out of a GGUF file: every tensor of the files that `sources` are made of, with the values
/// that a reader of the GGUF file computes with, some rows at a time.
void write_back(const GgufTensors& tensors, const formats::GgufFile& file, const lora::MergePlan& plan,
                const std::filesystem::path& out, core::ProgressObserver* progress);

}  // namespace lowrank::models
