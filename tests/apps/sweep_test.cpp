// `lowrank sweep` as a user runs it.
#include <csignal>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

std::string corpus() {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text += "The painter number " + std::to_string(i) + " mixed " + std::to_string(i % 7) +
            " colours on a wooden panel and showed the little boat on the lake to a friend.\n<|endoftext|>\n";
  }
  return text;
}

std::vector<std::string> sweep(const fs::path& dir, const std::string& trials = "5") {
  return {"sweep",
          (dir / "space.yaml").string(),
          stories(),
          "--data",
          (dir / "corpus.txt").string(),
          "--out",
          (dir / "out").string(),
          "--trials",
          trials,
          "--seq-len",
          "64",
          "--max-steps",
          "9",
          "--targets",
          "q_proj",
          "--val-split",
          "0.2",
          "--sampler",
          "random"};
}

std::vector<Json> rows(const fs::path& file) {
  std::vector<Json> result;
  std::istringstream lines(read_text(file));
  for (std::string line; std::getline(lines, line);) result.push_back(Json::parse(line));
  return result;
}

}  // namespace

TEST_CASE("a sweep runs its trials, keeps the best, and its command runs the best again", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "corpus.txt", corpus());
  write_text(
      dir / "space.yaml",
      "lr: {log: [1e-4, 3e-2]}\nrank: {choice: [1, 4]}\ninit: {choice: [default, gaussian], when: {rank: [4]}}\n");
  const Json result = run_json(sweep(dir.path()));
  const auto trials = rows(dir / "out" / "trials.jsonl");
  REQUIRE(trials.size() == 5);
  const Json* best = nullptr;
  for (const Json& trial : trials) {
    CHECK(trial["state"] == "complete");
    CHECK(trial["steps"] == 9);
    CHECK(trial["options"].contains("init") == (trial["options"]["rank"] == 4));
    if (best == nullptr || trial["value"] < (*best)["value"]) best = &trial;
  }
  const Json stored = Json::parse(read_text(dir / "out" / "best.json"));
  CHECK(stored["value"] == (*best)["value"]);
  CHECK(stored["options"] == (*best)["options"]);
  CHECK(result["best"] == stored);
  const std::string page = read_text(dir / "out" / "report.html");
  for (const char* part : {"Best so far", "Importance", "Options and what came of them", "init", "Trials"})
    CHECK(contains(page, part));

  // The command, word by word; it gives the loss that the sweep says.
  std::istringstream words(stored["command"].get<std::string>());
  std::vector<std::string> arguments;
  for (std::string word; words >> word;) arguments.push_back(word);
  REQUIRE(arguments[0] == "lowrank");
  arguments.erase(arguments.begin());
  const Json again = run_json(arguments);
  CHECK(again["result"]["best_loss"] == stored["value"]);

  CHECK(contains(run(sweep(dir.path())).err, "--resume"));
  auto resumed = sweep(dir.path(), "6");
  resumed.emplace_back("--resume");
  CHECK(run(resumed).exit == 0);
  const auto six = rows(dir / "out" / "trials.jsonl");
  REQUIRE(six.size() == 6);
  for (std::size_t i = 0; i < 5; ++i) CHECK(six[i] == trials[i]);
  resumed.insert(resumed.end(), {"--batch-size", "2"});
  CHECK(contains(run(resumed).err, "--batch-size"));
}

TEST_CASE("a sweep that is killed goes on to the same trials", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "corpus.txt", corpus());
  write_text(dir / "space.yaml", "lr: {log: [1e-4, 3e-2]}\ndropout: {uniform: [0, 0.3]}\n");
  auto arguments = sweep(dir.path(), "4");
  arguments.insert(arguments.end(), {"--pruner", "asha", "--save-every", "2", "--eval-every", "1"});
  REQUIRE(run(arguments).exit == 0);
  const std::string whole = read_text(dir / "out" / "trials.jsonl");
  CHECK(contains(whole, "\"pruned\""));
  fs::remove_all(dir / "out");
  for (int kill = 0; kill < 3; ++kill) {
    Command killed(arguments);
    if (kill == 0) arguments.emplace_back("--resume");
    for (int tenths = 0; tenths < 300 && !fs::exists(dir / "out" / "trials" / ("trial-000" + std::to_string(kill)) /
                                                     "checkpoints" / "checkpoint-2");
         ++tenths) {
      ::usleep(20000);
    }
    killed.signal(SIGKILL);
    killed.wait();
  }
  REQUIRE(run(arguments).exit == 0);
  CHECK(read_text(dir / "out" / "trials.jsonl") == whole);
}

