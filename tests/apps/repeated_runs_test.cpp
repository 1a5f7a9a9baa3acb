// Cross-validation, seeds, the learning curve and the preset for little data, as a user gives them.
#include <cmath>
#include <set>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

/// Twelve short documents of a book in one file.
fs::path documents(const fs::path& file) {
  const std::string book = read_text(*assets() / "corpora" / "art-history" / "vasari-lives-vol01.pg25326.txt");
  std::string text;
  for (std::size_t i = 0; i < 12; ++i) {
    const std::size_t begin = book.find('\n', 60000 + 3000 * i) + 1;
    if (i > 0) text += "\n<|endoftext|>\n";
    text += book.substr(begin, book.find('\n', begin + 700) - begin);
  }
  write_text(file, text + "\n");
  return file;
}

std::vector<std::string> finetune(const fs::path& data, const fs::path& out, const std::vector<std::string>& more) {
  std::vector<std::string> all = {
      "finetune", stories(), "--data", data.string(), "--out",       out.string(), "--seq-len",    "96",
      "--rank",   "4",       "--lr",   "5e-3",        "--max-steps", "4",          "--eval-every", "4"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

TEST_CASE("cross-validation: a run a fold, mean and spread, and a killed one goes on", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const fs::path data = documents(folder / "documents.txt"), out = folder / "out";
  const Json whole = run_json(finetune(data, out, {"--folds", "3"}));
  REQUIRE(whole["runs"].size() == 3);
  CHECK(whole["finished"] == true);
  double mean = 0;
  std::set<std::string> held;
  for (int i = 0; i < 3; ++i) {
    const Json& run = whole["runs"][static_cast<std::size_t>(i)];
    CHECK(run["name"] == "fold-" + std::to_string(i + 1));
    mean += run["after"][0]["loss"].get<double>() / 3;
    CHECK(run["after"][0]["loss"] < run["before"][0]["loss"]);
    const Json its =
        lowrank::core::parse_json(read_text(out / run["name"].get<std::string>() / "run.json"), "run.json");
    CHECK(contains(its["validation"], "fold " + std::to_string(i + 1) + " of 3: 4 of 12 documents"));
    CHECK(its["data"]["train"]["documents"] == 8);
    CHECK(contains(its["command"], "--fold " + std::to_string(i + 1) + "/3"));
  }
  const Json& summary = whole["summary"]["validation"];
  CHECK(summary["mean"].get<double>() == Approx(mean));
  CHECK(summary["std"].get<double>() > 0);

  // As a kill in the last fold would leave it: the first two are not run again, and the end is the same.
  const std::string first = read_text(out / "fold-1" / "run.json"),
                    last = read_text(out / "fold-3" / "adapter_model.safetensors");
  fs::remove_all(out / "fold-3");
  write_text(out / "run.json", R"({"finished": false})");
  const Json again = run_json(finetune(data, out, {"--folds", "3", "--resume"}));
  CHECK(again["summary"] == whole["summary"]);
  CHECK(read_text(out / "fold-1" / "run.json") == first);
  CHECK((read_text(out / "fold-3" / "adapter_model.safetensors") == last));
  CHECK(contains(run(finetune(data, out, {"--folds", "3", "--resume"})).out, "nothing was done"));
  CHECK(contains(run(finetune(data, out, {"--folds", "3"})).err, "--overwrite"));
  // The same fold by itself is the same run.
  run_json(finetune(data, folder / "alone", {"--fold", "2/3"}));
  CHECK((read_text(folder / "alone" / "adapter_model.safetensors") ==
         read_text(out / "fold-2" / "adapter_model.safetensors")));
}

TEST_CASE("seeds, and a learning curve on nested shares of the data", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const fs::path data = documents(folder / "documents.txt");
  const CommandResult seeds = run(finetune(data, folder / "seeds", {"--seeds", "2", "--val-split", "0.3"}));
  CAPTURE(seeds.out, seeds.err);
  CHECK(seeds.exit == 0);
  CHECK(contains(seeds.out, "over 2 runs"));
  std::vector<Json> results;
  for (const char* name : {"seed-42", "seed-43"}) {
    CHECK(contains(seeds.out, name));
    results.push_back(lowrank::core::parse_json(read_text(folder / "seeds" / name / "run.json"), "run.json")["result"]);
  }
  CHECK(results[0]["before"] == results[1]["before"]);  // the same pieces are held out
  CHECK(results[0]["after"] != results[1]["after"]);
  const Json curve = run_json(finetune(data, folder / "curve", {"--learning-curve", "--val-data", data.string()}));
  REQUIRE(curve["runs"].size() == 4);
  CHECK(curve["runs"][0]["train_tokens"] < curve["runs"][1]["train_tokens"]);
  CHECK(curve["runs"][2]["train_tokens"] < curve["runs"][3]["train_tokens"]);
  CHECK(
      curve["learning_curve"]["last_gain"].get<double>() ==
      Approx(curve["runs"][2]["after"][0]["loss"].get<double>() - curve["runs"][3]["after"][0]["loss"].get<double>()));
}

TEST_CASE("the preset says what it sets, and given options win", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const fs::path data = documents(folder / "documents.txt");
  const CommandResult said = run({"finetune", stories(), "--data", data.string(), "--out", (folder / "out").string(),
                                  "--seq-len", "96", "--preset", "few-shot", "--rank", "3", "--max-steps", "3"});
  CAPTURE(said.out, said.err);
  CHECK(said.exit == 0);
  CHECK(contains(said.out, "--preset few-shot sets"));
  CHECK(contains(said.out, "--dropout 0.1"));
  CHECK_FALSE(contains(said.out, "--rank 8"));
  CHECK_FALSE(contains(said.out, "--epochs 10"));
  const Json run = lowrank::core::parse_json(read_text(folder / "out" / "run.json"), "run.json");
  CHECK(run["options"]["rank"] == 3);
  CHECK(run["options"]["ema"] == 0.9);
  CHECK(run["adapter"]["lora_dropout"] == 0.1);
}

TEST_CASE("mistakes in the options for little data are one sentence each", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const fs::path data = documents(folder / "documents.txt");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--folds", "13"}, "the data has 12"},
      {{"--folds", "1"}, "expected 2 to"},
      {{"--folds", "3", "--seeds", "2"}, "give one of them"},
      {{"--folds", "3", "--val-data", data.string()}, "leave --val-data out"},
      {{"--fold", "4/3"}, "such as 2/5"},
      {{"--fold", "2"}, "such as 2/5"},
      {{"--share", "0"}, "such as 0.25"},
      {{"--share", "1.5"}, "expected 0 to 1"},
      {{"--preset", "few-shots"}, "few-shot"},
      {{"--seeds", "2", "--val-split", "0"}, "--seeds: compares validation losses"},
      {{"--learning-curve", "--val-split", "0"}, "--learning-curve: compares validation losses"},
  };
  int n = 0;
  for (const auto& [more, expected] : cases) {
    const CommandResult result = run(finetune(data, folder / ("out" + std::to_string(n++)), more));
    CAPTURE(more, result.err);
    CHECK(result.exit == 2);
    CHECK(contains(result.err, expected));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  // What the first run refuses leaves no folder of begun runs.
  const CommandResult late = run(finetune(data, folder / "late", {"--seeds", "2", "--targets", "nothing"}));
  CHECK(late.exit == 2);
  CHECK_FALSE(fs::exists(folder / "late"));
}

TEST_CASE("evaluate --shots shows examples and counts the same tokens", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const fs::path data = documents(folder / "documents.txt");
  const std::vector<std::string> evaluate = {"evaluate", stories(), "--data", data.string(), "--seq-len", "96"};
  const Json bare = run_json(evaluate);
  auto with = evaluate;
  with.insert(with.end(), {"--shots", "2", "--shots-data", data.string()});
  const Json shown = run_json(with);
  CHECK(shown["shots"] == 2);
  CHECK(shown["tokens"] == bare["tokens"]);
  CHECK(shown["nll"] != bare["nll"]);
  auto half = evaluate;
  half.insert(half.end(), {"--shots", "2"});
  const CommandResult result = run(half);
  CHECK(result.exit == 2);
  CHECK(contains(result.err, "--shots-data"));
}
