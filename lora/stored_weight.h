// Where the files of a model keep what a module computes with.
#pragma once

#include <cstdint>
#include <string>

namespace lowrank::lora {

/// The tensors of a model's files that a module is made of: what a family says of it, and all that merging goes by.
struct StoredWeight {
  /// Their names; empty: the module's path with ".weight" and ".bias".
  std::string tensor = {}, bias = {};
  bool transposed = false;     // stored as [in, out]
  std::int64_t row_begin = 0;  // the module is the output rows [row_begin, row_begin + its own) of the tensor
  std::int64_t of_rows = -1;   // output rows of the tensor; -1: the module's own, which is all of it
};

}  // namespace lowrank::lora
