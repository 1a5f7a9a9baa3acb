// Instruction data: formats, masks, cuts.
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/dataset.h"

using namespace lowrank;
using data::DataOptions;
using data::Dataset;
using data::Example;
using lowrank_test::contains;
using lowrank_test::FakeOptions;
using lowrank_test::FakeTokenizer;
using lowrank_test::learned_text;
using lowrank_test::message_of;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace {

struct Case {
  FakeOptions tokenizer;
  DataOptions options;
  std::string name = "train.jsonl";

  Dataset load(const std::string& content) const {
    TempDir dir;
    write_text(dir / name, content);
    return data::load({dir / name}, FakeTokenizer(tokenizer), options);
  }
  std::string text(const Example& e) const { return FakeTokenizer(tokenizer).decode(e.ids, false); }
  std::string learned(const Example& e) const { return learned_text(FakeTokenizer(tokenizer), e.ids, e.learned); }
};

}  // namespace

TEST_CASE("prompt/completion: the prompt masked, the end learned, BOS once", "[unit]") {
  Case c;
  const Dataset all = c.load("{\"prompt\": \"Q:\", \"completion\": \" yes\"}\n");
  REQUIRE(all.examples.size() == 1);
  CHECK(c.text(all.examples[0]) == "<s>Q: yes</s>");
  CHECK(c.learned(all.examples[0]) == " yes</s>");
  CHECK(all.report.format == "prompt/completion");
  CHECK(all.report.tokens == 8);
  CHECK(all.report.learned_tokens == 5);
  CHECK(contains(all.documents.at(0).where, "train.jsonl line 1"));

  c.options.train_on_prompt = true;
  CHECK(c.learned(c.load("{\"prompt\": \"Q:\", \"completion\": \" yes\"}\n").examples[0]) == "Q: yes</s>");
  c.options.train_on_prompt = false;

  // Special tokens that rows write out themselves are not doubled.
  const Dataset written = c.load("{\"prompt\": \"<s>Q:\", \"completion\": \" yes</s>\"}\n");
  CHECK(c.text(written.examples[0]) == "<s>Q: yes</s>");
  CHECK(c.learned(written.examples[0]) == " yes</s>");
  c.tokenizer.adds_eos = true;
  CHECK(c.text(c.load("{\"prompt\": \"Q:\", \"completion\": \" yes\"}\n").examples[0]) == "<s>Q: yes</s>");
}

TEST_CASE("token borders are those of the joined text", "[unit]") {
  Case c;
  SECTION("no prefix space between prompt and answer") {
    c.tokenizer.prefix_space = true;
    const Dataset all = c.load("{\"prompt\": \"12+\", \"completion\": \"3\"}\n");
    CHECK(c.text(all.examples[0]) == "<s> 12+3</s>");
    CHECK(c.learned(all.examples[0]) == "3</s>");
  }
  SECTION("a token over the border is learned") {
    c.tokenizer.words = {": ye"};
    const Dataset all = c.load("{\"prompt\": \"Q: \", \"completion\": \"yes\"}\n");
    CHECK(c.text(all.examples[0]) == "<s>Q: yes</s>");
    CHECK(all.examples[0].ids.size() == 5);
    CHECK(c.learned(all.examples[0]) == ": yes</s>");
  }
  SECTION("agreement after the border is no prompt") {
    c.tokenizer.words = {"ab"};
    const Dataset all = c.load("{\"prompt\": \"xa\", \"completion\": \"bab\"}\n");
    CHECK(c.learned(all.examples[0]) == "abab</s>");
  }
}

