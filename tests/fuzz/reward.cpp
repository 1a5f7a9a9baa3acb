// What a reward program writes.
#include <cmath>

#include "fuzz.h"
#include "lowrank/train/reward_reply.h"

LOWRANK_FUZZ_TARGET(reward) {
  if (!std::isfinite(lowrank::train::score_of_reply(input, 1))) lowrank_fuzz::broken("a score that is not finite");
}
