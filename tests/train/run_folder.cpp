#include "lowrank/train/run_folder.h"

#include "lowrank/core/error.h"
#include "lowrank/train/put_aside.h"
#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;
using train::open_run_folder;
using train::RunState;

namespace {

void unfinished_run(const fs::path& out) {
  Toy toy;
  std::atomic<int> stop{0};
  toy.on_forward = [&](std::int64_t step, std::int64_t) { stop = step == 5 ? 2 : 0; };
  Recorder recorder;
  train::Trainer(toy, toy_training(), out, {}, &stop).run(recorder);
}

}  // namespace

TEST_CASE("--out: made where it is missing, refused where it holds a run", "[unit]") {
  TempDir root;
  const fs::path out = root / "a" / "b";
  CHECK(train::run_state(out) == RunState::kEmpty);
  {
    const auto folder = open_run_folder(out, false, false, {});
    CHECK(fs::is_directory(out));
  }
  CHECK_FALSE(fs::exists(out));  // nothing came into it
  fs::create_directories(out);
  { const auto folder = open_run_folder(out, false, false, {}); }
  CHECK(fs::is_directory(out));  // somebody else's
  CHECK(train::run_state(out) == RunState::kEmpty);
  unfinished_run(out);
  CHECK(train::run_state(out) == RunState::kStarted);
  CHECK(contains(message_of<ConfigError>([&] { open_run_folder(out, false, false, {}); }), "unfinished run"));
  { auto lock = open_run_folder(out, true, false, {}); }
  train::write_run_json(out, {{"finished", false}});
  CHECK(train::run_state(out) == RunState::kStarted);
  train::write_run_json(out, {{"finished", true}});
  CHECK(train::run_state(out) == RunState::kFinished);
  CHECK(contains(message_of<ConfigError>([&] { open_run_folder(out, false, false, {}); }), "finished run"));
  CHECK_THROWS_AS(open_run_folder(out, true, true, {}), ConfigError);
}

TEST_CASE("a run that has no checkpoint yet may be started over", "[unit]") {
  TempDir out;
  write_text(out / "metrics.jsonl", "{}\n");
  CHECK(train::run_state(out.path()) == RunState::kStarted);
  CHECK_NOTHROW(open_run_folder(out.path(), false, false, {}));
  fs::create_directories(train::checkpoint_path(out.path(), 4));
  CHECK_NOTHROW(open_run_folder(out.path(), false, false, {}));
  Toy toy;
  Recorder recorder;
  train::Trainer(toy, toy_training(), out.path(), {}).run(recorder);
  CHECK(train::list_checkpoints(out.path()).back().first == 12);
}

TEST_CASE("--overwrite removes the run and nothing else", "[unit]") {
  TempDir out;
  unfinished_run(out.path());
  for (const char* name : {"run.json", "README.md", "adapter_config.json", "adapter_model.safetensors", "samples.jsonl", "profile.json"})
    write_text(out / name, "x");
  for (const char* name : {"notes.txt", "model.safetensors", "manifest.json"}) write_text(out / name, "mine");
  write_text(out / "checkpoints" / "keep.txt", "mine");
  {
    const auto lock = open_run_folder(out.path(), false, true, {});
    CHECK(read_text(out / "adapter_model.safetensors") == "x");  // the new run may still be refused
    CHECK_FALSE(train::list_checkpoints(out.path()).empty());
    lock->remove_old_run();
  }
  CHECK(train::run_state(out.path()) == RunState::kEmpty);
  for (const char* name : {"run.json", "README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.jsonl", "samples.jsonl",
                           "profile.json"}) {
    INFO(name);
    CHECK_FALSE(fs::exists(out / name));
  }
  for (const char* name : {"notes.txt", "model.safetensors", "manifest.json", "checkpoints/keep.txt"}) {
    INFO(name);
    CHECK(read_text(out / name) == "mine");
  }
}

