// Folders of another's making: what is read of them is theirs, and nothing is written through what stands there.
#include <sys/stat.h>

#include <functional>

#include "lowrank/core/files.h"
#include "lowrank/train/manifest.h"
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

constexpr const char* kLeadsOut = "is a link that leads out of its folder, to '";

/// stories260K, with the file `name` moved out of it and a link in its place.
fs::path model_with_link(const TempDir& dir, const std::string& name) {
  const fs::path model = copy_of_stories(dir / "model"), away = dir / "away" / name;
  fs::create_directories(away.parent_path());
  fs::rename(model / name, away);
  fs::create_symlink(away, model / name);
  return model;
}

std::vector<std::string> tiny_run(const fs::path& data, const fs::path& out) {
  return {"finetune", stories(), "--data", data.string(), "--out", out.string(), "--max-steps", "4", "--save-every", "2",
          "--rank", "2", "--seq-len", "32", "--quiet"};
}

fs::path little_text(const TempDir& dir) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "Once upon a time there was a little dog who liked the sun and the moon. ";
  write_text(dir / "text.txt", text);
  return dir / "text.txt";
}

void check_one_sentence(const CommandResult& result, int exit, const std::string& part) {
  INFO(result.err);
  CHECK(result.exit == exit);
  CHECK(contains(result.err, part));
  // One line, beside warnings of what was read before.
  std::istringstream lines(result.err);
  int errors = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("warning: ")) continue;
    CHECK(line.starts_with("lowrank: error: "));
    ++errors;
  }
  CHECK(errors == 1);
}

}  // namespace

TEST_CASE("no file of a model whose words are read is read from outside its folder", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
    INFO(name);
    const TempDir dir;
    const fs::path model = model_with_link(dir, name);
    write_adapter(dir / "adapter", 0.1);
    const std::vector<std::vector<std::string>> verbs = {
        {"generate", model.string(), "--prompt", "Once", "--max-new-tokens", "2", "--temperature", "0"},
        {"evaluate", model.string(), "--data", little_text(dir).string()},
        {"merge", model.string(), "--adapter", (dir / "adapter").string(), "--out", (dir / "merged").string()},
        {"finetune", model.string(), "--data", little_text(dir).string(), "--out", (dir / "out").string(), "--max-steps",
         "1", "--quiet"}};
    for (const auto& words : verbs) {
      INFO(words[0]);
      check_one_sentence(run(words), 65, kLeadsOut + (dir / "away" / name).string());
      std::vector<std::string> allowed = words;
      allowed.emplace_back("--follow-links");
      CHECK(run(allowed).exit == 0);
      fs::remove_all(dir / "merged");
    }
  }
}

TEST_CASE("what merge carries along is the model's own", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  for (const char* name : {"generation_config.json", "chat_template.jinja", "tokenizer.model", "LICENSE", "vocab.json"}) {
    INFO(name);
    const TempDir dir;
    const fs::path model = copy_of_stories(dir / "model");
    write_adapter(dir / "adapter", 0.1);
    write_text(dir / "secret.json", "{\"token\": \"hunter2\"}");
    fs::remove(model / name);
    fs::create_symlink(dir / "secret.json", model / name);
    const CommandResult result =
        run({"merge", model.string(), "--adapter", (dir / "adapter").string(), "--out", (dir / "merged").string()});
    check_one_sentence(result, 65, kLeadsOut);
    CHECK_FALSE(contains(result.out + result.err, "hunter2"));
    CHECK_FALSE(fs::exists(dir / "merged"));
    for (const auto& entry : fs::directory_iterator(dir.path())) {
      CHECK_FALSE(lowrank::core::is_temporary_name(entry.path().filename().string()));
    }
  }
}

TEST_CASE("tensor files may be links to anywhere, and the opening lines say where", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  const fs::path model = model_with_link(dir, "model.safetensors");
  write_adapter(dir / "adapter", 0.1);
  fs::rename(dir / "adapter/adapter_model.safetensors", dir / "away/a.safetensors");
  fs::create_symlink("../away/a.safetensors", dir / "adapter/adapter_model.safetensors");
  const CommandResult result =
      run({"merge", model.string(), "--adapter", (dir / "adapter").string(), "--out", (dir / "merged").string()});
  INFO(result.err);
  CHECK(result.exit == 0);
  CHECK(contains(result.out, "model.safetensors is a link out of its folder, to " + (dir / "away").string()));
  CHECK(contains(result.err, "adapter_model.safetensors is a link out of its folder, to "));
}

