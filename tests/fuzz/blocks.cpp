// In the runner, what the blocks of a config are built by in a model: nothing that reads a config builds one.
#include "fuzz.h"
#include "lowrank/models/blocks/attention.h"
#include "lowrank/models/blocks/gated_delta.h"
#include "lowrank/models/blocks/parallel_experts.h"
#include "lowrank/models/blocks/short_conv.h"

namespace lowrank::models {

#define LOWRANK_NEVER_BUILT(spec, block) \
  std::unique_ptr<block> spec::build(std::int64_t, const Scope&) const { lowrank_fuzz::broken("a reader builds a block"); }

LOWRANK_NEVER_BUILT(AttentionSpec, Mixer)
LOWRANK_NEVER_BUILT(GatedDeltaSpec, Mixer)
LOWRANK_NEVER_BUILT(ShortConvSpec, Mixer)
LOWRANK_NEVER_BUILT(DenseMlpSpec, Mlp)
LOWRANK_NEVER_BUILT(ExpertsMlpSpec, Mlp)
LOWRANK_NEVER_BUILT(ParallelExpertsSpec, Mlp)

}  // namespace lowrank::models
