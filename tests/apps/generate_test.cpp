// generate over files of prompts, with layouts, beams and several adapters; chat with several adapters.
#include <algorithm>

#include "lowrank/core/text.h"
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

const std::vector<std::string> kPrompts = {"Once upon a time", "Lily and Ben", "The dog", "One day, Tom",
                                           "A big red ball",   "The cat said", "Mom was"};

/// Rows of JSON lines.
std::vector<Json> rows_of(const std::string& text) {
  std::vector<Json> rows;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    rows.push_back(lowrank::core::parse_json(text.substr(begin, end - begin), "row"));
  }
  return rows;
}

std::string lines(const std::vector<Json>& rows) {
  std::string text;
  for (const Json& row : rows) text += row.dump() + "\n";
  return text;
}

/// A folder with prompts.jsonl, an adapter that changes much ("art") and one that changes much otherwise ("sea").
struct Workplace {
  TempDir dir;
  std::string input = (dir / "prompts.jsonl").string(), output = (dir / "answers.jsonl").string(),
              art = (dir / "art").string(), sea = (dir / "sea").string();
  Workplace() {
    std::vector<Json> rows;
    for (const std::string& prompt : kPrompts)
      rows.push_back({{"id", rows.size()}, {"prompt", prompt}, {"tag", {1, "x"}}});
    write_text(input, lines(rows));
    write_adapter(art, 0.2);
    write_adapter(sea, -0.2);
  }
  std::vector<std::string> command(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"generate", stories(), "--input",          input,
                                      "--output", output,    "--max-new-tokens", "12"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::string text_of(const std::string& prompt, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"generate", stories(), "--prompt", prompt, "--max-new-tokens", "12"};
    words.insert(words.end(), more.begin(), more.end());
    return run_json(words)["text"];
  }
};

void check_mistake(const std::vector<std::string>& arguments, int exit, const std::vector<std::string>& parts) {
  const CommandResult result = run(arguments);
  CAPTURE(arguments, result.err, result.out);
  CHECK(result.exit == exit);
  for (const std::string& part : parts) CHECK(contains(result.err, part));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.out.empty());
}

}  // namespace

TEST_CASE("every prompt of a file is answered, in order, with its own keys", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const Json summary = run_json(place.command({"--batch-size", "3"}));
  CHECK(summary["prompts"] == 7);
  CHECK(summary["answers"] == 7);
  CHECK(summary["tokens_per_second"].get<double>() > 0);
  const std::vector<Json> rows = rows_of(read_text(place.output));
  REQUIRE(rows.size() == kPrompts.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i]["id"] == i);
    CHECK(rows[i]["prompt"] == kPrompts[i]);
    CHECK(rows[i]["tag"] == Json({1, "x"}));
    CHECK(rows[i]["generated"] == place.text_of(kPrompts[i]));
    CHECK(rows[i]["finish"] == "length");
    CHECK(rows[i].size() == 5);
  }
  // Lines of text give the same; the summary is said.
  write_text(place.dir / "lines.txt", "Once upon a time\n\n  \r\nLily and Ben\r\nThe dog");
  const std::string output = (place.dir / "lines.out").string();
  const CommandResult plain = run({"generate", stories(), "--input", (place.dir / "lines.txt").string(), "--output",
                                   output, "--max-new-tokens", "12"});
  CHECK(plain.exit == 0);
  CHECK(plain.err.empty());
  CHECK(contains(plain.out, "3 answers, 36 tokens in "));
  CHECK(contains(plain.out, "2 blank lines are passed over, without an answer in the output (the first: "));
  const std::vector<Json> of_lines = rows_of(read_text(output));
  REQUIRE(of_lines.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(of_lines[i] == Json{{"prompt", kPrompts[i]}, {"generated", rows[i]["generated"]}, {"finish", "length"}});
  }
}

