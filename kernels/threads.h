// The threads that compute, made while there is room for them.
#pragma once

namespace lowrank::kernels {

/// Makes OpenMP's threads. Call it once, from the thread that computes, before it does. std::bad_alloc where there is no room for their
/// stacks: OpenMP would end the process when it gets there. How long they wait awake for one another is the environment's
/// (GOMP_SPINCOUNT), which the run-time reads as it is loaded: apps/main.cpp.
void make_threads();

/// Has MKL's vector functions find out what CPU this is: once, at the first call, which is to be made before several threads compute. Where
/// the first calls of two threads meet, one of them gets cosines with errors of 1e-4 (the MKL in LibTorch 2.13; about one start in 300).
void prepare_vector_functions();

}  // namespace lowrank::kernels
