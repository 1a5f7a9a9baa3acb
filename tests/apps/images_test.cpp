// Image classification from the command line: trained, evaluated, resumed, refused.
#include <png.h>

#include "lowrank/core/files.h"
#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

/// A gray square of 16 x 16: stripes across for "cat", upright for "dog", a chequer for "newt", under noise.
void write_picture(const fs::path& file, int kind, std::uint64_t number) {
  const lowrank::core::RandomStream stream(number, "picture " + std::to_string(kind));
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      const int place = kind == 0 ? y / 4 : kind == 1 ? x / 4 : x / 4 + y / 4;
      const double noise = 40 * stream.uniform(static_cast<std::uint64_t>(16 * y + x));
      pixels.push_back(static_cast<std::uint8_t>(place % 2 * 180 + noise));
    }
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = image.height = 16;
  image.format = PNG_FORMAT_GRAY;
  fs::create_directories(file.parent_path());
  REQUIRE(png_image_write_to_file(&image, file.c_str(), 0, pixels.data(), 0, nullptr) != 0);
}

/// DIR/train, DIR/test with a folder a class, and DIR/model, the golden ResNet with a preprocessor_config.json.
void make_world(const fs::path& dir, const std::vector<std::string>& classes = {"cat", "dog", "newt"}) {
  for (std::size_t kind = 0; kind < classes.size(); ++kind) {
    for (std::uint64_t i = 0; i < 12; ++i) {
      write_picture(dir / "train" / classes[kind] / (std::to_string(i) + ".png"), static_cast<int>(kind), i);
      if (i < 4)
        write_picture(dir / "test" / classes[kind] / (std::to_string(i) + ".png"), static_cast<int>(kind), 100 + i);
    }
  }
  fs::create_directories(dir / "model");
  for (const char* file : {"config.json", "model.safetensors"})
    fs::copy_file(golden_dir() / "models" / "resnet-basic" / file, dir / "model" / file);
  write_text(
      dir / "model" / "preprocessor_config.json",
      R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "image_mean": 0.4, "image_std": 0.3})");
}

std::vector<std::string> finetune_pictures(const fs::path& dir, const fs::path& out, const std::vector<std::string>& options) {
  std::vector<std::string> words = {"finetune",   (dir / "model").string(),
                                    "--task",     "image-classification",
                                    "--data",     (dir / "train").string(),
                                    "--val-data", (dir / "test").string(),
                                    "--out",      out.string()};
  words.insert(words.end(), options.begin(), options.end());
  return words;
}

Json evaluated(const fs::path& model, const fs::path& data) {
  return run_json({"evaluate", model.string(), "--task", "image-classification", "--data", data.string()});
}

std::string weights(const fs::path& out) {
  const fs::path adapter = out / "adapter_model.safetensors";
  return read_text(fs::exists(adapter) ? adapter : out / "model.safetensors");
}

}  // namespace

TEST_CASE("pictures are learned by every method, and what is left is evaluated", "[e2e]") {
  TempDir dir;
  make_world(dir.path());
  for (const std::string method : {"lora", "full", "head"}) {
    INFO(method);
    const fs::path out = dir / method;
    const Json run = run_json(
        finetune_pictures(dir.path(), out, {"--method", method, "--epochs", "25", "--batch-size", "9", "--lr", "1e-2"}));
    const Json& scores = run["result"]["scores"]["validation"];
    CHECK(scores["labels"] == Json({"cat", "dog", "newt"}));
    CHECK(run["result"]["after"][0]["metrics"]["accuracy"] == scores["accuracy"]);
    CHECK(run["result"]["after"][0]["loss"].get<double>() < run["result"]["before"][0]["loss"].get<double>());
    if (method != "head") CHECK(scores["accuracy"].get<double>() > 0.6);
    const Json found = evaluated(out, dir / "test");
    CHECK(found["pictures"] == 12);
    CHECK(found["loss"].get<double>() == Approx(run["result"]["after"][0]["loss"].get<double>()).epsilon(1e-6));
    CHECK(found["confusion"] == scores["confusion"]);
    CHECK(fs::exists(out / "report.html"));
    CHECK(found.contains("base") == (method == "lora"));
    CHECK(fs::exists(out / (method == "lora" ? "labels.json" : "preprocessor_config.json")));
    CHECK(run["totals"]["adapter_bytes"] == weights(out).size());
  }
}

