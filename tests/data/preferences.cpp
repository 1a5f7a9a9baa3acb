// Preference pairs: their forms, masks, cuts and faults.
#include "lowrank/data/preferences.h"

#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/json.h"

using namespace lowrank;
using namespace lowrank_test;
using data::Dataset;

namespace {

Dataset load(const std::string& content, int seq_len = 1024, const std::string& name = "pairs.jsonl",
             const FakeOptions& tokenizer = {}) {
  TempDir dir;
  write_text(dir / name, content);
  return data::load_preferences({dir / name}, FakeTokenizer(tokenizer), seq_len);
}

std::string text(const data::Example& e) { return FakeTokenizer().decode(e.ids, false); }
std::string learned(const data::Example& e) { return learned_text(FakeTokenizer(), e.ids, e.learned); }

std::string joined_notes(const Dataset& pairs) {
  std::string all;
  for (const std::string& note : pairs.report.notes) all += note + "\n";
  return all;
}

void check_pair(const Dataset& pairs, const std::string& prompt, const std::string& chosen,
                const std::string& rejected) {
  REQUIRE(pairs.examples.size() == 2);
  CHECK(text(pairs.examples[0]) == "<s>" + prompt + chosen + "</s>");
  CHECK(text(pairs.examples[1]) == "<s>" + prompt + rejected + "</s>");
  CHECK(learned(pairs.examples[0]) == chosen + "</s>");
  CHECK(learned(pairs.examples[1]) == rejected + "</s>");
  CHECK(pairs.examples[0].document == pairs.examples[1].document);
}

}  // namespace

TEST_CASE("a pair's answers and their ends are learned, its prompt is not", "[unit]") {
  const Dataset pairs = load("{\"prompt\": \"Q:\", \"chosen\": \" yes\", \"rejected\": \" no\"}\n");
  check_pair(pairs, "Q:", " yes", " no");
  CHECK(pairs.report.format == "prompt/chosen/rejected");
  CHECK(pairs.report.documents == 1);
  CHECK(pairs.report.examples == 2);
  CHECK(pairs.report.learned_tokens == 5 + 4);
  CHECK(data::pair_count(pairs) == 1);
  CHECK(data::shorter_wins(pairs) == 0);
}

// TRL's DPOTrainer (1.16): prompt_len = min(common_prefix_length(prompt, prompt + chosen), the same of rejected).
TEST_CASE("where one side's first letters merge with the prompt's last token, both begin where that one does",
          "[unit]") {
  FakeOptions merging;
  merging.words = {"Q:y", ":"};
  const FakeTokenizer tokenizer(merging);
  for (const bool swapped : {false, true}) {
    const std::string row = swapped ? R"({"prompt": "A Q:", "chosen": "no", "rejected": "yes"})"
                                    : R"({"prompt": "A Q:", "chosen": "yes", "rejected": "no"})";
    const Dataset pairs = load(row + "\n", 1024, "pairs.jsonl", merging);
    REQUIRE(pairs.examples.size() == 2);
    for (const data::Example& example : pairs.examples) {
      const bool merged = example.ids[3] == 259;
      CHECK(learned_text(tokenizer, example.ids, example.learned) == (merged ? "Q:yes</s>" : "Q:no</s>"));
    }
    CHECK(pairs.report.learned_tokens == 4 + 5);
  }
  const Dataset apart =
      load("{\"prompt\": \"A Q:\", \"chosen\": \"so\", \"rejected\": \"no\"}\n", 1024, "pairs.jsonl", merging);
  CHECK(learned_text(tokenizer, apart.examples[0].ids, apart.examples[0].learned) == "so</s>");
}

TEST_CASE("pairs of text are cut where TRL's DPOTrainer cuts them, merged borders and all", "[parity]") {
  const std::filesystem::path folder = golden_dir() / "train" / "dpo" / "cut";  // tests/parity/make_dpo_goldens.py
  const auto tokenizer = data::Tokenizer::load(folder);
  const core::Json golden = core::read_json(folder / "cut.json");
  for (const core::Json& row : golden["pairs"]) {
    INFO(row.dump());
    TempDir dir;
    write_text(
        dir / "pairs.jsonl",
        core::Json({{"prompt", row["prompt"]}, {"chosen", row["chosen"]}, {"rejected", row["rejected"]}}).dump());
    const Dataset pairs = data::load_preferences({dir / "pairs.jsonl"}, *tokenizer, 64);
    REQUIRE(pairs.examples.size() == 2);
    const auto prompt = row["prompt_ids"].get<std::vector<data::TokenId>>();
    for (std::size_t side = 0; side < 2; ++side) {
      const auto answer = row[side == 0 ? "chosen_ids" : "rejected_ids"].get<std::vector<data::TokenId>>();
      std::vector<data::TokenId> ids = prompt;
      ids.insert(ids.end(), answer.begin(), answer.end());
      std::vector<std::uint8_t> learned(prompt.size(), 0);
      learned.resize(ids.size(), 1);
      CHECK(pairs.examples[side].ids == ids);
      CHECK(pairs.examples[side].learned == learned);
    }
  }
}

