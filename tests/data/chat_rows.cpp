// Rows that a chat template lays out: every spelling of turns, what is muted, what is refused, what is said.
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/chat/answered_call.h"
#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/labelled.h"
#include "lowrank/data/preferences.h"
#include "lowrank/data/prompts.h"

using namespace lowrank;
using namespace lowrank_test;
using core::Json;
using data::ChatLayout;
using data::ChatTemplate;
using data::Dataset;

namespace {

const std::string kChatMl =
    "{{ bos_token }}{% if tools %}T{{ tools | tojson }}\n{% endif %}{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}"
    "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}|\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";
/// As Qwen3: the thoughts of past turns are dropped.
const std::string kForgetful =
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.last %}({{ m.reasoning_content }})"
    "{% endif %}{{ m.content }}|\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

std::shared_ptr<const ChatLayout> layout(const std::string& source = kChatMl, data::ChatOptions options = {}) {
  return std::make_shared<ChatLayout>(FakeTokenizer(), ChatTemplate::compile(source, "t.jinja"), std::nullopt,
                                      std::move(options));
}

struct Chat {
  std::string source = kChatMl;
  data::ChatOptions chat;
  data::DataOptions options;
  std::string name = "train.jsonl";

  Dataset load(const std::string& content) {
    TempDir dir;
    write_text(dir / name, content);
    options.chat = layout(source, chat);
    return data::load({dir / name}, FakeTokenizer(), options);
  }
};

std::string text(const data::Example& e) { return FakeTokenizer().decode(e.ids, false); }
std::string learned(const data::Example& e) { return learned_text(FakeTokenizer(), e.ids, e.learned); }

bool says(const data::ReadReport& report, const std::string& part) {
  return std::any_of(report.notes.begin(), report.notes.end(), [&](const auto& note) { return contains(note, part); });
}

}  // namespace

TEST_CASE("turns are laid out by the template, however they are spelled and wherever they stand", "[unit]") {
  Chat c;
  for (
      const char* row :
      {R"({"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]})",
       R"({"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "There."}]})",
       R"({"conversation": [{"user": "Where?", "assistant": "There."}]})",
       R"([{"from": "human", "value": "Where?"}, {"role": "assistant", "content": "There."}])",
       R"({"conversations": [{"from": "human", "text": "Where?"}, {"from": "gpt", "text": "There."}]})",
       R"({"dialog": [{"speaker": "user", "text": "Where?"}, {"role": "assistant", "message": "There."}]})",
       R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "Whe"}, {"type": "text", "text": "re?"}]}, {"role": "assistant", "content": "There."}]})",
       R"({"prompt": [{"role": "user", "content": "Where?"}], "completion": [{"role": "assistant", "content": "There."}]})",
       R"({"question": "Where?", "answer": "There."})",
       R"({"instruction": "Where?", "input": "", "output": "There."})"}) {
    CAPTURE(row);
    const Dataset all = c.load(row);
    CHECK(text(all.examples.at(0)) == "<s><user>Where?|\n<assistant>There.|\n");
    CHECK(learned(all.examples.at(0)) == "There.|\n");
    CHECK(all.report.chat_template);
    CHECK(says(all.report, "laid out by the chat template t.jinja"));
  }
  CHECK(text(c.load(R"({"instruction": "Add", "input": "1 1", "output": "2", "system": "S", "history": [["a", "b"]]})")
                 .examples.at(0)) == "<s><system>S|\n<user>a|\n<assistant>b|\n<user>Add\n1 1|\n<assistant>2|\n");
  // Text that stands for itself is not laid out.
  const Dataset raw = c.load(R"({"prompt": "Q:", "completion": "A"})");
  CHECK(text(raw.examples.at(0)) == "<s>Q:A</s>");
  CHECK(says(raw.report, "learned as they stand"));
  CHECK(contains(message_of<DataError>(
                     [&] { c.load(R"({"prompt": "Q", "completion": [{"role": "assistant", "content": "A"}]})"); }),
                 "expected a list of turns"));
}

