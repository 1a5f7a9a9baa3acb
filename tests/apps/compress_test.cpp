// `lowrank compress` as a user runs it.
#include <cmath>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

std::string text(int from, int count) {
  std::string all;
  for (int i = from; i < from + count; ++i) {
    all += "The painter number " + std::to_string(i) + " mixed " + std::to_string(i % 7) +
           " colours on a wooden panel and showed the little boat on the lake to a friend.\n<|endoftext|>\n";
  }
  return all;
}

std::vector<std::string> compress(const fs::path& dir, const std::string& out, std::vector<std::string> more) {
  std::vector<std::string> arguments = {"compress", (dir / "adapter").string(), "--data", (dir / "text.txt").string(),
                                        "--out",    (dir / out).string()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace

TEST_CASE("compress writes a smaller adapter within the bound, that reads as any other", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "text.txt", text(0, 60));
  write_text(dir / "other.txt", text(100, 30));
  write_adapter(dir / "adapter", 0.05);
  const Json tight = run_json(compress(dir.path(), "tight", {"--max-kl", "0.0005"}));
  const Json loose = run_json(compress(dir.path(), "loose", {"--max-kl", "0.02"}));
  CHECK(tight["kl"].get<double>() <= 0.0005);
  CHECK(loose["kl"].get<double>() <= 0.02);
  CHECK(tight["bytes_before"] == fs::file_size(dir / "adapter" / "adapter_model.safetensors"));
  CHECK(loose["bytes_after"] == fs::file_size(dir / "loose" / "adapter_model.safetensors"));
  CHECK(loose["bytes_after"] < tight["bytes_after"]);
  CHECK(tight["ranks"].size() == 10);
  const Json config = Json::parse(read_text(dir / "loose" / "adapter_config.json"));
  const auto& ranks = loose["ranks"];
  for (const auto& [module, rank] : ranks.items()) {
    if (rank == 0) continue;
    const Json pattern = config.value("rank_pattern", Json::object());
    CHECK((pattern.contains(module) ? pattern[module] : config["r"]) == rank);
  }
  const std::string card = read_text(dir / "loose" / "README.md");
  CHECK(contains(card, "library_name: peft"));
  CHECK_FALSE(contains(card, stories()));  // a folder of this machine says nothing to others

  // The divergence that evaluate finds between the base and each is nearly the same.
  const Json compared =
      run_json({"evaluate", stories(), "--compare", "before=" + (dir / "adapter").string(),
                "after=" + (dir / "tight").string(), "--data", "other=" + (dir / "other.txt").string()});
  const auto& models = compared["models"];
  const double before = models["before"]["sets"]["other"]["kl"], after = models["after"]["sets"]["other"]["kl"];
  CHECK(std::abs(before - after) < 0.2 * before);
}

TEST_CASE("the whole rank says the same as before, a DoRA's too", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "text.txt", text(0, 30));
  std::vector<std::string> extra;
  SECTION("LoRA") {}
  SECTION("DoRA") { extra = {"--dora"}; }
  SECTION("rsLoRA") { extra = {"--rslora"}; }
  SECTION("PiSSA") { extra = {"--init", "pissa"}; }
  std::vector<std::string> train = {"finetune",
                                    stories(),
                                    "--data",
                                    (dir / "text.txt").string(),
                                    "--out",
                                    (dir / "adapter").string(),
                                    "--rank",
                                    "4",
                                    "--max-steps",
                                    "4",
                                    "--lr",
                                    "1e-2",
                                    "--quiet",
                                    "--samples",
                                    "0"};
  train.insert(train.end(), extra.begin(), extra.end());
  REQUIRE(run(train).exit == 0);
  const Json whole = run_json(compress(dir.path(), "whole", {"--rank", "64"}));
  if (extra.empty()) {
    const std::string said = run(compress(dir.path(), "again", {"--rank", "64"})).out;
    CHECK(contains(said, "every module keeps its whole rank, so that the result says what the adapter said; give a --rank below 4"));
    CHECK_FALSE(contains(run(compress(dir.path(), "less", {"--rank", "2"})).out, "keeps its whole rank"));
  }
  CHECK(std::abs(whole["kl"].get<double>()) < 1e-7);
  const auto losses = [&](const std::string& adapter) {
    return run_json({"evaluate", stories(), "--adapter", (dir / adapter).string(), "--data",
                     (dir / "text.txt").string(), "--per-token"})["per_token"];
  };
  const Json before = losses("adapter"), after = losses("whole");
  REQUIRE(before.size() == after.size());
  double largest = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    largest = std::max(largest, std::abs(before[i].get<double>() - after[i].get<double>()));
  CHECK(largest < 1e-5);
  const Json one = run_json(compress(dir.path(), "one", {"--rank", "1"}));
  for (const auto& [module, rank] : one["ranks"].items()) CHECK(rank == 1);
}

TEST_CASE("compress refuses what cannot be done in one sentence", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "text.txt", text(0, 30));
  write_adapter(dir / "adapter", 0.05);
  const auto refusal = [&](std::vector<std::string> more, const std::string& out = "out") {
    const CommandResult result = run(compress(dir.path(), out, std::move(more)));
    CHECK(result.exit != 0);
    CHECK_FALSE(fs::exists(dir / "out"));
    return result.err;
  };
  CHECK(contains(refusal({}), "--max-kl X"));
  CHECK(contains(refusal({"--max-kl", "0.1", "--rank", "2"}), "one of"));
  CHECK(contains(refusal({"--max-kl", "0"}), "above 0"));
  CHECK(contains(refusal({"--max-kl", "-1"}), "above 0"));
  CHECK(contains(refusal({"--rank", "0"}), "--rank"));
  CHECK(contains(refusal({"--max-kl", "0.1"}, "adapter"), "already exists"));
  CHECK(contains(run({"compress", (dir / "adapter").string(), "--max-kl", "0.1", "--out", (dir / "out").string()}).err,
                 "--data"));
  CHECK(contains(run({"compress", stories(), "--max-kl", "0.1", "--data", (dir / "text.txt").string(), "--out",
                      (dir / "out").string()})
                     .err,
                 "no adapter there"));
  write_text(dir / "text.txt", "A word.");
  CHECK(contains(refusal({"--max-kl", "0.1"}), "too few"));
}
