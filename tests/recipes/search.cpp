// Searches on which ranks work together: who hears of a trial, what it comes to, and how it ends.
#include <chrono>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/recipes/search/ledger.h"
#include "lowrank/recipes/search/sweep.h"
#include "lowrank/train/study/database.h"
#include "small_run.h"
#include "train/memory_ranks.h"
#include "train/message.h"

using namespace lowrank;
using namespace lowrank_test;
using train::Claim;
using train::Trial;

namespace {

std::unique_ptr<recipes::Ledger> list_of_rates() {
  return recipes::list_of_trials({}, [](std::int64_t number, const std::vector<Trial>&) {
    const core::Json targets = core::Json::array({"q_proj", "v_proj"});
    return std::optional(train::Assignment{{"lr", 0.5 * static_cast<double>(number)}, {"targets", targets}});
  });
}

/// A ledger whose trial has been given to another process.
struct TakenAway : recipes::Ledger {
  train::Next next(std::int64_t) override { return {Claim{7, 3, {{"lr", 1.5}}, true}, {}}; }
  const std::vector<Trial>& ended() const override { return none; }
  std::vector<Trial> rivals(const Claim&) override { return {}; }
  void end(const Claim&, Trial) override { throw recipes::TrialTaken(); }
  std::vector<Trial> none;
};

Trial result_of(const Claim& claim, std::optional<double> value) {
  Trial trial;
  trial.number = claim.number;
  trial.options = claim.options;
  trial.value = value;
  trial.rungs = {{2, 0.1}};
  return trial;
}

recipes::SweepSpec small_sweep(const fs::path& out) {
  recipes::SweepSpec spec;
  spec.finetune = lowrank_test::small_spec(out);
  std::vector<std::string> texts;
  for (int i = 0; i < 30; ++i) texts.push_back("Once upon a time there was a boat with " + std::to_string(i) + " red sails.");
  spec.finetune.data.train_source = recipes::texts(texts);
  spec.finetune.data.val_split = 0.2;
  spec.finetune.run.dtype = "float32";
  spec.finetune.train.eval_every = 2;
  spec.space = {rates()};
  spec.trials = 3;
  spec.sampler = "random";
  return spec;
}

struct RankWatcher : recipes::SweepObserver {
  explicit RankWatcher(train::GradSync* its_ranks = nullptr) : sync(its_ranks) {}
  train::GradSync* ranks() override { return sync; }
  void note(const std::string& text) override { notes.push_back(text); }
  void on_sweep(const train::SearchSpace&, std::int64_t) override {
    if (stops_at_start) stop(15);
  }
  void on_trial_progress(const recipes::TrialProgress& progress) override {
    if (on_progress) on_progress(progress);
  }
  train::GradSync* sync;
  bool stops_at_start = false;
  std::function<void(const recipes::TrialProgress&)> on_progress;
  std::vector<std::string> notes;
};

/// What one process comes to that takes as much a step as `ranks` of them.
recipes::SweepResult alone(recipes::SweepSpec spec, const fs::path& out, int ranks) {
  spec.finetune.run.out = out.string();
  spec.finetune.train.grad_accum = ranks;
  RankWatcher watcher;
  return recipes::sweep(spec, watcher);
}

void check_same(const std::vector<Trial>& found, const std::vector<Trial>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].options == expected[i].options);
    CHECK(found[i].state == expected[i].state);
    REQUIRE(found[i].value);
    CHECK(*found[i].value == Approx(*expected[i].value).epsilon(1e-5));
  }
}

}  // namespace

TEST_CASE("ranks that work on a trial together hear of it from the first", "[unit]") {
  std::array<std::vector<train::Next>, 3> heard;
  std::array<std::vector<Trial>, 3> ended;
  on_ranks(3, [&](train::GradSync& sync) {
    const auto rank = static_cast<std::size_t>(sync.rank());
    const auto ledger = recipes::ledger_of_ranks(sync, rank == 0 ? list_of_rates() : nullptr);
    for (;;) {
      heard[rank].push_back(ledger->next(2));
      if (!heard[rank].back().claim) break;
      const Claim& claim = *heard[rank].back().claim;
      ledger->report(claim, 1, 0.5, {});
      ledger->end(claim, result_of(claim, rank == 0 ? std::optional(0.1 + static_cast<double>(claim.number)) : std::nullopt));
    }
    ended[rank] = ledger->ended();
  });
  for (std::size_t rank = 0; rank < 3; ++rank) {
    REQUIRE(heard[rank].size() == 3);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(heard[rank][i].claim->number == static_cast<std::int64_t>(i));
      CHECK(heard[rank][i].claim->options == heard[0][i].claim->options);
    }
    REQUIRE(ended[rank].size() == 2);
    CHECK(ended[rank][1].value == 1.1);  // of the first
    CHECK(ended[rank][1].options == heard[0][1].claim->options);
    CHECK(ended[rank][1].rungs == ended[0][1].rungs);
  }
}