TEST_CASE("the forms that TRL and LLaMA-Factory write are read", "[unit]") {
  const std::string prompt = "User: Hi\nAssistant:";
  const char* forms[] = {
      R"({"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]})",
      R"({"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]})",
      R"({"prompt": "Hi", "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]})",
      R"({"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}})"};
  for (const char* form : forms) {
    INFO(form);
    check_pair(load(std::string(form) + "\n"), prompt, " a", " b");
    check_pair(load("[" + std::string(form) + "]", 1024, "pairs.json"), prompt, " a", " b");
  }
  // Earlier answers of the prompt end as they do in training, and are not learned.
  const Dataset turns = load(
      R"({"conversations": [{"from": "human", "value": "1"}, {"from": "gpt", "value": "x"}, {"from": "human", "value": "2"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}, "system": "S"})"
      "\n");
  check_pair(turns, "System: S\n\nUser: 1\nAssistant: x</s>User: 2\nAssistant:", " a", " b");
  const Dataset alpaca = load(R"({"instruction": "Do", "input": "", "chosen": "a", "rejected": "b", "id": 3})"
                              "\n");
  CHECK(learned(alpaca.examples[0]) == "a</s>");
  CHECK(contains(text(alpaca.examples[1]), "### Instruction:\nDo\n\n### Response:\nb</s>"));
  CHECK(contains(alpaca.report.notes.at(0), "id"));
  CHECK(contains(message_of<DataError>([] {
                   load(R"({"instruction": "Do", "chosen": "a", "rejected": "b", "history": [["q", "x"]]})"
                        "\n");
                 }),
                 "history: earlier turns have no place"));
}

// UltraFeedback: the prompt and the chosen conversation stand beside two whole conversations once more.
TEST_CASE("whole conversations are read as such, whatever stands beside them", "[unit]") {
  const std::string user = R"({"role": "user", "content": "Hi"})";
  const auto side = [&](const char* answer) { return "[" + user + R"(, {"role": "assistant", "content": ")" + answer + "\"}]"; };
  const std::string sides = R"("chosen": )" + side("a") + R"(, "rejected": )" + side("b");
  const std::string prompt = "User: Hi\nAssistant:";
  for (const std::string& beside : {std::string(R"("prompt": "Hi", "messages": )") + side("a"), std::string(R"("messages": null)"),
                                    std::string(R"("question": "Hi")"), std::string(R"("instruction": "Hi", "input": "")"),
                                    R"("conversations": )" + side("a"), R"("prompt": [)" + user + "]", std::string(R"("prompt": null)")}) {
    INFO(beside);
    const Dataset pairs = load("{" + beside + ", " + sides + "}\n");
    check_pair(pairs, prompt, " a", " b");
    CHECK(pairs.report.format == "chosen/rejected");
    for (const std::string& note : pairs.report.notes) CHECK_FALSE(contains(note, "not read"));
  }
  // What they do not say themselves is named.
  CHECK(contains(joined_notes(load(R"({"prompt": "Other", "prompt_id": 3, )" + sides + "}\n")), "keys of rows that are not read: prompt, prompt_id"));
  // A list of turns that they do not begin with comes first.
  check_pair(load(R"({"prompt": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "x"}], )" + sides + "}\n"),
             "User: 1\nAssistant: x</s>User: Hi\nAssistant:", " a", " b");
  // Answers as turns after an instruction or a question, and as texts after turns.
  const std::string turns = R"("chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]})";
  check_pair(load(R"({"instruction": "Hi", )" + turns + "\n"), prompt, " a", " b");
  check_pair(load(R"({"question": "Hi", )" + turns + "\n"), prompt, " a", " b");
  check_pair(load(R"({"prompt": [)" + user + R"(], "chosen": "a", "rejected": "b"})" + "\n"), prompt, " a", " b");
  CHECK(contains(joined_notes(load(R"({"chosen": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "a"}], "rejected": )" +
                                   side("b") + "}\n")),
                 "1 pairs have sides that begin with different turns"));
}

