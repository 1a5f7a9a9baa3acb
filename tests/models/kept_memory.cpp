// What a forward pass keeps for the backward pass, in bytes, beside what the plan of a run's memory counts.
#include <c10/core/Allocator.h>

#include "lowrank/lora/adapter.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

// Counts what LibTorch's allocator holds of what it gave since.
class Allocated : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override { now_ += size; }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t now() const { return now_; }

 private:
  std::int64_t now_ = 0;
};

// Bytes that the graph of one document holds.
std::int64_t kept(models::Decoder& decoder, const lora::Adapter& adapter, std::int64_t tokens) {
  const auto counter = std::make_shared<Allocated>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
  const at::Tensor ids = (torch::arange(tokens) * 7) % decoder->config().vocab_size;
  const kernels::Segments segments = kernels::Segments::of_lengths({tokens});
  const std::int64_t before = counter->now();
  at::Tensor y = decoder->hidden(ids, segments, {});
  const std::int64_t held = counter->now() - before - static_cast<std::int64_t>(y.nbytes());
  y.sum().backward();
  clear_gradients(adapter);
  return held;
}

}  // namespace

TEST_CASE("a layer keeps for its backward pass what the plan of a run's memory counts", "[unit]") {
  for (const std::string& name : golden_cases()) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    const lora::Adapter adapter = lora::load_peft(decoder->slot_table(), golden.folder / "adapter");
    std::int64_t counted = 0;
    for (const std::int64_t layer : decoder->kept_by_layer()) counted += 4 * layer;
    constexpr std::int64_t kLeast = 16, kMore = 48;  // 64: as many positions as some of them have
    const double measured =
        static_cast<double>(kept(decoder, adapter, kLeast + kMore) - kept(decoder, adapter, kLeast)) / static_cast<double>(kMore);
    INFO(measured << " bytes a token are kept, " << counted << " are counted");
    // Outside of the layers: the last norm's input, tables of angles, Gemma 4's per-layer inputs; in them a number or two a
    // head for norms.
    const bool per_layer = name.rfind("gemma4", 0) == 0;
    const double outside = 4 * static_cast<double>(decoder->config().hidden_size + (per_layer ? 64 : 40));
    CHECK(measured <= 1.03 * static_cast<double>(counted) + outside);
    CHECK(measured >= 0.94 * static_cast<double>(counted));
  }
}