TEST_CASE("nothing of a run is written through a link", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  const fs::path text = little_text(dir);
  write_text(dir / "diary", "dear diary\n");
  const std::string link = "is a link, to '";
  // A fresh run, and one that is resumed.
  fs::create_directories(dir / "fresh");
  fs::create_symlink(dir / "diary", dir / "fresh/metrics.jsonl");
  check_one_sentence(run(tiny_run(text, dir / "fresh")), 74, link);
  auto resumed = tiny_run(text, dir / "run");
  REQUIRE(run(resumed).exit == 0);
  fs::remove(dir / "run/run.json");
  fs::rename(dir / "run/metrics.jsonl", dir / "kept");
  fs::create_symlink(dir / "diary", dir / "run/metrics.jsonl");
  resumed.emplace_back("--resume");
  check_one_sentence(run(resumed), 74, link);
  CHECK(read_text(dir / "diary") == "dear diary\n");
  // Folders of the run that are links.
  fs::remove(dir / "run/metrics.jsonl");
  fs::rename(dir / "kept", dir / "run/metrics.jsonl");
  fs::rename(dir / "run/checkpoints", dir / "elsewhere");
  fs::create_directory_symlink(dir / "elsewhere", dir / "run/checkpoints");
  check_one_sentence(run(resumed), 74, link + (dir / "elsewhere").string());
  fs::remove(dir / "run/checkpoints");
  fs::create_directory(dir / "run/checkpoints");
  fs::create_directory_symlink(dir / "elsewhere/checkpoint-4", dir / "run/checkpoints/checkpoint-4");
  check_one_sentence(run(resumed), 74, link);
  CHECK(fs::exists(dir / "elsewhere/checkpoint-4/trainer_state.json"));
  // Files that are written whole take a link's place.
  fs::remove_all(dir / "run");
  fs::create_directories(dir / "run");
  for (const char* name : {"README.md", "report.html"}) {
    fs::create_symlink(dir / "diary", dir / "run" / name);
  }
  CHECK(run(tiny_run(text, dir / "run")).exit == 0);
  CHECK(read_text(dir / "diary") == "dear diary\n");
  CHECK_FALSE(fs::is_symlink(dir / "run/README.md"));
  // The answers of generate.
  write_text(dir / "prompts.jsonl", "{\"prompt\": \"Once\"}\n");
  fs::create_symlink(dir / "diary", dir / "answers.jsonl");
  check_one_sentence(run({"generate", stories(), "--input", (dir / "prompts.jsonl").string(), "--output",
                          (dir / "answers.jsonl").string(), "--max-new-tokens", "2", "--overwrite", "--quiet"}),
                     74, link);
  CHECK(read_text(dir / "diary") == "dear diary\n");
}

TEST_CASE("data that the user names may be a link; what stands in a folder of data may not lead out of it", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  const fs::path text = little_text(dir);
  fs::create_symlink(text, dir / "link.txt");
  CHECK(run({"evaluate", stories(), "--data", (dir / "link.txt").string()}).exit == 0);
  fs::create_directories(dir / "set/deep");
  for (const char* place : {"set/a.txt", "set/deep/a.txt", "set/a.csv", "set/a.parquet"}) {
    fs::create_symlink(text, dir / place);
    check_one_sentence(run({"evaluate", stories(), "--data", (dir / "set").string()}), 65, kLeadsOut + text.string());
    if (std::string(place).ends_with(".txt")) {
      CHECK(run({"evaluate", stories(), "--data", (dir / "set").string(), "--follow-links"}).exit == 0);
    }
    fs::remove(dir / place);
  }
  write_text(dir / "set/real.txt", read_text(text));
  fs::create_symlink("../real.txt", dir / "set/deep/a.txt");
  CHECK(run({"evaluate", stories(), "--data", (dir / "set").string()}).exit == 0);
}

TEST_CASE("a run in a list of runs that leads elsewhere is named, and the others are listed", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  REQUIRE(run(tiny_run(little_text(dir), dir / "runs/good")).exit == 0);
  fs::create_directories(dir / "runs/bad");
  fs::create_symlink(dir / "runs/good/run.json", dir / "runs/bad/run.json");
  const CommandResult listed = run({"runs", (dir / "runs").string()});
  INFO(listed.out << listed.err);
  CHECK(contains(listed.out + listed.err, "leads out of its folder"));
  CHECK(contains(listed.out, "finished"));
}

