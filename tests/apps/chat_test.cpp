// A model with a chat template: conversations learned, carried, talked in, answered in files and measured.
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

const char* const kTemplate =
    "{{ bos_token }}{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
const char* const kRows =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Who is Tim?\"}, {\"role\": \"assistant\", \"content\": \"A "
    "boy.\"}]}\n"
    "{\"conversations\": [{\"from\": \"human\", \"value\": \"Where?\"}, {\"from\": \"gpt\", \"value\": \"Here.\", "
    "\"ts\": 3}]}\n";

struct Talking {
  TempDir dir;
  fs::path model = copy_of_stories(dir / "model"), data = dir / "chats.jsonl", out = dir / "out";
  Talking() {
    write_text(model / "chat_template.jinja", kTemplate);
    // One file holds one format: two files.
    write_text(data, std::string(kRows).substr(0, std::string(kRows).find('\n') + 1));
    write_text(dir / "more.jsonl", std::string(kRows).substr(std::string(kRows).find('\n') + 1));
  }
  std::vector<std::string> finetune(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {
        "finetune", model.string(), "--data",      data.string(), (dir / "more.jsonl").string(),
        "--out",    out.string(),   "--max-steps", "2",           "--val-split",
        "0"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

}  // namespace

TEST_CASE("conversations are laid out by the model's template, and what is not read is said", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const Json shown = run_json({"inspect", talk.model.string(), "--data", talk.data.string(), "--examples", "1"});
  CHECK(shown["examples"][0]["text"] == "<s> user: Who is Tim?</s> assistant: A boy.</s>");
  const CommandResult trained = run(talk.finetune({}));
  INFO(trained.err);
  REQUIRE(trained.exit == 0);
  CHECK(contains(trained.out, "chat_template.jinja"));
  CHECK(contains(trained.out, "\"ts\" (1 turn)"));
  CHECK(!fs::exists(talk.out / "chat_template.jinja"));  // the base's own
  // Of the assistant's tokens alone, adapter and base.
  const Json measured =
      run_json({"evaluate", talk.model.string(), "--adapter", talk.out.string(), "--data", talk.data.string()});
  int learned = 0;
  for (const Json& one : shown["examples"][0]["learned"]) learned += one.get<int>();
  CHECK(measured["tokens"] == learned);
}

TEST_CASE("a template of one's own is learned, carried by the adapter, and part of the run", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const fs::path own = talk.dir / "own.jinja";
  write_text(
      own, std::string("{% if strftime_now is defined %}{{ strftime_now('%Y') }}|{% endif %}{{ mood }}|") + kTemplate);
  const auto command = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--chat-template", own.string(), "--template-arg", "mood=glad"};
    words.insert(words.end(), more.begin(), more.end());
    return talk.finetune(words);
  };
  const CommandResult trained = run(command({"--date", "2024-05-01", "--save-every", "1"}));
  INFO(trained.err);
  REQUIRE(trained.exit == 0);
  CHECK(read_text(talk.out / "chat_template.jinja") == read_text(own));
  CHECK(read_text(talk.out / "checkpoints" / "checkpoint-2" / "chat_template.jinja") == read_text(own));
  // The adapter's own template goes before the model's.
  write_text(talk.dir / "ask.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n");
  const Json shown =
      run_json({"inspect", talk.model.string(), "--data", talk.data.string(), "--chat-template",
                (talk.out / "chat_template.jinja").string(), "--date", "2024-05-01", "--template-arg", "mood=glad"});
  CHECK(contains(shown["examples"][0]["text"].get<std::string>(), "2024|glad|"));
  CHECK(
      contains(run(command({"--template-arg", "novalue", "--overwrite"})).err, "--template-arg: expected NAME=VALUE"));
  CHECK(contains(run(command({"--date", "tomorrow", "--overwrite"})).err, "--date: expected a date"));
  CHECK(contains(run(command({"--loss-on", "lst", "--overwrite"})).err, "did you mean 'last'?"));
}

TEST_CASE("chat speaks the template, takes back, saves, and shows tools", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const std::vector<std::string> chat = {"chat", talk.model.string(), "--max-new-tokens", "8", "--system", "Be kind."};
  const CommandResult one = run(chat, {}, "Hello\n");
  CHECK(one.exit == 0);
  CHECK(run(chat, {}, "Once upon\n/undo\nHello\n").out ==
        run(chat, {}, "Once upon\n").out + "(taken back)\n" + one.out);
  const std::string file = (talk.dir / "saved.jsonl").string();
  const CommandResult saved = run(chat, {}, "/save " + file + "\nHello\n/save " + file + "\n/undo\n/undo\n");
  CHECK(contains(saved.err, "nothing was said yet"));
  CHECK(contains(saved.out, "(nothing was said yet)"));
  const Json row = lowrank::core::parse_json(read_text(file).substr(0, read_text(file).find('\n')), "saved");
  CHECK(row["messages"][0] == Json({{"role", "system"}, {"content", "Be kind."}}));
  CHECK(row["messages"][2]["content"].get<std::string>() + "\n" == one.out);
  CHECK(run_json({"inspect", talk.model.string(), "--data", file})["report"]["format"] == "messages");

  write_text(talk.dir / "tools.json", "[{\"name\": \"rain\"}]");
  const CommandResult tools =
      run({"chat", talk.model.string(), "--max-new-tokens", "4", "--tools", (talk.dir / "tools.json").string()}, {},
          "Rain?\n/tool yes\n");
  CHECK(tools.exit == 0);
  CHECK(tools.err.empty());
  CHECK(contains(run({"chat", stories(), "--tools", (talk.dir / "tools.json").string()}, {}, "a\n").err,
                 "has no place for tools"));
  // What the template itself refuses is said, and the chat goes on.
  write_text(
      talk.model / "chat_template.jinja",
      "{% if messages[0].content == 'bad' %}{{ raise_exception('not that') }}{% endif %}" + std::string(kTemplate));
  // A pipe is told in the end.
  const CommandResult refused = run({"chat", talk.model.string(), "--max-new-tokens", "4", "--quiet"}, {}, "bad\nHello\n");
  CHECK(refused.exit == 65);
  CHECK(contains(refused.err, "not that"));
  CHECK(!refused.out.empty());
}

namespace {

/// What users said in a conversation that was saved.
std::vector<std::string> said_by(const std::string& file, const std::string& role = "user") {
  std::vector<std::string> texts;
  const std::string text = read_text(file);
  const Json row = lowrank::core::parse_json(text.substr(0, text.find('\n')), "saved");
  for (const Json& turn : row["messages"]) {
    if (turn["role"] == role) texts.push_back(turn["content"]);
  }
  return texts;
}

}  // namespace

TEST_CASE("commands of a chat are trimmed, mistaken ones are not said, and paths and two slashes are", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const std::string file = (talk.dir / "saved.jsonl").string();
  const auto chat = [&](const std::string& input) { return run({"chat", talk.model.string(), "--max-new-tokens", "2"}, {}, input); };
  const CommandResult all = chat("/usr/bin is a folder\n//help\n \t/undo \r\n//reset now\n  /save " + file + " \n /exit \nHello\n");
  CAPTURE(all.out, all.err);
  CHECK(all.exit == 0);
  CHECK(all.err.empty());
  CHECK(said_by(file) == std::vector<std::string>{"/usr/bin is a folder", "/reset now"});
  struct Mistake {
    const char* line;
    std::vector<std::string> parts;
  };
  for (const Mistake& one : {Mistake{"/reset now", {"/reset takes nothing", "'now'"}}, Mistake{"/rest", {"did you mean '/reset'", "/adapter"}},
                             Mistake{"/foo bar", {"'/foo' is not a command", "/save", "two slashes"}}, Mistake{"/tool", {"/tool needs"}},
                             Mistake{" /tool  ", {"/tool needs"}}, Mistake{"/save", {"/save needs a file"}},
                             Mistake{"/exit now", {"/exit takes nothing"}}}) {
    const CommandResult refused = chat(std::string(one.line) + "\n");
    CAPTURE(one.line, refused.err);
    CHECK(refused.exit == 2);
    CHECK(refused.out.empty());
    CHECK(std::count(refused.err.begin(), refused.err.end(), '\n') == 1);
    for (const std::string& part : one.parts) CHECK(contains(refused.err, part));
  }
  CHECK(contains(chat("/help\n").out, "//text"));
}

TEST_CASE("several lines are said at once: by a backslash, and between signs", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const std::string file = (talk.dir / "saved.jsonl").string();
  const auto chat = [&](const std::string& input) { return run({"chat", talk.model.string(), "--max-new-tokens", "2"}, {}, input); };
  const CommandResult all = chat("one\\\ntwo\\\nthree\n\"\"\"\n/reset\n\n  a\\\n\"\"\"\n\"\"\"first\nlast\"\"\" \n\"\"\"\n\"\"\"\n"
                                 "/tool \"\"\"\n{\n}\n\"\"\"\n/save " + file + "\n");
  CAPTURE(all.out, all.err);
  CHECK(all.exit == 0);
  CHECK(said_by(file) == std::vector<std::string>{"one\ntwo\nthree", "/reset\n\n  a\\", "first\nlast"});
  CHECK(said_by(file, "tool") == std::vector<std::string>{"{\n}"});
  const CommandResult open = chat("\"\"\"\nHello\n");
  CHECK(open.exit == 65);
  CHECK(open.out.empty());
  CHECK(contains(open.err, "ended inside a block"));
}

TEST_CASE("what a tool answered names the call, as Mistral's templates want it", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const std::string file = (talk.dir / "saved.jsonl").string();
  fs::copy_file(*assets() / "chat-templates" / "mistralai-Mistral-Nemo-Instruct-2407.jinja", talk.model / "chat_template.jinja",
                fs::copy_options::overwrite_existing);
  const CommandResult told = run({"chat", talk.model.string(), "--max-new-tokens", "2"}, {}, "Rain?\n/tool yes\n/save " + file + "\n");
  CAPTURE(told.err);
  CHECK(told.exit == 0);
  const Json row = lowrank::core::parse_json(read_text(file), "saved");
  CHECK(row["messages"][2]["tool_call_id"] == "call00001");
}

TEST_CASE("rows of turns are answered in files, an answer at their end left off", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  const std::string output = (talk.dir / "answers.jsonl").string();
  const Json done = run_json(
      {"generate", talk.model.string(), "--input", talk.data.string(), "--output", output, "--max-new-tokens", "8"});
  CHECK(done["answers"] == 1);
  const Json row = lowrank::core::parse_json(read_text(output), "answers");
  const Json alone = run_json(
      {"generate", talk.model.string(), "--prompt", "<s>user: Who is Tim?</s>assistant: ", "--max-new-tokens", "8"});
  CHECK(row["messages"].size() == 2);
  CHECK(row["generated"].is_string());
  CHECK(contains(run({"generate", talk.model.string(), "--input", talk.data.string(), "--output", output, "--overwrite",
                      "--task", "summarize"})
                     .err,
                 "is a conversation"));
}

TEST_CASE("the end of a turn that generation would not stop at is added to what is saved", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Talking talk;
  write_text(talk.model / "generation_config.json", "{\"eos_token_id\": 7, \"top_k\": 3}");
  const CommandResult trained = run(talk.finetune({}));
  INFO(trained.err);
  REQUIRE(trained.exit == 0);
  CHECK(contains(trained.out, "</s> is not among the tokens that the model's generation stops at"));
  const Json config = lowrank::core::read_json(talk.out / "generation_config.json");
  CHECK(config["eos_token_id"] == Json({2, 7}));
  CHECK(config["top_k"] == 3);
  run_json({"merge", talk.model.string(), "--adapter", talk.out.string(), "--out", (talk.dir / "merged").string()});
  CHECK(lowrank::core::read_json(talk.dir / "merged" / "generation_config.json")["eos_token_id"] == Json({2, 7}));
}