TEST_CASE("what was put aside comes back unless something replaced it, also after a process that died", "[unit]") {
  TempDir out;
  write_text(out / "sweep.json", "old");
  write_text(out / "trials" / "a.txt", "old");
  const std::vector<std::string> names = {"sweep.json", "trials", "none"};
  {
    const train::PutAside aside(out.path(), names);
    CHECK_FALSE(fs::exists(out / "sweep.json"));
    CHECK_FALSE(fs::exists(out / "trials"));
    write_text(out / "sweep.json", "new");  // and then it was refused
  }
  CHECK(read_text(out / "sweep.json") == "old");
  CHECK(read_text(out / "trials" / "a.txt") == "old");
  CHECK_FALSE(fs::exists(out / ".replaced"));
  write_text(out / ".replaced" / "sweep.json", "older");  // as a process leaves it that is killed
  { const train::PutAside again(out.path(), {}); }
  CHECK(read_text(out / "sweep.json") == "older");
  {
    train::PutAside aside(out.path(), names);
    write_text(out / "sweep.json", "new");
    aside.forget();
  }
  CHECK(read_text(out / "sweep.json") == "new");
  CHECK_FALSE(fs::exists(out / "trials"));
  CHECK_FALSE(fs::exists(out / ".replaced"));
}

TEST_CASE("--overwrite in a folder that holds no run touches nothing", "[unit]") {
  TempDir out;
  write_text(out / "README.md", "mine");
  open_run_folder(out.path(), false, true, {})->remove_old_run();
  CHECK(read_text(out / "README.md") == "mine");
}

TEST_CASE("--out at or inside an input is refused, through links too", "[unit]") {
  TempDir root;
  fs::create_directories(root / "model");
  fs::create_directory_symlink(root / "model", root / "link");
  const auto refused = [&](const fs::path& out, const fs::path& input, bool overwrite = false) {
    return contains(message_of<ConfigError>([&] { open_run_folder(out, false, overwrite, {input}); }), "`out`");
  };
  CHECK(refused(root / "model", root / "model"));
  CHECK(refused(root / "model/", root / "model"));
  CHECK(refused(root / "model", root / "model/"));
  CHECK(refused(root / "model" / "runs" / "a", root / "model"));
  CHECK(refused(root / "link" / "a", root / "model"));
  CHECK(refused(root / "model" / ".." / "model" / "a", root / "link"));
  CHECK_FALSE(fs::exists(root / "model" / "a"));
  CHECK_FALSE(refused(root / "model2", root / "model"));
  write_text(root / "run" / "data.txt", "text");
  CHECK_FALSE(refused(root / "run", root / "run" / "data.txt"));
  CHECK(refused(root / "run", root / "run" / "data.txt", true));
}

TEST_CASE("--out at or inside a model, an adapter, a data set or a checkout is refused, whoever's it is", "[unit]") {
  TempDir root;
  write_text(root / "model" / "config.json", R"({"model_type": "llama"})");
  write_text(root / "adapter" / "adapter_config.json", "{}");
  write_text(root / "saved" / "dataset_info.json", "{}");
  write_text(root / "rows" / "train.jsonl", "{}\n");
  write_text(root / "weights" / "model.gguf", "GGUF");
  write_text(root / "checkout" / ".git" / "HEAD", "ref: refs/heads/main\n");
  write_text(root / "program" / "config.json", R"({"port": 80})");
  const auto refused = [&](const fs::path& out) {
    const std::string message = message_of<ConfigError>([&] { open_run_folder(out, false, true, {}); });
    return contains(message, "`out`") && contains(message, "choose a new folder");
  };
  for (const char* folder : {"model", "adapter", "saved"}) {
    INFO(folder);
    CHECK(refused(root / folder));
    CHECK(refused(root / folder / "a" / "b"));
    CHECK_FALSE(fs::exists(root / folder / "a"));
  }
  CHECK(refused(root / "rows"));
  for (const char* file : {"a.parquet", "a.arrow", "a.csv", "a.tsv", "a.safetensors"}) {
    INFO(file);
    write_text(root / "of" / file / file, "");
    CHECK(refused(root / "of" / file));
  }
  CHECK(refused(root / "weights"));
  CHECK(refused(root / "checkout"));
  CHECK(refused(root / "checkout" / ".git" / "a"));
  // What people do every day: a folder for runs inside their project, beside its data.
  CHECK_FALSE(refused(root / "checkout" / "runs" / "a"));
  CHECK_FALSE(refused(root / "rows" / "runs" / "a"));
  CHECK_FALSE(refused(root / "program" / "runs"));
  CHECK(read_text(root / "model" / "config.json") == R"({"model_type": "llama"})");
}

TEST_CASE("a folder in use is locked", "[unit]") {
  TempDir out;
  auto lock = open_run_folder(out.path(), false, false, {});
  CHECK(
      contains(message_of<IoError>([&] { open_run_folder(out.path(), true, false, {}); }), std::to_string(::getpid())));
}
