// An adapter as a GGUF file, for llama.cpp's --lora.
#pragma once

#include <ATen/core/ScalarType.h>

#include <filesystem>
#include <string>

#include "lowrank/lora/adapter.h"
#include "lowrank/lora/gguf_layout.h"

namespace lowrank::lora {

/// What the file says, for people.
struct GgufAdapter {
  std::int64_t modules = 0;
  double alpha = 0;            // adapter.lora.alpha: llama.cpp scales by alpha over a tensor's rank
  std::int64_t rescaled = 0;  // modules whose B carries what alpha over their rank does not say
};

/// A and B of every layer under llama.cpp's names, as `type` (kFloat, kHalf, kBFloat16), the rows of q and k in its
/// order where the architecture wants that; PiSSA and OLoRA as the plain LoRA of twice the rank that they are. One
/// alpha stands in the file: rsLoRA and patterns are folded into it, or into B where they differ between layers. An
/// activated LoRA's invocation stands there too, by which llama.cpp's server acts.
/// ModelError for what the format cannot hold: DoRA's magnitudes, trained copies, a layer that llama.cpp has under no
/// name of its own.
/// (Format: llama.cpp's convert_lora_to_gguf.py and its loader.)
GgufAdapter export_gguf(const Adapter& adapter, const GgufLayout& layout, at::ScalarType type, const std::string& name,
                        const std::filesystem::path& out);

}  // namespace lowrank::lora
