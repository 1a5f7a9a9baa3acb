// `lowrank doctor`, the same checks at the start of a run, and runs through the token cache, as a user has them.
#include <set>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

std::string rows(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    all += "{\"prompt\": \"Lily saw boat " + std::to_string(i) + ".\", \"completion\": \" She said number " +
           std::to_string(i * 37 % 101) + " was red.\"}\n";
  }
  return all;
}

std::string chats(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    all += R"({"messages": [{"role": "user", "content": "Boat )" + n + R"(?"}, {"role": "assistant", "content": "Red )" +
           n + R"(."}, {"role": "user", "content": "And )" + n + R"(?"}, {"role": "assistant", "content": "Blue )" + n +
           R"(."}]})" + "\n";
  }
  return all;
}

std::vector<std::string> finetune(const fs::path& data, const fs::path& out, std::vector<std::string> more) {
  std::vector<std::string> arguments = {"finetune", stories(),     "--data", data.string(), "--out", out.string(),
                                        "--rank",   "2",           "--max-steps", "4"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string adapter_of(const fs::path& out) { return read_text(out / "adapter_model.safetensors"); }

}  // namespace

TEST_CASE("what makes a run worthless stops it before it trains, unless forced", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "rows.jsonl", rows(40));
  const CommandResult refused = run(finetune(dir / "rows.jsonl", dir / "a", {"--warmup", "50"}));
  CHECK(refused.exit == 65);
  CHECK(contains(refused.err, "warms up for 50"));
  CHECK(contains(refused.err, "--force"));
  CHECK_FALSE(fs::exists(dir / "a" / "metrics.jsonl"));
  const CommandResult forced = run(finetune(dir / "rows.jsonl", dir / "a", {"--warmup", "50", "--force"}));
  INFO(forced.err);
  CHECK(forced.exit == 0);
  CHECK(contains(forced.err + forced.out, "warms up for 50"));
  const Json json = Json::parse(read_text(dir / "a" / "run.json"));
  CHECK(json["result"]["doctor"].at(0)["check"] == "warmup");
  // A healthy run says nothing.
  const CommandResult healthy = run(finetune(dir / "rows.jsonl", dir / "b", {}));
  CHECK(healthy.exit == 0);
  CHECK_FALSE(Json::parse(read_text(dir / "b" / "run.json"))["result"].contains("doctor"));
  // What is only not meant is said.
  const CommandResult told = run(finetune(dir / "rows.jsonl", dir / "c", {"--lr", "5"}));
  CHECK(told.exit == 0);
  CHECK(contains(told.err + told.out, "--lr is high"));
}

TEST_CASE("one of a thing is one thing in what the doctor says", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", "Once upon a time there was a dog.");
  const CommandResult said = run({"doctor", stories(), "--data", (dir / "a.txt").string(), "--epochs", "1", "--json"});
  const std::string summary = lowrank::core::parse_json(said.out, "stdout")["summary"];
  CAPTURE(summary);
  CHECK(contains(summary, "tokens of 1 example (text), in 1 step of 4 examples, 1 epoch of them"));
}

TEST_CASE("the doctor finds nothing in data that has nothing, and in others what they have", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const fs::path all = *assets();
  TempDir dir;
  // The same model with room for whole rows.
  const fs::path model = dir / "model";
  fs::create_directories(model);
  for (const auto& entry : fs::directory_iterator(stories())) fs::copy_file(entry.path(), model / entry.path().filename());
  Json config = Json::parse(read_text(model / "config.json"));
  config["max_position_embeddings"] = 8192;
  write_text(model / "config.json", config.dump());
  const auto checks = [&](const fs::path& data) {
    const CommandResult result = run({"doctor", model.string(), "--data", data.string(), "--seq-len", "8192", "--examples",
                                      "0", "--token-cache", "off", "--json"});
    CAPTURE(data, result.err);
    std::set<std::string> found;
    const Json said = Json::parse(result.out);
    for (const Json& finding : said["findings"]) found.insert(finding["check"]);
    CHECK(result.exit == (found.empty() ? 0 : 65));
    return found;
  };
  using Found = std::set<std::string>;
  for (const char* name : {"instruct/llamafactory/alpaca_en_demo.json", "instruct/llamafactory/identity.json",
                           "instruct/llamafactory/v1_sft_demo.jsonl", "instruct/mlx-wikisql", "instruct/gsm8k/test.jsonl",
                           "corpora/art-history", "corpora/general/wikitext2.valid.txt"}) {
    CAPTURE(name);
    CHECK(checks(all / name) == Found{});
  }
  // An eighth of its conversations comes twice, some of them on both sides of the split.
  CHECK(checks(all / "instruct/llamafactory/glaive_toolcall_en_demo.json") == Found{"duplicates", "leakage"});
  CHECK(checks(all / "instruct/llamafactory/kto_en_demo.json") == Found{"unpaired"});
}