TEST_CASE("calls of tools are learned whether the content beside them is null, empty or not there", "[unit]") {
  Chat c;
  for (const char* content : {R"("content": null, )", R"("content": "", )", ""}) {
    for (const char* arguments : {R"({"city": "Lisbon"})", R"("{\"city\": \"Lisbon\"}")"}) {
      const std::string row =
          std::string(R"({"messages": [{"role": "user", "content": "Rain?"}, {"role": "assistant", )") + content +
          R"("tool_calls": [{"id": "c1", "type": "function", "function": {"name": "rain", "arguments": )" + arguments +
          R"(}}]}, {"role": "tool", "tool_call_id": "c1", "content": "no"}, {"role": "assistant", "content": "None."}]})";
      CAPTURE(row);
      const Dataset all = c.load(row);
      CHECK(text(all.examples.at(0)) ==
            "<s><user>Rain?|\n<assistant>rain{\"city\": \"Lisbon\"}|\n<tool>no|\n<assistant>None.|\n");
      CHECK(learned(all.examples.at(0)) == "rain{\"city\": \"Lisbon\"}|\nNone.|\n");
      CHECK(says(all.report, "keys of turns that are not read: \"tool_call_id\" (1 turn)"));
    }
  }
  // LLaMA-Factory's, with tools as JSON in a string; the older function_call; ShareGPT's roles.
  const Dataset glaive = c.load(
      R"({"tools": "[{\"name\": \"rain\"}]", "conversations": [{"from": "human", "value": "Rain?"}, )"
      R"({"from": "function_call", "value": "{\"name\": \"rain\", \"arguments\": {\"a\": 1}}"}, {"from": "observation", "value": "no"}, {"from": "gpt", "value": "No."}]})");
  CHECK(text(glaive.examples.at(0)) ==
        "<s>T[{\"name\": \"rain\"}]\n<user>Rain?|\n<assistant>rain{\"a\": 1}|\n<tool>no|\n<assistant>No.|\n");
  const Dataset old = c.load(
      R"({"messages": [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": null, "function_call": {"name": "rain", "arguments": "{}"}}]})");
  CHECK(learned(old.examples.at(0)) == "rain{}|\n");

  c.source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}";
  const std::string refused = message_of<DataError>([&] {
    c.load(
        R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]})");
  });
  CHECK(contains(refused, "has no place for tool_calls"));
  CHECK(contains(refused, "`chat-template`"));
  const Dataset unshown = c.load(
      R"({"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "thinking": "hm"}]})");
  CHECK(says(unshown.report, "1 conversations have tools"));
  CHECK(says(unshown.report, "1 turns have reasoning"));
}

TEST_CASE("reasoning is shown where the template writes it, not where it only has the word", "[unit]") {
  Chat c;
  // As Magistral's: thoughts are parts of the content.
  c.source =
      "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
      "{% if p.type == 'thinking' %}[T]{{ p.thinking }}[/T]{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}|{% endfor %}";
  const char* beside = R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "thinking": "hm"}]})";
  CHECK(says(c.load(beside).report, "1 turns have reasoning"));
  const char* parts =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]}]})";
  CHECK(text(c.load(parts).examples.at(0)) == "<user>a|<assistant>[T]hm[/T]b|");
  c.source = kChatMl;
  CHECK_FALSE(says(c.load(beside).report, "reasoning"));
  CHECK(contains(message_of<Error>([&] { c.load(parts); }), "only parts of type"));
}

TEST_CASE("roles that no turn has are named where nothing is left to learn", "[unit]") {
  Chat c;
  c.chat.loss_on = data::LossOn::kRoles;
  c.chat.roles = {"nobody", "critic"};
  CHECK(contains(message_of<DataError>([&] { c.load(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"); }),
                 "`loss-on` names (nobody, critic)"));
}

TEST_CASE("arguments of calls are given as the template takes them", "[unit]") {
  Chat c;
  c.source =
      "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for t in m.tool_calls %}{{ '!' + t.function.arguments }}"
      "{% endfor %}|{% endfor %}";
  const Dataset all = c.load(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, "é"]}}}]}]})");
  CHECK(text(all.examples.at(0)) == "<user>a|<assistant>!{\"x\": [1, \"é\"]}|");
}

TEST_CASE("content is given as parts where a template takes nothing else", "[unit]") {
  Chat c;
  c.source =
      "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}|{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}";
  const Dataset all = c.load(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]})");
  CHECK(text(all.examples.at(0)) == "<user>a|<assistant>b|");
  CHECK(learned(all.examples.at(0)) == "b|");
}

