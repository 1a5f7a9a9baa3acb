// Threads that share their cores with other programs.
#pragma once

namespace lowrank::kernels {

/// OpenMP's threads go to sleep soon when they wait for one another. GNU's run-time otherwise has them spin for up to a
/// millisecond at each of the thousands of barriers of a step, which makes a step many times slower as soon as another
/// program wants a core too. Nothing where the environment says how to wait (OMP_WAIT_POLICY, GOMP_SPINCOUNT). Call it
/// once, from the thread that computes, before it does. std::bad_alloc where there is no room for the threads' stacks:
/// OpenMP would end the process when it gets there.
void share_cores();

}  // namespace lowrank::kernels