TEST_CASE("a combination that can't be is a failed trial with its reason, unless it comes first", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "corpus.txt", corpus());
  write_text(dir / "space.yaml", "init: {choice: [default, pissa]}\ndora: {choice: [false, true]}\n");
  auto arguments = sweep(dir.path(), "4");
  arguments.back() = "grid";
  const CommandResult result = run(arguments);
  CAPTURE(result.err);
  CHECK(result.exit == 0);
  const auto trials = rows(dir / "out" / "trials.jsonl");
  REQUIRE(trials.size() == 4);
  for (const Json& trial : trials) {
    const bool both = trial["options"]["init"] == "pissa" && trial["options"]["dora"] == true;
    CHECK((trial["state"] == "failed") == both);
    CHECK(trial["value"].is_null() == both);
    CHECK(trial.contains("reason") == both);
  }
  const std::string page = read_text(dir / "out" / "report.html"), best = read_text(dir / "out" / "best.json");
  write_text(dir / "space.yaml", "init: {choice: [pissa, default]}\ndora: {choice: [true, false]}\n");
  arguments.emplace_back("--overwrite");
  const CommandResult first = run(arguments);
  CHECK(first.exit == 2);
  CHECK(contains(first.err, "the first trial"));
  // Refused before anything was written: what it would have replaced is as it was.
  CHECK(read_text(dir / "out" / "report.html") == page);
  CHECK(read_text(dir / "out" / "best.json") == best);
  CHECK(rows(dir / "out" / "trials.jsonl") == trials);
  CHECK(fs::exists(dir / "out" / "trials" / "trial-0000" / "run.json"));
  CHECK_FALSE(fs::exists(dir / "out" / ".replaced"));
  write_text(dir / "space.yaml", "rank: {choice: [2, 3]}\n");
  CHECK(run(arguments).exit == 0);
  CHECK(rows(dir / "out" / "trials.jsonl").size() == 2);
  CHECK_FALSE(fs::exists(dir / "out" / ".replaced"));
  CHECK_FALSE(fs::exists(dir / "out" / "trials" / "trial-0002"));
}

TEST_CASE("a choice of a space may be a list where words with commas are", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "corpus.txt", corpus());
  write_text(dir / "space.yaml",
             "targets: {choice: [[q_proj, v_proj], all-linear]}\nrank: {choice: [2], when: {targets: [[q_proj, v_proj]]}}\n");
  run_json({"sweep", (dir / "space.yaml").string(), stories(), "--data", (dir / "corpus.txt").string(), "--out",
            (dir / "out").string(), "--seq-len", "64", "--max-steps", "2", "--val-split", "0.2", "--sampler", "grid"});
  const auto trials = rows(dir / "out" / "trials.jsonl");
  REQUIRE(trials.size() == 2);
  CHECK(trials[0]["options"] == Json({{"targets", "q_proj,v_proj"}, {"rank", 2}}));
  CHECK(trials[1]["options"] == Json({{"targets", "all-linear"}}));
}

TEST_CASE("a space file with mistakes is refused in one sentence", "[e2e]") {
  TempDir dir;
  write_text(dir / "corpus.txt", corpus());
  const auto refusal = [&](const std::string& space, std::vector<std::string> more = {}) {
    write_text(dir / "space.yaml", space);
    std::vector<std::string> arguments = {
        "sweep", (dir / "space.yaml").string(), "model", "--data", (dir / "corpus.txt").string(),
        "--out", (dir / "out").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = run(arguments);
    CHECK(result.exit == 2);
    CHECK_FALSE(fs::exists(dir / "out"));
    return result.err;
  };
  CHECK(contains(refusal("lr: {log: [1e-4, 1e-2]}\nrnak: {choice: [1]}\n"),
                 "line 2: lowrank finetune has no rnak (did you mean rank?)"));
  CHECK(contains(refusal("learning_rate: {log: [1e-4, 1e-2]}\n"), "--lr"));
  CHECK(contains(refusal("lr: {lgo: [1e-4, 1e-2]}\n"), "did you mean 'log'"));
  CHECK(contains(refusal("lr: [1e-4, 1e-2]\n"), "needs a scale"));
  CHECK(contains(refusal("lr: {log: [1e-4]}\n"), "[low, high]"));
  CHECK(contains(refusal("init: {choice: [defualt]}\n"), "did you mean 'default'"));
  CHECK(contains(refusal("targets: {log: [1, 2]}\n"), "no number"));
  CHECK(contains(refusal("targets: {choice: [[q_proj, [v_proj]], all-linear]}\n"), "'targets' is a list of plain values"));
  CHECK(contains(refusal("targets: {choice: [[], all-linear]}\n"), "a choice of targets is a value or a list of values"));
  CHECK(contains(refusal("rank: {choice: [[1, 2], 4]}\n"), "'rank' takes one value"));
  CHECK(contains(refusal("rank: {uniform: [1.5, 4]}\n"), "whole numbers"));
  CHECK(contains(refusal("out: {choice: [a, b]}\n"), "the same for all trials"));
  CHECK(contains(refusal("lr: {log: [1e-4, 1e-2]}\n", {"--lr", "1e-3"}), "searches over it"));
  CHECK(contains(refusal("lr: {log: [1e-4, 1e-2]}\n", {"--val-split", "0"}), "validation"));
  CHECK(contains(refusal("lr: {log: [1e-4, 1e-2]}\n", {"--sampler", "grid"}), "points"));
  CHECK(contains(refusal("lr: {log: [1e-4, 1e-2]\n"), "not valid YAML"));
}
