// align dpo and align ppo as a user runs them.
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

/// Pairs whose chosen side is an early bedtime, whatever the name.
std::string bedtime_pairs(int n) {
  std::string rows;
  for (int i = 0; i < n; ++i) {
    const std::string name = std::string(1, static_cast<char>('A' + i % 26)) + "nn" + std::to_string(i / 26);
    rows += Json{{"prompt", "Once upon a time there was a girl named " + name + "."},
                 {"chosen", " She went to bed and slept."},
                 {"rejected", " She ran to the park and cried."}}
                .dump() +
            "\n";
  }
  return rows;
}

std::vector<Json> rows_of(const fs::path& file) {
  std::vector<Json> rows;
  std::istringstream in(read_text(file));
  for (std::string line; std::getline(in, line);) rows.push_back(Json::parse(line));
  return rows;
}

}  // namespace

TEST_CASE("align dpo learns pairs, writes an adapter, and says what length alone would score", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "pairs.jsonl", bedtime_pairs(40));
  const std::vector<std::string> command = {"align",
                                            "dpo",
                                            stories(),
                                            "--data",
                                            (dir / "pairs.jsonl").string(),
                                            "--out",
                                            (dir / "out").string(),
                                            "--rank",
                                            "4",
                                            "--val-split",
                                            "0.25",
                                            "--lr",
                                            "1e-3",
                                            "--max-steps",
                                            "20",
                                            "--schedule",
                                            "constant"};
  const Json result = run_json(command);
  CHECK(result["verb"] == "align dpo");
  CHECK(result["result"]["shorter_wins"].contains("validation"));
  CHECK(result["result"]["reference_accuracy"]["validation"].get<double>() <= 1);
  CHECK(result["data"]["train"]["documents"] == 30);
  const Json& after = result["result"]["after"][0];
  CHECK(after["metrics"]["rewards/accuracies"].get<double>() > 0.9);
  CHECK(after["metrics"]["rewards/accuracies_low"].get<double>() > 0.6);
  CHECK(after["loss"].get<double>() < result["result"]["before"][0]["loss"].get<double>());
  CHECK(fs::exists(dir / "out" / "adapter_config.json"));
  int steps = 0;
  for (const Json& row : rows_of(dir / "out" / "metrics.jsonl")) steps += row.contains("rewards/margins") ? 1 : 0;
  CHECK(steps == 20);
  // The adapter is one like any other.
  CHECK(run({"generate", stories(), "--adapter", (dir / "out").string(), "--prompt", "Once", "--max-new-tokens", "4"})
            .exit == 0);
  std::vector<std::string> again = command;
  again.emplace_back("--resume");
  CHECK(contains(run(again).out, "nothing was done"));
  const CommandResult opening = run({"align", "dpo", stories(), "--data", (dir / "pairs.jsonl").string(), "--out",
                                     (dir / "dry").string(), "--val-split", "0.25", "--dry-run"});
  CHECK(opening.exit == 0);
  CHECK(contains(opening.out, "shorter wins"));
  CHECK_FALSE(fs::exists(dir / "dry"));
}

TEST_CASE("align dpo refuses pairs with equal sides and wrong options with one sentence", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "pairs.jsonl", bedtime_pairs(3) + "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n");
  const std::string out = (dir / "out").string(), pairs = (dir / "pairs.jsonl").string();
  const CommandResult equal = run({"align", "dpo", stories(), "--data", pairs, "--out", out});
  CHECK(equal.exit == 65);
  CHECK(contains(equal.err, "line 4"));
  CHECK(contains(equal.err, "are the same"));
  CHECK(run({"align", "dpo", stories(), "--data", pairs, "--out", out, "--loss", "sigmod"}).exit == 2);
  CHECK(contains(run({"align", "dop", stories()}).err, "align dpo"));
}

TEST_CASE("align ppo raises a rule's reward and keeps samples; a reward program that dies stops it", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  std::string prompts;
  for (int i = 0; i < 24; ++i)
    prompts += "Once upon a time there was a " + std::string(1, static_cast<char>('a' + i)) + "\n";
  write_text(dir / "prompts.txt", prompts);
  const std::vector<std::string> common = {"align",
                                           "ppo",
                                           stories(),
                                           "--data",
                                           (dir / "prompts.txt").string(),
                                           "--response-length",
                                           "8",
                                           "--batch-size",
                                           "4",
                                           "--num-ppo-epochs",
                                           "2",
                                           "--rank",
                                           "4",
                                           "--max-steps",
                                           "8"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return more;
  };
  const Json result =
      run_json(with({"--reward", "regex:[aeiou]", "--out", (dir / "out").string(), "--val-split", "0.2"}));
  CHECK(result["result"]["after"][0]["metrics"].contains("objective/scores"));
  CHECK(fs::exists(dir / "out" / "adapter_model.safetensors"));
  int steps = 0;
  for (const Json& row : rows_of(dir / "out" / "metrics.jsonl")) steps += row.contains("objective/rlhf_reward") ? 1 : 0;
  CHECK(steps == 8);
  const std::vector<Json> samples = rows_of(dir / "out" / "samples.jsonl");
  CHECK(samples.size() == 8);  // two rollouts, four answers of each
  CHECK(samples.at(0).contains("response"));

  const CommandResult dead = run(with({"--reward", "exec:exit 1", "--out", (dir / "dead").string()}));
  CHECK(dead.exit == 65);
  CHECK(contains(dead.err, "prompts.txt line"));
  CHECK(contains(dead.err, "has ended"));
  const CommandResult wrong = run(with({"--reward", "lenght:9", "--out", (dir / "wrong").string()}));
  CHECK(wrong.exit == 2);
  CHECK(contains(wrong.err, "length"));
  CHECK(run(with({"--reward", "length:9", "--dropout", "0.1", "--out", (dir / "wrong").string()})).exit == 2);
}
