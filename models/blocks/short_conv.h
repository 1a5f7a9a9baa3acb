// A gated short convolution (LFM2): in_proj gives B, C and x of each token; out_proj(C · conv(B · x)).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "lowrank/models/blocks/mixer.h"

namespace lowrank::models {

struct ShortConvSpec : MixerSpec {
  std::int64_t taps = 3;
  bool bias = false;           // of the convolution and both linear layers
  std::string scope = "conv";  // of in_proj, conv, out_proj

  std::unique_ptr<Mixer> build(std::int64_t width, const Scope& layer) const override;
};

}  // namespace lowrank::models