TEST_CASE("an output is gone on with, begun anew, or left alone", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const std::vector<std::string> drawn = {"--temperature", "1.1", "--top-k", "60", "--seed", "4", "--batch-size", "2"};
  const auto command = [&](std::vector<std::string> more) {
    more.insert(more.end(), drawn.begin(), drawn.end());
    return place.command(more);
  };
  REQUIRE(run(command({})).exit == 0);
  const std::string whole = read_text(place.output);
  check_mistake(command({}), 2, {"--resume goes on", "--overwrite starts anew"});
  CHECK(read_text(place.output) == whole);
  // Cut at many places, in the middle of a row too: the same bytes come back.
  for (const std::size_t bytes :
       {whole.find('\n') + 1, whole.find('\n') + 20, std::size_t{7}, std::size_t{0}, whole.size()}) {
    write_text(place.output, whole.substr(0, bytes));
    const CommandResult resumed = run(command({"--resume"}));
    CAPTURE(bytes, resumed.err);
    CHECK(resumed.exit == 0);
    CHECK(read_text(place.output) == whole);
  }
  fs::remove(place.output);
  CHECK(run(command({"--resume"})).exit == 0);
  CHECK(read_text(place.output) == whole);
  // Another batch size, another composition: the draws are the same.
  CHECK(run(place.command({"--temperature", "1.1", "--top-k", "60", "--seed", "4", "--batch-size", "7", "--overwrite"}))
            .exit == 0);
  CHECK(read_text(place.output) == whole);

  check_mistake(command({"--resume", "--overwrite"}), 2, {"contradicts --resume"});
  const std::string row = whole.substr(0, whole.find('\n') + 1);
  write_text(place.output, row + row);
  check_mistake(command({"--resume"}), 65, {"answers.jsonl line 2: is not the answer to", "prompts.jsonl line 2"});
  write_text(place.output, whole + row);
  check_mistake(command({"--resume"}), 65, {"line 8", "more answers than the 7 prompts"});
  write_text(place.output, "a text of mine\n");
  check_mistake(command({"--resume"}), 65, {"answers.jsonl line 1"});
  CHECK(read_text(place.output) == "a text of mine\n");
}