TEST_CASE("every format of rows is recognised by its keys", "[unit]") {
  Case c;
  SECTION("text rows are documents, in pieces") {
    c.options.seq_len = 4;
    const Dataset all = c.load("{\"text\": \"abcdef\", \"id\": 7}\n");
    CHECK(all.examples.size() == 2);
    CHECK(all.report.format == "text");
    CHECK(all.report.truncated == 0);
    CHECK(contains(all.report.notes.at(0), "not read: id"));
  }
  SECTION("question and answer") {
    const Dataset all = c.load("{\"question\": \"1+1?\", \"answer\": \"2\"}\n");
    CHECK(c.text(all.examples[0]) == "<s>1+1?\n2</s>");
    CHECK(c.learned(all.examples[0]) == "2</s>");
    CHECK(contains(all.report.notes.at(0), "question/answer"));
  }
  SECTION("Alpaca, with and without input") {
    const Dataset all = c.load(
        "{\"instruction\": \"Add.\", \"input\": \"1 1\", \"output\": \"2\"}\n"
        "{\"instruction\": \"Greet.\", \"input\": \"\", \"output\": \"Hi\"}\n"
        "{\"instruction\": \"Greet!\", \"output\": \"Ho\"}\n");
    CHECK(all.report.format == "Alpaca");
    CHECK(c.text(all.examples[0]) ==
          "<s>Below is an instruction that describes a task, paired with an input that provides further context. "
          "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 1\n\n"
          "### Response:\n2</s>");
    CHECK(c.learned(all.examples[0]) == "2</s>");
    CHECK(c.text(all.examples[1]) ==
          "<s>Below is an instruction that describes a task. Write a response that appropriately completes the "
          "request.\n\n### Instruction:\nGreet.\n\n### Response:\nHi</s>");
    CHECK(c.learned(all.examples[2]) == "Ho</s>");
  }
  SECTION("messages, several turns") {
    const Dataset all =
        c.load(R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, )"
               R"({"role": "assistant", "content": "Yo"}, {"role": "user", "content": [{"type": "text", "text": )"
               R"("By"}, {"type": "text", "text": "e"}]}, {"role": "assistant", "content": "Ciao"}]})");
    CHECK(all.report.format == "messages");
    CHECK(c.text(all.examples.at(0)) ==
          "<s>System: Be brief.\n\nUser: Hi\nAssistant: Yo</s>User: Bye\nAssistant: Ciao</s>");
    CHECK(c.learned(all.examples[0]) == " Yo</s> Ciao</s>");
    CHECK(contains(all.report.notes.at(0), "User: …"));
  }
  SECTION("ShareGPT") {
    const Dataset all = c.load(
        R"({"system": "S", "conversations": [{"from": "human", "value": "Hi"}, {"from": "function_call", "value": "f[]"}, )"
        R"({"from": "observation", "value": "3"}, {"from": "gpt", "value": "Three"}]})");
    CHECK(all.report.format == "ShareGPT");
    CHECK(c.text(all.examples.at(0)) == "<s>System: S\n\nUser: Hi\nAssistant: f[]</s>Tool: 3\nAssistant: Three</s>");
    CHECK(c.learned(all.examples[0]) == " f[]</s> Three</s>");
  }
  SECTION("one array of rows in a .json file, a BOM before it") {
    c.name = "rows.json";
    const Dataset all = c.load(
        "\xef\xbb\xbf[\n{\"prompt\": \"a\", \"completion\": \"b\"},\n"
        "{\"prompt\": \"c\", \"completion\": \"d\"}\n]\n");
    CHECK(all.examples.size() == 2);
    CHECK(all.report.bom_files == 1);
    CHECK(contains(all.documents.at(1).where, "rows.json row 2"));
    CHECK(c.load("{\"text\": \"lines\"}\n{\"text\": \"too\"}\n").examples.size() == 2);
  }
}

TEST_CASE("a format by name reads rows that have its keys among others", "[unit]") {
  Case c;
  const std::string row = R"({"text": "t", "prompt": "p", "completion": "q", "messages": []})";
  c.options.format = data::Format::kText;
  CHECK(c.text(c.load(row).examples.at(0)) == "<s>t</s>");
  c.options.format = data::Format::kCompletion;
  CHECK(c.text(c.load(row).examples.at(0)) == "<s>pq</s>");
  c.options.format = data::Format::kAlpaca;
  CHECK(contains(message_of<DataError>([&] { c.load(row); }), "\"instruction\", \"output\""));
}

