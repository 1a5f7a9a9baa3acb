#include "device/waits.h"

#include <ATen/core/Tensor.h>

#include <mutex>
#include <set>

namespace test_device {
namespace {

std::mutex mutex;
std::vector<std::string> so_far;
thread_local int own_work = 0;

// Results on which the program, or the size of a tensor, depends, copies from the device, and copies to it that are not to be made
// when it comes to them.
bool waited_for(const std::string& name, const torch::jit::Stack& stack, std::size_t arguments) {
  static const std::set<std::string> reads = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select",
                                              "aten::is_nonzero", "aten::_unique2", "aten::bincount"};
  if (name != "aten::copy_") return reads.contains(name);
  const auto argument = [&](std::size_t i) -> const c10::IValue& { return stack[stack.size() - arguments + i]; };
  const bool to = argument(0).toTensor().is_privateuseone(), from = argument(1).toTensor().is_privateuseone();
  TORCH_CHECK(to || !argument(2).toBool(), "test device: a copy to the CPU that is not waited for: what is read there may be anything");
  return !to || (!from && !argument(2).toBool());
}

}  // namespace

std::vector<std::string> waits() {
  const std::lock_guard lock(mutex);
  return so_far;
}

void note_wait(const std::string& name, const torch::jit::Stack& stack, std::size_t arguments) {
  if (own_work > 0 || !waited_for(name, stack, arguments)) return;
  const std::lock_guard lock(mutex);
  so_far.push_back(name);
}

OwnWork::OwnWork() { ++own_work; }
OwnWork::~OwnWork() { --own_work; }

}  // namespace test_device
