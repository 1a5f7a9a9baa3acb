// Data as it comes, through the command: a folder in parts, standard input, columns, weights, files of texts.
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

void make_parts(const TempDir& dir) {
  for (const char* part : {"train", "valid", "test"}) {
    std::string rows;
    for (int i = 0; i < 6; ++i) {
      rows += "{\"prompt\": \"" + std::string(part) + " question " + std::to_string(i) +
              ": which colour?\", \"completion\": \" red\", \"score\": NaN}\n";
    }
    write_text(dir / (part + std::string(".jsonl")), rows);
  }
}

Json dry_run(const std::vector<std::string>& data, const std::string& input = {}) {
  TempDir out;
  std::vector<std::string> arguments = {"finetune", stories(), "--out", (out / "run").string(), "--dry-run", "--data"};
  arguments.insert(arguments.end(), data.begin(), data.end());
  return run_json(arguments, input);
}

}  // namespace

TEST_CASE("a folder of train, valid and test is trained and validated on, and evaluated on its test part", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  make_parts(dir);
  const Json run = dry_run({dir.path().string()});
  CHECK(contains(run["validation"].get<std::string>(), "valid.jsonl, which lies in --data"));
  CHECK(run["data"]["train"]["documents"] == 6);
  CHECK(run["data"]["validation"]["documents"] == 6);
  const Json split = dry_run({dir.path().string(), "--val-split", "0.5"});
  CHECK_FALSE(contains(split["validation"].get<std::string>(), "valid.jsonl"));
  const CommandResult told = lowrank_test::run({"evaluate", stories(), "--data", dir.path().string()});
  INFO(told.err);
  CHECK(told.exit == 0);
  CHECK(contains(told.out, "test.jsonl is read, the test part"));
}

TEST_CASE("standard input, columns, layouts and weights are read by the command", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "q.csv", "q,a,kind\nWhere?, There.,1\nWho?, Tim.,2\n");
  const std::string file = (dir / "q.csv").string();
  CHECK(dry_run({"-", "--columns", "prompt=q,completion=a", "--val-split", "0"},
                "{\"q\": \"Where?\", \"a\": \" There.\"}\n")["data"]["train"]["format"] == "prompt/completion");
  CHECK(dry_run({file, "--layout", "Q: {q}\\nA:[[{a}]]", "--val-split", "0"})["data"]["train"]["documents"] == 2);
  const Json twice = dry_run({file + "*3", "--columns", "prompt=q,completion=a", "--val-split", "0", "--batch-size", "1",
                              "--epochs", "2"});
  CHECK(twice["totals"]["planned_steps"] == 12);
  TempDir out;
  const CommandResult wrong = lowrank_test::run({"finetune", stories(), "--out", (out / "o").string(), "--data", file,
                                                 "--columns", "prompt=qq,completion=a"});
  CHECK(wrong.exit == 65);
  CHECK(contains(wrong.err, "line 2: there is no column 'qq', which --columns names, did you mean 'q'?"));
}

TEST_CASE("tokenize takes files of many texts", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const std::vector<std::string> texts = {"Once upon a time", "Tim had a cat."};
  write_text(dir / "t.jsonl", "{\"text\": \"" + texts[0] + "\", \"id\": 7}\n{\"prompt\": \"" + texts[1] + "\"}\n");
  write_text(dir / "t.txt", texts[0] + "\n\n" + texts[1] + "\n");
  for (const char* name : {"t.jsonl", "t.txt"}) {
    const CommandResult result = run({"tokenize", stories(), "--input", (dir / name).string(), "--json"});
    INFO(result.err);
    REQUIRE(result.exit == 0);
    std::size_t at = 0;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::size_t end = result.out.find('\n', at);
      const Json row = lowrank::core::parse_json(result.out.substr(at, end - at), "line");
      CHECK(row["ids"] == run_json({"tokenize", stories(), "--text", texts[i]})["ids"]);
      CHECK(row.contains("id") == (std::string(name) == "t.jsonl" && i == 0));
      at = end + 1;
    }
    CHECK(at == result.out.size());
  }
  // What shows nothing of itself is escaped as JSON has it.
  const std::string family = "a \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 \xC2\xAD\x7F\xF3\xA0\x81\x81";
  const CommandResult hidden = run({"tokenize", stories(), "--input", "-", "--json"}, {}, family + "\n");
  REQUIRE(hidden.exit == 0);
  const Json shown = lowrank::core::parse_json(hidden.out, "line");
  CHECK(shown["text"] == family);
  CHECK(shown["ids"] == run_json({"tokenize", stories(), "--text", family})["ids"]);
  const CommandResult plain = run({"tokenize", stories(), "--input", "-"}, {}, texts[0] + "\n");
  CHECK(plain.exit == 0);
  CHECK(contains(plain.out, "of 1 text"));
  CHECK(run({"tokenize", stories(), "--input", "-", "--text", "a"}, {}, "a").exit == 2);
  write_text(dir / "w.jsonl", "{\"words\": \"a\"}\n");
  CHECK(contains(run({"tokenize", stories(), "--input", (dir / "w.jsonl").string()}).err, "found the keys words"));
  // Of an answer with a word on whether it was liked not the prompt alone, unless that is what is asked for.
  write_text(dir / "kto.jsonl", "{\"prompt\": \"Once\", \"completion\": \" upon\", \"label\": true}\n");
  const CommandResult kto = run({"tokenize", stories(), "--input", (dir / "kto.jsonl").string()});
  CHECK(kto.exit == 65);
  CHECK(contains(kto.err, "kto.jsonl line 1"));
  CHECK(contains(kto.err, "KTO's form"));
  const CommandResult named = run({"tokenize", stories(), "--input", (dir / "kto.jsonl").string(), "--columns", "text=completion"});
  CHECK(named.exit == 0);
  CHECK(contains(named.out, "of 1 text"));
}
