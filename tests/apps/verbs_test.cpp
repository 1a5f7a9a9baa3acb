// tokenize, generate, evaluate as a user runs them, and the mistakes users make.
#include <cmath>

#include "lowrank/core/text.h"
#include "verbs_helpers.h"

namespace {

using namespace lowrank_test;

Json greedy_goldens() { return lowrank::core::read_json(fs::path(stories()) / "stories260K.greedy.json"); }

/// The first `characters` characters of a file, BOM dropped and CRLF made LF.
std::string beginning_of(const fs::path& file, std::size_t characters) {
  const std::string bytes = read_text(file);
  std::string text;
  std::size_t count = 0;
  for (std::size_t i = bytes.compare(0, 3, "\xEF\xBB\xBF") == 0 ? 3 : 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\r') continue;
    if ((static_cast<unsigned char>(bytes[i]) & 0xC0) != 0x80 && ++count > characters) break;
    text += bytes[i];
  }
  return text;
}

}  // namespace

TEST_CASE("mistakes are told in one sentence with the way out, and have their exit codes", "[unit]") {
  TempDir dir;
  write_text(dir / "a.txt", "Some text.\n");
  const std::string missing = (dir / "no-such-model").string();
  struct Mistake {
    std::vector<std::string> arguments;
    int exit;
    std::string says;
  };
  const std::vector<Mistake> mistakes = {
      {{"evalute"}, 2, "evaluate"},
      {{"tokenize"}, 2, "MODEL"},
      {{"tokenize", missing, "--text", "a"}, 66, "no-such-model"},
      {{"tokenize", missing}, 2, "--text"},
      {{"tokenize", missing, "--text", "a", "--file", "b"}, 2, "not both"},
      {{"generate", missing, "--prompt", "a"}, 66, "no-such-model"},
      {{"generate", missing, "--promt", "a"}, 2, "--prompt"},
      {{"generate", missing, "--prompt", "a", "--max-tokens", "3"}, 2, "--max-new-tokens"},
      {{"generate", missing}, 2, "--prompt-file"},
      {{"generate", missing, "--prompt", "a", "--top-p", "0"}, 2, "top-p"},
      {{"generate", missing, "--prompt", "a", "--temperature", "warm"}, 2, "a number"},
      {{"evaluate", missing}, 2, "--data"},
      {{"evaluate", missing, "--data", (dir / "a.txt").string()}, 66, "no-such-model"},
      {{"evaluate", missing, "--data", "x=", "--json"}, 2, "without a path"},
      {{"evaluate", missing, "--data", "a.txt", "--per-token"}, 2, "--json"},
      {{"evaluate", missing, "--data", "a.txt", "--format", "alpacca"}, 2, "alpaca"},
      {{"merge", missing, "--adapter", missing}, 2, "--out"},
      {{"merge", missing, "--adapter", missing, "--out", dir.path().string()}, 2, "already exists"},
      {{"inspect", missing}, 66, "no-such-model"},
      {{"inspect", (dir / "a.txt").string()}, 2, "--data"},
      {{"inspect", missing, "--examples", "2"}, 2, "--data"},
      {{"runs", missing}, 66, "no-such-model"},
      {{"runs", dir.path().string()}, 66, "no run"},
      {{"chat", missing}, 66, "no-such-model"},
  };
  for (const Mistake& mistake : mistakes) {
    const CommandResult result = run(mistake.arguments);
    CAPTURE(mistake.arguments, result.err, result.out);
    CHECK(result.exit == mistake.exit);
    CHECK(contains(result.err, "lowrank: error: "));
    CHECK(contains(result.err, mistake.says));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    if (mistake.arguments.back() == "--json") {
      CHECK(lowrank::core::parse_json(result.out, "stdout").at("exit") == mistake.exit);
    } else {
      CHECK(result.out.empty());
    }
  }
}

TEST_CASE("every verb has help with its options and an example", "[unit]") {
  for (const char* verb : {"evaluate", "generate", "chat", "merge", "inspect", "tokenize", "runs"}) {
    const CommandResult result = run({verb, "--help"});
    CAPTURE(verb, result.err);
    CHECK(result.exit == 0);
    CHECK(contains(result.out, std::string("lowrank ") + verb));
    CHECK(contains(result.out, "Example: "));
    CHECK_FALSE(contains(result.out, "\033["));
  }
}