TEST_CASE("without an end token turns are parted by an empty line", "[unit]") {
  Case c;
  c.tokenizer.eos = false;
  const Dataset all =
      c.load(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, )"
             R"({"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})");
  CHECK(c.text(all.examples.at(0)) == "<s>User: a\nAssistant: b\n\nUser: c\nAssistant: d\n\n");
  CHECK(c.learned(all.examples[0]) == " b\n\n d\n\n");
}

TEST_CASE("over-long rows are cut at the end; what has nothing left to learn is dropped", "[unit]") {
  Case c;
  c.options.seq_len = 8;
  const std::string whole = "{\"prompt\": \"ab\", \"completion\": \"cd\"}\n";        // 6 tokens
  const std::string cut = "{\"prompt\": \"ab\", \"completion\": \"cdefgh\"}\n";      // 10: keeps "cdefg"
  const std::string gone = "{\"prompt\": \"abcdefghij\", \"completion\": \"k\"}\n";  // 13: the answer is cut away
  const Dataset all = c.load(whole + cut + gone);
  CHECK(all.report.documents == 3);
  CHECK(all.report.examples == 2);
  CHECK(all.report.truncated == 2);
  CHECK(all.report.truncated_tokens == 2 + 5);
  CHECK(all.report.all_masked == 1);
  CHECK(c.learned(all.examples[1]) == "cdefg");
  CHECK(all.examples[1].document == 1);

  const std::string masked = message_of<DataError>([&] { c.load(gone); });
  CHECK(contains(masked, "every answer is masked or cut away"));
  CHECK(contains(masked, "raise `seq-len` (the longest row has 13 tokens)"));
  const std::string endless = message_of<DataError>([&] { c.load(cut + gone); });
  CHECK(contains(endless, "no answer reaches its end token"));
  CHECK(contains(endless, "13"));
  CHECK(contains(message_of<DataError>([&] {
                   c.options.seq_len = 100;
                   c.load(R"({"messages": [{"role": "user", "content": "a"}]})");
                 }),
                 "no row has an answer"));
}

TEST_CASE("rows with blank answers are dropped and counted; doubles counted", "[unit]") {
  Case c;
  const Dataset all = c.load(
      "{\"prompt\": \"a\", \"completion\": \" \"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n"
      "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"\", \"completion\": \"b\"}\n");
  CHECK(all.report.empty == 1);
  CHECK(all.report.documents == 3);
  CHECK(all.report.duplicates == 1);
}

TEST_CASE("GSM8K, Alpaca and ShareGPT files as users have them", "[unit]") {
  const auto assets = lowrank_test::assets();
  if (!assets) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const FakeTokenizer tokenizer;
  DataOptions options;
  options.seq_len = 4096;
  const auto load = [&](const char* file) { return data::load({*assets / "instruct" / file}, tokenizer, options); };

  const Dataset gsm = load("gsm8k/train.jsonl");
  CHECK(gsm.report.documents == 7473);
  CHECK(gsm.report.examples == 7473);
  CHECK(gsm.report.truncated == 0);
  CHECK(gsm.report.format == "question/answer");
  CHECK(learned_text(tokenizer, gsm.examples[0].ids, gsm.examples[0].learned) ==
        "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n"
        "Natalia sold 48+24 = <<48+24=72>>72 clips altogether in April and May.\n#### 72</s>");
  for (const Example& example : gsm.examples) {
    const std::string answer = learned_text(tokenizer, example.ids, example.learned);
    REQUIRE(contains(answer, "#### "));
    REQUIRE(answer.ends_with("</s>"));
    REQUIRE(example.ids.size() == example.learned.size());
    REQUIRE(example.ids.front() == 1);
  }

  const Dataset alpaca = load("llamafactory/alpaca_en_demo.json");
  CHECK(alpaca.report.format == "Alpaca");
  CHECK(alpaca.report.documents > 900);
  CHECK(load("llamafactory/identity.json").report.format == "Alpaca");
  CHECK(load("llamafactory/glaive_toolcall_en_demo.json").report.format == "ShareGPT");
  CHECK(load("llamafactory/v1_sft_demo.jsonl").report.format == "messages");
  CHECK(load("mlx-wikisql/train.jsonl").report.format == "text");
  CHECK(contains(message_of<DataError>([&] { load("llamafactory/dpo_en_demo.json"); }), "preference pair"));
}

