// What files and surroundings that mean harm make of the command: nothing.
#include <fcntl.h>

#include <algorithm>
#include <thread>

#include "verbs_helpers.h"

namespace {

using namespace lowrank_test;

/// Clears the screen, begins a line of its own that looks like ours, turns what follows around, hides, colours by C1.
const std::string kEvil = "x\x1b[2J\r\nlowrank: error: forged\xE2\x80\xAE\xE2\x80\x8B\xC2\x9B" "31m";

/// Nothing in the text can move a terminal, hide, reorder, or pass for a line of ours.
void check_harmless(const std::string& text) {
  CAPTURE(text);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    CHECK((byte >= 0x20 || c == '\n'));
    CHECK(byte != 0x7F);
  }
  for (const char* hidden : {"\xE2\x80\xAE", "\xE2\x80\x8B", "\xC2\x9B"}) CHECK_FALSE(contains(text, hidden));
  CHECK_FALSE(contains(text, "\nlowrank: error: forged"));
  CHECK_FALSE(text.starts_with("lowrank: error: forged"));
}

/// A run that shows the evil name somewhere, and does no harm by it.
void check_shown(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment = {}) {
  const CommandResult result = run(arguments, environment);
  CAPTURE(arguments, result.exit);
  check_harmless(result.out);
  check_harmless(result.err);
  const std::string all = result.out + result.err;
  CHECK((contains(all, "\\x1b[2J") || contains(all, "\\u001b[2J")));
  if (result.exit != 0) CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
}

Json adapter_config() {
  return {{"base_model_name_or_path", "base"},
          {"lora_alpha", 8},
          {"peft_type", "LORA"},
          {"r", 4},
          {"target_modules", {"q_proj", "down_proj"}},
          {"task_type", "CAUSAL_LM"}};
}

/// The exit codes of what a user may do about it.
bool users_own(int exit) { return exit == 2 || exit == 65 || exit == 66; }

void check_told(const std::vector<std::string>& arguments, const std::string& says) {
  const CommandResult result = run(arguments);
  CAPTURE(arguments, result.exit, result.err);
  CHECK(users_own(result.exit));
  CHECK(contains(result.err, says));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  CHECK(result.err.size() < 2000);
}

/// Command lines of a run long enough to be stopped.
std::vector<std::string> long_run(const fs::path& data, const fs::path& out) {
  return {"finetune",     stories(), "--data",      data.string(), "--out",     out.string(), "--max-steps", "100000",
          "--batch-size", "2",       "--seq-len",   "32",          "--val-split", "0",        "--threads",   "1",
          "--save-every", "100000",  "--log-every", "1"};
}

std::string story_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "Once upon a time there was a girl named Lily who went to the park. ";
  return text;
}

/// The sentence at the end; before it may stand what a slow machine was doing.
std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.find_last_of('\n') + 1);
}

/// The command with that much address space.
CommandResult limited(int megabytes, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {"-c", "ulimit -v " + std::to_string(megabytes * 1000) + "; exec \"$0\" \"$@\"",
                                    command().string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return Command(words, {}, "", "/bin/sh").wait();
}

}  // namespace

