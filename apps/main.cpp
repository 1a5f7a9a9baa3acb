#include "lowrank/apps/verbs.h"
#include "lowrank/core/files.h"
#include "lowrank/kernels/threads.h"

int main(int argc, char** argv) {
  lowrank::core::keep_heap();  // before the first tensor: a third of a step would be page faults
  lowrank::kernels::share_cores();
  return lowrank::apps::run(argc, argv);
}