TEST_CASE("a signal leaves whole rows, and --resume gives what would have been", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  std::vector<Json> rows;
  for (int i = 0; i < 400; ++i) rows.push_back({{"prompt", kPrompts[static_cast<std::size_t>(i) % 7]}, {"id", i}});
  write_text(place.input, lines(rows));
  const std::vector<std::string> words = place.command({"--batch-size", "4", "--temperature", "0.9", "--threads", "1"});
  Command command(words);
  for (int tenths = 0; tenths < 600; ++tenths) {
    if (fs::exists(place.output) && fs::file_size(place.output) > 0) break;
    ::usleep(100'000);
  }
  command.signal(SIGTERM);
  const CommandResult stopped = command.wait();
  const std::string part = read_text(place.output);
  CAPTURE(stopped.err, part.size());
  REQUIRE(!part.empty());
  CHECK(part.back() == '\n');
  if (stopped.exit == 0) return;  // it was done before the signal came
  CHECK(stopped.exit == 128 + SIGTERM);
  CHECK(contains(stopped.err, "of 400 prompts answered; the same command with --resume goes on"));
  std::vector<std::string> resume = words;
  resume.emplace_back("--resume");
  const auto warmer = std::find(resume.begin(), resume.end(), "0.9");
  *warmer = "1.5";
  check_mistake(resume, 2, {"begun with another --temperature: 0.9 then, 1.5 now"});
  CHECK(read_text(place.output) == part);
  *warmer = "0.9";
  CHECK(run(resume).exit == 0);
  CHECK_FALSE(fs::exists(place.output + ".unfinished"));
  const std::string resumed = read_text(place.output);
  resume.back() = "--overwrite";
  CHECK(run(resume).exit == 0);
  CHECK(read_text(place.output) == resumed);
  CHECK(resumed.substr(0, part.size()) == part);
}

TEST_CASE("rows pick their adapters by name, --prompt takes the first, and the base has a name too", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  std::vector<Json> rows;
  const std::vector<Json> adapters = {"sea", nullptr, "art", "base", "sea", "art"};
  for (std::size_t i = 0; i < adapters.size(); ++i) rows.push_back({{"prompt", kPrompts[i]}, {"adapter", adapters[i]}});
  rows.push_back({{"prompt", kPrompts[6]}});
  write_text(place.input, lines(rows));
  const std::vector<std::string> both = {"--adapter", "art=" + place.art, "--adapter", "sea=" + place.sea};
  std::vector<std::string> more = both;
  more.insert(more.end(), {"--batch-size", "2"});
  run_json(place.command(more));
  const std::vector<Json> answers = rows_of(read_text(place.output));
  REQUIRE(answers.size() == 7);
  int different = 0;
  for (std::size_t i = 0; i < 7; ++i) {
    CAPTURE(i);
    const std::string name = i < 6 && !adapters[i].is_null() ? adapters[i].get<std::string>() : "art";
    const std::string base = place.text_of(kPrompts[i]);
    const std::string expected =
        name == "base" ? base : place.text_of(kPrompts[i], {"--adapter", name == "art" ? place.art : place.sea});
    CHECK(answers[i]["generated"] == expected);
    CHECK(answers[i].value("adapter", Json()) == rows[i].value("adapter", Json()));
    different += expected != base;
  }
  CHECK(different >= 5);
  CHECK(place.text_of(kPrompts[0], both) == place.text_of(kPrompts[0], {"--adapter", place.art}));
  // Without names they go by their folders.
  run_json(place.command({"--adapter", place.art, "--adapter", place.sea, "--overwrite"}));
  CHECK(rows_of(read_text(place.output)) == answers);
  // The model may stand after the one value of --adapter.
  CHECK(run({"generate", "--adapter", place.art, stories(), "--prompt", "A", "--max-new-tokens", "1"}).exit == 0);

  rows[3]["adapter"] = "see";
  write_text(place.input, lines(rows));
  more.emplace_back("--overwrite");
  check_mistake(place.command(more), 65, {"prompts.jsonl line 4: no adapter is called 'see', did you mean 'sea'?"});
  CHECK(rows_of(read_text(place.output)) == answers);
  check_mistake(place.command({"--adapter", "a=" + place.art, "--adapter", "a=" + place.sea, "--overwrite"}), 2,
                {"two are called 'a'"});
  check_mistake(place.command({"--adapter", "base=" + place.art, "--overwrite"}), 2,
                {"'base' means the model without"});
  check_mistake(place.command({"--adapter", "a.b=" + place.art, "--overwrite"}), 2, {"'a.b' cannot be a name"});
  check_mistake(place.command({"--adapter", "a=" + place.input, "--overwrite"}), 66, {"no adapter there"});
}

TEST_CASE("chat goes on with another adapter when told", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const auto chat = [&](const std::vector<std::string>& more, const std::string& input, int exit = 0) {
    std::vector<std::string> words = {"chat", stories(), "--max-new-tokens", "10"};
    words.insert(words.end(), more.begin(), more.end());
    const CommandResult result = run(words, {}, input);
    CAPTURE(result.err);
    CHECK(result.exit == exit);
    return result;
  };
  const std::vector<std::string> both = {"--adapter", "art=" + place.art, "--adapter", "sea=" + place.sea};
  const std::string sea = chat({"--adapter", place.sea}, "Tell me a story\n").out;
  const CommandResult switched = chat(both,
                                      "Tell me a story\n/reset\n/adapter sea\nTell me a story\n/reset\n/adapter "
                                      "base\nTell me a story\n/adapter\n/adapter saa\n",
                                      2);  // what came through a pipe had a mistake in it
  CHECK(switched.out == chat({"--adapter", place.art}, "Tell me a story\n").out + "(forgotten)\n(from now on: sea)\n" +
                            sea + "(forgotten)\n(from now on: base)\n" + chat({}, "Tell me a story\n").out +
                            "art\nsea\nbase  (now)\n");
  CHECK(contains(switched.err, "no adapter is called 'saa', did you mean 'sea'?"));
  // Without /reset the conversation goes on, read anew by the other adapter.
  const std::string alone = chat({"--adapter", place.sea}, "Hello\n").out;
  const std::string changed = chat(both, "/adapter sea\nHello\n").out;
  CHECK(changed == "(from now on: sea)\n" + alone);
}

TEST_CASE("tasks are plain layouts around the prompt", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const std::string translated =
      place.text_of("The dog ran.", {"--task", "translate", "--from", "English", "--to", "Portuguese"});
  const std::string by_hand = place.text_of("Translate from English to Portuguese.\nEnglish: The dog ran.\nPortuguese:",
                                            {"--stop", "\nEnglish:"});
  const auto trimmed = [](const std::string& text) {
    const std::size_t begin = text.find_first_not_of(" \t\n");
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\n") + 1 - begin);
  };
  CHECK(translated == trimmed(by_hand));
  CHECK(place.text_of("Who ran?", {"--task", "answer"}) ==
        trimmed(place.text_of("Question: Who ran?\nAnswer:", {"--stop", "\nQuestion:"})));
  run_json(place.command({"--task", "summarize"}));
  const std::vector<Json> rows = rows_of(read_text(place.output));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK(rows[i]["prompt"] == kPrompts[i]);
    CHECK(rows[i]["generated"] == trimmed(place.text_of("Text: " + kPrompts[i] + "\nSummary:", {"--stop", "\nText:"})));
  }
  check_mistake({"generate", stories(), "--prompt", "a", "--task", "translate", "--to", "Portuguese"}, 2,
                {"--from", "needed"});
  check_mistake({"generate", stories(), "--prompt", "a", "--task", "answer", "--to", "Portuguese"}, 2,
                {"goes with --task translate"});
  check_mistake({"generate", stories(), "--prompt", "a", "--task", "translat"}, 2, {"translate"});
}

