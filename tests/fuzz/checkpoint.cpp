// A checkpoint's folder, as folder_with() has it: its manifest, and, whatever that says (whoever alters a state makes the
// hashes anew), its state.
#include "fuzz.h"
#include "lowrank/train/checkpoint_state.h"
#include "lowrank/train/manifest.h"

using namespace lowrank;

LOWRANK_FUZZ_TARGET(checkpoint) {
  const std::filesystem::path folder = lowrank_fuzz::folder_with("checkpoint-4", input);
  (void)train::manifest_fault(folder, 4, {"trainer_state.json"});
  const train::CheckpointState state = train::read_checkpoint_state(folder);
  if (state.step != 4 || state.tokens < 0 || state.metrics_bytes < 0) lowrank_fuzz::broken("a state that cannot be");
}
