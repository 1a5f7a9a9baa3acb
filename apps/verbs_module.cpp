#include "lowrank/apps/verbs_module.h"

#include "lowrank/apps/console/standard_streams.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/kernels/failure.h"
#include "lowrank/kernels/tensor_memory.h"

extern "C" int lowrank_run_verb(int argc, char** argv, bool has_stdout) {
  lowrank::apps::set_has_stdout(has_stdout);
  lowrank::kernels::throw_when_memory_ends();
  lowrank::kernels::keep_tensor_memory();
  return lowrank::apps::checked_stdout(lowrank::apps::run(argc, argv));
}