TEST_CASE("names of files, tensors, keys, types and tokens are shown harmless, in one line, by whatever shows them",
          "[unit]") {
  TempDir dir;
  lowrank::formats::write_safetensors(dir / "evil.safetensors", {random_tensor(kEvil, 2, 2, 1)});
  check_shown({"inspect", (dir / "evil.safetensors").string()});
  check_shown({"inspect", (dir / "evil.safetensors").string(), "--json"});

  Json config = adapter_config();
  config["base_model_name_or_path"] = kEvil;
  write_text(dir / "adapter" / "adapter_config.json", config.dump());
  lowrank::formats::write_safetensors(
      dir / "adapter" / "adapter_model.safetensors",
      {random_tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", 4, 8, 1),
       random_tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", 8, 4, 1)});
  check_shown({"inspect", (dir / "adapter").string()});
  check_shown({"generate", (dir / "adapter").string(), "--prompt", "a"});

  write_text(dir / "model" / "config.json", Json{{"model_type", kEvil}}.dump());
  check_shown({"inspect", (dir / "model").string()});

  Json vocabulary = {{kEvil, 0}, {"a", 1}};
  write_text(dir / "words" / "tokenizer.json",
             Json{{"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", kEvil}}}}.dump());
  check_shown({"tokenize", (dir / "words").string(), "--text", "b"});
  write_text(dir / "kind" / "tokenizer.json", Json{{"model", {{"type", kEvil}}}}.dump());
  check_shown({"tokenize", (dir / "kind").string(), "--text", "b"});

  write_text(dir / "options.yaml", Json{{kEvil, 1}}.dump());  // JSON is YAML
  check_shown({"evaluate", "m", "--data", "d", "--config", (dir / "options.yaml").string()});
  write_text(dir / "space.yaml", Json{{kEvil, 1}}.dump());
  check_shown({"sweep", (dir / "space.yaml").string(), "m", "--data", "d", "--out", (dir / "s").string()});
  check_shown({"inspect", (dir / kEvil).string()});
  check_shown({"runs", (dir / kEvil).string()});
  check_shown({kEvil});
  check_shown({"inspect", "--" + kEvil, "m"});

  write_text(dir / "run" / "checkpoints" / "checkpoint-1" / "manifest.json", Json{{kEvil, 1}}.dump());
  check_harmless(run({"inspect", (dir / "run" / "checkpoints" / "checkpoint-1").string()}).err);
}

