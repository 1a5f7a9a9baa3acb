#include "lowrank/kernels/failure.h"

#include <c10/util/Logging.h>

namespace lowrank::kernels {

void throw_when_memory_ends() { FLAGS_caffe2_use_fatal_for_enforce = false; }

}  // namespace lowrank::kernels
