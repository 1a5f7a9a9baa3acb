// `lowrank pull` and `push` as a user runs them, and names of the hub in other verbs.
#include "data/hub_server.h"
#include "verbs_helpers.h"

using namespace lowrank_test;
using lowrank::core::Json;

namespace {

struct Place {
  TempDir dir;
  FakeHub hub{{{"config.json", "{}"}, {"model.safetensors", noise(50'000)}, {"model.gguf", noise(60'000)}}};

  std::map<std::string, std::string> environment() {
    return {{"HF_ENDPOINT", hub.endpoint()}, {"HF_HUB_CACHE", (dir / "hub").string()}, {"HF_TOKEN", "hf_secret"}, {"HF_HUB_OFFLINE", ""}};
  }
  CommandResult command(const std::vector<std::string>& words) {
    CommandResult result = run(words, environment());
    CHECK_FALSE(contains(result.out + result.err, "hf_secret"));
    return result;
  }
};

}  // namespace

TEST_CASE("pull lists, brings, and tells what it did", "[e2e]") {
  Place place;
  CommandResult result = place.command({"pull", "org/tiny", "--dry-run"});
  CHECK(result.exit == 0);
  CHECK(contains(result.out, "model.safetensors"));
  CHECK(contains(result.out, "50.0 kB"));
  CHECK(contains(result.out, "1 file of 60.0 kB not taken (model.gguf)"));
  CHECK(contains(result.out, "next: lowrank pull org/tiny"));
  CHECK_FALSE(fs::exists(place.dir / "hub"));
  CHECK(place.hub.cdn().asked().empty());

  result = place.command({"pull", "org/tiny", "--json"});
  REQUIRE(result.exit == 0);
  const Json json = lowrank::core::parse_json(result.out, "stdout");
  CHECK(json["commit"] == FakeHub::commit());
  CHECK(json["downloaded_bytes"] == 50'002);
  CHECK(read_text(fs::path(json["path"].get<std::string>()) / "model.safetensors") == noise(50'000));
  CHECK(json["files"].size() == 2);

  result = place.command({"pull", "org/tiny", "--include", "*.gguf", "--quiet"});
  CHECK(result.exit == 0);
  CHECK(result.out.empty());
  CHECK(result.err.empty());
  CHECK(fs::exists(fs::path(json["path"].get<std::string>()) / "model.gguf"));

  auto offline = place.environment();
  offline["HF_HUB_OFFLINE"] = "1";
  result = run({"pull", "org/tiny"}, offline);
  CHECK(result.exit == 0);
  CHECK(contains(result.out, json["path"].get<std::string>()));
  CHECK(run({"pull", "org/other"}, offline).exit == 66);
}

TEST_CASE("pull lays a repository into a folder, and leaves there what is the user's own", "[e2e]") {
  Place place;
  const fs::path dir = place.dir / "model";
  const auto pull = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"pull", "org/tiny", "--local-dir", dir.string()};
    words.insert(words.end(), more.begin(), more.end());
    return place.command(words);
  };
  CommandResult result = pull({"--dry-run"});
  CHECK(result.exit == 0);
  CHECK(contains(result.out, "next: lowrank pull org/tiny --local-dir " + dir.string()));
  CHECK_FALSE(fs::exists(dir));
  result = pull({});
  REQUIRE(result.exit == 0);
  CHECK(contains(result.out, "next: lowrank finetune " + dir.string()));
  CHECK(read_text(dir / "model.safetensors") == noise(50'000));
  CHECK(fs::is_regular_file(fs::symlink_status(dir / "model.safetensors")));
  CHECK_FALSE(fs::exists(place.dir / "hub"));  // the cache holds nothing of it
  const int asked = place.hub.cdn().count("model.safetensors");
  CHECK(lowrank::core::parse_json(pull({"--json"}).out, "stdout")["downloaded_bytes"] == 0);
  CHECK(place.hub.cdn().count("model.safetensors") == asked);

  write_text(dir / "config.json", R"({"mine": 1})");
  fs::last_write_time(dir / "config.json", fs::file_time_type::clock::now() + std::chrono::seconds(5));
  result = pull({});
  CHECK(result.exit == 2);
  CHECK(contains(result.err, "--overwrite"));
  CHECK(contains(result.err, (dir / "config.json").string()));
  CHECK(read_text(dir / "config.json") == R"({"mine": 1})");
  CHECK(pull({"--overwrite"}).exit == 0);
  CHECK(read_text(dir / "config.json") == "{}");

  // What the cache has is copied.
  REQUIRE(place.command({"pull", "org/tiny"}).exit == 0);
  const int before = place.hub.cdn().count("model.safetensors");
  fs::remove_all(dir);
  CHECK(pull({}).exit == 0);
  CHECK(read_text(dir / "model.safetensors") == noise(50'000));
  CHECK(place.hub.cdn().count("model.safetensors") == before);

  auto offline = place.environment();
  offline["HF_HUB_OFFLINE"] = "1";
  result = run({"pull", "org/tiny", "--local-dir", dir.string()}, offline);
  CHECK(result.exit == 0);
  CHECK(contains(result.out, dir.string()));
  result = run({"pull", "org/tiny", "--local-dir", (place.dir / "none").string()}, offline);
  CHECK(result.exit == 66);
  CHECK(contains(result.err, "HF_HUB_OFFLINE"));
  CHECK(place.command({"pull", "org/tiny", "--overwrite"}).exit == 2);
  write_text(place.dir / "file", "x");
  CHECK(place.command({"pull", "org/tiny", "--local-dir", (place.dir / "file").string()}).exit == 74);
}

TEST_CASE("what pull cannot do is one sentence and its exit code", "[e2e]") {
  Place place;
  const auto fails = [&](const std::vector<std::string>& words, int exit, const std::string& part) {
    const CommandResult result = place.command(words);
    INFO(result.err);
    CHECK(result.exit == exit);
    CHECK(contains(result.err, part));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  };
  fails({"pull", "no name"}, 2, "expected ORG/NAME");
  fails({"pull", "datasets/org/tiny", "--repo-type", "model"}, 2, "--repo-type");
  fails({"pull", "org/tiny@v1", "--revision", "v2"}, 2, "--revision");
  fails({"pull", "org/none"}, 66, "there is no model 'org/none'");
  fails({"pull", "org/tiny", "--include", "*.zip"}, 66, "--include");
  place.hub.relist([](Json& list) { list[1]["path"] = "../../x"; });
  fails({"pull", "org/tiny"}, 65, "no place within a repository");
}

TEST_CASE("verbs take names of the hub, and offer the pull of what is not here", "[e2e]") {
  Place place;
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"generate", "org/none", "--prompt", "x"},
           {"inspect", "org/none"},
           {"tokenize", "org/none", "--text", "x"},
           {"evaluate", "org/none", "--data", "x.txt"},
           {"finetune", "org/none", "--data", "x.txt", "--out", (place.dir / "out").string()},
           {"export", "org/none", "--format", "mlx", "--out", (place.dir / "out").string()}}) {
    const CommandResult result = place.command(words);
    INFO(words[0] << ": " << result.err);
    CHECK(result.exit == 66);
    CHECK(contains(result.err, "`lowrank pull org/none` downloads it"));
  }
  CHECK(place.hub.hub().asked().empty());  // nothing is downloaded unasked
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const CommandResult data = place.command({"evaluate", stories(), "--data", "org/poems"});
  CHECK(data.exit == 66);
  CHECK(contains(data.err, "`lowrank pull datasets/org/poems`"));
  const CommandResult adapter = place.command({"generate", stories(), "--adapter", "org/lora", "--prompt", "x"});
  CHECK(adapter.exit == 66);
  CHECK(contains(adapter.err, "`lowrank pull org/lora`"));

  // Pulled, a model, an adapter and a data set are what folders of them are.
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(stories())) files[entry.path().filename().string()] = read_text(entry.path());
  write_adapter(place.dir / "adapter", 0.1);
  FakeHub model(files);
  auto environment = place.environment();
  environment["HF_ENDPOINT"] = model.endpoint();
  REQUIRE(run({"pull", "org/tiny"}, environment).exit == 0);
  fs::rename(place.dir / "hub/models--org--tiny", place.dir / "hub/models--org--stories");
  FakeHub lora({{"adapter_config.json", read_text(place.dir / "adapter/adapter_config.json")},
                {"adapter_model.safetensors", read_text(place.dir / "adapter/adapter_model.safetensors")}});
  environment["HF_ENDPOINT"] = lora.endpoint();
  REQUIRE(run({"pull", "org/tiny"}, environment).exit == 0);
  FakeHub poems({{"train.jsonl", "{\"text\": \"Once upon a time there was a cat.\"}\n"}}, 1000, "datasets");
  environment["HF_ENDPOINT"] = poems.endpoint();
  REQUIRE(run({"pull", "datasets/org/tiny"}, environment).exit == 0);
  const CommandResult by_name = run({"evaluate", "org/stories", "--adapter", "org/tiny", "--data", "org/tiny", "--json"}, environment);
  INFO(by_name.err);
  REQUIRE(by_name.exit == 0);
  write_text(place.dir / "poems.jsonl", poems.file("train.jsonl"));
  const CommandResult by_path = run({"evaluate", stories(), "--adapter", (place.dir / "adapter").string(), "--data", (place.dir / "poems.jsonl").string(), "--json"});
  REQUIRE(by_path.exit == 0);
  CHECK(Json::parse(by_name.out)["nll"] == Json::parse(by_path.out)["nll"]);
}

TEST_CASE("push lists what it would send, and refuses what is no result", "[e2e]") {
  Place place;
  const fs::path folder = place.dir / "run";
  write_text(folder / "adapter_config.json", R"({"base_model_name_or_path": "/home/me/base"})");
  write_text(folder / "adapter_model.safetensors", "x");
  write_text(folder / "README.md", "card");
  write_text(folder / "run.json", "{}");
  write_text(folder / "metrics.jsonl", "{}");
  write_text(folder / "checkpoints/checkpoint-1/optimizer.safetensors", "x");
  const CommandResult listed = place.command({"push", folder.string(), "org/mine", "--dry-run"});
  CHECK(listed.exit == 0);
  CHECK(contains(listed.out, "adapter_model.safetensors"));
  CHECK(contains(listed.out, "left out: checkpoints/, metrics.jsonl, run.json"));
  CHECK(contains(listed.err, "/home/me/base"));
  CHECK(place.hub.hub().asked().empty());
  const auto fails = [&](const std::vector<std::string>& words, int exit, const std::string& part) {
    const CommandResult result = place.command(words);
    INFO(result.err);
    CHECK(result.exit == exit);
    CHECK(contains(result.err, part));
  };
  write_text(folder / "checkpoints/checkpoint-1/trainer_state.json", "{}");
  fails({"push", (folder / "checkpoints/checkpoint-1").string(), "org/mine"}, 2, "is a checkpoint");
  fails({"push", (place.dir / "none").string(), "org/mine"}, 66, "no such folder");
  write_text(place.dir / "empty/notes.md", "");
  fails({"push", (place.dir / "empty").string(), "org/mine"}, 65, "neither an adapter nor a model");
  fails({"push", folder.string(), "org/mine", "--private"}, 2, "--create");
  fails({"push", folder.string(), "org/mine"}, 66, "there is no model 'org/mine'");
  auto without = place.environment();
  without["HF_TOKEN"] = "";
  without["HF_TOKEN_PATH"] = (place.dir / "nothing").string();
  const CommandResult result = run({"push", folder.string(), "org/mine"}, without);
  CHECK(result.exit == 66);
  CHECK(contains(result.err, "needs a token"));
}
