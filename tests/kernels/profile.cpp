#include "lowrank/kernels/profile.h"

#include <sys/mman.h>

#include "lowrank/core/error.h"
#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

TEST_CASE("a stretch around ops has the process's CPU time and page faults", "[unit]") {
  constexpr std::size_t kPages = 64, kPage = 4096;
  std::vector<k::ProfileEvent> events;
  {
    const k::Profile profile;
    {
      const k::ProfileScope quiet("quiet", 0, 0, /*around=*/true);
    }
    {
      const k::ProfileScope step("step", 0, 0, /*around=*/true);
      void* const memory = ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      REQUIRE(memory != MAP_FAILED);
      ::madvise(memory, kPages * kPage, MADV_NOHUGEPAGE);
      for (std::size_t i = 0; i < kPages; ++i) static_cast<volatile char*>(memory)[i * kPage] = 1;
      k::measured_flops(1);
      ::munmap(memory, kPages * kPage);
    }
    events = profile.events();
  }
  REQUIRE(events.size() == 2);
  CHECK(events[1].page_faults >= static_cast<std::int64_t>(kPages));
  CHECK(events[0].page_faults < static_cast<std::int64_t>(kPages));
  CHECK(events[1].cpu_seconds > 0.01);
}

TEST_CASE("a profile has the ops of the time in which it records, with what they computed", "[unit]") {
  const at::Tensor x = random({64, 32}).requires_grad_(), w = random({48, 32});
  const auto pass = [&] { k::lora_linear(x, k::BaseWeight::dense(w), {}, nullptr).sum().backward(); };
  pass();
  std::vector<k::ProfileEvent> events;
  {
    const k::Profile profile;
    {
      const k::ProfileScope step("step", 0, 0, /*around=*/true);
      pass();
    }
    CHECK_THROWS_AS(k::Profile(), lowrank::InternalError);
    events = profile.events();
  }
  pass();
  REQUIRE(events.size() == 3);
  CHECK(std::string(events[0].op) == "linear");
  CHECK(events[0].flops == 2.0 * 64 * 32 * 48);
  CHECK(events[0].bytes == 4.0 * (64 * (32 + 48) + 32 * 48));
  CHECK(std::string(events[1].op) == "linear backward");
  CHECK(events[1].flops == 2.0 * 64 * 32 * 48);
  CHECK(std::string(events[2].op) == "step");
  CHECK(events[2].begin <= events[0].begin);
  CHECK(events[2].seconds >= events[0].seconds + events[1].seconds);
  CHECK(k::measured_flops(1) > 1e8);
}

TEST_CASE("what an op computes, reads and writes is counted by its shapes", "[unit]") {
  const at::Tensor x = random({6, 32}).requires_grad_(), gate = random({6, 32}).requires_grad_();
  const at::Tensor q = random({6, 4, 8}).requires_grad_(), keys = random({6, 2, 8}).requires_grad_(), values = random({6, 2, 8}).requires_grad_();
  std::vector<k::ProfileEvent> events;
  {
    const k::Profile profile;
    k::rms_norm(x, torch::ones({32}), 1e-5).sum().backward();
    k::swiglu(gate, x).sum().backward();
    k::attention(q, keys, values, k::Segments::of_lengths({6}), {}).sum().backward();
    events = profile.events();
  }
  const auto of = [&](const std::string& op) {
    for (const k::ProfileEvent& event : events)
      if (event.op == op) return std::pair(event.flops, event.bytes);
    FAIL("no " << op);
    return std::pair(0.0, 0.0);
  };
  const double bytes = 4.0 * 6 * 32, pairs = 6 * 7 / 2;
  CHECK(of("rms_norm") == std::pair(0.0, 2 * bytes));
  CHECK(of("swiglu") == std::pair(0.0, 3 * bytes));
  CHECK(of("swiglu backward") == std::pair(0.0, 5 * bytes));
  CHECK(of("attention") == std::pair(2 * pairs * 4 * (8 + 8), 2 * bytes));
  CHECK(of("attention backward") == std::pair(2 * pairs * 4 * (3 * 8 + 2 * 8), 4 * bytes + 4 * bytes / 2));
}