TEST_CASE("tokenize gives the model's ids", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  for (const Json& golden : greedy_goldens()) {
    const std::string prompt = golden["prompt"];
    if (prompt.empty()) continue;
    CAPTURE(prompt);
    CHECK(run_json({"tokenize", stories(), "--text", prompt})["ids"] == golden["prompt_ids"]);
    Json bare = run_json({"tokenize", stories(), "--text", prompt, "--no-special"})["ids"];
    bare.insert(bare.begin(), Json(1));
    CHECK(bare == golden["prompt_ids"]);
    CHECK(run_json({"tokenize", stories(), "--file", "-"}, prompt)["ids"] == golden["prompt_ids"]);
  }
  // A folder with the tokenizer alone will do.
  TempDir dir;
  write_text(dir / "tokenizer.model", read_text(fs::path(stories()) / "tokenizer.model"));
  CHECK(run_json({"tokenize", dir.path().string(), "--text", "Once upon a time"})["ids"] ==
        Json({1, 403, 407, 261, 378}));
  const CommandResult plain = run({"tokenize", stories(), "--text", "Once upon a time"});
  CHECK(contains(plain.out, "403  ▁Once"));
  CHECK(contains(plain.out, "5 tokens of 16 bytes"));
}

TEST_CASE("generate continues greedily as llama2.c does, alike in JSON and as text", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  for (const Json& golden : greedy_goldens()) {
    const std::string prompt = golden["prompt"];
    CAPTURE(prompt);
    const std::size_t given = golden["prompt_ids"].size();
    const std::string count = std::to_string(golden["greedy_ids"].size() - given);
    const Json result = run_json({"generate", stories(), "--prompt", prompt, "--max-new-tokens", count});
    CHECK(result["prompt_ids"] == golden["prompt_ids"]);
    Json all = result["prompt_ids"];
    for (const Json& id : result["ids"]) all.push_back(id);
    CHECK(all == golden["greedy_ids"]);
    CHECK(result["finish"] == "length");
    CHECK(contains(golden["text"].get<std::string>(), result["text"].get<std::string>()));

    const CommandResult plain = run({"generate", stories(), "--prompt", prompt, "--max-new-tokens", count});
    CHECK(plain.exit == 0);
    CHECK(plain.out == result["text"].get<std::string>() + "\n");
    CHECK(plain.err.empty());
  }
}

TEST_CASE("generate stops at a stop string, repeats a seed and differs between seeds", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const std::vector<std::string> base = {"generate",         stories(),          "--prompt",
                                         "Once upon a time", "--max-new-tokens", "40"};
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = base;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_json(arguments);
  };
  const Json stopped = with({"--stop", "named Lily", "[END]"});
  CHECK(stopped["finish"] == "stop");
  CHECK(stopped["text"] == ", there was a little girl ");
  const Json a = with({"--temperature", "1", "--seed", "1"}), b = with({"--temperature", "1", "--seed", "1"}),
             c = with({"--temperature", "1", "--seed", "2"});
  CHECK(a["ids"] == b["ids"]);
  CHECK(a["ids"] != c["ids"]);
  TempDir dir;
  write_text(dir / "prompt.txt", "Once upon a time");
  CHECK(run_json({"generate", stories(), "--prompt-file", (dir / "prompt.txt").string(), "--max-new-tokens",
                  "5"})["prompt_ids"] == a["prompt_ids"]);
}

