// What is written: one process's at a time, whole or absent, and known to have arrived.
#include <signal.h>

#include "lowrank/core/files.h"
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

std::string quoted(const std::string& word) { return "'" + word + "'"; }

/// The command's words through a shell, with `tail` behind them (">/dev/full").
CommandResult shell(const std::vector<std::string>& words, const std::string& tail) {
  std::string line = quoted(command().string());
  for (const std::string& word : words) line += " " + quoted(word);
  return Command({"-c", line + " " + tail}, {}, "", "bash").wait();
}

std::string little_text(const TempDir& dir) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += "Once upon a time there was a little dog who liked the sun and the moon. ";
  write_text(dir / "text.txt", text);
  return (dir / "text.txt").string();
}

bool leftovers(const fs::path& folder) {
  bool any = false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    any = any || lowrank::core::is_temporary_name(entry.path().filename().string());
  }
  return any;
}

}  // namespace

TEST_CASE("results that stdout does not take end in a sentence and 74", "[e2e]") {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--help"}, {"--version"}, {"merge", "--help"}}) {
    const CommandResult full = shell(words, ">/dev/full");
    CHECK(full.exit == 74);
    CHECK(full.err == "lowrank: error: cannot write to stdout: No space left on device; what was printed is not complete\n");
  }
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  const std::string data = little_text(dir);
  const std::vector<std::vector<std::string>> verbs = {
      {"evaluate", stories(), "--data", data},
      {"generate", stories(), "--prompt", "Once", "--max-new-tokens", "4"},
      {"inspect", stories()},
      {"tokenize", stories(), "--text", "Once"},
      {"runs", dir.path().string()}};
  for (std::vector<std::string> words : verbs) {
    INFO(words[0]);
    words.emplace_back("--json");
    const CommandResult full = shell(words, ">/dev/full");
    CHECK(full.exit == 74);
    CHECK(contains(full.err, "cannot write to stdout: No space left on device"));
    CHECK(shell(words, ">&-").exit == 74);  // asked for on stdout, and there is none
    // A reader that has gone: quietly, as a process that SIGPIPE ends.
    const CommandResult gone = shell(words, "> >(exec true) 2>" + quoted((dir / "err").string()) + "; echo $?");
    CHECK((gone.out == "141\n" || gone.out == "0\n"));  // it may have been in time for the pipe
    CHECK(read_text(dir / "err").empty());
  }
}

TEST_CASE("without stdin, stdout and stderr a run's files hold what is theirs", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  const CommandResult closed = shell({"finetune", stories(), "--data", little_text(dir), "--out", (dir / "out").string(),
                                      "--max-steps", "3", "--rank", "2", "--seq-len", "32"},
                                     "<&- >&- 2>&-");
  CHECK(closed.exit == 0);
  std::istringstream lines(read_text(dir / "out/metrics.jsonl"));
  int rows = 0;
  for (std::string line; std::getline(lines, line); ++rows) {
    CHECK_NOTHROW(lowrank::core::parse_json(line, "metrics.jsonl"));
  }
  CHECK(rows >= 3);
  CHECK(lowrank::core::read_json(dir / "out/run.json")["finished"] == true);
}

TEST_CASE("an output is written by one process at a time", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  std::string prompts;
  for (int i = 0; i < 200; ++i) prompts += "{\"prompt\": \"Once upon a time\"}\n";
  write_text(dir / "prompts.jsonl", prompts);
  const std::vector<std::string> words = {"generate", stories(), "--input", (dir / "prompts.jsonl").string(), "--output",
                                          (dir / "answers.jsonl").string(), "--max-new-tokens", "100", "--overwrite",
                                          "--batch-size", "1", "--quiet"};
  Command first(words);
  for (int i = 0; i < 600 && !fs::exists(dir / "answers.jsonl"); ++i) ::usleep(100'000);
  const CommandResult second = run(words);
  CHECK(second.exit == 74);
  CHECK(contains(second.err, "answers.jsonl' is in use by process " + std::to_string(first.pid())));
  first.signal(SIGTERM);
  CHECK(first.wait().exit == 143);
  std::istringstream lines(read_text(dir / "answers.jsonl"));
  for (std::string line; std::getline(lines, line);) CHECK_NOTHROW(lowrank::core::parse_json(line, "answers"));
  CHECK_FALSE(fs::exists(dir / ".answers.jsonl.lowrank.lock"));

  write_adapter(dir / "adapter", 0.1);
  for (std::vector<std::string> other : {std::vector<std::string>{"merge", stories(), "--adapter"}, {"compress"}}) {
    INFO(other[0]);
    other.push_back((dir / "adapter").string());
    other.insert(other.end(), {"--out", (dir / "result").string()});
    if (other[0] == "compress") other.insert(other.end(), {"--data", little_text(dir), "--rank", "1"});
    {
      const lowrank::core::OutputLock lock(dir / "result");
      const CommandResult refused = run(other);
      CHECK(refused.exit == 74);
      CHECK(contains(refused.err, "result' is in use by process " + std::to_string(::getpid())));
    }
    const CommandResult free = run(other);
    INFO(free.err);
    CHECK(free.exit == 0);
    fs::remove_all(dir / "result");
  }
}

TEST_CASE("a merge that a signal ends is whole or absent", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  write_adapter(dir / "adapter", 0.1);
  const fs::path out = dir / "merged";
  const std::vector<std::string> words = {"merge", stories(), "--adapter", (dir / "adapter").string(), "--out",
                                          out.string()};
  int absent = 0, whole = 0;
  // At times spread over its making, from when the folder it is made in appears.
  for (int after = 0; after < 24; ++after) {
    Command merge(words);
    for (int i = 0; i < 30'000 && !leftovers(dir.path()) && !fs::exists(out); ++i) ::usleep(1000);
    ::usleep(static_cast<unsigned>(after) * 2000);
    merge.signal(after % 3 == 2 ? SIGKILL : SIGTERM);
    const CommandResult ended = merge.wait();
    INFO(after << ": exit " << ended.exit << " " << ended.err);
    if (fs::exists(out)) {
      CHECK(lowrank::core::read_json(out / "merge_report.json")["verified"] == true);
      CHECK(fs::exists(out / "model.safetensors"));
      ++whole;
      fs::remove_all(out);
    } else {
      CHECK(ended.exit == (after % 3 == 2 ? 137 : 143));
      if (after % 3 != 2) CHECK_FALSE(leftovers(dir.path()));
      if (after < 23) lowrank::core::sweep_temporaries(dir.path());  // the last killed one's stay, for the next merge
      ++absent;
    }
  }
  CHECK(absent > 0);
  // What killed ones left behind goes with the next that writes there.
  CHECK(run(words).exit == 0);
  CHECK_FALSE(leftovers(dir.path()));
  WARN("of 24 stopped merges " << absent << " left nothing, " << whole << " the whole model");
}