TEST_CASE("a system prompt beside texts is part of their prompt", "[unit]") {
  const std::string texts = R"("chosen": "a", "rejected": "b"})";
  const std::string prompt = "System: S\n\nUser: Hi\nAssistant:";
  for (const char* key : {"prompt", "question", "instruction", "input"}) {
    INFO(key);
    check_pair(load(R"({"system": "S", ")" + std::string(key) + R"(": "Hi", )" + texts + "\n"), prompt, " a", " b");
  }
  // A prompt of another name is not what two answers begin with by chance.
  CHECK(contains(message_of<DataError>([] {
                   load(R"({"query": "Hi", "chosen": "I think", "rejected": "I do not"})"
                        "\n");
                 }),
                 "say so with `columns` prompt=query"));
}

TEST_CASE("turns that stand in texts, as tables hold them, are turns", "[unit]") {
  const std::string prompt = "User: Hi\nAssistant:";
  check_pair(load("chosen,rejected\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"Hi\"\"}, {\"\"role\"\": \"\"assistant\"\", "
                  "\"\"content\"\": \"\"a\"\"}]\",\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"Hi\"\"}, {\"\"role\"\": "
                  "\"\"assistant\"\", \"\"content\"\": \"\"b\"\"}]\"\n",
                  1024, "pairs.csv"),
             prompt, " a", " b");
  check_pair(load(R"({"prompt": "[{\"role\": \"user\", \"content\": \"Hi\"}]", "chosen": "{\"from\": \"gpt\", \"value\": \"a\"}", "rejected": "b"})"
                  "\n"),
             prompt, " a", " b");
  // Python's own way to print them is none of JSON; other JSON is a text.
  const std::string message = message_of<DataError>([] {
    load(R"({"chosen": "[{'role': 'user', 'content': 'Hi'}]", "rejected": "x"})"
         "\n");
  });
  CHECK(contains(message, "pairs.jsonl line 1"));
  CHECK(contains(message, "json.dumps"));
  check_pair(load(R"({"prompt": "Q", "chosen": "[{\"name\": 1}]", "rejected": "[{ no"})"
                  "\n"),
             "Q", "[{\"name\": 1}]", "[{ no");
}

TEST_CASE("what a judge reads needs no prompt and no end, and has a margin", "[unit]") {
  TempDir dir;
  write_text(dir / "pairs.jsonl", "{\"chosen\": \"yes, so\", \"rejected\": \"no\", \"margin\": 0.5}\n{\"chosen\": \"a\", \"rejected\": \"b\"}\n");
  const auto judged = [&](int seq_len) {
    return data::load_preferences({dir / "pairs.jsonl"}, FakeTokenizer(), seq_len, nullptr, nullptr, {}, true);
  };
  const Dataset pairs = judged(64);
  REQUIRE(pairs.examples.size() == 4);
  CHECK(text(pairs.examples[0]) == "<s>yes, so</s>");
  CHECK(pairs.documents[0].margin == 0.5f);
  CHECK(pairs.documents[1].margin == 0);
  for (const std::string& note : pairs.report.notes) CHECK_FALSE(contains(note, "margin"));
  CHECK(judged(2).examples.size() == 4);  // cut: a shorter text to judge
  write_text(dir / "pairs.jsonl", "{\"chosen\": \"a\", \"rejected\": \"b\", \"margin\": \"much\"}\n");
  CHECK(contains(message_of<DataError>([&] { judged(64); }), "margin: expected a number"));
}

// Anthropic's hh-rlhf: two strings, the prompt inside both; TRL takes what they begin with.
TEST_CASE("two whole strings have their common beginning as the prompt", "[unit]") {
  const Dataset pairs = load(
      R"({"chosen": "\n\nHuman: Cat?\n\nAssistant: In the park.", "rejected": "\n\nHuman: Cat?\n\nAssistant: Go."})"
      "\n");
  check_pair(pairs, "\n\nHuman: Cat?\n\nAssistant:", " In the park.", " Go.");
  CHECK(pairs.report.format == "chosen/rejected");
  // What the answers share is prompt too, whole characters of it.
  check_pair(load("{\"chosen\": \"A: I think \u00e9\", \"rejected\": \"A: I think \u00e8\"}\n"), "A: I think",
             " \u00e9", " \u00e8");
  check_pair(load("{\"chosen\": \"Q \u00e9\", \"rejected\": \"Q \u00e9 yes\"}\n"), "Q \u00e9", "", " yes");
}

