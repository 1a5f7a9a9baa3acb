// For what of the device the program waited.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/stack.h>

namespace test_device {

/// The operators so far for which the program waited: those whose results it read, and copies that were not left to the device.
std::vector<std::string> waits();

/// An operator is about to run; its arguments are the last on the stack. Noted where a GPU would have to end it, and all before it,
/// before the program goes on.
void note_wait(const std::string& name, const torch::jit::Stack& stack, std::size_t arguments);

/// The device's own work, which may read what it likes, while one of these lives on a thread.
class OwnWork {
 public:
  OwnWork();
  OwnWork(const OwnWork&) = delete;
  OwnWork& operator=(const OwnWork&) = delete;
  ~OwnWork();
};

}  // namespace test_device
