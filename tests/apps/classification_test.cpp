// finetune --task classification, evaluate --task classification, align reward and its use in align ppo, as a user runs
// them.
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

/// Sentences that tell their label by one word.
std::string labelled(int n, const std::string& label, const std::string& word) {
  std::string rows;
  for (int i = 0; i < n; ++i) {
    const std::string name = std::string(1, static_cast<char>('A' + i % 26)) + "nn" + std::to_string(i / 26);
    rows += Json{{"text", "Once upon a time " + name + " saw a big " + word + "."}, {"label", label}}.dump() + "\n";
  }
  return rows;
}

std::string pairs(int n) {
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

}  // namespace

TEST_CASE("finetune --task classification learns labels, and evaluate scores them the same", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const std::string out = (dir / "out").string(), texts = (dir / "texts.jsonl").string(),
                    held = (dir / "held.jsonl").string();
  write_text(texts, labelled(40, "animal", "dog") + labelled(24, "plant", "tree"));
  write_text(held, labelled(30, "animal", "dog") + labelled(12, "plant", "tree"));
  const std::vector<std::string> command = {
      "finetune", stories(), "--task", "classification", "--data",      texts, "--val-data", held,      "--out", out,
      "--rank",   "4",       "--lr",   "2e-3",           "--max-steps", "30",  "--schedule", "constant"};
  const Json result = run_json(command);
  const Json& found = result["result"]["classification"];
  CHECK(result["result"]["after"][0]["metrics"]["accuracy"].get<double>() > 0.9);
  CHECK(found["labels"] == Json::array({"animal", "plant"}));
  CHECK(found["accuracy"] == result["result"]["after"][0]["metrics"]["accuracy"]);
  CHECK(result["result"]["majority_accuracy"].get<double>() == Approx(30.0 / 42));
  std::int64_t texts_of_animals = 0;
  for (const Json& n : found["confusion"][0]) texts_of_animals += n.get<std::int64_t>();
  CHECK(texts_of_animals == 30);
  CHECK(result["adapter"]["task_type"] == "SEQ_CLS");
  CHECK(Json::parse(read_text(dir / "out" / "label2id.json")) == Json{{"animal", 0}, {"plant", 1}});
  CHECK(contains(read_text(dir / "out" / "README.md"), "AutoModelForSequenceClassification"));
  CHECK(contains(read_text(dir / "out" / "report.html"), "Confusion matrix"));

  const Json scores = run_json({"evaluate", stories(), "--adapter", out, "--task", "classification", "--data", held});
  CHECK(scores["confusion"] == found["confusion"]);
  CHECK(scores["nll"].get<double>() == Approx(found["nll"].get<double>()).epsilon(1e-5));
  const CommandResult shown =
      run({"evaluate", out, "--task", "classification", "--data", "held=" + held, "train=" + texts});
  CHECK(shown.exit == 0);
  CHECK(contains(shown.out, "confusion matrix of 42 texts"));
  CHECK(contains(shown.out, "71.43 %"));  // the majority

  const CommandResult speaks = run({"generate", stories(), "--adapter", out, "--prompt", "Once"});
  CHECK(speaks.exit != 0);
  CHECK(contains(speaks.err, "sequence classifier"));
  CHECK(contains(run({"evaluate", stories(), "--task", "classification", "--data", held}).err, "no score head"));
  const CommandResult several = run({"finetune", stories(), "--task", "classification", "--data", texts, "--out",
                                     (dir / "folds").string(), "--rank", "2", "--folds", "2", "--max-steps", "4"});
  CHECK(several.exit == 0);
}