TEST_CASE("what a model says goes into a pipe byte by byte, and to a terminal made safe", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  // The prompt is shown before the answer; its lines are the user's own.
  const std::vector<std::string> arguments = {"generate", stories(), "--prompt", "one\nx\x1b[2J\xE2\x80\xAE\xC2\x9B", "--max-new-tokens", "4"};
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(terminal >= 0);
  REQUIRE(::grantpt(terminal) == 0);
  REQUIRE(::unlockpt(terminal) == 0);
  std::string line = "exec \"$0\" \"$@\" > " + std::string(::ptsname(terminal));
  std::vector<std::string> words = {"-c", line, command().string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  Command shell(words, {{"TERM", "xterm"}, {"NO_COLOR", "1"}}, "", "/bin/sh");
  std::string shown;
  std::thread reader([&] {
    char buffer[4096];
    for (ssize_t n; (n = ::read(terminal, buffer, sizeof buffer)) > 0;) shown.append(buffer, static_cast<std::size_t>(n));
  });
  const CommandResult result = shell.wait();
  reader.join();
  ::close(terminal);
  CHECK(result.exit == 0);
  std::erase(shown, '\r');  // the terminal's own
  check_harmless(shown);
  CHECK(contains(shown, "one\nx\\x1b[2J\\xe2\\x80\\xae\\xc2\\x9b"));
}

TEST_CASE("a model folder's name gives its card no lines", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path model = copy_of_stories(dir / "m\nlicense: forged\n---\n<script>alert(1)</script>");
  write_text(dir / "a.txt", story_text());
  const CommandResult result =
      run({"finetune", model.string(), "--data", (dir / "a.txt").string(), "--out", (dir / "out").string(),
           "--max-steps", "1", "--batch-size", "1", "--seq-len", "16", "--rank", "2", "--val-split", "0"});
  CAPTURE(result.err);
  REQUIRE(result.exit == 0);
  check_harmless(result.out);
  std::istringstream card(read_text(dir / "out" / "README.md"));
  std::vector<std::string> front;
  std::string line;
  for (int rules = 0; rules < 2 && std::getline(card, line);) {
    rules += line == "---";
    front.push_back(line);
  }
  // A folder of this machine is no base_model that the hub could know.
  REQUIRE(front.size() == 7);
  for (const std::string& one : front) CHECK_FALSE(contains(one, "forged"));
  for (bool code = false; std::getline(card, line);) {
    code = line.starts_with("    ");
    const std::size_t script = line.find("<script");  // in code spans and blocks it is text
    if (!code && script != std::string::npos) CHECK(std::count(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(script), '`') % 2 == 1);
    CHECK_FALSE(line.starts_with("license:"));
  }
  CHECK_FALSE(contains(read_text(dir / "out" / "report.html"), "<script>alert"));
}

TEST_CASE("SIGUSR1, SIGHUP and SIGXCPU save as SIGTERM does, each with its exit code", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", story_text());
  for (const auto& [signal, exit] : {std::pair{SIGUSR1, 75}, {SIGHUP, 129}, {SIGXCPU, 152}, {SIGTERM, 143}}) {
    CAPTURE(signal);
    const fs::path out = dir / std::to_string(signal);
    Command command(long_run(dir / "a.txt", out));
    REQUIRE(command.wait_for("step 3/"));
    command.signal(signal);
    if (signal != SIGTERM) command.signal(signal);  // again and again, as SIGXCPU comes
    const CommandResult stopped = command.wait();
    CAPTURE(stopped.err, stopped.out);
    CHECK(stopped.exit == exit);
    CHECK(contains(stopped.out, "--resume"));
    std::vector<fs::path> saved;
    for (const auto& entry : fs::directory_iterator(out / "checkpoints")) saved.push_back(entry.path());
    REQUIRE_FALSE(saved.empty());
    CHECK(run_json({"inspect", saved.front().string()})["valid"] == true);
  }
  // Before anything has begun there is nothing to save, and the job is to be run again all the same.
  Command reading({"tokenize", stories(), "--file", "-"}, {}, std::string(1 << 24, 'a'));
  reading.signal(SIGUSR1);
  const int early = reading.wait().exit;
  CHECK((early == 75 || early == 128 + SIGUSR1));  // 128 +: it had not yet come to main
}

TEST_CASE("under nohup a lost connection is no reason to stop", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", story_text());
  std::vector<std::string> words = {"-c", "trap '' HUP; exec \"$0\" \"$@\"", command().string()};
  for (const std::string& word : long_run(dir / "a.txt", dir / "out")) words.push_back(word);
  Command command(words, {}, "", "/bin/sh");
  REQUIRE(command.wait_for("step 2/"));
  command.signal(SIGHUP);
  ::usleep(300'000);
  command.signal(SIGTERM);
  CHECK(command.wait().exit == 143);
}

TEST_CASE("a reward program dies with the run, knows no tokens, and is told what to answer", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "prompts.txt", "Once upon a time\nThere was a cat\n");
  // It never reads; what it starts would live on.
  const std::string program = "exec:env > " + (dir / "env").string() + "; sleep 900 & echo $! $$ > " +
                              (dir / "pids").string() + "; sleep 900";
  Command command({"align", "ppo", stories(), "--data", (dir / "prompts.txt").string(), "--reward", program, "--out",
                   (dir / "out").string(), "--response-length", "4", "--batch-size", "2", "--num-mini-batches", "1",
                   "--reward-timeout", "900", "--reward-env", "WANTED"},
                  {{"HF_TOKEN", "hf_secret"}, {"WANTED", "yes"}});
  for (int tenths = 0; tenths < 600 && read_text(dir / "pids").find('\n') == std::string::npos; ++tenths)
    ::usleep(100'000);
  std::istringstream pids(read_text(dir / "pids"));
  pid_t child = 0, shell = 0;
  REQUIRE(pids >> child >> shell);
  CHECK(::kill(child, 0) == 0);
  command.signal(SIGKILL);
  command.wait();
  const auto alive = [](pid_t pid) {  // a zombie that nobody reaps is dead too
    const std::string status = read_text("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t name = status.rfind(')');
    return name != std::string::npos && status[name + 2] != 'Z';
  };
  for (int tenths = 0; tenths < 100 && (alive(child) || alive(shell)); ++tenths) ::usleep(100'000);
  CHECK_FALSE(alive(child));
  CHECK_FALSE(alive(shell));
  const std::string environment = read_text(dir / "env");
  CHECK_FALSE(contains(environment, "hf_secret"));
  CHECK(contains(environment, "WANTED=yes"));
  CHECK(contains(environment, "PATH="));
}

TEST_CASE("what bad input raises is told, with the user's exit code", "[unit]") {
  TempDir dir;
  std::string path = dir.path().string();
  while (path.size() < 4400) path += "/" + std::string(99, 'p');
  const std::string name(5000, 'n');
  write_text(dir / "a.txt", "text\n");
  const std::string data = (dir / "a.txt").string(), out = (dir / "out").string();
  for (const std::string& too_long : {path, name}) {
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"inspect", too_long},
             {"runs", too_long},
             {"generate", too_long, "--prompt", "a"},
             {"generate", too_long, "--input", data, "--output", out},
             {"tokenize", too_long, "--text", "a"},
             {"tokenize", dir.path().string(), "--file", too_long},
             {"evaluate", too_long, "--data", data},
             {"evaluate", "m", "--data", data, "--config", too_long},
             {"merge", too_long, "--adapter", out, "--out", out},
             {"merge", dir.path().string(), "--adapter", too_long, "--out", out},
             {"merge", dir.path().string(), "--adapter", out, "--out", too_long},
             {"finetune", too_long, "--data", data, "--out", out},
             {"compress", too_long, "--data", data, "--out", out, "--max-kl", "1"},
             {"sweep", data, too_long, "--data", data, "--out", out},
             {"sweep", too_long, "m", "--data", data, "--out", out},
             {"pretrain", "--config", too_long, "--tokenizer", too_long, "--data", data, "--out", out}}) {
      check_told(arguments, "");
    }
  }

  Json config = adapter_config();
  config["lora_alpha"] = 1e308;
  write_text(dir / "adapter" / "adapter_config.json", config.dump());
  check_told({"inspect", (dir / "adapter").string()}, "lora_alpha");
  config["lora_alpha"] = 8;
  config["base_model_name_or_path"] = name;
  write_text(dir / "adapter" / "adapter_config.json", config.dump());
  check_told({"generate", (dir / "adapter").string(), "--prompt", "a"}, "base was not found");

  for (const char* yaml : {"? [a, b]\n: 1\n", "{a: b}: 1\n", "? {}\n: {}\n", "&a [*a]\n", "a: &b [*b]\n", "- 1\n", "1\n",
                           "~: 1\n", "rank: [1, [2]]\n", "rank: {a: 1}\n", "rank: !!binary x\n",
                           "rank: 1\nrank: 2\n", "\x01: 1\n", "a: b: c\n", "%YAML 9\n---\n", "\xFF\xFE", "*a\n"}) {
    CAPTURE(yaml);
    write_text(dir / "odd.yaml", yaml);
    check_told({"finetune", "m", "--data", data, "--out", out, "--config", (dir / "odd.yaml").string()}, "odd.yaml");
    check_told({"sweep", (dir / "odd.yaml").string(), "m", "--data", data, "--out", out}, "odd.yaml");
  }
}

TEST_CASE("names and texts that are not UTF-8 end in a sentence or in sound files", "[e2e]") {
  TempDir dir;
  const std::string base = (source_dir() / "examples" / "base").string(), latin = (dir / "caf\xE9").string();
  const std::string model = latin + "/m\xE9", adapter = latin + "/a\xE9", data = (dir / "rows.jsonl").string();
  fs::create_directories(latin + "/many");
  std::string rows;
  for (int i = 0; i < 24; ++i) rows += R"({"prompt": "Once", "completion": " upon a time )" + std::to_string(i) + "\"}\n";
  write_text(data, rows);
  write_text(latin + "/rows.jsonl", rows);
  write_text(latin + "/many/caf\xE9.jsonl", rows);
  write_text(dir / "bytes.jsonl", rows + "{\"prompt\": \"caf\xE9\", \"completion\": \" b\"}\n");
  write_text(dir / "space.yaml", "lr: {choice: [1e-4, 2e-4]}\n");
  write_text(dir / "bytes.yaml", "lora-alpha: {choice: [caf\xE9]}\n");
  const std::vector<std::string> quick = {"--max-steps", "1", "--batch-size", "2", "--seq-len", "32", "--rank", "2", "--threads", "1", "--quiet"};
  const auto finetune = [&](const std::string& from, const std::string& rows_of, const std::string& out, std::vector<std::string> more = {}) {
    std::vector<std::string> all = {"finetune", from, "--data", rows_of, "--out", out};
    all.insert(all.end(), quick.begin(), quick.end());
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const CommandResult good = run(finetune(base, data, (dir / "a").string()));
  CAPTURE(good.err);
  REQUIRE(good.exit == 0);
  fs::copy(base, model, fs::copy_options::recursive);
  fs::copy(dir / "a", adapter, fs::copy_options::recursive);

  // What is kept for --resume to be held to is refused at once, by its name.
  check_told(finetune(model, data, (dir / "b").string()), "model: '");
  check_told(finetune(base, data, latin + "/out"), "--out");
  check_told(finetune(base, latin + "/rows.jsonl", (dir / "b").string()), "--data");
  check_told({"sweep", (dir / "space.yaml").string(), base, "--data", data, "--out", latin + "/sweep", "--trials", "1"}, "--out");
  check_told({"sweep", (dir / "space.yaml").string(), model, "--data", data, "--out", (dir / "sweep").string(), "--trials", "1"}, "model: '");
  write_text(dir / "prompts.jsonl", "{\"prompt\": \"Once\"}\n");
  const std::string prompts = (dir / "prompts.jsonl").string(), answers = (dir / "answers.jsonl").string();
  check_told({"generate", model, "--input", prompts, "--output", answers}, "model: '");

  // All else is done, or told.
  fs::copy(latin + "/many", dir / "many", fs::copy_options::recursive);
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           finetune(base, (dir / "many").string(), (dir / "c").string()),
           finetune(base, (dir / "many").string(), (dir / "c").string(), {"--resume"}),
           finetune(base, (dir / "bytes.jsonl").string(), (dir / "d").string()),
           finetune(base, data, (dir / "e").string(), {"--adapter", adapter}),
           {"inspect", model}, {"inspect", model, "--json"}, {"inspect", adapter, "--json"}, {"runs", latin, "--json"},
           {"runs", latin}, {"tokenize", model, "--text", "caf\xE9", "--json"}, {"tokenize", model, "--file", latin + "/rows.jsonl"},
           {"evaluate", model, "--data", latin + "/rows.jsonl", "--json"},
           {"generate", model, "--prompt", "caf\xE9", "--max-new-tokens", "2", "--json"},
           {"generate", model, "--adapter", adapter, "--prompt", "a", "--max-new-tokens", "2"},
           {"generate", base, "--input", prompts, "--output", latin + "/answers.jsonl", "--max-new-tokens", "2"},
           {"merge", model, "--adapter", adapter, "--out", latin + "/merged\xE9"},
           {"export", adapter, "--format", "gguf", "--out", latin + "/x\xE9.gguf"},
           {"doctor", model, "--data", latin + "/many", "--json"},
           {"sweep", (dir / "bytes.yaml").string(), base, "--data", data, "--out", (dir / "sweep").string(), "--trials", "1"},
           {"finetune", base, "--data", data, "--out", (dir / "f").string(), "--config", latin + "/none\xE9.yaml"},
           {"pull", "caf\xE9/b", "--offline"}}) {
    const CommandResult result = run(arguments);
    CAPTURE(arguments, result.exit, result.err);
    CHECK((result.exit == 0 || users_own(result.exit)));
    check_harmless(result.err);
    if (result.exit != 0) CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    const bool is_json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
    if (is_json && result.exit == 0) CHECK_NOTHROW(lowrank::core::parse_json(result.out, "stdout"));
  }
  std::size_t sound = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir.path())) {
    if (entry.path().extension() != ".json") continue;
    INFO(entry.path().string());
    CHECK_NOTHROW(lowrank::core::read_json(entry.path()));
    ++sound;
  }
  CHECK(sound > 20);
}

