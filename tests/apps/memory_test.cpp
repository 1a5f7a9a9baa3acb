// What a run says it will take of memory against what it takes, bases in fewer bytes through the verbs, and --fit.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "command.h"
#include "verbs_helpers.h"

using namespace lowrank_test;
using json = nlohmann::ordered_json;

namespace {

std::string story_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "Once upon a time there was a girl named Lily who went to the park. ";
  return text;
}

/// The assets' story model, a text of many full pieces, and a home of its own for what is cached.
struct Place {
  Place() {
    std::string text;
    for (int i = 0; i < 400; ++i) text += story_text();
    write_text(dir / "a.txt", text);
    environment = {{"HF_HOME", (dir / "hf").string()}};
  }
  CommandResult operator()(const std::vector<std::string>& options) const {
    std::vector<std::string> words = {"finetune", stories(), "--data", (dir / "a.txt").string(), "--out", out().string(),
                                      "--overwrite", "--val-split", "0", "--samples", "0", "--max-steps", "1"};
    words.insert(words.end(), options.begin(), options.end());
    return run(words, environment);
  }
  fs::path out() const { return dir / "out"; }
  json run_json() const { return json::parse(read_text(out() / "run.json")); }
  TempDir dir;
  std::map<std::string, std::string> environment;
};

double peak_of(const fs::path& out) {
  double peak = 0;
  std::istringstream in(read_text(out / "metrics.jsonl"));
  for (std::string line; std::getline(in, line);) peak = std::max(peak, json::parse(line).value("peak_rss_bytes", 0.0));
  return peak;
}

}  // namespace

TEST_CASE("what a run says it will take is within a twentieth of what it takes", "[e2e][slow]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Place place;
  const std::vector<std::vector<std::string>> cases = {
      {"--batch-size", "4", "--seq-len", "256"},
      {"--batch-size", "32", "--seq-len", "256"},
      {"--batch-size", "64", "--seq-len", "128"},
      {"--batch-size", "64", "--seq-len", "256"},
      {"--batch-size", "64", "--seq-len", "256", "--recompute", "layer"},
      {"--batch-size", "64", "--seq-len", "128", "--dora"},
      {"--batch-size", "64", "--seq-len", "128", "--layers", "3-4"},
      {"--batch-size", "64", "--seq-len", "128", "--rank", "64"},
      {"--batch-size", "64", "--seq-len", "128", "--base-dtype", "nf4"},
      {"--batch-size", "64", "--seq-len", "128", "--dtype", "bfloat16", "--base-dtype", "int8"},
  };
  for (const auto& options : cases) {
    std::string all;
    for (const std::string& option : options) all += option + " ";
    CAPTURE(all);
    // A run's peak differs by some per cent from run to run (which thread's arena a buffer came from, which pages of the program's files
    // were there): where one run lies outside, the median of five counts, above the plan and below it alike.
    std::vector<double> overs;
    do {
      const CommandResult result = place(options);
      CAPTURE(result.err);
      REQUIRE(result.exit == 0);
      CHECK(contains(result.out, "memory "));
      const json memory = place.run_json()["memory"];
      overs.push_back(memory["total"].get<double>() / peak_of(place.out()) - 1);
      UNSCOPED_INFO("plan over peak - 1: " << overs.back() << ", plan " << memory.dump() << ", peak " << peak_of(place.out()));
    } while (overs.size() < 5 && (overs.size() > 1 || std::abs(overs.front()) >= 0.05));
    std::sort(overs.begin(), overs.end());
    CHECK(std::abs(overs[overs.size() / 2]) < 0.05);
  }
}

TEST_CASE("a base in nf4 goes through the verbs: cached, said, resumed by what it began with, merged into the files",
          "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Place place;
  const std::vector<std::string> small = {"--batch-size", "2", "--seq-len", "64", "--base-dtype", "nf4"};
  const CommandResult trained = place(small);
  CAPTURE(trained.err, trained.out);
  REQUIRE(trained.exit == 0);
  CHECK(contains(trained.out, "nf4: 35 linear layers in"));
  CHECK(contains(trained.out, "made now, kept in"));
  CHECK(place.run_json()["model"]["base_dtype"] == "nf4");
  const std::string first = read_text(place.out() / "adapter_model.safetensors");
  const CommandResult again = place(small);
  CHECK(contains(again.out, "from the cache"));
  CHECK(read_text(place.out() / "adapter_model.safetensors") == first);

  const std::string adapter = place.out().string(), text = (place.dir / "b.txt").string();
  write_text(text, story_text());
  const auto loss = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"evaluate", stories(), "--adapter", adapter, "--data", text, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const CommandResult result = run(words, place.environment);
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
    return json::parse(result.out)["nll"].get<double>();
  };
  const double stored = loss({}), nf4 = loss({"--base-dtype", "nf4"}), int8 = loss({"--base-dtype", "int8"});
  CHECK(stored != nf4);
  CHECK(std::abs(nf4 - stored) < 0.2);
  CHECK(std::abs(int8 - stored) < 0.02);
  const CommandResult note = run({"evaluate", stories(), "--adapter", adapter, "--data", text}, place.environment);
  CHECK(contains(note.err + note.out, "was trained on a base in nf4"));
  for (const char* verb : {"generate", "chat"}) {
    CAPTURE(verb);
    std::vector<std::string> words = {verb, stories(), "--adapter", adapter, "--max-new-tokens", "3", "--base-dtype", "nf4"};
    if (std::string(verb) == "generate") words.insert(words.end(), {"--prompt", "Once"});
    const CommandResult result = run(words, place.environment, "Hello\n");
    CAPTURE(result.err);
    CHECK(result.exit == 0);
  }
  const CommandResult merged = run({"merge", stories(), "--adapter", adapter, "--out", (place.dir / "merged").string()},
                                   place.environment);
  CAPTURE(merged.err);
  CHECK(merged.exit == 0);
  CHECK(contains(merged.out, "as PEFT advises"));

  const CommandResult full = place({"--method", "full", "--base-dtype", "nf4"});
  CHECK(full.exit == 2);
  CHECK(contains(full.err, "--base-dtype: nf4 is for a frozen base"));
  const CommandResult loftq = place({"--init", "loftq"});
  CHECK(loftq.exit == 2);
  CHECK(contains(loftq.err, "add --base-dtype nf4 or int8"));
  CHECK(place({"--init", "loftq", "--base-dtype", "int8"}).exit == 0);
}

