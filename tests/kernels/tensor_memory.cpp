#include "lowrank/kernels/tensor_memory.h"

#include <c10/core/CPUAllocator.h>

#include <vector>

#include "support.h"

namespace k = lowrank::kernels;

TEST_CASE("what a tensor gave back fits the next of its size", "[unit]") {
  struct Kept {
    Kept() { k::keep_tensor_memory(); }
    ~Kept() { c10::SetCPUAllocator(c10::GetDefaultCPUAllocator()); }
  } const kept;
  const auto address = [](const at::Tensor& t) { return reinterpret_cast<std::uintptr_t>(t.const_data_ptr()); };
  for (const std::int64_t bytes : {1, 63, 64, 65, 1000, 90'000, 5'000'000}) {
    const at::Tensor t = at::ones({bytes}, at::kByte);
    CHECK(address(t) % 64 == 0);
    CHECK(t.sum().item<std::int64_t>() == bytes);
  }
  // Neighbours on both sides stay, so that nothing can be joined: at least once the holes that other tests left are filled.
  std::vector<at::Tensor> stay;
  int reused = 0;
  for (int i = 0; i < 20; ++i) {
    stay.push_back(at::ones({90'001}, at::kByte));
    at::Tensor freed = at::ones({90'002}, at::kByte);
    stay.push_back(at::ones({90'003}, at::kByte));
    const auto place = address(freed);
    freed = at::Tensor();
    stay.push_back(at::ones({90'002}, at::kByte));
    if (address(stay.back()) == place) ++reused;
  }
  CHECK(reused >= 10);
  CHECK(stay[0].resize_({200'000}).size(0) == 200'000);
  CHECK(at::empty({0}).numel() == 0);
  CHECK_THROWS_WITH(at::empty({std::int64_t{1} << 60}, at::kByte), Catch::Matchers::Contains("can't allocate memory"));
}