TEST_CASE("runs with impossible values are listed, or said not to be readable", "[unit]") {
  TempDir dir;
  const Json good = {{"finished", true},
                     {"verb", "finetune"},
                     {"options", {{"rank", 8}, {"out", "o"}}},
                     {"totals", {{"trainable_parameters", 1}, {"adapter_bytes", 1}, {"steps", 1}, {"seconds", 1.0}}},
                     {"result", {{"stop", "finished"}, {"best_step", 1}, {"best_loss", 1.0}}}};
  int i = 0;
  for (const Json& odd : {Json(nullptr), Json(5), Json("x"), Json(1e308), Json(-1), Json(INT64_MIN), Json(UINT64_MAX),
                          Json::array({1, Json::array()}), Json{{"x", {{"y", 1}}}}}) {
    for (const char* key : {"/options", "/options/rank", "/totals", "/totals/steps", "/totals/seconds",
                            "/totals/adapter_bytes", "/result", "/result/best_loss", "/verb", "/finished"}) {
      Json run = good;
      run[Json::json_pointer(key)] = odd;
      write_text(dir / ("r" + std::to_string(++i)) / "run.json", run.dump());
    }
  }
  const CommandResult table = run({"runs", dir.path().string()});
  CAPTURE(table.err);
  CHECK(table.exit == 0);
  CHECK(run_json({"runs", dir.path().string()})["runs"].size() == static_cast<std::size_t>(i));
}