TEST_CASE("a tool's answer names the call that it is to", "[unit]") {
  using core::Json;
  std::int64_t made = 0;
  Json messages = Json::array({{{"role", "user"}, {"content", "a"}}});
  CHECK(data::answered_call(messages, true, made) == "call00001");
  messages.push_back({{"role", "assistant"}, {"content", R"([{"name": "f", "arguments": {"x": 1}, "id": "abcdefghi"}, {"name": "g", "arguments": {}}])"}});
  Json raw = messages;
  CHECK(data::answered_call(raw, false, made) == "call00002");  // the template takes no calls
  CHECK(raw == messages);
  CHECK(data::answered_call(messages, true, made) == "abcdefghi");
  CHECK(messages[1]["content"].is_null());
  CHECK(messages[1]["tool_calls"] ==
        Json::parse(R"([{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}, "id": "abcdefghi"},
                        {"type": "function", "function": {"name": "g", "arguments": {}}, "id": "call00003"}])"));
  messages.push_back({{"role", "tool"}, {"content", "1"}, {"tool_call_id", "abcdefghi"}});
  CHECK(data::answered_call(messages, true, made) == "call00003");
  messages.push_back({{"role", "tool"}, {"content", "2"}, {"tool_call_id", "call00003"}});
  messages.push_back({{"role", "assistant"}, {"content", "It is."}});
  CHECK(data::answered_call(messages, true, made) == "call00004");
  CHECK(messages.back()["content"] == "It is.");
}

TEST_CASE("muted turns, masks and what the loss is on", "[unit]") {
  Chat c;
  const std::string turns = R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "A"%s}, )"
                            R"({"role": "user", "content": "b"}, {"role": "assistant", "content": "B"}])";
  const auto row = [&](const std::string& more, const std::string& beside = "") {
    std::string all = "{\"messages\": " + turns + beside + "}";
    return all.replace(all.find("%s"), 2, more);
  };
  CHECK(learned(c.load(row("")).examples.at(0)) == "A|\nB|\n");
  for (const char* more : {R"(, "weight": 0)", R"(, "train": false)", R"(, "loss_weight": 0)", R"(, "loss": false)", R"(, "training": false)",
                           R"(, "trainable": false)"})
    CHECK(learned(c.load(row(more)).examples.at(0)) == "B|\n");
  CHECK(learned(c.load(row(R"(, "training": true, "weight": 1)")).examples.at(0)) == "A|\nB|\n");
  CHECK(contains(message_of<DataError>([&] { c.load(row(R"(, "train": false, "training": true)")); }),
                 "\"train\" says that the turn is context only, \"training\" that it is learned"));
  CHECK(learned(c.load(row("", R"(, "mask": [0, 0, 0, 1])")).examples.at(0)) == "B|\n");
  CHECK(contains(message_of<DataError>([&] { c.load(row("", R"(, "mask": [0, 1])")); }), "4 values"));
  CHECK(contains(message_of<DataError>([&] { c.load(row("", R"(, "mask": "Assistant")")); }), "no row has an answer"));
  c.options.train_on_prompt = true;
  CHECK(learned(c.load(row("")).examples.at(0)) == "<user>a|\n<assistant>A|\n<user>b|\n<assistant>B|\n");
  CHECK(learned(c.load(row(R"(, "weight": 0)")).examples.at(0)) == "<user>a|\n<assistant><user>b|\n<assistant>B|\n");
  c.options.train_on_prompt = false;
  c.chat.loss_on = data::LossOn::kLast;
  CHECK(learned(c.load(row("")).examples.at(0)) == "B|\n");
  c.chat.loss_on = data::LossOn::kRoles;
  c.chat.roles = {"user"};
  const Dataset user = c.load(row(""));
  CHECK(learned(user.examples.at(0)) == "<user>a|\n<user>b|\n");
  CHECK(says(user.report, "learned: the turns of user"));
}

TEST_CASE("of a prompt with answers in it only the completion is learned", "[unit]") {
  Chat c;
  CHECK(
      learned(
          c.load(R"({"prompt": [{"user": "a", "assistant": "A"}, {"user": "b"}], "completion": [{"assistant": "B"}]})")
              .examples.at(0)) == "B|\n");
}