TEST_CASE("answers with a label are counted by the doctor and refused by those who cannot learn from them", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "kto.jsonl",
             "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
             "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": false}\n");
  const CommandResult doctor = run({"doctor", stories(), "--data", (dir / "kto.jsonl").string()});
  CHECK(doctor.exit == 65);
  CHECK(contains(doctor.out, "liked (1) or not (1)"));
  const CommandResult refused = run(finetune(dir / "kto.jsonl", dir / "out", {}));
  CHECK(refused.exit == 65);
  CHECK(contains(refused.err, "KTO's form"));
  const CommandResult pairs = run({"align", "dpo", stories(), "--data", (dir / "kto.jsonl").string(), "--out", (dir / "d").string()});
  CHECK(pairs.exit == 65);
  CHECK(contains(pairs.err, "KTO's form"));
}

TEST_CASE("a run through the token cache is the run without it", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "rows.jsonl", rows(60));
  const std::string cache = (dir / "cache").string();
  CHECK(run(finetune(dir / "rows.jsonl", dir / "off", {"--token-cache", "off"})).exit == 0);
  CHECK(run(finetune(dir / "rows.jsonl", dir / "made", {"--token-cache", cache})).exit == 0);
  CHECK(run(finetune(dir / "rows.jsonl", dir / "read", {"--token-cache", cache, "--threads", "1"})).exit == 0);
  CHECK(adapter_of(dir / "off") == adapter_of(dir / "made"));
  CHECK(adapter_of(dir / "off") == adapter_of(dir / "read"));
  // A run that was begun without it goes on with it.
  CHECK(run(finetune(dir / "rows.jsonl", dir / "on", {"--token-cache", "off", "--save-every", "2"})).exit == 0);
  const CommandResult finished = run(finetune(dir / "rows.jsonl", dir / "on", {"--token-cache", cache, "--save-every", "2", "--resume"}));
  CHECK(finished.exit == 0);
}

TEST_CASE("what is learned of a conversation is so in every cut of it, resumed, and measured", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "chats.jsonl", chats(24));
  const auto learned = [&](const fs::path& out) {
    return Json::parse(read_text(out / "run.json"))["data"]["train"]["learned_tokens"].get<int>();
  };
  const std::vector<std::string> last = {"--loss-on", "last", "--val-split", "0"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), last.begin(), last.end());
    return more;
  };
  REQUIRE(run(finetune(dir / "chats.jsonl", dir / "all", {"--val-split", "0"})).exit == 0);
  REQUIRE(run(finetune(dir / "chats.jsonl", dir / "last", last)).exit == 0);
  CHECK(2 * learned(dir / "last") <= learned(dir / "all") + 24);
  CHECK(learned(dir / "last") < learned(dir / "all"));
  // Packed by tokens: the same tokens learned.
  REQUIRE(run(finetune(dir / "chats.jsonl", dir / "packed", with({"--batch-tokens", "256"}))).exit == 0);
  CHECK(learned(dir / "packed") == learned(dir / "last"));
  // Resumed: the same bytes; with other turns learned it is another run.
  std::vector<std::string> part = finetune(dir / "chats.jsonl", dir / "part", with({"--save-every", "2"}));
  REQUIRE(run(part).exit == 0);
  fs::remove(dir / "part" / "adapter_model.safetensors");
  std::vector<std::string> other = finetune(dir / "chats.jsonl", dir / "part", {"--val-split", "0", "--save-every", "2", "--resume"});
  CHECK(run(other).exit != 0);
  // Evaluated on the same turns: a loss over as many tokens.
  const Json measured = run_json({"evaluate", stories(), "--data", (dir / "chats.jsonl").string(), "--loss-on", "last"});
  CHECK(measured["tokens"].get<int>() == learned(dir / "last"));
}
