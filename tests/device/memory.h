// The memory of the tests' own device: pages that no code may touch but one of the device's kernels while it runs.
#pragma once

#include <c10/core/Allocator.h>

#include <vector>

namespace test_device {

/// The allocator of LibTorch's PrivateUse1 device: whole pages, closed to reads and writes; an address is never used
/// again, so that what is freed stays closed.
c10::Allocator& allocator();

/// Installs, where it is not, the handler that names an access of the program's to these pages, prints where it came
/// from and aborts. Catch2 installs its own at each test case, so each asks again.
void report_touches();

/// The operator that the report names: the last that the device began. The text must outlive the program's use of it.
void note_operator(const char* name);

/// Blocks of this memory, open to the CPU while one of these lives.
class Opening {
 public:
  Opening() = default;
  Opening(const Opening&) = delete;
  Opening& operator=(const Opening&) = delete;
  ~Opening();

  /// Opens the block that this address lies in; null is in none.
  void add(const void* address);

 private:
  std::vector<const void*> blocks_;
};

}  // namespace test_device
