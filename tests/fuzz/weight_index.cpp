// model.safetensors.index.json: no shard's name leads out of the folder.
#include "fuzz.h"
#include "lowrank/formats/weight_index.h"

LOWRANK_FUZZ_TARGET(weight_index) {
  for (const auto& [tensor, shard] : lowrank::formats::parse_weight_index(input, "model.safetensors.index.json")) {
    if (shard.empty() || shard == "." || shard == ".." || shard.find('/') != std::string::npos) {
      lowrank_fuzz::broken("a shard called '" + shard + "'");
    }
  }
}