TEST_CASE("a template that rewrites the past makes an example of every answer, and that is said", "[unit]") {
  Chat c;
  c.source = kForgetful;
  const Dataset all = c.load(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "A", "reasoning_content": "1"}, )"
      R"({"role": "user", "content": "b"}, {"role": "assistant", "content": "B", "thinking": "2"}]})");
  REQUIRE(all.examples.size() == 2);
  CHECK(all.report.documents == 1);
  CHECK(all.examples[1].document == 0);
  CHECK(text(all.examples[0]) == "<user>a|\n<assistant>(1)A|\n");
  CHECK(learned(all.examples[0]) == "(1)A|\n");
  CHECK(text(all.examples[1]) == "<user>a|\n<assistant>A|\n<user>b|\n<assistant>(2)B|\n");
  CHECK(learned(all.examples[1]) == "(2)B|\n");
  CHECK(says(all.report, "rewrites what was said before in 1 conversations"));
}

TEST_CASE("what a template says is wrong with a row is said of that row", "[unit]") {
  Chat c;
  c.source = "{% if messages[0].role != 'user' %}{{ raise_exception('begin with the user') }}{% endif %}" + kChatMl;
  const std::string message =
      message_of<DataError>([&] { c.load(R"({"messages": [{"role": "assistant", "content": "A"}]})"); });
  CHECK(contains(message,
                 "train.jsonl line 1: t.jinja line 1: the template refuses this conversation: begin with the user"));
  CHECK(contains(message_of<DataError>([&] { c.load(R"({"messages": [{"from": "gpt", "words": "A", "n": 1}]})"); }),
                 "a turn has its text under \"content\", \"value\" or \"text\", found from, words, n"));
  CHECK(contains(message_of<DataError>([&] { c.load(R"({"messages": [{"who": "gpt", "text": "A"}]})"); }),
                 "a turn names its role under \"role\" or \"from\", found who, text"));
  CHECK(contains(message_of<DataError>([&] { c.load(R"({"messages": [{"role": "asistant", "content": "A"}]})"); }),
                 "unknown role 'asistant', did you mean 'assistant'?"));
  c.source = kChatMl;
  CHECK(says(
      c.load(R"({"messages": [{"role": "critic", "content": "x"}, {"role": "assistant", "content": "A"}]})").report,
      "critic (1 turn)"));
  CHECK(contains(
      message_of<DataError>([&] {
        c.load(
            R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "label": false})");
      }),
      "KTO's form"));
}

TEST_CASE("a template that cannot be used is no matter until a conversation comes", "[unit]") {
  TempDir dir, model;
  write_text(dir / "text.txt", "some text");
  write_text(dir / "chat.jsonl",
             R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  write_text(model / "chat_template.jinja", "{% if %}");
  data::DataOptions options;
  options.chat = data::find_chat_layout(FakeTokenizer(), {model.path()});
  CHECK(data::load({dir / "text.txt"}, FakeTokenizer(), options).examples.size() == 1);
  CHECK(contains(message_of<DataError>([&] { data::load({dir / "chat.jsonl"}, FakeTokenizer(), options); }),
                 "chat_template.jinja"));
  // Nor is one whose folder is not known.
  FakeOptions somewhere;
  somewhere.chat_template = true;
  CHECK(data::load({dir / "text.txt"}, FakeTokenizer(somewhere), {}).examples.size() == 1);
  CHECK(contains(message_of<DataError>([&] { data::load({dir / "chat.jsonl"}, FakeTokenizer(somewhere), {}); }),
                 "DataOptions::chat"));
}

TEST_CASE("over-long conversations are cut, and one whose answers all lose their ends is refused", "[unit]") {
  Chat c;
  const std::string row =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "long answer"}]})";
  c.options.seq_len = 25;
  CHECK(contains(message_of<DataError>([&] { c.load(row); }), "no answer reaches its end token"));
  c.options.seq_len = 40;
  CHECK(c.load(row).report.truncated == 0);
}

