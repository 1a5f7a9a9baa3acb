// Names on the hub, the environment, where a cache keeps what, and which files are wanted.
#include <cstdlib>

#include "errors.h"
#include "hub_server.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/choice.h"
#include "lowrank/data/hub/settings.h"
#include "lowrank/data/sources.h"

using namespace lowrank;
using namespace lowrank::data::hub;
using namespace lowrank_test;

namespace {

// Variables of the environment for one scope.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& values) {
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
                             "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DOWNLOAD_TIMEOUT",
                             "HF_HUB_DISABLE_IMPLICIT_TOKEN", "XDG_CACHE_HOME", "HOME"}) {
      const char* old = std::getenv(name);
      before_[name] = old == nullptr ? std::nullopt : std::optional<std::string>(old);
      const auto given = values.find(name);
      given == values.end() ? ::unsetenv(name) : ::setenv(name, given->second.c_str(), 1);
    }
  }
  ~Variables() {
    for (const auto& [name, value] : before_) value ? ::setenv(name.c_str(), value->c_str(), 1) : ::unsetenv(name.c_str());
  }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

std::vector<std::string> paths_of(const Choice& choice) {
  std::vector<std::string> paths;
  for (const RemoteFile& file : choice.files) paths.push_back(file.path);
  return paths;
}

Listing listing_of(const std::vector<std::string>& paths) {
  Listing listing;
  listing.commit = FakeHub::commit();
  for (const std::string& path : paths) listing.files.push_back({path, 10, git_sha1(path)});
  return listing;
}

}  // namespace

TEST_CASE("a name on the hub is one by huggingface_hub's rule", "[unit]") {
  for (const char* good : {"gpt2", "org/name", "Org-1/na_me.2", "a/b"}) {
    INFO(good);
    REQUIRE(parse_repo(good));
    CHECK(parse_repo(good)->id == good);
    CHECK(parse_repo(good)->revision == "main");
  }
  for (const char* bad : {"", "a/b/c", "../x", "a/..", ".a/b", "a/b.", "-a/b", "a--b/c", "a/b.git", "a b/c", "a/b@", "a/b@../x",
                          "a/b@/x", "a/b@x//y", "/a", "a/b@.x"}) {
    INFO(bad);
    CHECK_FALSE(parse_repo(bad));
  }
  CHECK(parse_repo("datasets/o/n@v1.0")->spelled() == "datasets/o/n@v1.0");
  CHECK(parse_repo("datasets/o/n")->folder() == "datasets--o--n");
  CHECK(parse_repo("o/n", RepoType::kDataset)->api_name() == "datasets/o/n");
  CHECK(parse_repo("hf://datasets/o/n@refs/pr/1")->revision == "refs/pr/1");
  CHECK(parse_repo("https://huggingface.co/o/n/tree/v2")->spelled() == "o/n@v2");
  CHECK(parse_repo("https://huggingface.co/datasets/o/n/")->spelled() == "datasets/o/n");
  CHECK(contains(message_of<ConfigError>([] { repo_named("no such/na me"); }), "expected ORG/NAME"));
  CHECK(contains(message_of<ConfigError>([] { repo_named("datasets/o/n", RepoType::kModel); }), "`repo-type`"));
}

