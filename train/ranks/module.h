// Parts of the program that are linked with a library of the machine's (MPI, NCCL), and loaded where that is needed.
#pragma once

#include <string>

namespace lowrank::train {

struct Module {
  const char* library;   // for people: "MPI"
  const char* file;      // "lowrank_mpi.so", beside the program or where an installation has it
  const char* variable;  // of the environment: its place instead
  bool global = false;   // what it brings is seen by libraries that are loaded later
};

/// Loads it. Null where there is none; IoError where it cannot be loaded, or lacks the symbol.
void* module_symbol(const Module& module, const char* symbol);
/// IoError where the module is of another build.
void require_version(const std::string& file, int found, int expected);

}  // namespace lowrank::train