TEST_CASE("pairs of messages are laid out by the template, in every form", "[unit]") {
  for (
      const char* row :
      {R"({"prompt": [{"role": "user", "content": "Hi"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]})",
       R"({"chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]})",
       R"({"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}})",
       R"({"instruction": "Hi", "chosen": "a", "rejected": "b"})",
       R"({"prompt": "Hi", "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]})",
       R"({"prompt": "Hi", "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]})",
       R"({"question": "Hi", "chosen": [{"from": "gpt", "value": "a"}], "rejected": [{"from": "gpt", "value": "b"}]})",
       R"({"question": "Hi", "chosen": "a", "rejected": "b"})"}) {
    CAPTURE(row);
    TempDir dir;
    write_text(dir / "pairs.jsonl", row);
    const Dataset pairs = data::load_preferences({dir / "pairs.jsonl"}, FakeTokenizer(), 99, nullptr, layout());
    REQUIRE(pairs.examples.size() == 2);
    CHECK(text(pairs.examples[0]) == "<s><user>Hi|\n<assistant>a|\n");
    CHECK(learned(pairs.examples[0]) == "a|\n");
    CHECK(text(pairs.examples[1]) == "<s><user>Hi|\n<assistant>b|\n");
    CHECK(learned(pairs.examples[1]) == "b|\n");
  }
  TempDir dir;
  write_text(dir / "pairs.jsonl", R"({"instruction": "Hi", "chosen": "a", "rejected": "b", "history": [["q", "x"]]})");
  const Dataset pairs = data::load_preferences({dir / "pairs.jsonl"}, FakeTokenizer(), 99, nullptr, layout());
  CHECK(text(pairs.examples.at(0)) == "<s><user>q|\n<assistant>x|\n<user>Hi|\n<assistant>a|\n");
  CHECK(learned(pairs.examples.at(0)) == "a|\n");
  CHECK_FALSE(says(pairs.report, "history"));
  write_text(dir / "pairs.jsonl", R"({"system": "S", "question": "Hi", "chosen": "a", "rejected": "b"})");  // orca's
  const Dataset orca = data::load_preferences({dir / "pairs.jsonl"}, FakeTokenizer(), 99, nullptr, layout());
  CHECK(text(orca.examples.at(0)) == "<s><system>S|\n<user>Hi|\n<assistant>a|\n");
  CHECK_FALSE(says(orca.report, "not read"));
}

TEST_CASE("turns may be JSON in a string, as tables have them, and a conversation without any is said", "[unit]") {
  Chat c;
  const Dataset all = c.load(R"({"messages": "[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"A\"}]"})");
  CHECK(text(all.examples.at(0)) == "<s><user>a|\n<assistant>A|\n");
  CHECK(learned(all.examples.at(0)) == "A|\n");
  const auto refused = [&](const char* row) { return message_of<DataError>([&] { c.load(row); }); };
  CHECK(contains(refused(R"({"messages": "[{'role': 'user'}]"})"), "line 1: messages: not valid JSON"));
  CHECK(contains(refused(R"({"messages": "hello"})"), "found the string 'hello'"));
  CHECK(contains(refused(R"({"messages": []})"), "line 1: messages: there are no turns; take the row out"));
}

TEST_CASE("a developer's turn that the template does not know is said", "[unit]") {
  Chat c;
  const char* row =
      R"({"messages": [{"role": "developer", "content": "Be short."}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "A"}]})";
  CHECK(says(c.load(row).report, "does not know by name"));
  c.source = "{% for m in messages %}{% if m.role == 'developer' %}!{% endif %}<{{ m.role }}>{{ m.content }}|\n{% endfor %}"
             "{% if add_generation_prompt %}<assistant>{% endif %}";
  CHECK_FALSE(says(c.load(row).report, "does not know by name"));
}

TEST_CASE("a template that asks calls for content that is none gets it, and their arguments as it joins them", "[unit]") {
  Chat c;  // as DeepSeek-R1's
  c.source = "{% for m in messages %}{% if m['role'] == 'assistant' and m['content'] is none %}[{% for t in m['tool_calls'] %}"
             "{{ t['function']['name'] + ':' + t['function']['arguments'] }}{% endfor %}]|\n{% else %}<{{ m.role }}>{{ m['content'] + '|' }}\n"
             "{% endif %}{% endfor %}";
  const Dataset all = c.load(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}]})");
  CHECK(text(all.examples.at(0)) == "<user>a|\n[f:{\"x\": 1}]|\n");
}