TEST_CASE("each turn of a conversation is read by its own spelling, wherever it stands", "[unit]") {
  Case c;
  const std::string expected = "<s>User: Where?\nAssistant: There.</s>";
  for (
      const char* row :
      {R"({"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]})",
       R"({"conversations": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]})",
       R"({"messages": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]})",
       R"({"messages": [{"from": "human", "value": "Where?"}, {"role": "assistant", "content": "There."}]})",
       R"({"conversation": [{"user": "Where?", "assistant": "There."}]})",
       R"({"dialog": [{"user": "Where?"}, {"assistant": "There."}]})",
       R"([{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}])",
       R"({"prompt": [{"role": "user", "content": "Where?"}], "completion": [{"role": "assistant", "content": "There."}]})",
       R"({"prompt": {"from": "human", "value": "Where?"}, "completion": {"from": "gpt", "value": "There."}})"}) {
    CAPTURE(row);
    const Dataset all = c.load(row);
    CHECK(c.text(all.examples.at(0)) == expected);
    CHECK(c.learned(all.examples.at(0)) == " There.</s>");
  }
  // A list of them in a .json file, as in the case that the name of the file decides what it is.
  c.name = "rows.json";
  CHECK(c.text(
            c.load(R"([[{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]])").examples.at(0)) ==
        expected);
  CHECK(contains(message_of<DataError>([&] { c.load(R"([["a", "b"]])"); }),
                 "a list of turns, found a list of something else"));
  CHECK(contains(message_of<DataError>([&] {
                   c.load(
                       R"([{"messages": [{"user": "a"}, {"assistant": "b"}]}, [{"user": "a"}, {"assistant": "b"}]])");
                 }),
                 "the row is lists of turns"));
}

TEST_CASE("a turn of weight 0 or that is not to be trained is context, also where prompts are learned", "[unit]") {
  Case c;
  for (const char* row :
       {R"({"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "5", "weight": 0}, )"
        R"({"role": "user", "content": "No."}, {"role": "assistant", "content": "4", "weight": 1}]})",
        R"({"conversations": [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "5", "train": false}, )"
        R"({"from": "human", "value": "No."}, {"from": "gpt", "value": "4", "train": true}]})"}) {
    CAPTURE(row);
    c.options.train_on_prompt = false;
    const Dataset all = c.load(row);
    CHECK(c.text(all.examples.at(0)) == "<s>User: 2+2?\nAssistant: 5</s>User: No.\nAssistant: 4</s>");
    CHECK(c.learned(all.examples.at(0)) == " 4</s>");
    c.options.train_on_prompt = true;
    CHECK(c.learned(c.load(row).examples.at(0)) == "User: 2+2?\nAssistant:User: No.\nAssistant: 4</s>");
  }
  CHECK(contains(
      message_of<DataError>([&] { c.load(R"({"messages": [{"role": "assistant", "content": "5", "weight": 0.5}]})"); }),
      "expected 0 or false (context only), or 1 or true"));
}

TEST_CASE("calls of tools are refused by name where there is no place for them, however the content is spelled",
          "[unit]") {
  Case c;
  for (const char* content : {R"("content": null, )", R"("content": "", )", ""}) {
    const std::string row =
        std::string(R"({"messages": [{"role": "user", "content": "Rain?"}, {"role": "assistant", )") + content +
        R"("tool_calls": [{"id": "c1", "type": "function"}]}]})";
    CHECK(contains(message_of<DataError>([&] { c.load(row); }), "calls a tool in \"tool_calls\""));
  }
  // An empty list is no call.
  CHECK_NOTHROW(c.load(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": []}]})"));
}

TEST_CASE("keys of turns that nothing reads are named", "[unit]") {
  Case c;
  const Dataset all = c.load(
      R"({"messages": [{"role": "user", "name": "Tim", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "c"}]})");
  CHECK(all.report.notes.back() ==
        "keys of turns that are not read: \"name\" (1 turn), \"reasoning_content\" (1 turn)");
}
