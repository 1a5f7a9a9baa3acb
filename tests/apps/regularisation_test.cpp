// finetune's options against overfitting and forgetting, as a user gives them.
#include <cmath>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

/// A bit of a book, and a bit of other stories.
fs::path piece_of(const fs::path& file, const fs::path& to, std::size_t from, std::size_t bytes) {
  const std::string text = read_text(file);
  const std::size_t begin = text.find('\n', from) + 1;
  write_text(to, text.substr(begin, text.find('\n', begin + bytes) - begin) + "\n");
  return to;
}

struct Texts {
  explicit Texts(const fs::path& folder) {
    const fs::path corpora = *assets() / "corpora";
    domain = piece_of(corpora / "art-history" / "vasari-lives-vol01.pg25326.txt", folder / "domain.txt", 60000, 24000);
    general = piece_of(corpora / "general" / "tinystories_2MB.txt", folder / "general.txt", 1000, 16000);
  }
  std::vector<std::string> finetune(const fs::path& out, const std::vector<std::string>& more) const {
    std::vector<std::string> all = {
        "finetune", stories(), "--data", domain.string(), "--out",       out.string(), "--seq-len",   "128",
        "--rank",   "8",       "--lr",   "5e-3",          "--val-split", "0.2",        "--max-steps", "12"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  fs::path domain, general;
};

double loss_of(const Json& results, const std::string& split) {
  for (const Json& r : results) {
    if (r["split"] == split) return r["loss"];
  }
  return NAN;
}

}  // namespace

TEST_CASE("every option against overfitting in one run: penalty logged, gap and updates reported", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const Texts texts(folder.path());
  const Json run = run_json(texts.finetune(
      folder / "out", {"--delta-l2", "1e-3", "--delta-l1", "1e-5", "--orthogonality", "1e-3", "--max-delta-norm", "0.5",
                       "--label-smoothing", "0.05", "--neftune", "5", "--ema", "0.9"}));
  CHECK(contains(read_text(folder / "out" / "metrics.jsonl"), "penalty"));
  const Json& result = run["result"];
  CHECK(result["gap"]["nats"].get<double>() ==
        Approx(result["gap"]["validation_loss"].get<double>() - result["gap"]["train_loss"].get<double>()));
  REQUIRE(result["update"]["layers"].size() == 35);
  for (const auto& [path, layer] : result["update"]["layers"].items()) {
    INFO(path);
    CHECK(layer["delta_norm"].get<double>() <= 0.5 * (1 + 1e-3));  // an average of capped factors
    CHECK(layer["delta_norm"].get<double>() > 0);
    CHECK(layer["ratio"].get<double>() == Approx(layer["delta_norm"].get<double>() / layer["base_norm"].get<double>()));
  }
}

TEST_CASE("--max-forgetting scales the update, holds on the reported half, and saves an ordinary adapter", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const Texts texts(folder.path());
  const Json run =
      run_json(texts.finetune(folder / "out", {"--general-data", texts.general.string(), "--max-forgetting", "3%"}));
  const Json& result = run["result"];
  const Json& forgetting = result["forgetting"];
  INFO(forgetting.dump(1));
  CHECK(forgetting["bound"] == 0.03);
  CHECK(forgetting["scale"].get<double>() > 0);
  CHECK(forgetting["scale"].get<double>() < 1);
  CHECK(forgetting["change_unscaled"].get<double>() > 0.03);
  const double before = loss_of(result["before"], "general"), after = loss_of(result["after"], "general");
  CHECK(std::expm1(after - before) == Approx(forgetting["change"].get<double>()).margin(1e-9));
  CHECK(forgetting["held"] == (after - before <= std::log1p(0.03)));
  CHECK(loss_of(result["after"], "validation") < loss_of(result["before"], "validation"));
  // The file is the scaled adapter: its unscaled self is in the best checkpoint.
  const Json curve = run_json({"evaluate", stories(), "--adapter", (folder / "out").string(), "--data",
                               "domain=" + texts.domain.string(), "general=" + texts.general.string(), "--seq-len",
                               "128", "--frontier"});
  REQUIRE(curve["frontier"].size() == 9);
  CHECK(curve["frontier"][0]["sets"]["general"]["nll"] == curve["sets"]["general"]["base"]["nll"]);
  CHECK(curve["frontier"][8]["sets"]["general"]["nll"] == curve["sets"]["general"]["nll"]);
  for (std::size_t k = 1; k < 9; ++k) {
    CHECK(curve["frontier"][k]["sets"]["domain"]["nll"] < curve["frontier"][k - 1]["sets"]["domain"]["nll"]);
  }
}

TEST_CASE("mistakes in the options against overfitting are one sentence each", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const Texts texts(folder.path());
  const std::string general = texts.general.string();
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--max-forgetting", "5%"}, "--general-data"},
      {{"--max-forgetting", "5", "--general-data", general}, "such as 5%"},
      {{"--max-forgetting", "-1%", "--general-data", general}, "such as 5%"},
      {{"--max-forgetting", "much", "--general-data", general}, "such as 5%"},
      {{"--min-gain", "0.1"}, "--early-stopping"},
      {{"--ema", "1"}, "below 1"},
      {{"--max-delta-norm", "0"}, "above 0"},
      {{"--delta-l2", "-1"}, "expected 0 to"},
      {{"--label-smoothing", "1"}, "expected 0 to"},
      {{"--method", "full", "--delta-l1", "1"}, "--method lora"},
  };
  int n = 0;
  for (const auto& [more, expected] : cases) {
    std::vector<std::string> arguments = texts.finetune(folder / ("out" + std::to_string(n++)), more);
    if (more.front() == "--method") std::erase(arguments, "--rank"), std::erase(arguments, "8");
    const CommandResult result = run(arguments);
    CAPTURE(more, result.err);
    CHECK(result.exit == 2);
    CHECK(contains(result.err, expected));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  const CommandResult bare = run({"evaluate", stories(), "--data", general, "--frontier"});
  CHECK(bare.exit == 2);
  CHECK(contains(bare.err, "--adapter"));
  write_text(folder / "tiny.txt", "One piece.\n");
  const CommandResult small = run(
      texts.finetune(folder / "small", {"--general-data", (folder / "tiny.txt").string(), "--max-forgetting", "5%"}));
  CAPTURE(small.err);
  CHECK(small.exit == 2);
  CHECK(contains(small.err, "20 documents"));
}