TEST_CASE("a checkpoint of more steps than the plan has is refused", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const TempDir dir;
  auto words = tiny_run(little_text(dir), dir / "run");
  REQUIRE(run(words).exit == 0);
  fs::remove(dir / "run/run.json");
  words.emplace_back("--resume");
  const fs::path last = dir / "run/checkpoints/checkpoint-4", state = last / "trainer_state.json";
  Json json = lowrank::core::read_json(state);
  json["step"] = 900;
  write_text(state, json.dump());
  fs::remove(last / "manifest.json");
  lowrank::train::write_manifest(last, 4);
  check_one_sentence(run(words), 65, "its step is 900, but the folder's name says 4");
  fs::remove(last / "manifest.json");
  lowrank::train::write_manifest(last, 900);
  fs::rename(last, last.parent_path() / "checkpoint-900");
  check_one_sentence(run(words), 65, "was saved after step 900, but the run has 4");
  fs::remove_all(last.parent_path() / "checkpoint-900");
  CHECK(run(words).exit == 0);
}

TEST_CASE("nothing outside a hostile folder is opened, says the kernel", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  if (std::system("strace -o /dev/null true 2>/dev/null") != 0) LOWRANK_SKIP("strace does not run here");
  const TempDir dir;
  const fs::path text = little_text(dir);
  write_text(dir / "secret/secret.json", "{\"token\": 1}");
  write_adapter(dir / "adapter", 0.1);
  REQUIRE(run(tiny_run(text, dir / "run")).exit == 0);
  const std::string model = (dir / "model").string(), adapter = (dir / "adapter").string();
  struct Place {
    std::string link;
    std::vector<std::string> words;
  };
  std::vector<Place> places;
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json"}) {
    places.push_back({"model/" + std::string(name), {"generate", model, "--prompt", "a", "--max-new-tokens", "1"}});
  }
  for (const char* name : {"chat_template.jinja", "additional_chat_templates/x.jinja"}) {
    places.push_back({"model/" + std::string(name), {"chat", model}});
  }
  for (const char* name : {"tokenizer.model", "NOTICE", "merges.txt"}) {
    places.push_back({"model/" + std::string(name), {"merge", model, "--adapter", adapter, "--out", (dir / "m").string()}});
  }
  places.push_back({"adapter/adapter_config.json", {"generate", model, "--adapter", adapter, "--prompt", "a"}});
  places.push_back({"adapter/adapter_config.json", {"inspect", adapter}});
  for (const char* name : {"run.json", "metrics.jsonl"}) places.push_back({"run/" + std::string(name), {"runs", (dir / "run").string()}});
  for (const char* name : {"manifest.json", "trainer_state.json"}) {
    places.push_back({"run/checkpoints/checkpoint-4/" + std::string(name), {"inspect", (dir / "run/checkpoints/checkpoint-4").string()}});
  }
  places.push_back({"data/x.jsonl", {"evaluate", model, "--data", (dir / "data").string()}});
  for (const Place& place : places) {
    INFO(place.link << " with " << place.words[0]);
    fs::remove_all(dir / "model");
    copy_of_stories(dir / "model");
    if (place.link.ends_with("index.json")) fs::remove(dir / "model/model.safetensors");
    const fs::path link = dir / place.link, kept = dir / "kept";
    fs::create_directories(link.parent_path());
    const bool was = fs::exists(link);
    if (was) fs::rename(link, kept);
    fs::create_symlink(dir / "secret/secret.json", link);
    std::vector<std::string> words = {"-f", "-y", "-qq", "-e", "trace=open,openat,openat2", "-o", (dir / "trace").string(),
                                      command().string()};
    words.insert(words.end(), place.words.begin(), place.words.end());
    const CommandResult result = Command(words, {}, "", "strace").wait();
    INFO(result.err);
    const std::string trace = read_text(dir / "trace");
    CHECK(contains(trace, "openat"));
    CHECK_FALSE(contains(trace, "<" + (dir / "secret").string()));  // = fd<the file that was opened>
    CHECK_FALSE(contains(trace, (dir / "secret").string() + "/"));
    fs::remove(link);
    if (was) fs::rename(kept, link);
    fs::remove_all(dir / "m");
  }
}
