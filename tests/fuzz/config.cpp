// config.json of a model: what is accepted is written so that it reads the same.
#include "fuzz.h"
#include "lowrank/core/json.h"
#include "lowrank/models/config.h"

using namespace lowrank;

LOWRANK_FUZZ_TARGET(config) {
  const core::Json json = core::parse_json(input, "config.json");
  const models::DecoderConfig config = models::parse_config(core::JsonView(json, "config.json"));
  if (config.vocab_size < 1 || config.hidden_size < 1 || config.layers < 1) lowrank_fuzz::broken("a model of nothing");
}
