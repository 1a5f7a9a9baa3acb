#include "lowrank/train/checkpoint.h"

#include "lowrank/core/error.h"
#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

std::vector<std::int64_t> steps_kept(const fs::path& run) {
  std::vector<std::int64_t> steps;
  for (const auto& [step, folder] : train::list_checkpoints(run)) steps.push_back(step);
  return steps;
}

/// A run of 12 steps with all its checkpoints kept: at 2, 4, 6, 8, 10, 12 and at every better evaluation.
void make_run(const fs::path& out, std::int64_t keep = 100) {
  Toy toy;
  Recorder recorder;
  train::TrainOptions options = toy_training();
  options.keep_last = keep;
  train::Trainer(toy, options, out, {}).run(recorder);
}

void flip_byte(const fs::path& file, std::size_t at) {
  std::string bytes = read_text(file);
  bytes.at(at) = static_cast<char>(bytes[at] ^ 0x04);
  write_text(file, bytes);
}

}  // namespace

TEST_CASE("a checkpoint holds the files it should, and its manifest lists them", "[unit]") {
  TempDir out;
  make_run(out.path());
  const fs::path newest = *train::newest_checkpoint(out.path(), nullptr);
  CHECK(newest == out.path() / "checkpoints" / "checkpoint-12");
  const auto manifest = core::Json::parse(read_text(newest / "manifest.json"));
  CHECK(manifest["step"] == 12);
  CHECK(manifest["files"].size() == 3);
  for (const char* name : {"adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json"}) {
    CHECK(manifest["files"][name]["size"] == fs::file_size(newest / name));
    CHECK(manifest["files"][name]["sha256"] == core::sha256(read_text(newest / name)));
  }
  const auto file = formats::SafetensorsFile::open(newest / "optimizer.safetensors");
  CHECK(file->header().tensors.size() == 3);
  for (const char* name : {"parameters", "exp_avg", "exp_avg_sq"}) {
    REQUIRE(file->find(name) != nullptr);
    CHECK(file->find(name)->shape == std::vector<std::int64_t>{24});
  }
}

TEST_CASE("a folder of checkpoints that is a link is not looked into", "[unit]") {
  TempDir dir;
  fs::create_directories(dir / "elsewhere" / "checkpoint-4");
  fs::create_directories(dir / "run");
  fs::create_directory_symlink(dir / "elsewhere", dir / "run" / "checkpoints");
  CHECK(steps_kept(dir / "run").empty());
  fs::rename(dir / "elsewhere", dir / "checkpoints");
  CHECK(steps_kept(dir.path()) == std::vector<std::int64_t>{4});
}

TEST_CASE("one changed byte anywhere in a checkpoint is seen, and the older one is used", "[unit]") {
  TempDir out;
  make_run(out.path());
  const fs::path newest = train::checkpoint_path(out.path(), 12);
  for (const char* name :
       {"adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json", "manifest.json"}) {
    const std::string good = read_text(newest / name);
    for (std::size_t at = 0; at < good.size(); at += 1 + good.size() / 37) {
      flip_byte(newest / name, at);
      std::vector<std::string> skipped;
      const auto found = train::newest_checkpoint(out.path(), &skipped);
      INFO(name << " byte " << at);
      REQUIRE(found);
      CHECK(found->filename() == "checkpoint-10");
      REQUIRE(skipped.size() == 1);
      CHECK(contains(skipped[0], "checkpoint-12 is passed over"));
      write_text(newest / name, good);
    }
    CHECK(train::newest_checkpoint(out.path(), nullptr)->filename() == "checkpoint-12");
  }
}

TEST_CASE("a checkpoint with a file missing, cut, or without a manifest is passed over with the reason", "[unit]") {
  TempDir out;
  make_run(out.path());
  const fs::path newest = train::checkpoint_path(out.path(), 12);
  CHECK(train::checkpoint_fault(newest).empty());
  const std::string state = read_text(newest / "trainer_state.json");
  fs::resize_file(newest / "trainer_state.json", state.size() - 1);
  CHECK(contains(train::checkpoint_fault(newest), "bytes instead of"));
  fs::remove(newest / "trainer_state.json");
  CHECK(contains(train::checkpoint_fault(newest), "trainer_state.json is missing"));
  write_text(newest / "trainer_state.json", state);
  CHECK(train::checkpoint_fault(newest).empty());
  const std::string manifest = read_text(newest / "manifest.json");
  auto json = core::Json::parse(manifest);
  json["files"]["../../metrics.jsonl"] = {{"size", 1}, {"sha256", ""}};
  write_text(newest / "manifest.json", json.dump(2) + "\n");
  CHECK(contains(train::checkpoint_fault(newest), "outside its folder"));
  fs::remove(newest / "manifest.json");
  CHECK(contains(train::checkpoint_fault(newest), "not completed"));
  write_text(newest / "manifest.json", manifest);
  fs::rename(newest, train::checkpoint_path(out.path(), 13));
  CHECK(contains(train::checkpoint_fault(train::checkpoint_path(out.path(), 13)), "another step"));
}

TEST_CASE("a run resumed past a broken newest checkpoint says so, replaces it, and ends the same", "[unit]") {
  TempDir whole, out;
  make_run(whole.path());
  make_run(out.path());
  flip_byte(train::checkpoint_path(out.path(), 12) / "optimizer.safetensors", 200);
  flip_byte(train::checkpoint_path(out.path(), 10) / "manifest.json", 30);
  Toy toy;
  Recorder recorder;
  train::TrainOptions options = toy_training();
  options.keep_last = 100;
  train::Trainer(toy, options, out.path(), {}).run(recorder, true);
  CHECK(recorder.noted("checkpoint-12 is passed over"));
  CHECK(recorder.noted("checkpoint-10 is passed over"));
  CHECK(recorder.first_step == 9);
  CHECK(differing(results_of(out.path()), results_of(whole.path())) == "");
}

TEST_CASE("a best checkpoint that is broken at the end: the last is taken, and it is said", "[unit]") {
  TempDir out;
  ToyOptions shape;
  shape.uphill = true;
  Toy toy(shape);
  Recorder recorder;
  recorder.after_step = [&](std::int64_t step) {
    if (step == 11) flip_byte(train::checkpoint_path(out.path(), 0) / "optimizer.safetensors", 150);
  };
  const auto result = train::Trainer(toy, toy_training(), out.path(), {}).run(recorder);
  CHECK_FALSE(result.top_is_best);
  CHECK(recorder.noted("cannot be used"));
}

TEST_CASE("the last k and the best are kept", "[unit]") {
  TempDir out;
  make_run(out.path(), 2);
  CHECK(steps_kept(out.path()) == std::vector<std::int64_t>{10, 12});
  TempDir uphill;
  ToyOptions shape;
  shape.uphill = true;
  Toy toy(shape);
  Recorder recorder;
  train::Trainer(toy, toy_training(), uphill.path(), {}).run(recorder);
  CHECK(steps_kept(uphill.path()) == std::vector<std::int64_t>{0, 10, 12});
  train::prune_checkpoints(uphill.path(), 0, -1);
  CHECK(steps_kept(uphill.path()) == std::vector<std::int64_t>{12});
}