TEST_CASE("beams search alike for one prompt and for a file of them", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const std::vector<std::string> beams = {"--beams",           "4", "--length-penalty", "0.8",
                                          "--no-repeat-ngram", "2", "--beam-stop",      "never"};
  run_json(place.command(beams));
  const std::vector<Json> rows = rows_of(read_text(place.output));
  REQUIRE(rows.size() == kPrompts.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<std::string> words = {"generate", stories(), "--prompt", kPrompts[i], "--max-new-tokens", "12"};
    words.insert(words.end(), beams.begin(), beams.end());
    const Json alone = run_json(words);
    CHECK(rows[i]["generated"] == alone["text"]);
    CHECK(rows[i]["score"].get<double>() == Approx(alone["score"].get<double>()).margin(1e-4));
    const CommandResult plain = run(words);
    CHECK(plain.out == alone["text"].get<std::string>() + "\n");
  }
}

TEST_CASE("prompts are read from the rows that finetune learns from", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const std::string alpaca =
      "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
      "response that appropriately completes the request.\n\n### Instruction:\nSay who.\n\n### Input:\nTom ran.\n\n### "
      "Response:\n";
  write_text(place.input, lines({{{"question", "Who ran?"}, {"answer", "Tom"}},
                                 {{"instruction", "Say who."}, {"input", "Tom ran."}, {"output", "Tom"}}}));
  REQUIRE(run(place.command()).exit == 0);
  std::vector<Json> rows = rows_of(read_text(place.output));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["generated"] == place.text_of("Who ran?\n"));
  CHECK(rows[0]["answer"] == "Tom");
  CHECK(rows[1]["generated"] == place.text_of(alpaca));
  // Columns of other names are asked for, and carried through as they came.
  write_text(place.input, lines({{{"q", "Once"}, {"prompt", "of another"}}, {{"q", "Tom"}}}));
  REQUIRE(run(place.command({"--overwrite", "--columns", "prompt=q"})).exit == 0);
  rows = rows_of(read_text(place.output));
  CHECK(rows[0]["prompt"] == "of another");
  CHECK_FALSE(rows[1].contains("prompt"));
  CHECK(rows[1]["generated"] == place.text_of("Tom"));
  CHECK(run(place.command({"--resume", "--columns", "prompt=q"})).exit == 0);
  // A task lays the bare text out.
  write_text(place.input, lines({{{"question", "Who ran?"}, {"answer", "Tom"}},
                                 {{"instruction", "Say who."}, {"input", "Tom ran."}, {"output", "Tom"}}}));
  REQUIRE(run(place.command({"--overwrite", "--task", "answer"})).exit == 0);
  rows = rows_of(read_text(place.output));
  CHECK(rows[0]["generated"] == place.text_of("Who ran?", {"--task", "answer"}));
  CHECK(rows[1]["generated"] == place.text_of("Say who.\nTom ran.", {"--task", "answer"}));
}

