// A program of someone else's on LibTorch that needs one folder of lowrank only: numbers into a tensor and back.
#include <array>
#include <cstdio>

#include "lowrank/kernels/host.h"

int main() {
  const std::array<float, 4> numbers = {1, 2, 3, 4};
  const std::vector<double> back = lowrank::kernels::to_host<double>(
      lowrank::kernels::from_host<float>(numbers, {2, 2}).t());
  std::printf("consumer: %g %g %g %g\n", back[0], back[1], back[2], back[3]);
  return back == std::vector<double>{1, 3, 2, 4} ? 0 : 1;
}
