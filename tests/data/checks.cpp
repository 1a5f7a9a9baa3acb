// The doctor's checks: each finds its fault in data that has only that one, and nothing in data that has none.
#include "lowrank/data/checks.h"

#include <algorithm>
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/script.h"
#include "lowrank/data/unpaired.h"

using namespace lowrank;
using namespace lowrank_test;
using data::Dataset;
using data::Finding;

namespace {

const FakeTokenizer kTokenizer;

std::string row(int i, const std::string& answer) {
  return "{\"prompt\": \"question " + std::to_string(i) + "\", \"completion\": \"" + answer + "\"}\n";
}

std::string rows(int count, const std::string& more = "") {
  std::string all;
  for (int i = 0; i < count; ++i) all += row(i, "the answer to it is " + std::to_string(i * i) + more);
  return all;
}

struct Set {
  TempDir dir;
  Dataset data;
  explicit Set(const std::string& content, int seq_len = 200, const data::Tokenizer& tokenizer = kTokenizer,
               std::shared_ptr<const data::ChatLayout> chat = nullptr, const std::string& name = "a.jsonl") {
    write_text(dir / name, content);
    data::DataOptions options;
    options.seq_len = seq_len;
    options.chat = std::move(chat);
    data = data::load({dir.path()}, tokenizer, options);
  }
};

std::vector<std::string> checks_of(const data::Patient& patient) {
  std::vector<std::string> names;
  for (const Finding& finding : data::examine(patient)) names.push_back(finding.check + (finding.fatal ? "!" : ""));
  return names;
}

data::Patient patient(const Dataset& train) {
  data::Patient p{&train, {}, &kTokenizer, nullptr, {2}};
  p.steps = 100;
  p.warmup = 3;
  p.lr = 2e-4;
  p.parameters = 7'000'000'000;
  return p;
}

using Checks = std::vector<std::string>;

}  // namespace

TEST_CASE("a data set without faults has none found", "[unit]") {
  const Set train(rows(50)), other(row(1000, "something else entirely, and not a word of the others"));
  data::Patient p = patient(train.data);
  p.others.emplace_back("validation", &other.data);
  CHECK(checks_of(p).empty());
}

TEST_CASE("rows that are masked or empty", "[unit]") {
  const Set cut(rows(5) + "{\"prompt\": \"" + std::string(300, 'x') + "\", \"completion\": \"gone\"}\n");
  const Checks found = checks_of(patient(cut.data));
  CHECK(std::find(found.begin(), found.end(), "answers") != found.end());
  const Set empty(rows(50) + row(60, " "));
  CHECK(checks_of(patient(empty.data)) == Checks{"answers"});
}

TEST_CASE("ends of answers that are not learned, or at which generation does not stop", "[unit]") {
  FakeOptions endless;
  endless.eos = false;
  const FakeTokenizer without(endless);
  const Set train(rows(50), 200, without);
  data::Patient p{&train.data, {}, &without, nullptr, {}};
  CHECK(checks_of(p) == Checks{"end-of-turn!"});
  const auto layout = std::make_shared<data::ChatLayout>(
      kTokenizer,
      data::ChatTemplate::compile("{% for m in messages %}{{ m.role }}: {{ m.content }}</s>{% endfor %}"
                                  "{% if add_generation_prompt %}assistant: {% endif %}",
                                  "t"),
      std::nullopt, data::ChatOptions{});
  const Set chats(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})", 200,
                  kTokenizer, layout);
  data::Patient talks{&chats.data, {}, &kTokenizer, layout.get(), {2}};
  CHECK(checks_of(talks).empty());
  talks.end_ids = {7};
  CHECK(checks_of(talks) == Checks{"end-of-turn"});
  CHECK(contains(data::examine(talks).front().text, "</s>"));
}

