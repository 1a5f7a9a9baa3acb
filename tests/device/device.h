// A device of the tests' own behind LibTorch's PrivateUse1 key: it computes what the CPU computes, by the CPU's own
// kernels, but in memory that nothing else may touch, and it refuses tensors of the CPU beside its own. So a program
// that runs on it reads no element behind the device's back and makes every tensor where it is used.
#pragma once

#include <c10/core/Device.h>

namespace test_device {

/// The device; an access of the program's to its memory is reported and aborts from here on.
c10::Device device();

/// How often its attention over streams of segments was asked for.
int flash_calls();

}  // namespace test_device
