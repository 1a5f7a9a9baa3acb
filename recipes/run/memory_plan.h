// What a training run takes of memory, before it takes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/memory.h"
#include "lowrank/models/load.h"
#include "lowrank/models/recompute.h"

namespace lowrank::recipes {

/// Bytes at the peak of a training step, by what they are for. `program` is measured: all that the process holds when
/// the plan is made (itself, LibTorch, the tokenized data) but weights and adapter.
struct MemoryPlan {
  std::uint64_t program = 0;
  std::uint64_t base = 0;         // weights where they lie, their files' pages too; codes
  std::uint64_t packed = 0;       // copies of them that are kept in another layout
  std::uint64_t adapter = 0;      // what is trained, fp32
  std::uint64_t optimiser = 0;    // its gradient and two moments
  std::uint64_t activations = 0;  // what the backward pass keeps
  std::uint64_t head = 0;         // a chunk of logits
  std::uint64_t workspace = 0;    // what a layer takes while it is computed
  std::uint64_t before = 0;       // the most that the process had until now, while the data was read
  std::uint64_t there = 0;        // of a step's bytes what the process holds already
  std::uint64_t mapped = 0;       // of what is to come pages of files

  /// All but `before`.
  std::uint64_t step() const;
  /// The peak of the run: a step's, or what reading took.
  std::uint64_t total() const;
  /// "2.31 GB: program 0.21, base 0.27, …" in GB or MB.
  std::string words() const;
  core::Json json() const;
};

/// What the process holds as plans are made. One measurement does for all of them: it takes the kernel longer than all that is
/// computed from it.
struct HeldMemory {
  std::uint64_t before = 0;                // of MemoryPlan
  std::optional<core::Resident> resident;  // none where the system does not say
};
HeldMemory held_memory(const models::LoadedModel* loaded);

/// What the plan is of.
struct PlannedStep {
  const models::DecoderImpl& decoder;
  const models::LoadedModel* loaded = nullptr;  // null: a random start, whose weights are its own memory
  std::int64_t tokens = 0;                      // of the largest micro-batch
  std::int64_t trainable = 0;                   // parameters
  bool whole = false;                           // they are the model's own
  models::Recompute recompute = false;
  HeldMemory held = {};
};
MemoryPlan memory_plan(const PlannedStep& step);

/// Bytes that a plan needs beyond its own where an address space or data segment is limited (`ulimit -v`, `-d`): what lies free
/// between the blocks of a heap counts there. 0 where neither is.
std::uint64_t heap_holes(const MemoryPlan& plan);

/// Whether a plan fits into what the machine, the control group and `ulimit` leave.
bool fits(const MemoryPlan& plan);
/// The fewest layers to compute again with which it fits (each takes time); all where it does not.
models::Recompute least_recompute(PlannedStep step);

/// The form of a base's linear layers that costs the least of its accuracy and leaves a fifth of the memory to training:
/// as stored, else int8, else nf4; and why, in words, where it is not as stored.
struct FormThatFits {
  kernels::BaseForm form = kernels::BaseForm::kAsStored;
  std::string words;
};
FormThatFits form_that_fits(const std::filesystem::path& model);

}  // namespace lowrank::recipes
