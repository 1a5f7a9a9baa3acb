// LibTorch's allocator failing at its nth call, wherever that is: one error comes out, nothing that was saved is lost,
// and what is done again afterwards gives what it would have.
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <atomic>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/models/generate.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/merge.h"
#include "lowrank/recipes/run/memory.h"
#include "small_run.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// LibTorch's own, but for one call, which fails as its own does. In force while it lives.
class FailingAllocator : public c10::Allocator {
 public:
  explicit FailingAllocator(std::int64_t fails_at) : own_(c10::GetCPUAllocator()), left_(fails_at) {
    c10::SetCPUAllocator(this, 255);
  }
  ~FailingAllocator() override { c10::SetCPUAllocator(own_, 255); }
  c10::DataPtr allocate(std::size_t bytes) override {
    ++calls_;
    TORCH_CHECK(--left_ != 0, "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes, " bytes.");
    return own_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return own_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { own_->copy_data(to, from, bytes); }
  std::int64_t calls() const { return calls_; }

 private:
  c10::Allocator* own_;
  std::atomic<std::int64_t> left_, calls_{0};
};

/// What an action did with the nth allocation failing.
enum class End { kDone, kNoMemory, kOther };

template <class Act>
End with_failure(std::int64_t at, const Act& act, std::string& what) {
  const FailingAllocator failing(at);
  try {
    act();
    return End::kDone;
  } catch (const c10::Error& error) {
    what = error.what_without_backtrace();
    return what.find("allocate memory") != std::string::npos ? End::kNoMemory : End::kOther;
  } catch (const std::exception& error) {
    what = error.what();
    return End::kOther;
  }
}

template <class Act>
std::int64_t allocations(const Act& act) {
  const FailingAllocator counting(INT64_MAX);
  act();
  return counting.calls();
}

recipes::FinetuneSpec run_of(const fs::path& out, bool resume) {
  recipes::FinetuneSpec spec = small_spec(out);
  spec.train.max_steps = 4;
  spec.run.threads = 2;
  spec.samples = 0;
  spec.run.resume = resume;
  return spec;
}

void train_into(const fs::path& out, bool resume = false) {
  recipes::Observer observer;
  recipes::finetune(run_of(out, resume), observer);
}

std::string adapter_of(const fs::path& out) { return read_text(out / "adapter_model.safetensors"); }

}  // namespace

TEST_CASE("memory that runs out at any allocation of a training loses nothing", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  train_into(dir / "whole");
  const std::string whole = adapter_of(dir / "whole");
  const std::int64_t all = allocations([&] { train_into(dir / "counted"); });
  REQUIRE(all > 100);
  int failed = 0;
  constexpr std::int64_t kPlaces = 12;
  for (std::int64_t i = 0; i <= kPlaces; ++i) {
    const std::int64_t at = 1 + i * (all - 1) / kPlaces;
    const fs::path out = dir / std::to_string(at);
    std::string what;
    const End end = with_failure(at, [&] { train_into(out); }, what);
    CAPTURE(at, all, what);
    CHECK(end != End::kOther);
    failed += end == End::kNoMemory;
    if (end == End::kNoMemory) train_into(out, true);
    CHECK(adapter_of(out) == whole);
    for (const auto& entry : fs::directory_iterator(out)) CHECK(entry.path().filename().string().find(".tmp-") == std::string::npos);
  }
  CHECK(failed > kPlaces / 2);
}

TEST_CASE("memory that runs out while a model is read or answers, or a merge is written, leaves nothing half done", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const std::string model = (*assets() / "models" / "stories260K-hf").string();
  train_into(dir / "run");
  const auto answer = [&] {
    models::LoadedModel loaded = models::load(model, {});
    models::GenerateOptions options;
    options.max_new_tokens = 4;
    return models::generate(*loaded.decoder, *loaded.tokenizer, loaded.tokenizer->encode("Once upon"), options).text;
  };
  const std::string said = answer();
  const std::int64_t all = allocations(answer);
  for (std::int64_t at = 1; at <= all; at += 1 + all / 60) {
    std::string what, text;
    const End end = with_failure(at, [&] { text = answer(); }, what);
    CAPTURE(at, what);
    CHECK(end != End::kOther);
    if (end == End::kDone) CHECK(text == said);
  }
  CHECK(answer() == said);

  const auto merge = [&](const fs::path& out) {
    const models::LoadedModel loaded = models::load(model, {recipes::dtype_of_files(model)});
    lora::Adapter adapter = lora::load_peft(loaded.decoder->slot_table(), dir / "run");
    core::ProgressObserver progress;
    recipes::merge(loaded, adapter, out, "Once upon a time", progress);
  };
  const std::int64_t merging = allocations([&] { merge(dir / "merged"); });
  for (std::int64_t at = 1; at <= merging; at += 1 + merging / 30) {
    const fs::path out = dir / ("merged" + std::to_string(at));
    std::string what;
    const End end = with_failure(at, [&] { merge(out); }, what);
    CAPTURE(at, merging, what);
    CHECK(end != End::kOther);
    CHECK(fs::exists(out) == (end == End::kDone));
  }
}

TEST_CASE("what cannot fit is refused by name, with the way out", "[unit]") {
  CHECK_NOTHROW(recipes::refuse_beyond_memory(1 << 20, "a megabyte", "wait"));
  try {
    recipes::refuse_beyond_memory(std::uint64_t{1} << 50, "the activations", "lower `batch-size`");
    FAIL("not refused");
  } catch (const IoError& error) {
    const std::string what = error.what();
    CHECK(what.find("the activations take about 1.1 PB") != std::string::npos);
    CHECK(what.find("lower `batch-size`") != std::string::npos);
  }
}
