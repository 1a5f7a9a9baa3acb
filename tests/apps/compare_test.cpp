// evaluate --compare, --questions and --perturb as a user runs them; what finetune leaves beside its adapter.
#include <cmath>

#include "verbs_helpers.h"

namespace {

using namespace lowrank_test;

/// A text of `documents` documents from TinyStories.
void write_stories(const fs::path& file, int documents, std::size_t skip = 0) {
  const std::string all = read_text(*assets() / "corpora" / "general" / "tinystories_2MB.txt");
  std::string text;
  for (int i = 0; i < documents; ++i)
    text += all.substr(skip + static_cast<std::size_t>(i) * 700, 300) + "\n<|endoftext|>\n";
  write_text(file, text);
}

}  // namespace

TEST_CASE("base, adapters and a full model side by side", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_stories(dir / "a.txt", 25);
  write_adapter(dir / "still", 0);
  write_adapter(dir / "moved", 0.3);
  const std::string half = (*assets() / "models" / "stories260K-hf-bf16").string();
  const std::vector<std::string> command = {"evaluate",
                                            stories(),
                                            "--compare",
                                            "still=" + (dir / "still").string(),
                                            "moved=" + (dir / "moved").string(),
                                            "rounded=" + half,
                                            "--data",
                                            "in=" + (dir / "a.txt").string(),
                                            "--perturb",
                                            "typos:0.1",
                                            "--dtype",
                                            "float32",
                                            "--out",
                                            (dir / "out").string()};
  const Json json = run_json(command);
  REQUIRE(json["models"].size() == 4);
  const auto set = [&](const char* model, const char* name) { return json["models"][model]["sets"][name]; };
  for (const char* model : {"base", "still", "moved", "rounded"}) {
    for (const char* name : {"in", "in+typos:0.1"}) {
      const Json one = set(model, name);
      CAPTURE(model, name, one.dump());
      for (const char* key : {"tokens", "nll", "perplexity", "ci", "kl"}) CHECK(one.contains(key));
      CHECK(one["perplexity"].get<double>() == Approx(std::exp(one["nll"].get<double>())));
      CHECK(one["ci"][0].get<double>() < one["perplexity"].get<double>());
      CHECK(one["ci"][1].get<double>() > one["perplexity"].get<double>());
    }
  }
  for (const char* model : {"base", "still", "rounded"}) {
    CHECK(set(model, "in+typos:0.1")["added_cost"].get<double>() > 0.2);
  }
  CHECK(json["models"]["base"]["trainable"] == 0);
  CHECK(json["models"]["still"]["trainable"] == 5 * (4 * 64 + 64 * 4 + 4 * 172 + 64 * 4));
  CHECK(json["models"]["moved"]["bytes"] == fs::file_size(dir / "moved" / "adapter_model.safetensors"));
  CHECK(json["models"]["rounded"]["bytes"].get<double>() < 0.6 * json["models"]["base"]["bytes"].get<double>());
  CHECK(set("base", "in")["kl"] == 0);
  CHECK(std::abs(set("still", "in")["kl"].get<double>()) < 1e-7);
  CHECK(set("still", "in")["nll"].get<double>() == Approx(set("base", "in")["nll"].get<double>()).epsilon(1e-7));
  CHECK(set("moved", "in")["kl"].get<double>() > 0.01);
  CHECK(set("moved", "in")["against_base"]["ci"][0].get<double>() > 0);
  CHECK(set("rounded", "in")["kl"].get<double>() > 0);
  CHECK(set("rounded", "in")["kl"].get<double>() < 1e-2);

  // The same numbers as one by one, and the same again.
  const Json alone = run_json({"evaluate", stories(), "--adapter", (dir / "moved").string(), "--data",
                               (dir / "a.txt").string(), "--dtype", "float32"});
  CHECK(set("moved", "in")["nll"].get<double>() == Approx(alone["nll"].get<double>()).epsilon(1e-6));
  CHECK(set("base", "in")["nll"].get<double>() == Approx(alone["base"]["nll"].get<double>()).epsilon(1e-6));
  CHECK(set("base", "in")["tokens"] == alone["tokens"]);
  CHECK(run_json(command) == json);
  const std::string page = read_text(dir / "out" / "report.html");
  CHECK(contains(page, "moved"));
  CHECK(contains(page, "<h2>Samples</h2>"));
  CHECK(lowrank::core::read_json(dir / "out" / "comparison.json") == json);
}

