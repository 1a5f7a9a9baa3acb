// What every objective owes: recomputed, on other numbers of threads, or killed and resumed, a run leaves the same
// bytes.
#pragma once

#include <ATen/Parallel.h>

#include <exception>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "toy.h"

namespace lowrank_test {

struct Killed : std::exception {};

using Results = std::map<std::string, std::string>;
using ReadResults = std::function<Results(const std::filesystem::path&)>;

inline train::TrainOptions tiny_training() {
  train::TrainOptions options;
  options.lr = 1e-2;
  options.eval_every = 4;
  options.save_every = 3;
  keep_files_in_memory();
  return options;
}

/// Runs to each of the `kills`, ends there as a crash would, and resumes; the results must be the `expected` ones.
inline void check_resumes(const std::function<void(const std::filesystem::path& out, Recorder&, bool resume)>& run,
                          const std::vector<std::int64_t>& kills, const Results& expected,
                          const ReadResults& results = results_of) {
  for (const std::int64_t kill : kills) {
    INFO("killed after step " << kill);
    TempDir out;
    Recorder recorder;
    recorder.after_step = [&](std::int64_t step) {
      if (step == kill) throw Killed();
    };
    CHECK_THROWS_AS(run(out.path(), recorder, false), Killed);
    recorder.after_step = {};
    run(out.path(), recorder, true);
    CHECK(differing(results(out.path()), expected) == "");
  }
}

/// The whole of it for a `Tiny` that is made by Tiny(recompute) and holds an `objective` of 14 steps.
template <class Tiny>
void check_same_bytes(const ReadResults& results = results_of) {
  const auto whole_run = [&](bool recompute) {
    TempDir out;
    Recorder recorder;
    Tiny tiny(recompute);
    train::Trainer(*tiny.objective, tiny_training(), out.path(), {}).run(recorder);
    return results(out.path());
  };
  const Results expected = whole_run(false);
  CHECK(differing(whole_run(true), expected) == "");
  const int threads = at::get_num_threads();
  for (const int n : {1, 3}) {
    at::set_num_threads(n);
    CHECK(differing(whole_run(false), expected) == "");
  }
  at::set_num_threads(threads);
  check_resumes(
      [](const std::filesystem::path& out, Recorder& recorder, bool resume) {
        Tiny tiny(false);
        train::Trainer(*tiny.objective, tiny_training(), out, {}).run(recorder, resume);
      },
      {1, 5, 13}, expected, results);
}

}  // namespace lowrank_test
