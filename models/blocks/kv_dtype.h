// In which form a cache keeps keys and values.
#pragma once

#include <cstdint>

namespace lowrank::models {

enum class KvDtype : std::int8_t {
  kAuto,      // as the model computes
  kBFloat16,  // rounded to it
  kInt8,      // of each token and head codes round(127 x / max |x|) and that maximum in fp32; a layer's are decoded as it is read
};

}  // namespace lowrank::models