TEST_CASE("questions: accuracy, extraction and scores of texts with their intervals", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "choice.jsonl",
             "{\"question\": \"Once upon a \", \"choices\": [\"time\", \"xqz\"], \"answer\": 0}\n"
             "{\"question\": \"Once upon a \", \"choices\": [\"xqz\", \"time\"], \"answer\": \"A\"}\n");
  write_text(dir / "text.jsonl",
             "{\"prompt\": \"Once upon a time\", \"completion\": \", there was a little girl named Lily.\"}\n"
             "{\"prompt\": \"One day\", \"reference\": \"a dog\"}\n");
  const std::string gsm = read_text(*assets() / "instruct" / "gsm8k" / "test.jsonl");
  write_text(dir / "gsm.jsonl", gsm.substr(0, gsm.find('\n', gsm.find('\n') + 1) + 1));
  const Json json = run_json({"evaluate", stories(), "--questions", "choice=" + (dir / "choice.jsonl").string(),
                              "text=" + (dir / "text.jsonl").string(), "gsm=" + (dir / "gsm.jsonl").string(),
                              "--extract", "#### (-?[0-9.,]+)", "--max-new-tokens", "8"});
  const Json& questions = json["models"]["base"]["questions"];
  CHECK(questions["choice"]["accuracy"]["value"] == 0.5);
  CHECK(questions["choice"]["accuracy"]["ci"].size() == 2);
  CHECK(questions["choice"].contains("accuracy_unnormalised"));
  CHECK(questions["gsm"]["questions"] == 2);
  CHECK(questions["gsm"]["accuracy"]["value"] == 0);
  for (const char* score : {"chrf", "bleu", "rouge_l"}) CHECK(questions["text"].contains(score));
  CHECK(questions["text"]["chrf"]["value"].get<double>() > 5);
}

TEST_CASE("mistakes of a comparison are one sentence each", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", "Some text.\n");
  write_text(dir / "empty.jsonl", "");
  write_text(dir / "choice.jsonl", "{\"question\": \"a\", \"choices\": [\"b\", \"c\"]}\n");
  write_adapter(dir / "lora", 0.1);
  write_text(dir / "run" / "run.json", "{}");
  const std::string data = (dir / "a.txt").string(), lora = (dir / "lora").string();
  struct Mistake {
    std::vector<std::string> arguments;
    int exit;
    std::string says;
  };
  const std::vector<Mistake> mistakes = {
      {{"--compare", "x=" + lora}, 2, "--data"},
      {{}, 2, "--data"},
      {{"--data", data, "--compare", "base=" + lora}, 2, "another name"},
      {{"--data", data, "--compare", "x=" + lora, "x=" + lora}, 2, "'x' is given twice"},
      {{"--data", data, "--compare", "x=" + (dir / "no").string()}, 66, "neither an adapter"},
      {{"--data", "in=" + (dir / "no.txt").string(), "--compare", "x=" + lora}, 66, "no.txt"},
      {{"--data", (dir / "empty.jsonl").string(), "--compare", "x=" + lora}, 65, "empty"},
      {{"--questions", (dir / "empty.jsonl").string()}, 65, "empty"},
      {{"--questions", (dir / "choice.jsonl").string()}, 65, "line 1"},
      {{"--questions", data}, 65, "--data"},
      {{"--data", data, "--perturb", "typo"}, 2, "typos"},
      {{"--data", data, "--perturb", "typos", "typos"}, 2, "twice"},
      {{"--data", data, "--extract", "a"}, 2, "--questions"},
      {{"--data", data, "--out", (dir / "run").string()}, 2, "another folder"},
      {{"--data", data, "--compare", "x=" + lora, "--per-token", "--json"}, 2, "per-token"},
  };
  for (const Mistake& mistake : mistakes) {
    std::vector<std::string> arguments = {"evaluate", stories()};
    arguments.insert(arguments.end(), mistake.arguments.begin(), mistake.arguments.end());
    const CommandResult result = run(arguments);
    CAPTURE(mistake.arguments, result.err, result.out);
    CHECK(result.exit == mistake.exit);
    CHECK(contains(result.err, "lowrank: error: "));
    CHECK(contains(result.err, mistake.says));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
}

TEST_CASE("finetune leaves a report, and an event file where it is asked for", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_stories(dir / "train.txt", 30);
  write_text(
      dir / "rows.jsonl",
      "{\"prompt\": \"<b>Once\", \"completion\": \" upon a time\"}\n{\"prompt\": \"One\", \"completion\": \" day\"}\n");
  const auto tune = [&](const std::string& out, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"finetune", stories(), "--out", (dir / out).string(), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = run(arguments);
    INFO(result.err);
    REQUIRE(result.exit == 0);
    return read_text(dir / out / "report.html");
  };
  const std::string page =
      tune("lora", {"--data", (dir / "train.txt").string(), "--max-steps", "6", "--val-split", "0.2", "--tensorboard"});
  for (const char* part :
       {"<h1>finetune of ", "Before and after", "<h3>Loss</h3>", "<h3>Learning rate</h3>",
        "Gap between validation and training", "<h3>before</h3>", "<h3>after</h3>", "class=\"learned\""}) {
    CAPTURE(part);
    CHECK(contains(page, part));
  }
  CHECK(fs::file_size(dir / "lora" / "events.out.tfevents.lowrank") > 500);
  CHECK(tune("again", {"--data", (dir / "train.txt").string(), "--max-steps", "6", "--val-split", "0.2",
                       "--tensorboard", "--threads", "1"})
            .size() > 5000);

  const std::string rows =
      tune("rows", {"--data", (dir / "rows.jsonl").string(), "--max-steps", "2", "--val-split", "0", "--samples", "0"});
  CHECK_FALSE(contains(rows, "<h2>Samples</h2>"));
  CHECK_FALSE(contains(rows, "<b>"));
  CHECK(contains(rows, "class=\"masked\""));
  CHECK_FALSE(fs::exists(dir / "rows" / "events.out.tfevents.lowrank"));
}
