// A run that is cancelled from C++ and gone on with: the adapter is the one of a run that nobody stopped, byte for byte.
//   lowrank-resume MODEL OUT
#include <cstdio>
#include <exception>

#include "lowrank/lowrank.h"

namespace {

namespace fs = std::filesystem;
using lowrank::recipes::RunResult;

/// Any thread may call stop(): a signal handler, a window's button. Here the run stops itself after step 4.
struct Cancels : lowrank::recipes::Observer {
  void on_step(const lowrank::train::StepMetrics& step) override {
    if (step.step == 4) stop();
  }
};

lowrank::recipes::FinetuneSpec spec_for(const char* model, const fs::path& out) {
  lowrank::recipes::FinetuneSpec spec;
  spec.model = model;
  spec.data.train_source = lowrank::recipes::texts({"The fresco was painted on wet plaster.", "Panels are of poplar.",
                                                    "The canvas was painted in oil.", "Gold leaf lies on red bole."});
  spec.data.val_split = 0;
  spec.data.seq_len = 64;
  spec.adapter.rank = 4;
  spec.train.batch_size = 2;
  spec.train.max_steps = 10;
  spec.run.out = out.string();
  return spec;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: lowrank-resume MODEL OUT\n"), 2;
  const fs::path out = argv[2];
  auto spec = spec_for(argv[1], out / "cancelled");
  Cancels cancels;
  const auto first = lowrank::recipes::finetune(spec, cancels);
  std::printf("cancelled after step %lld\n", static_cast<long long>(first.training->steps));

  spec.run.resume = true;
  lowrank::recipes::Observer quiet;
  const auto second = lowrank::recipes::finetune(spec, quiet);
  std::printf("went on to step %lld\n", static_cast<long long>(second.training->steps));

  lowrank::recipes::finetune(spec_for(argv[1], out / "whole"), quiet);
  const bool same = lowrank::core::sha256_file(out / "cancelled" / "adapter_model.safetensors") ==
                    lowrank::core::sha256_file(out / "whole" / "adapter_model.safetensors");
  std::printf("%s\n", same ? "the same bytes as a run that was not cancelled" : "DIFFERENT BYTES");
  return first.state == RunResult::State::kStopped && same ? 0 : 1;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "lowrank-resume: %s\n", error.what()), 1;
}