TEST_CASE("mistakes with files of prompts are named in one line, and nothing is written", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const auto with_input = [&](const std::string& text) {
    write_text(place.input, text);
    return place.command();
  };
  const std::string good = "{\"prompt\": \"Once\"}\n";
  check_mistake(with_input(good + "{\"ask\": \"Who?\"}\n"), 65,
                {"prompts.jsonl line 2: the row has no \"prompt\"", "are ask;", "--columns"});
  check_mistake(with_input(good + "{\"instruction\": \"Add.\", \"input\": 3}\n"), 65, {"prompts.jsonl line 2", "\"input\" is not a text"});
  check_mistake(with_input(good + "{\"prompt\": 3}\n"), 65, {"prompts.jsonl line 2", "not a text"});
  check_mistake(with_input(good + "[1]\n"), 65, {"prompts.jsonl line 2", "an object"});
  check_mistake(with_input(good + "{\"prompt\": \n"), 65, {"prompts.jsonl line 2"});
  check_mistake(with_input(good + "{\"prompt\": \"a\", \"generated\": \"b\"}\n"), 65,
                {"prompts.jsonl line 2", "\"generated\"", "rename it"});
  check_mistake(with_input(good + "{\"prompt\": \"a\", \"adapter\": 1}\n"), 65,
                {"prompts.jsonl line 2", "\"adapter\""});
  check_mistake(with_input(good + "{\"prompt\": \"a\", \"adapter\": \"art\"}\n"), 65,
                {"prompts.jsonl line 2", "no adapter is called 'art'"});
  check_mistake(with_input("\n\n"), 65, {"prompts.jsonl holds no rows"});
  std::string longer;
  for (int i = 0; i < 600; ++i) longer += " dog";
  check_mistake(with_input(good + Json{{"prompt", longer}}.dump() + "\n"), 65,
                {"prompts.jsonl line 2: the prompt has ", "512 positions"});
  CHECK(!fs::exists(place.output));

  with_input(good);
  check_mistake({"generate", stories(), "--input", place.input}, 2, {"--output", "missing"});
  check_mistake({"generate", stories(), "--input", place.input, "--output", place.input, "--overwrite"}, 2,
                {"is the input itself"});
  check_mistake({"generate", stories(), "--input", (place.dir / "promts.jsonl").string(), "--output", place.output}, 66,
                {"promts.jsonl"});
  check_mistake(place.command({"--prompt", "a"}), 2, {"--prompt", "does not go with --input"});
  check_mistake(place.command({"--beams", "3", "--temperature", "0.7"}), 2,
                {"--temperature", "does not go with --beams"});
  check_mistake(place.command({"--length-penalty", "2"}), 2, {"--length-penalty", "goes with --beams"});
  check_mistake(place.command({"--beams", "0"}), 2, {"--beams"});
  check_mistake(place.command({"--batch-size", "0"}), 2, {"--batch-size"});
  check_mistake({"generate", stories(), "--prompt", "a", "--output", place.output}, 2,
                {"--output", "goes with --input"});
  CHECK(!fs::exists(place.output));
  CHECK(read_text(place.input) == good);
}

TEST_CASE("keys and values in fewer bytes answer alike in every way of asking", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  write_text(dir / "prompts.txt", "Once upon a time\nThe cat\n");
  const std::vector<std::string> prompt = {"--prompt", "Once upon a time", "--max-new-tokens", "8", "--json"};
  const auto ids = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"generate", stories()};
    words.insert(words.end(), prompt.begin(), prompt.end());
    words.insert(words.end(), more.begin(), more.end());
    const CommandResult result = run(words);
    CAPTURE(result.err);
    REQUIRE(result.exit == 0);
    return nlohmann::ordered_json::parse(result.out)["ids"];
  };
  const nlohmann::ordered_json plain = ids({});
  for (const std::string form : {"auto", "bfloat16", "int8"}) {
    CAPTURE(form);
    // This model is far from undecided at these tokens.
    CHECK(ids({"--cache-dtype", form}) == plain);
    CHECK(ids({"--cache-dtype", form, "--beams", "2"}).size() == 8);
    const CommandResult file = run({"generate", stories(), "--input", (dir / "prompts.txt").string(), "--output",
                                    (dir / (form + ".jsonl")).string(), "--max-new-tokens", "8", "--cache-dtype", form});
    CHECK(file.exit == 0);
    CHECK(read_text(dir / (form + ".jsonl")) == read_text(dir / "auto.jsonl"));
    CHECK(run({"chat", stories(), "--max-new-tokens", "8", "--cache-dtype", form}, {}, "Hello\n").exit == 0);
  }
  check_mistake({"generate", stories(), "--prompt", "a", "--cache-dtype", "int4"}, 2, {"--cache-dtype", "int8"});
}

