#include "lowrank/kernels/gemm/micro.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

// Beyond these two, instruction sets change nothing here. What has no fixed width of a vector is left out.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lowrank/kernels/gemm/micro.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "lowrank/kernels/gemm/micro_tile.h"
#include "lowrank/kernels/gemm/micro_dots.h"

HWY_BEFORE_NAMESPACE();
namespace lowrank::kernels::gemm {
namespace HWY_NAMESPACE {

inline const MicroKernel* kernel_table() {
#if HWY_TARGET == HWY_AVX3
  constexpr InstructionSet set = InstructionSet::kAvx512;
#elif HWY_TARGET == HWY_AVX2
  constexpr InstructionSet set = InstructionSet::kAvx2;
#else
  constexpr InstructionSet set = InstructionSet::kBaseline;
#endif
  static constexpr MicroKernel table{set, kRows, kColumns, kLanes, tile, pack, dots, round_row,
                                     multiply_adds};
  return &table;
}

}  // namespace HWY_NAMESPACE
}  // namespace lowrank::kernels::gemm
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <atomic>
#include <string>

#include "lowrank/core/error.h"

namespace lowrank::kernels::gemm {

HWY_EXPORT(kernel_table);

namespace {

// The kernels of each set, as Highway chooses them when it is told that the CPU has no more.
struct Tables {
  const MicroKernel* by_set[4] = {};
  InstructionSet widest = InstructionSet::kBaseline;

  Tables() {
    for (const InstructionSet set : {InstructionSet::kAvx512, InstructionSet::kAvx2, InstructionSet::kBaseline}) {
      std::int64_t without = 0;
      if (set != InstructionSet::kAvx512) without |= HWY_AVX3;
      if (set == InstructionSet::kBaseline) without |= HWY_AVX2;
      hwy::DisableTargets(0);
      hwy::SetSupportedTargetsForTest(0);
      const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS & ~without;
      hwy::SetSupportedTargetsForTest(targets != 0 ? targets : HWY_STATIC_TARGET);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      const MicroKernel* const table = HWY_DYNAMIC_DISPATCH(kernel_table)();
      if (table->set == set) by_set[static_cast<int>(set)] = table;
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
    for (const InstructionSet set : {InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
      if (by_set[static_cast<int>(set)] != nullptr) widest = set;
    }
    by_set[0] = by_set[static_cast<int>(widest)];
  }
};

const Tables& tables() {
  static const Tables all;
  return all;
}

InstructionSet asked_for() {
  const char* const text = std::getenv("LOWRANK_INSTRUCTION_SET");
  if (text == nullptr || *text == '\0') return InstructionSet::kDetected;
  if (std::strcmp(text, "amx") == 0 || std::strcmp(text, "avx512_bf16") == 0) return InstructionSet::kAvx512;  // gemm/bf16_kernel.h's
  for (const InstructionSet set : {InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
    if (std::strcmp(text, name(set)) == 0) {
      if (has_instruction_set(set)) return set;
      throw InternalError("LOWRANK_INSTRUCTION_SET is " + std::string(text) + ", which this CPU does not have");
    }
  }
  throw InternalError("LOWRANK_INSTRUCTION_SET is " + std::string(text) + "; baseline, avx2, avx512, avx512_bf16 or amx is expected");
}

std::atomic<const MicroKernel*>& in_force() {
  static std::atomic<const MicroKernel*> kernel{tables().by_set[static_cast<int>(asked_for())]};
  return kernel;
}

}  // namespace

const char* name(InstructionSet set) {
  switch (set) {
    case InstructionSet::kDetected:
      return "detected";
    case InstructionSet::kBaseline:
      return "baseline";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kAvx512:
      return "avx512";
  }
  return "?";
}

InstructionSet widest_instruction_set() { return tables().widest; }

bool has_instruction_set(InstructionSet set) { return tables().by_set[static_cast<int>(set)] != nullptr; }

InstructionSet instruction_set() { return micro_kernel().set; }

void force_instruction_set(InstructionSet set) {
  if (!has_instruction_set(set)) {
    throw InternalError("kernels::gemm: this CPU does not have the instruction set " + std::string(name(set)));
  }
  in_force().store(tables().by_set[static_cast<int>(set)], std::memory_order_relaxed);
}

const MicroKernel& micro_kernel() { return *in_force().load(std::memory_order_relaxed); }

}  // namespace lowrank::kernels::gemm

#endif  // HWY_ONCE