TEST_CASE("a trial that was given away is lost for all ranks, and one rank's own error is no trial's", "[unit]") {
  std::array<std::string, 2> taken, elsewhere, failed;
  on_ranks(2, [&](train::GradSync& sync) {
    const auto rank = static_cast<std::size_t>(sync.rank());
    const auto ledger = recipes::ledger_of_ranks(sync, rank == 0 ? std::make_unique<TakenAway>() : nullptr);
    const Claim claim = *ledger->next(9).claim;
    if (claim.id != 7 || claim.number != 3 || !claim.again) throw InternalError("another claim came");
    taken[rank] = message_of<recipes::TrialTaken>([&] { ledger->end(claim, result_of(claim, 1.0)); });
    if (rank == 1) {  // still in a step
      sync.gather("totals");
      sync.gather("totals");
      return;
    }
    elsewhere[0] = message_of<InternalError>([&] { ledger->end(claim, result_of(claim, 1.0)); });
    Trial trial = result_of(claim, std::nullopt);
    trial.state = Trial::State::kFailed;
    trial.reason = "row 7 is a riddle";
    failed[0] = message_of<DataError>([&] { ledger->end(claim, trial); });
  });
  for (const std::string& message : taken) CHECK(message == "the trial was given to another process");
  CHECK(elsewhere[0] == "rank 1 is at another place of the search than rank 0");
  CHECK(failed[0] == "row 7 is a riddle");
}

TEST_CASE("ranks-per-trial needs as many ranks, and a study", "[unit]") {
  recipes::StudySpec spec;
  const auto refusal = [&](int ranks) {
    std::string message;
    on_ranks(ranks, [&](train::GradSync& sync) {
      recipes::StudySpec own = spec;
      const std::string refused = message_of<ConfigError>([&] { check(own, recipes::fields_of(own), sync); });
      if (sync.rank() == 0) message = refused;
    });
    return message;
  };
  CHECK(refusal(1).empty());
  CHECK(refusal(2).empty());  // runs one after the other, on all ranks
  spec.ranks_per_trial = 2;
  CHECK(contains(refusal(1), "`ranks-per-trial`: 2 ranks are to work on each trial together, and this process is alone"));
  CHECK(contains(refusal(1), "start 2 or a multiple of that: with mpirun, srun or torchrun"));
  CHECK(refusal(2) == "`ranks-per-trial`: goes with `storage`");
  spec.storage = "sqlite:///study.db";
  CHECK(refusal(2).empty());
  CHECK(refusal(3) == "`ranks-per-trial`: is 2, and 3 ranks are to work on each trial together");
}

TEST_CASE("a sweep on ranks that work together has the losses of one process", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::SweepSpec spec = small_sweep(folder / "two");
  spec.pruner = "asha";
  std::array<recipes::SweepResult, 2> results;
  on_ranks(2, [&](train::GradSync& sync) {
    RankWatcher watcher(&sync);
    results[static_cast<std::size_t>(sync.rank())] = recipes::sweep(spec, watcher);
  });
  const recipes::SweepResult one = alone(spec, folder / "one", 2);
  check_same(results[0].trials, one.trials);
  check_same(results[1].trials, one.trials);
  CHECK(contains(results[0].best["command"].get<std::string>(), "--grad-accum 2"));
  CHECK(fs::exists(folder / "two" / "report.html"));
}

TEST_CASE("a signal to one rank stops the trial on all, which goes on afterwards", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::SweepSpec spec = small_sweep(folder / "two");
  const auto both = [&](int stopped) {
    std::array<recipes::SweepResult, 2> results;
    on_ranks(2, [&](train::GradSync& sync) {
      RankWatcher watcher(&sync);
      watcher.stops_at_start = sync.rank() == stopped;
      results[static_cast<std::size_t>(sync.rank())] = recipes::sweep(spec, watcher);
    });
    return results;
  };
  for (const int who : {1, 0}) {
    for (const recipes::SweepResult& result : both(who)) {
      CHECK(result.state == recipes::RunResult::State::kStopped);
      CHECK(result.reason == 15);
      CHECK(result.stopped_in == 0);
    }
    spec.finetune.run.resume = true;
  }
  check_same(both(-1)[0].trials, alone(small_sweep(""), folder / "one", 2).trials);
}

TEST_CASE("ranks whose trial was given to another process leave it together", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  if (!train::has_sqlite()) LOWRANK_SKIP("no SQLite");
  TempDir folder;
  recipes::SweepSpec spec = small_sweep(folder / "two");
  const fs::path file = folder / "study.db";
  spec.study.storage = "sqlite:///" + file.string();
  spec.study.trial_timeout = 4;
  spec.study.ranks_per_trial = 2;
  std::array<recipes::SweepResult, 2> results;
  std::vector<std::string> notes;
  on_ranks(2, [&](train::GradSync& sync) {
    RankWatcher watcher(&sync);
    bool done = false;
    watcher.on_progress = [&](const recipes::TrialProgress& progress) {  // of rank 0 alone
      if (done || progress.step != 3) return;
      done = true;
      train::Database(file).run("UPDATE trial_user_attributes SET value_json = '{}' WHERE \"key\" = 'lowrank:owner'");
      std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // more than a heartbeat
    };
    results[static_cast<std::size_t>(sync.rank())] = recipes::sweep(spec, watcher);
    if (sync.rank() == 0) notes = watcher.notes;
  });
  REQUIRE(!notes.empty());
  CHECK(contains(notes.front(), "trial 0: the trial was given to another process"));
  // Who had it is silent, so that it comes back.
  check_same(results[0].trials, alone(small_sweep(""), folder / "one", 2).trials);
  CHECK(results[1].trials.size() == 3);
}
