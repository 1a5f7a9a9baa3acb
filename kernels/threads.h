// The threads that compute, made while there is room for them.
#pragma once

namespace lowrank::kernels {

/// Makes OpenMP's threads. Call it once, from the thread that computes, before it does. std::bad_alloc where there is no room for their
/// stacks: OpenMP would end the process when it gets there. How long they wait awake for one another is the environment's
/// (GOMP_SPINCOUNT), which the run-time reads as it is loaded: apps/main.cpp.
void make_threads();

}  // namespace lowrank::kernels