TEST_CASE("options of conversations that change nothing are said", "[unit]") {
  Chat c;
  c.chat.loss_on = data::LossOn::kLast;
  c.chat.arguments = {{"x", 1}};
  const Dataset rows = c.load(R"({"text": "a"})");
  CHECK(says(rows.report, "`loss-on` is for the turns of conversations"));
  CHECK(says(rows.report, "`template-arg` is for a chat template"));
  const Dataset chats = c.load(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "A"}]})");
  CHECK_FALSE(says(chats.report, "nothing is changed by it"));
}

TEST_CASE("every turn and the last alone are not learned together", "[unit]") {
  Chat c;
  c.chat.loss_on = data::LossOn::kLast;
  c.options.train_on_prompt = true;
  CHECK(contains(message_of<ConfigError>([&] { c.load(R"({"text": "a"})"); }), "`train-on-prompt` learns every turn, and `loss-on`"));
}

TEST_CASE("every turn is learned where prompts are, and the note says so", "[unit]") {
  Chat c;
  c.options.train_on_prompt = true;
  CHECK(says(c.load(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "A"}]})").report,
             "learned: every turn, as `train-on-prompt` says"));
}

TEST_CASE("prompts and labelled texts may be conversations", "[unit]") {
  TempDir dir;
  write_text(
      dir / "prompts.jsonl",
      R"({"prompt": [{"role": "user", "content": "Hi"}]})"
      "\n"
      R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "dropped"}], "answer": "Yo"})"
      "\n"
      R"({"prompt": "as it is"})");
  const data::Prompts prompts = data::load_prompts({dir / "prompts.jsonl"}, FakeTokenizer(), 99, layout());
  REQUIRE(prompts.prompts.size() == 3);
  const std::string asked = "<s><user>Hi|\n<assistant>";
  CHECK(FakeTokenizer().decode(prompts.prompts[0].ids, false) == asked);
  CHECK(FakeTokenizer().decode(prompts.prompts[1].ids, false) == asked);
  CHECK(prompts.prompts[1].answer == "Yo");
  CHECK(FakeTokenizer().decode(prompts.prompts[2].ids, false) == "<s>as it is");
  CHECK(says(prompts.report, "2 conversations are laid out by the chat template"));
  write_text(dir / "labels.jsonl", R"({"messages": [{"role": "user", "content": "Hi"}], "label": "greeting"})"
                                   "\n"
                                   R"({"messages": [{"role": "user", "content": "Bye"}], "label": "parting"})");
  const data::LabelledTexts labelled = data::load_labelled({dir / "labels.jsonl"}, FakeTokenizer(), 99, {}, layout());
  CHECK(text(labelled.texts.examples.at(0)) == "<s><user>Hi|\n");
  CHECK(labelled.texts.report.format == "messages/label");
  write_text(dir / "prompts.jsonl", R"({"query": "How far?", "id": 3})");
  const std::string told = message_of<DataError>([&] { data::load_prompts({dir / "prompts.jsonl"}, FakeTokenizer(), 99, layout()); });
  CHECK(contains(told, "found \"query\", \"id\"; name columns of other names with `columns` prompt=query"));
}

TEST_CASE("the end of a turn is the special token behind an answer", "[unit]") {
  const FakeTokenizer tokenizer;
  const auto end_of = [&](const std::string& after) {
    return layout("{% for m in messages %}<{{ m.role }}>{{ m.content }}" + after + "{% endfor %}")->turn_end(tokenizer);
  };
  CHECK(end_of("</s>\n") == 2);
  CHECK(end_of("\n</s>") == 2);
  CHECK_FALSE(end_of("|</s>"));  // a text ends it
  CHECK_FALSE(end_of("\n"));
  CHECK(ChatLayout().turn_end(tokenizer) == 2);
}

TEST_CASE("dates are read and written", "[unit]") {
  for (const char* date : {"2026-11-30", "2024-02-29", "2026-11-30T09:30:00"})
    CHECK(data::chat_date_text(data::parse_chat_date(date)) == date);
  CHECK(data::chat_date_text(data::parse_chat_date("2026-11-30 09:30")) == "2026-11-30T09:30:00");
  for (const char* date : {"", "2026", "2026-02-29", "30.11.2026", "2026-11-30x", "2026-11-30T25:00"})
    CHECK(contains(message_of<ConfigError>([&] { data::parse_chat_date(date); }), "`date`"));
}