TEST_CASE("evaluate gives transformers' mean NLL, and one value a counted token", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Json golden = lowrank::core::read_json(golden_dir() / "eval" / "pater.json");
  TempDir dir;
  write_text(dir / "pater.txt", beginning_of(*assets() / "corpora" / "art-history" / "pater-renaissance.pg2398.txt",
                                             golden["characters"]));
  const std::string file = (dir / "pater.txt").string();
  const Json expected = golden["stories260K-hf"];
  const Json result = run_json({"evaluate", stories(), "--data", file, "--seq-len", "512", "--per-token"});
  CHECK(result["tokens"] == expected["counted"]);
  CHECK(result["nll"].get<double>() == Approx(expected["nll"].get<double>()).epsilon(1e-5));
  CHECK(result["perplexity"].get<double>() == Approx(std::exp(expected["nll"].get<double>())).epsilon(1e-4));
  REQUIRE(result["per_token"].size() == result["tokens"].get<std::size_t>());
  double sum = 0;
  for (const Json& loss : result["per_token"]) sum += loss.get<double>();
  CHECK(sum / result["tokens"].get<double>() == Approx(result["nll"].get<double>()).epsilon(1e-9));
  CHECK_FALSE(result.contains("sets"));

  CHECK(run({"evaluate", stories(), "--data", file, "--seq-len", "513"}).exit == 2);
}

TEST_CASE("evaluate takes several sets, names, and instruction data", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", "Once upon a time, there was a little girl named Lily.\n");
  write_text(dir / "b.txt", "The fresco is painted on wet plaster.\n");
  write_text(dir / "x=y.txt", "The fresco is painted on wet plaster.\n");
  write_text(dir / "rows.jsonl", "{\"prompt\": \"Who was there?\", \"completion\": \" A little girl named Lily.\"}\n");
  const std::string a = (dir / "a.txt").string(), b = (dir / "b.txt").string(), rows = (dir / "rows.jsonl").string();

  const Json alone = run_json({"evaluate", stories(), "--data", a});
  const Json two = run_json({"evaluate", stories(), "--data", "story=" + a, "art=" + b});
  CHECK(two["sets"].size() == 2);
  CHECK(two["sets"]["story"] == alone);
  CHECK(two["sets"]["art"]["nll"].get<double>() > alone["nll"].get<double>());
  const Json unnamed = run_json({"evaluate", stories(), "--data", a, b});
  CHECK(unnamed["sets"]["a"] == alone);
  const Json joined = run_json({"evaluate", stories(), "--data", "all=" + a, "all=" + b});
  CHECK(joined["sets"]["all"]["tokens"] ==
        two["sets"]["story"]["tokens"].get<int>() + two["sets"]["art"]["tokens"].get<int>());
  // A file whose name has an '=' is a file.
  CHECK(run_json({"evaluate", stories(), "--data", (dir / "x=y.txt").string()})["nll"] == two["sets"]["art"]["nll"]);

  const Json masked = run_json({"evaluate", stories(), "--data", rows});
  const Json whole = run_json({"evaluate", stories(), "--data", rows, "--train-on-prompt"});
  CHECK(masked["tokens"].get<int>() < whole["tokens"].get<int>());

  const CommandResult table = run({"evaluate", stories(), "--data", "story=" + a, "art=" + b});
  CHECK(table.exit == 0);
  CHECK(contains(table.out, "perplexity"));
  CHECK(contains(table.out, "story"));
  CHECK_FALSE(contains(table.out + table.err, "\033["));
  CHECK(run({"evaluate", stories(), "--data", a, "--quiet"}).out.empty());
}

TEST_CASE("evaluate compares the base with the adapter", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", "Once upon a time, there was a little girl named Lily.\n");
  const std::string a = (dir / "a.txt").string();
  write_adapter(dir / "zero", 0);
  write_adapter(dir / "some", 0.1);
  const Json base = run_json({"evaluate", stories(), "--data", a});
  const Json zero = run_json({"evaluate", stories(), "--adapter", (dir / "zero").string(), "--data", a});
  CHECK(zero["base"] == base);
  CHECK(zero["nll"] == base["nll"]);
  const Json some = run_json({"evaluate", stories(), "--adapter", (dir / "some").string(), "--data", a});
  CHECK(some["base"] == base);
  CHECK(std::abs(some["nll"].get<double>() - base["nll"].get<double>()) > 1e-3);
  // An adapter as MODEL brings its base.
  CHECK(run_json({"evaluate", (dir / "some").string(), "--data", a}) == some);
  const CommandResult both =
      run({"evaluate", (dir / "some").string(), "--adapter", (dir / "zero").string(), "--data", a});
  CHECK(both.exit == 2);
  CHECK(contains(both.err, "itself an adapter"));
  CHECK(run({"evaluate", stories(), "--adapter", (dir / "none").string(), "--data", a}).exit == 66);
}
