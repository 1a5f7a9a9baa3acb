// Work split by whole rows in chunks of a fixed size, so that a result depends on the data and never on the number of
// threads: LibTorch's own elementwise and reduction kernels do depend on it at odd widths.
#pragma once

#include <cstdint>
#include <functional>

namespace lowrank::kernels {

/// Calls f(begin, end) for every chunk of `chunk` rows of [0, rows), in parallel (at::parallel_for). Inside f, ATen
/// and MKL run single-threaded, nothing is recorded and the caller's runtime is in force. Chunks are the same whatever
/// the number of threads, and so is what is thrown: the first chunk's that threw.
void for_row_chunks(std::int64_t rows, std::int64_t chunk, const std::function<void(std::int64_t, std::int64_t)>& f);

}  // namespace lowrank::kernels