TEST_CASE("cache, endpoint and token are found as huggingface_hub finds them", "[unit]") {
  const TempDir dir;
  {
    const Variables none({{"HOME", dir.path().string()}});
    CHECK(settings_from_environment().cache == dir / ".cache/huggingface/hub");
    CHECK(settings_from_environment().endpoint == "https://huggingface.co");
    CHECK(settings_from_environment().token.empty());
    write_text(dir / ".cache/huggingface/token", "hf_file\n");
    CHECK(settings_from_environment().token == "hf_file");
  }
  write_text(dir / "home/token", "hf_home");
  write_text(dir / "t", " hf_path ");
  const std::string home = (dir / "home").string();
  {
    const Variables set({{"HOME", "/nowhere"}, {"HF_HOME", home}, {"HF_ENDPOINT", "http://mirror:8080//"}, {"HF_HUB_OFFLINE", "1"}});
    const Settings settings = settings_from_environment();
    CHECK(settings.cache == dir / "home/hub");
    CHECK(settings.endpoint == "http://mirror:8080");
    CHECK(settings.token == "hf_home");
    CHECK(settings.offline);
  }
  {
    const Variables set({{"HOME", home}, {"HF_HUB_CACHE", "~/c"}, {"HF_TOKEN", "hf_env"}, {"HF_TOKEN_PATH", (dir / "t").string()}});
    CHECK(settings_from_environment().cache == dir / "home/c");
    CHECK(settings_from_environment().token == "hf_env");
  }
  {
    const Variables set({{"HOME", home}, {"HF_TOKEN_PATH", (dir / "t").string()}});
    CHECK(settings_from_environment().token == "hf_path");
  }
  {
    const Variables set({{"HF_HOME", home}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}});
    CHECK(settings_from_environment().token.empty());
  }
  for (const char* bad : {"hf x", "hf\nX: y", "hf\x01"}) {
    const Variables set({{"HF_HOME", home}, {"HF_TOKEN", bad}});
    const std::string said = message_of<ConfigError>([] { settings_from_environment(); });
    CHECK(contains(said, "HF_TOKEN holds"));
    CHECK_FALSE(contains(said, bad));
  }
  for (const char* bad : {"ftp://x", "huggingface.co", "http://a b", "https://user:pw@host"}) {
    const Variables set({{"HF_HOME", home}, {"HF_ENDPOINT", bad}});
    CHECK(contains(message_of<ConfigError>([] { settings_from_environment(); }), "HF_ENDPOINT"));
  }
}

TEST_CASE("a name leads to its snapshot, a folder to itself, and what is not here to pull", "[unit]") {
  const TempDir dir;
  const Variables set({{"HF_HUB_CACHE", (dir / "hub").string()}});
  const std::string commit = FakeHub::commit(), other(40, 'd');
  write_text(dir / ("hub/models--org--m/snapshots/" + commit + "/config.json"), "{}");
  write_text(dir / ("hub/models--org--m/snapshots/" + other + "/config.json"), "{}");
  write_text(dir / "hub/models--org--m/refs/main", commit);
  write_text(dir / "hub/models--org--m/refs/v1", other);
  write_text(dir / ("hub/datasets--org--m/snapshots/" + other + "/train.jsonl"), "{}");
  CHECK(local_path("org/m", RepoType::kModel) == dir / ("hub/models--org--m/snapshots/" + commit));
  CHECK(local_path("org/m@v1", RepoType::kModel) == dir / ("hub/models--org--m/snapshots/" + other));
  CHECK(local_path("org/m@" + other, RepoType::kModel) == dir / ("hub/models--org--m/snapshots/" + other));
  CHECK(local_path("org/m", RepoType::kDataset) == dir / ("hub/datasets--org--m/snapshots/" + other));
  CHECK(local_path("datasets/org/m", RepoType::kDataset) == dir / ("hub/datasets--org--m/snapshots/" + other));
  CHECK_FALSE(local_path("datasets/org/m", RepoType::kModel));
  CHECK(local_path(dir.path(), RepoType::kModel) == dir.path());
  for (const char* none : {"org/m@v2", "org/none", "../hub/models--org--m", "org/m@../../x"}) CHECK_FALSE(local_path(none, RepoType::kModel));
  fs::create_directory_symlink("/tmp", dir / ("hub/models--org--m/snapshots/" + std::string(40, 'e')));
  CHECK_FALSE(local_path("org/m@" + std::string(40, 'e'), RepoType::kModel));
  write_text(dir / "hub/models--org--m/refs/main", "../../..");
  CHECK_FALSE(local_path("org/m", RepoType::kModel));

  CHECK(contains(message_of<NotDownloaded>([] { throw_not_here("x: no", "org/none", RepoType::kModel); }), "`lowrank pull org/none`"));
  CHECK(contains(message_of<NotDownloaded>([] { throw_not_here("x: no", "org/d@v1", RepoType::kDataset); }), "`lowrank pull datasets/org/d@v1`"));
  for (const char* file : {"data/train.jsonl", "a/b/c", "nothing"}) {
    INFO(file);
    CHECK_FALSE(contains(message_of<MissingError>([&] { throw_not_here("x: no", file, RepoType::kDataset); }), "pull"));
  }
}