TEST_CASE("a run on pictures gives the same bytes for any number of threads, and after a kill", "[e2e]") {
  TempDir dir;
  make_world(dir.path());
  for (const std::string method : {"lora", "full", "head"}) {
    INFO(method);
    const std::vector<std::string> options = {"--method",     method, "--max-steps",  "6", "--batch-size", "10",
                                              "--save-every", "2",    "--eval-every", "3", "--keep-last",  "9",
                                              "--lr",         "1e-2"};
    const auto with = [&](std::vector<std::string> more) {
      more.insert(more.begin(), options.begin(), options.end());
      return more;
    };
    const fs::path one = dir / (method + "-1"), two = dir / (method + "-2"), cut = dir / (method + "-cut");
    run_json(finetune_pictures(dir.path(), one, with({"--threads", "1"})));
    run_json(finetune_pictures(dir.path(), two, with({"--threads", "2"})));
    CHECK(weights(one) == weights(two));
    fs::copy(one, cut, fs::copy_options::recursive);
    for (const char* gone : {"run.json", "checkpoints/checkpoint-6"}) fs::remove_all(cut / gone);
    if (method == "full") fs::remove(cut / "model.safetensors");
    run_json(finetune_pictures(dir.path(), cut, with({"--resume"})));
    CHECK(weights(cut) == weights(one));
  }
}

TEST_CASE("a head of other classes is newly made and saved with the adapter", "[e2e]") {
  TempDir dir;
  make_world(dir.path(), {"oak", "elm"});
  const CommandResult said = run(finetune_pictures(dir.path(), dir / "out", {"--max-steps", "3"}));
  CHECK(said.exit == 0);
  CHECK(contains(said.out, "newly made: the data has 2 classes (elm, oak), not the 3 of the model"));
  CHECK(contains(said.out, "is / taken for"));
  const Json found = evaluated(dir / "out", dir / "test");
  CHECK(found["labels"] == Json({"elm", "oak"}));
  CHECK_FALSE(found.contains("base"));  // the base knows no elm
  const Json further = run_json({"finetune", (dir / "out").string(), "--task", "image-classification", "--data",
                                 (dir / "train").string(), "--out", (dir / "further").string(), "--max-steps", "2"});
  CHECK(further["result"]["before"][0]["loss"].is_number());
  CHECK(evaluated(dir / "further", dir / "test")["labels"] == Json({"elm", "oak"}));
  const CommandResult base =
      run({"evaluate", (dir / "model").string(), "--task", "image-classification", "--data", (dir / "test").string()});
  CHECK(base.exit == 65);
  CHECK(contains(base.err, "has no class 'elm'"));
}

TEST_CASE("what makes no sense with pictures is refused in one sentence", "[e2e]") {
  TempDir dir;
  make_world(dir.path());
  const auto refused = [&](const std::vector<std::string>& options, int exit, const std::string& text) {
    const CommandResult result = run(finetune_pictures(dir.path(), dir / "never", options));
    INFO(result.err);
    CHECK(result.exit == exit);
    CHECK(contains(result.err, text));
    CHECK_FALSE(fs::exists(dir / "never" / "run.json"));
  };
  refused({"--seq-len", "64"}, 2, "--seq-len: does not go with --task image-classification");
  refused({"--dropout", "0.1"}, 2, "--dropout");
  refused({"--method", "head", "--rank", "4"}, 2, "is for --method lora");
  refused({"--targets", "convolutoin"}, 2, "no module that can be adapted");
  const CommandResult text =
      run({"finetune", (dir / "model").string(), "--method", "head", "--data", "x", "--out", (dir / "y").string()});
  CHECK(text.exit == 2);
  fs::remove_all(dir / "train" / "cat");
  fs::remove_all(dir / "train" / "dog");
  refused({}, 65, "one class only, 'newt'");
  write_text(dir / "train" / "dog" / "1.png", "not a picture");
  refused({}, 65, "neither PNG nor JPEG");
}
