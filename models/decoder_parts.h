// What a decoder is made of. Private to models/.
#pragma once

#include <memory>
#include <vector>

#include "lowrank/models/decoder.h"
#include "lowrank/models/description.h"

namespace lowrank::models {

struct DecoderImpl::Parts {
  std::vector<Modules> modules;  // of the embedding, each layer, the final norm, the head
  std::vector<Layer> layers;
  Norm norm;
  lora::LinearSlot projection;  // after the norm, or null
  std::unique_ptr<Head> head;
  std::unique_ptr<Embedding> embedding;
};

}  // namespace lowrank::models