TEST_CASE("a grid of more trials than anyone runs is refused at once", "[unit]") {
  TempDir dir;
  for (const char* space :
       {"lr: {log: [1e-4, 1e-2], points: 99999999999}\n", "lr: {log: [1e-4, 1e-2], points: 9223372036854775807}\n",
        "lr: {log: [1e-4, 1e-2], points: 9000}\nrank: {choice: [1, 2]}\nalpha: {uniform: [1, 2], points: 9000}\n",
        "rank: {uniform: [1, 1e300], points: 3}\n", "lr: {uniform: [-1e308, 1e308], points: 3}\n"}) {
    CAPTURE(space);
    write_text(dir / "space.yaml", space);
    write_text(dir / "a.txt", "text\n");
    const auto began = std::chrono::steady_clock::now();
    check_told({"sweep", (dir / "space.yaml").string(), "m", "--data", (dir / "a.txt").string(), "--out",
                (dir / "out").string(), "--sampler", "grid"},
               "space.yaml");
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(30));
  }
}

TEST_CASE("a batch that cannot fit is refused before anything is trained, with the way out", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  std::string text;
  for (int i = 0; i < 40; ++i) text += story_text();
  write_text(dir / "a.txt", text);
  const CommandResult result =
      limited(1000, {"finetune", stories(), "--data", (dir / "a.txt").string(), "--out", (dir / "out").string(),
                     "--batch-size", "4096", "--seq-len", "512", "--val-split", "0", "--recompute", "none"});
  CAPTURE(result.err, result.out);
  CHECK(result.exit == 74);
  CHECK(contains(result.err, "will not fit into memory"));
  CHECK(contains(last_line(result.err), "lower --batch-size or --seq-len, or use --recompute layer"));
}