TEST_CASE("what does nothing without draws is said once, beside the answer", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const std::vector<std::string> words = {"generate", stories(), "--prompt", "Once", "--max-new-tokens", "4"};
  const auto asked = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return run(more);
  };
  const CommandResult greedy = asked({});
  CHECK(greedy.err.empty());
  const CommandResult idle = asked({"--top-k", "5", "--seed", "3"});
  CHECK(idle.out == greedy.out);
  CHECK(contains(idle.err, "--top-k, --seed do nothing at --temperature 0"));
  CHECK(contains(asked({"--temperature", "0", "--top-p", "0.9"}).err, "--top-p does nothing at --temperature 0"));
  CHECK(asked({"--temperature", "0.7", "--top-k", "5"}).err.empty());
}

TEST_CASE("a prompt comes from a pipe, an output does not go into a file called -", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  CHECK(run_json({"generate", stories(), "--prompt-file", "-", "--max-new-tokens", "12"}, "Once upon a time")["text"] ==
        place.text_of("Once upon a time"));
  check_mistake({"generate", stories(), "--input", place.input, "--output", "-"}, 2, {"--output", "name one"});
  CHECK(!fs::exists("-"));
}

TEST_CASE("a tokenizer that ends every text does not end prompts", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const fs::path model = copy_of_stories(place.dir / "model");
  Json json = lowrank::core::parse_json(read_text(model / "tokenizer.json"), "tokenizer.json");
  Json& parts = json["post_processor"]["single"];
  REQUIRE(parts.is_array());
  parts.push_back({{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}});
  json["post_processor"]["special_tokens"]["</s>"] = {{"id", "</s>"}, {"ids", {2}}, {"tokens", {"</s>"}}};
  write_text(model / "tokenizer.json", json.dump());
  const Json done = run_json({"generate", model.string(), "--prompt", "Once upon a time", "--max-new-tokens", "12"});
  CHECK(done["prompt_ids"].back() != 2);
  CHECK(done["text"] == place.text_of("Once upon a time"));
  const std::string output = (place.dir / "ended.jsonl").string();
  run_json({"generate", model.string(), "--input", place.input, "--output", output, "--max-new-tokens", "12"});
  CHECK(rows_of(read_text(output))[0]["generated"] == done["text"]);
}

TEST_CASE("what generation_config.json asks for and is not done is said once", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Workplace place;
  const fs::path model = copy_of_stories(place.dir / "model");
  const auto said = [&](const Json& config, const std::vector<std::string>& more = {}) {
    write_text(model / "generation_config.json", config.dump());
    std::vector<std::string> words = {"generate", model.string(), "--prompt", "Once", "--max-new-tokens", "2"};
    words.insert(words.end(), more.begin(), more.end());
    const CommandResult result = run(words);
    CAPTURE(result.err);
    CHECK(result.exit == 0);
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') <= 1);
    return result.err;
  };
  const Json asks = {{"eos_token_id", 2}, {"do_sample", true}, {"temperature", 0.6}, {"top_p", 0.9}, {"repetition_penalty", 1.1},
                     {"bad_words_ids", {{5}}}, {"no_repeat_ngram_size", 0}, {"suppress_tokens", Json::array()}, {"min_length", 0}};
  CHECK(contains(said(asks), "asks for temperature 0.6, top_p 0.9, repetition_penalty 1.1, bad_words_ids, which are not used here; to have as "
                             "much of it give --temperature 0.6 --top-p 0.9 --repetition-penalty 1.1"));
  CHECK(contains(said(asks, {"--temperature", "0.6", "--top-p", "0.9"}), "asks for repetition_penalty 1.1, bad_words_ids, which"));
  CHECK(contains(said(asks, {"--temperature", "0"}), "asks for repetition_penalty 1.1, bad_words_ids, which"));
  CHECK(said({{"eos_token_id", 2}, {"temperature", 0.6}, {"top_k", 50}, {"repetition_penalty", 1.0}, {"num_beams", 1}}).empty());
  CHECK(contains(said({{"no_repeat_ngram_size", 3}}), "asks for no_repeat_ngram_size 3, which is not used here; to have the same give --no-repeat-ngram 3"));
  const CommandResult file = run({"generate", model.string(), "--input", place.input, "--output", place.output, "--max-new-tokens", "2"});
  CHECK(contains(file.err, "no_repeat_ngram_size 3"));
  CHECK(contains(run({"chat", model.string(), "--max-new-tokens", "2"}, {}, "Once\n").err, "no_repeat_ngram_size 3"));
}