TEST_CASE("what does not go with classification, and data that cannot be learned, is one sentence", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const std::string texts = (dir / "texts.jsonl").string(), out = (dir / "out").string();
  write_text(texts, labelled(3, "a", "dog") + labelled(3, "b", "tree"));
  const auto error = [&](std::vector<std::string> more) {
    std::vector<std::string> command = {"finetune", stories(), "--task", "classification", "--out", out};
    command.insert(command.end(), more.begin(), more.end());
    const CommandResult result = run(command);
    CHECK(result.exit != 0);
    CHECK_FALSE(fs::exists(fs::path(out) / "run.json"));
    return result.err;
  };
  CHECK(contains(error({"--data", texts, "--method", "full"}), "--method"));
  CHECK(contains(error({"--data", texts, "--general-data", texts}), "--general-data"));
  CHECK(contains(error({"--data", texts, "--samples", "2"}), "--samples"));
  CHECK(contains(run({"finetune", stories(), "--task", "clasification", "--data", texts, "--out", out}).err,
                 "'classification'"));
  const std::string one = (dir / "one.jsonl").string(), other = (dir / "other.jsonl").string(),
                    blank = (dir / "blank.jsonl").string();
  write_text(one, labelled(4, "a", "dog"));
  CHECK(contains(error({"--data", one}), "one label alone, 'a'"));
  write_text(other, labelled(1, "a", "dog") + labelled(1, "c", "dog"));
  CHECK(contains(error({"--data", texts, "--val-data", other}), "other.jsonl line 2"));
  write_text(blank, "{\"text\": \" \", \"label\": \"a\"}\n");
  CHECK(contains(error({"--data", texts, "--val-data", blank}), "no labelled text is left"));
  // Six texts are not split.
  const CommandResult early =
      run({"finetune", stories(), "--task", "classification", "--data", texts, "--out", out, "--early-stopping", "2"});
  CHECK(early.exit == 2);
  CHECK(contains(early.err, "--early-stopping"));
}

TEST_CASE("align reward learns pairs as one number, and align ppo takes it as its reward", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const std::string data = (dir / "pairs.jsonl").string(), reward = (dir / "reward").string();
  write_text(data, pairs(40));
  const std::vector<std::string> command = {"align", "reward",      stories(), "--data",      data,      "--out",
                                            reward,  "--rank",      "4",       "--val-split", "0.25",    "--lr",
                                            "1e-3",  "--max-steps", "20",      "--schedule",  "constant"};
  const Json result = run_json(command);
  const Json& after = result["result"]["after"][0];
  CHECK(after["metrics"]["accuracy"].get<double>() > 0.9);
  CHECK(after["metrics"]["margin"].get<double>() > 0.1);
  CHECK(result["result"]["shorter_wins"].contains("validation"));
  std::vector<std::string> again = command;
  again.emplace_back("--resume");
  CHECK(contains(run(again).out, "nothing was done"));
  CHECK(contains(run({"evaluate", stories(), "--adapter", reward, "--task", "classification", "--data", data}).err,
                 "reward model"));

  std::string prompts;
  for (int i = 0; i < 24; ++i)
    prompts += "Once upon a time there was a girl named " + std::string(1, static_cast<char>('A' + i)) + ".\n";
  write_text(dir / "prompts.txt", prompts);
  const std::vector<std::string> ppo = {"align",
                                        "ppo",
                                        stories(),
                                        "--data",
                                        (dir / "prompts.txt").string(),
                                        "--reward",
                                        "adapter:" + reward,
                                        "--response-length",
                                        "8",
                                        "--batch-size",
                                        "4",
                                        "--num-ppo-epochs",
                                        "2",
                                        "--rank",
                                        "4",
                                        "--max-steps",
                                        "8",
                                        "--out"};
  const auto into = [&](const std::string& folder) {
    std::vector<std::string> words = ppo;
    words.push_back((dir / folder).string());
    return words;
  };
  const Json learned = run_json(into("ppo"));
  CHECK(learned["result"]["after"][0]["metrics"].contains("objective/scores"));
  run_json(into("same"));
  CHECK(read_text(dir / "ppo" / "adapter_model.safetensors") == read_text(dir / "same" / "adapter_model.safetensors"));
  const CommandResult missing = run({"align", "ppo", stories(), "--data", (dir / "prompts.txt").string(), "--reward",
                                     "adapter:" + data, "--out", (dir / "x").string()});
  CHECK(missing.exit != 0);
  CHECK(contains(missing.err, "--reward"));
}