TEST_CASE("an adapter that began with LoftQ is merged into what its base's codes stand for", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Place place;
  REQUIRE(place({"--base-dtype", "nf4", "--init", "loftq"}).exit == 0);
  const std::string adapter = place.out().string(), text = (place.dir / "b.txt").string(), merged = (place.dir / "merged").string();
  write_text(text, story_text());
  const auto loss = [&](const std::vector<std::string>& what) {
    std::vector<std::string> words = {"evaluate"};
    words.insert(words.end(), what.begin(), what.end());
    words.insert(words.end(), {"--data", text, "--json"});
    const CommandResult result = run(words, place.environment);
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
    return json::parse(result.out)["nll"].get<double>();
  };
  const CommandResult made = run({"merge", stories(), "--adapter", adapter, "--out", merged}, place.environment);
  CAPTURE(made.err);
  REQUIRE(made.exit == 0);
  CHECK(contains(made.out, "what the codes stand for"));
  const double expected = loss({stories(), "--adapter", adapter, "--base-dtype", "nf4"});
  CHECK(std::abs(loss({merged}) - expected) < 1e-4);
  CHECK(std::abs(loss({stories(), "--adapter", adapter}) - expected) > 1e-3);
  const CommandResult said = run({"evaluate", stories(), "--adapter", adapter, "--data", text}, place.environment);
  CHECK(contains(said.err, "warning: the adapter in " + adapter + " began with LoftQ"));
  const CommandResult gguf = run({"merge", stories(), "--adapter", adapter, "--into", "gguf", "--dtype", "float32", "--out",
                                  (place.dir / "gguf").string(), "--json"},
                                 place.environment);
  CAPTURE(gguf.err);
  REQUIRE(gguf.exit == 0);
  CHECK(json::parse(gguf.out)["probe"]["max_logit_difference"].get<double>() < 1e-3);
  const CommandResult combined = run({"merge", stories(), "--adapter", adapter, "--adapter", adapter, "--combine", "linear", "--out",
                                      (place.dir / "both").string()},
                                     place.environment);
  CHECK(combined.exit == 2);
  CHECK(contains(combined.err, "began with LoftQ"));
}

TEST_CASE("a step that does not fit names the settings that do, and --fit takes them", "[e2e][slow]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Place place;
  const std::vector<std::string> words = {"--batch-size", "256", "--seq-len", "256"};
  const auto within = [&](int megabytes, std::vector<std::string> more) {
    std::vector<std::string> all = {"finetune", stories(), "--data", (place.dir / "a.txt").string(), "--out",
                                    place.out().string(), "--overwrite", "--val-split", "0", "--samples", "0",
                                    "--max-steps", "1", "--threads", "1"};
    all.insert(all.end(), words.begin(), words.end());
    all.insert(all.end(), more.begin(), more.end());
    std::string line = "ulimit -v " + std::to_string(megabytes * 1024) + "; exec \"$0\" \"$@\"";
    all.insert(all.begin(), {"-c", line, command().string()});
    return Command(all, place.environment, "", "/bin/sh").wait();
  };
  int least = 300;  // beneath that LibTorch itself does not come to life
  const auto starts = [&](int megabytes) {
    const std::string line = "ulimit -v " + std::to_string(megabytes * 1024) + "; exec \"$0\" --help --json";
    return Command({"-c", line, command().string()}, {}, "", "/bin/sh").wait().exit == 0;
  };
  while (least < 4000 && !starts(least)) least += 50;
  const int limit = least + 350;
  const CommandResult refused = within(limit, {});
  CAPTURE(refused.err, refused.out);
  REQUIRE(refused.exit == 74);
  CHECK(contains(refused.err, "will not fit into memory"));
  CHECK(contains(refused.err, "--grad-accum"));
  for (const int more : {0, 50, 100}) {  // what is taken fits, wherever the limit stands
    const CommandResult fitted = within(limit + more, {"--fit"});
    CAPTURE(more, fitted.err, fitted.out);
    CHECK(fitted.exit == 0);
    CHECK(contains(fitted.out, "was taken"));
  }
}
