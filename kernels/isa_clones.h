// One loop, compiled once per instruction set and chosen at load: for the elementwise loops of this folder. The bytes of a
// result depend on the CPU's capability (contraction of multiply and add) and on nothing else of the machine.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define LOWRANK_ISA_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LOWRANK_ISA_CLONES
#endif
#define LOWRANK_INLINE __attribute__((always_inline)) inline
