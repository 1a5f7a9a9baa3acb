// Where tensors have their memory.
#pragma once

namespace lowrank::kernels {

/// Tensors of the CPU from malloc, aligned here. LibTorch takes them from posix_memalign, which before glibc 2.38 asks the heap for
/// more than it gives: what one tensor gave back does not fit the next of the same size, and a heap that is kept (core::keep_heap)
/// has a sixth of a training step's memory in such holes. For a program's main, before the first tensor; embedders decide.
void keep_tensor_memory();

}  // namespace lowrank::kernels