TEST_CASE("a BOS twice, and tags that the tokenizer splits", "[unit]") {
  const auto chat = [](const std::string& source) {
    return std::make_shared<data::ChatLayout>(kTokenizer, data::ChatTemplate::compile(source, "t"), std::nullopt,
                                              data::ChatOptions{});
  };
  const std::string row = R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  const auto twice = chat(
      "<s>{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}</s>{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}");
  const Set doubled(row, 200, kTokenizer, twice);
  data::Patient p{&doubled.data, {}, &kTokenizer, twice.get(), {2}};
  CHECK(checks_of(p) == Checks{"double-bos!"});
  const auto foreign = chat(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
      "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
  const Set split(row, 200, kTokenizer, foreign);
  data::Patient q{&split.data, {}, &kTokenizer, foreign.get(), {2}};
  CHECK(checks_of(q) == Checks{"special-tokens"});
  CHECK(contains(data::examine(q).front().text, "<|im_start|> (12)"));
}

TEST_CASE("rows that are cut, come twice, or stand in the held-out data too", "[unit]") {
  const Set cut(rows(20) + rows(10, std::string(300, 'y')), 60);
  CHECK(checks_of(patient(cut.data)) == Checks{"truncation"});
  const Set twice(rows(20) + rows(20));
  CHECK(checks_of(patient(twice.data)) == Checks{"duplicates"});

  const Set train(rows(50));
  const Set same(row(3, "the answer to it is 9"));
  data::Patient p = patient(train.data);
  p.others.emplace_back("validation", &same.data);
  CHECK(checks_of(p) == Checks{"leakage!"});
  const Set near("{\"prompt\": \"another question\", \"completion\": \"the answer to it is 9\"}\n");
  p.others.front().second = &near.data;
  CHECK(checks_of(p) == Checks{"leakage"});
  CHECK(contains(data::examine(p).front().text, "runs of 13"));
  // Two of five are alike by chance.
  const std::string alike = "{\"prompt\": \"another question\", \"completion\": \"the answer to it is 9\"}\n",
                    others = "{\"prompt\": \"q\", \"completion\": \"nothing of the kind was said\"}\n";
  const Set few(alike + others + alike + others + others);
  p.others.front().second = &few.data;
  CHECK(checks_of(p) == Checks{});
}

TEST_CASE("a source that outweighs the others", "[unit]") {
  TempDir dir;
  write_text(dir / "much.jsonl", rows(200));
  write_text(dir / "little.jsonl", row(1, "x"));
  const Dataset data = data::load({dir.path()}, kTokenizer, {.seq_len = 200});
  CHECK(checks_of(patient(data)) == Checks{"sources"});
}

TEST_CASE("examples that an adapter with an invocation learns nothing from", "[unit]") {
  const Set train(rows(50));
  const auto& first = train.data.examples.front();
  std::size_t answer = 0;
  while (first.learned[answer] == 0) ++answer;
  const auto found = [&](std::vector<std::int64_t> invocation) {
    data::Patient p = patient(train.data);
    p.invocation = std::move(invocation);
    return data::examine(p);
  };
  CHECK(found({first.ids[1], first.ids[2]}).empty());  // in the question, before what is learned
  const auto none = found({first.ids[answer - 1], first.ids[answer - 1], first.ids[answer - 1]});
  REQUIRE(none.size() == 1);
  CHECK(none[0].check == "invocation");
  CHECK(none[0].fatal);
  CHECK(none[0].text.find("50 of 50 examples") != std::string::npos);
  CHECK(none[0].text.find("alora_invocation_tokens") != std::string::npos);
  CHECK(found({first.ids.back()}).front().fatal);  // nothing behind it
}

TEST_CASE("a rate that fits no model of that size, and a warm-up that never ends", "[unit]") {
  const Set train(rows(50));
  data::Patient p = patient(train.data);
  p.lr = 0.1;
  CHECK(checks_of(p) == Checks{"learning-rate"});
  CHECK(contains(data::examine(p).front().text, "`lr` is high"));
  p.lr = 1e-7;
  CHECK(checks_of(p) == Checks{"learning-rate"});
  p.lr = 1e-2;
  p.parameters = 260'000;
  CHECK(checks_of(p).empty());
  p.warmup = 100;
  CHECK(checks_of(p) == Checks{"warmup!"});
}

TEST_CASE("the script of a text, and one that hardly counts in a data set", "[unit]") {
  using data::main_script;
  using data::Script;
  CHECK(main_script("Grüße, 12 Ærø!") == Script::kLatin);
  CHECK(main_script("Привет, world") == Script::kCyrillic);
  CHECK(main_script("今日は東京で会議をします") == Script::kKana);
  CHECK(main_script("今天在北京开会") == Script::kHan);
  CHECK(main_script("한국어 문장") == Script::kHangul);
  CHECK(main_script("नमस्ते") == Script::kDevanagari);
  CHECK(main_script("مرحبا") == Script::kArabic);
  CHECK(main_script("12 + 3 = 15 \xff") == Script::kNone);
  std::string mixed = rows(600);
  for (int i = 0; i < 12; ++i) mixed += row(2000 + i, "это ответ на вопрос, который здесь был задан " + std::to_string(i));
  const Set train(mixed);
  CHECK(checks_of(patient(train.data)) == Checks{"scripts"});
  CHECK(contains(data::examine(patient(train.data)).front().text, "12 of 612 examples"));
  CHECK(contains(data::examine(patient(train.data)).front().text, "Cyrillic"));
  std::string half = rows(100);
  for (int i = 0; i < 100; ++i) half += row(2000 + i, "это ответ на вопрос, который здесь был задан " + std::to_string(i));
  CHECK(checks_of(patient(Set(half).data)).empty());
}

TEST_CASE("of labelled texts and prompts only what can be wrong with them is looked for", "[unit]") {
  const Set empty(rows(50) + row(60, " "));
  data::Patient p = patient(empty.data);
  p.learns = data::Learns::kLabels;
  CHECK(checks_of(p).empty());
  const Set twice(rows(20) + rows(20));
  data::Patient q = patient(twice.data);
  q.learns = data::Learns::kNothing;
  CHECK(checks_of(q).empty());
  q.warmup = 200;
  CHECK(checks_of(q) == Checks{"warmup!"});
}

TEST_CASE("answers that were liked or not are counted", "[unit]") {
  TempDir dir;
  write_text(dir / "kto.jsonl",
             "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": true}\n"
             "{\"prompt\": \"a\", \"completion\": \"c\", \"label\": false}\n"
             "{\"prompt\": \"a\", \"completion\": \"d\", \"label\": false}\n");
  write_text(dir / "turns.jsonl",
             R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "kto_tag": true})");
  write_text(dir / "rows.jsonl", rows(3));
  const data::UnpairedRows found = data::count_unpaired({dir.path()}, {});
  CHECK(found.liked == 2);
  CHECK(found.disliked == 2);
  CHECK(found.others == 0);
  CHECK(contains(found.text(), "4 rows"));
  CHECK(contains(message_of<DataError>([&] { data::load({dir / "kto.jsonl"}, kTokenizer, {}); }), "KTO's form"));
  CHECK_FALSE(data::count_unpaired({dir / "rows.jsonl"}, {}).any());
}

TEST_CASE("lengths are counted by bounds that double", "[unit]") {
  const Set train(row(1, "a") + row(2, std::string(100, 'x')));
  const auto bars = data::length_histogram(train.data);
  REQUIRE(bars.size() == 4);
  CHECK(bars[0] == std::pair<std::int64_t, std::int64_t>{16, 1});
  CHECK(bars[3] == std::pair<std::int64_t, std::int64_t>{128, 1});
}