TEST_CASE("memory's end is told by finetune, generate, evaluate and merge at twenty limits, and nothing is lost",
          "[e2e][slow]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  std::string text;
  for (int i = 0; i < 40; ++i) text += story_text();
  write_text(dir / "a.txt", text);
  write_adapter(dir / "adapter", 0.1);
  const std::string data = (dir / "a.txt").string(), adapter = (dir / "adapter").string();
  const auto training = [&](const std::string& out) {
    return std::vector<std::string>{"finetune", stories(), "--data", data, "--out", out, "--max-steps", "2",
                                    "--batch-size", "64", "--seq-len", "256", "--val-split", "0", "--recompute", "none",
                                    "--samples", "0"};
  };
  REQUIRE(run(training((dir / "whole").string())).exit == 0);
  const std::string whole = read_text(dir / "whole" / "adapter_model.safetensors");
  int ended = 0, done = 0;
  // Beneath that LibTorch itself does not come to life, before any code of ours.
  int least = 300;
  while (least < 4000 && limited(least, {"--help", "--json"}).exit != 0) least += 20;
  for (int limit = 0; limit < 20; ++limit) {
    const int megabytes = least + 10 * limit + limit * limit;
    const std::string out = (dir / ("out" + std::to_string(limit))).string(), merged = out + "-merged";
    const std::vector<std::vector<std::string>> all = {
        training(out),
        {"generate", stories(), "--prompt", "Once upon a time", "--max-new-tokens", "100", "--ignore-eos", "--adapter",
         adapter},
        {"evaluate", stories(), "--data", data, "--seq-len", "512"},
        {"merge", stories(), "--adapter", adapter, "--out", merged}};
    for (const auto& arguments : all) {
      const CommandResult result = limited(megabytes, arguments);
      CAPTURE(megabytes, arguments.front(), result.exit, result.err);
      CHECK((result.exit == 0 || result.exit == 74));
      ++(result.exit == 0 ? done : ended);
      if (result.exit == 0) continue;
      CHECK(last_line(result.err).starts_with("lowrank: error: "));
      CHECK(contains(last_line(result.err), "memory"));
      CHECK(contains(result.err, "raise the limit"));
      if (arguments.front() == "merge") CHECK_FALSE(fs::exists(merged));
      if (arguments.front() != "finetune" || limit % 4 != 0) continue;
      auto again = training(out);
      again.emplace_back("--resume");
      CHECK(run(again).exit == 0);
      CHECK(read_text(fs::path(out) / "adapter_model.safetensors") == whole);
    }
  }
  CHECK(ended > 10);
  CHECK(done > 10);
}
