// A run of a few steps on the assets' small Llama, for the tests of recipes to change.
#pragma once

#include "catch.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/train/search_space.h"

namespace lowrank_test {

/// The assets' small Llama.
inline std::string stories() { return (*assets() / "models" / "stories260K-hf").string(); }

/// Follows a run without a word.
struct Silent : lowrank::recipes::Observer {
  void note(const std::string&) override {}
};

/// Rates from 1e-4 to 1e-2, for a sweep.
inline lowrank::train::Dimension rates() {
  lowrank::train::Dimension lr;
  lr.name = "lr";
  lr.scale = lowrank::train::Dimension::Scale::kLog;
  lr.low = 1e-4;
  lr.high = 1e-2;
  return lr;
}

inline lowrank::recipes::FinetuneSpec small_spec(const fs::path& out) {
  lowrank::recipes::FinetuneSpec spec;
  spec.model = stories();
  spec.data.train_source = lowrank::recipes::texts({"Once upon a time there was a small boat.", "Tom had a red ball.",
                                                    "The sun was warm and the cat slept.", "Lily saw a big dog."});
  spec.data.val_split = 0;
  spec.data.seq_len = 64;
  spec.adapter.rank = 4;
  spec.train.batch_size = 2;
  spec.train.max_steps = 6;
  spec.run.save_every = 2;
  spec.samples = 1;
  spec.run.out = out.string();
  return spec;
}

}  // namespace lowrank_test
