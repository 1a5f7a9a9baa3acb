// How LibTorch fails.
#pragma once

namespace lowrank::kernels {

/// LibTorch's allocator throws c10::Error when it gets no memory, instead of ending the process. models::load does
/// this; a program that makes tensors without it may.
///
/// libsentencepiece has a FLAGS_minloglevel too, an object of 24 bytes; the dynamic linker gives both libraries the
/// same one, of 4 bytes, in libc10. The object's constructor then writes over what lies behind it: a flag of libc10
/// that says whether failures abort, which nobody set.
void throw_when_memory_ends();

}  // namespace lowrank::kernels
