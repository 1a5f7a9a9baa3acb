// Parts of the program that are linked with a library of the machine's (MPI, NCCL, CUDA), and loaded where that is needed.
#pragma once

#include <string>

#include "lowrank/core/error.h"

namespace lowrank::core {

struct Module {
  const char* library;   // for people: "MPI"
  const char* file;      // "lowrank_mpi.so", beside the program or where an installation has it
  const char* variable;  // of the environment: its place instead
  bool global = false;   // what it brings is seen by libraries that are loaded later
};

/// Loads it; where it is. `symbol` is null where there is none; IoError where it cannot be loaded, or lacks the symbol.
struct LoadedSymbol {
  void* symbol = nullptr;
  std::string place;
};
LoadedSymbol module_symbol(const Module& module, const char* symbol);

/// What a module's entry gives: a struct that begins with its version. Null where there is no module; IoError where it cannot be loaded,
/// or is of another build.
template <typename Functions>
const Functions* loaded_module(const Module& module, const char* symbol, int version) {
  const LoadedSymbol loaded = module_symbol(module, symbol);
  if (loaded.symbol == nullptr) return nullptr;
  const Functions* functions = reinterpret_cast<const Functions* (*)()>(loaded.symbol)();
  if (functions->version != version)
    throw IoError(loaded.place + " is of another version of lowrank: build or install both together");
  return functions;
}

}  // namespace lowrank::core