TEST_CASE("a data set of the cache is data by its name", "[unit]") {
  const TempDir dir;
  const Variables set({{"HF_HUB_CACHE", (dir / "hub").string()}});
  const fs::path entry = dir / "hub/datasets--org--poems", snapshot = entry / "snapshots" / FakeHub::commit();
  write_text(entry / "blobs/one", R"({"text": "a"})" "\n");
  write_text(entry / "blobs/two", R"({"text": "b"})" "\n");
  fs::create_directories(snapshot / "data");
  fs::create_symlink("../../../blobs/one", snapshot / "data/train.jsonl");
  fs::create_symlink("../../../blobs/two", snapshot / "data/validation.jsonl");
  std::vector<std::string> notes;
  for (const char* name : {"org/poems", "datasets/org/poems", "org/poems*2"}) {
    const auto sources = data::find_sources({name}, data::Format::kAuto, notes);
    REQUIRE(sources.size() == 1);
    CHECK(sources[0].file.path() == snapshot / "data/train.jsonl");
    CHECK(core::read_file(sources[0].file) == "{\"text\": \"a\"}\n");
  }
  CHECK(data::validation_files({"org/poems"}, data::Format::kAuto) == std::vector<fs::path>{snapshot / "data/validation.jsonl"});
  CHECK(contains(message_of<NotDownloaded>([&] { data::find_sources({"org/prose"}, data::Format::kAuto, notes); }),
                 "`lowrank pull datasets/org/prose`"));
}

TEST_CASE("of a model what a fine-tune reads is taken, of a data set what data reads", "[unit]") {
  const Repo model{.type = RepoType::kModel, .id = "o/n"}, data{.type = RepoType::kDataset, .id = "o/n"};
  const Listing whole = listing_of({".gitattributes", "LICENSE", "README.md", "config.json", "flax_model.msgpack", "generation_config.json",
                                    "merges.txt", "model.safetensors", "onnx/model.onnx", "pytorch_model.bin",
                                    "pytorch_model.bin.index.json", "tokenizer.json", "tokenizer.model", "tf_model.h5",
                                    "chat_template.jinja", "additional_chat_templates/rag.jinja", "code.py", "training_args.bin"});
  const Choice choice = choose(whole, model, {}, {});
  CHECK(paths_of(choice) == std::vector<std::string>{"LICENSE", "README.md", "config.json", "generation_config.json", "merges.txt",
                                                     "model.safetensors", "tokenizer.json", "tokenizer.model", "chat_template.jinja",
                                                     "additional_chat_templates/rag.jinja"});
  REQUIRE(choice.notes.size() == 1);
  CHECK(contains(choice.notes[0], "8 files"));
  CHECK(std::find(choice.absent.begin(), choice.absent.end(), "adapter_config.json") != choice.absent.end());
  CHECK(std::find(choice.absent.begin(), choice.absent.end(), "tokenizer.json") == choice.absent.end());

  const std::vector<std::string> shards = {"config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors",
                                           "model-00002-of-00002.safetensors", "model.safetensors.index.json"};
  CHECK(paths_of(choose(listing_of(shards), model, {}, {})) ==
        std::vector<std::string>{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                 "model.safetensors.index.json"});
  std::vector<std::string> both = shards;
  both.push_back("model.safetensors");
  CHECK(paths_of(choose(listing_of(both), model, {}, {})) == std::vector<std::string>{"config.json", "model.safetensors"});
  CHECK(paths_of(choose(listing_of({"README.md", "adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"}), model, {}, {})) ==
        std::vector<std::string>{"README.md", "adapter_config.json", "adapter_model.safetensors"});
  CHECK(contains(message_of<ModelError>([&] { choose(listing_of({"config.json", "pytorch_model.bin"}), model, {}, {}); }), "pickled"));
  CHECK(paths_of(choose(whole, model, {"*.bin", "onnx/"}, {"training*"})) == std::vector<std::string>{"onnx/model.onnx", "pytorch_model.bin"});
  CHECK(contains(message_of<MissingError>([&] { choose(whole, model, {"nothing"}, {}); }), "`include`"));
  CHECK(paths_of(choose(listing_of({".gitattributes", "README.md", "data/train-00000-of-00001.parquet", "load.py", "x.jsonl.gz"}), data, {}, {})) ==
        std::vector<std::string>{"README.md", "data/train-00000-of-00001.parquet", "x.jsonl.gz"});
}