TEST_CASE("a pair is cut at --seq-len, and dropped where nothing is left to compare", "[unit]") {
  const std::string row = "{\"prompt\": \"12345\", \"chosen\": \"same, but\", \"rejected\": \"same, and\"}\n";
  const Dataset cut = load(row + "{\"prompt\": \"1\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", 14);
  REQUIRE(cut.examples.size() == 4);
  CHECK(text(cut.examples[0]) == "<s>12345same, bu");
  CHECK(cut.report.truncated == 2);
  CHECK(cut.report.truncated_tokens == 4);
  // What is left of both sides is the same, or nothing.
  for (const int length : {8, 6}) {
    const Dataset dropped = load(row + "{\"prompt\": \"1\", \"chosen\": \"a\", \"rejected\": \"b\"}\n", length);
    REQUIRE(dropped.examples.size() == 2);
    CHECK(dropped.report.all_masked == 2);
    CHECK(dropped.documents.at(dropped.examples[0].document).where.text().ends_with("line 2"));
  }
}

TEST_CASE("faults of pairs are named with their row", "[unit]") {
  struct Fault {
    const char* row;
    const char* part;
  };
  const std::string good = "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n";
  for (const Fault& fault : {Fault{R"({"prompt": "p", "chosen": "a", "rejected": "a"})", "are the same"},
                             Fault{R"({"prompt": "p", "chosen": "a"})", "\"rejected\" is missing"},
                             Fault{R"({"prompt": "p", "chosen": "a", "rejected": 3})", "expected a string"},
                             Fault{R"(["p"])", "a row is an object"}}) {
    INFO(fault.row);
    const std::string message = message_of<DataError>([&] { load(good + fault.row + "\n"); });
    CHECK(contains(message, "pairs.jsonl line 2"));
    CHECK(contains(message, fault.part));
  }
  CHECK(contains(message_of<DataError>([] { load("{\"prompt\": \"p\", \"completion\": \"c\"}\n"); }),
                 "not a preference pair"));
  CHECK(contains(message_of<DataError>([] { load("{\"chosen\": \"p\", \"rejected\": \"c\"}\n"); }),
                 "have no common beginning"));
  CHECK(contains(message_of<DataError>([] { load("hello\n", 99, "pairs.txt"); }), "plain text"));
  const std::string messages =
      R"({"chosen": [{"role": "user", "content": "Hi"}], "rejected": [{"role": "user", "content": "Ho"}]})"
      "\n";
  CHECK(contains(message_of<DataError>([&] { load(messages); }), "no answer"));
  CHECK(contains(message_of<DataError>([] {
                   load(R"({"chosen": 3, "rejected": "c"})"
                        "\n");
                 }),
                 "neither two strings nor two lists of messages"));
  CHECK(contains(message_of<DataError>([] {
                   load(R"({"messages": [{"user": "a"}, {"assistant": "b"}], "label": true})"
                        "\n");
                 }),
                 "KTO's form"));
}

TEST_CASE("pairs are held out whole, from twenty on", "[unit]") {
  std::string rows;
  for (int i = 0; i < 40; ++i) {
    rows += "{\"prompt\": \"p" + std::to_string(i) + "\", \"chosen\": \"a\", \"rejected\": \"bb\"}\n";
  }
  const data::Split parts = data::split_preferences(load(rows), 0.25, 1);
  CHECK(data::pair_count(parts.validation) == 10);
  CHECK(data::pair_count(parts.train) == 30);
  for (const Dataset* part : {&parts.train, &parts.validation}) {
    for (std::size_t i = 0; i < part->examples.size(); i += 2) {
      CHECK(part->examples[i].document == part->examples[i + 1].document);
      CHECK(learned(part->examples[i]) == "a</s>");
    }
  }
  CHECK(data::shorter_wins(parts.validation) == 1);
  std::string few;
  for (std::size_t at = 0, n = 0; n < 19; ++n) {
    const std::size_t end = rows.find('\n', at) + 1;
    few += rows.substr(at, end - at);
    at = end;
  }
  const data::Split none = data::split_preferences(load(few), 0.25, 1);
  CHECK(none.validation.examples.empty());
  CHECK(data::pair_count(none.train) == 19);
  CHECK(contains(none.how, "`val-data`"));
}

TEST_CASE("LLaMA-Factory's 300 pairs", "[unit]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Dataset pairs =
      data::load_preferences({*assets() / "instruct" / "llamafactory" / "dpo_en_demo.json"}, FakeTokenizer(), 4096);
  CHECK(pairs.report.documents == 300);
  CHECK(pairs.report.format == "conversations/chosen/rejected");
  CHECK(data::shorter_wins(pairs) == Approx(0.56).margin(0.03));
}
