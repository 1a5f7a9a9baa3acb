#include <sys/stat.h>

#include "core/expect_error.h"
#include "formats/raw_safetensors.h"
#include "lowrank/formats/folder_advice.h"

using namespace lowrank::formats;
using lowrank_test::small_safetensors;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace {

constexpr const char* kIndexName = "model.safetensors.index.json";

// Two shards, "one" with a and b, "two" with c, and their index.
void write_sharded(const fs::path& dir) {
  write_text(dir / "one.safetensors", small_safetensors({"a", "b"}));
  write_text(dir / "two.safetensors", small_safetensors({"c"}));
  write_text(dir / kIndexName, R"({"metadata": {"total_size": 3}, "weight_map":
    {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}})");
}

void write_index(const fs::path& dir, const std::string& weight_map) {
  write_text(dir / kIndexName, "{\"weight_map\": " + weight_map + "}");
}

}  // namespace

TEST_CASE("a single file is a model's weights", "[unit]") {
  const TempDir dir;
  write_text(dir / "model.safetensors", small_safetensors({"a", "b"}));
  const auto weights = WeightFiles::open(dir.path());
  CHECK(weights.names() == std::vector<std::string>{"a", "b"});
  CHECK(weights.total_bytes() == 2);
  CHECK_FALSE(weights.sharded());
  CHECK(weights.files().size() == 1);
  REQUIRE(weights.find("b") != nullptr);
  CHECK(weights.find("b")->bytes()[0] == std::byte{1});
  CHECK(weights.find("x") == nullptr);
  CHECK_NOTHROW(weights.check_unchanged());
  write_text(dir / "model.safetensors", small_safetensors({"a", "b", "c"}));
  CHECK_ERROR(weights.check_unchanged(), kIo, "changed while it was in use");
}

TEST_CASE("shards are a model's weights, unless the single file is there too", "[unit]") {
  const TempDir dir;
  write_sharded(dir.path());
  const auto weights = WeightFiles::open(dir.path());
  CHECK(weights.names() == std::vector<std::string>{"a", "b", "c"});
  CHECK(weights.sharded());
  CHECK(weights.files().size() == 2);
  CHECK(weights.find("c")->file->path().filename() == "two.safetensors");
  write_text(dir / "model.safetensors", small_safetensors({"only"}));
  CHECK(WeightFiles::open(dir.path()).names() == std::vector<std::string>{"only"});
}

TEST_CASE("an index that breaks its promises is refused", "[unit]") {
  const TempDir dir;
  const fs::path d = dir.path();
  write_sharded(d);
  const auto check = [&](const std::string& weight_map, const std::string& message) {
    write_index(d, weight_map);
    CHECK_ERROR(WeightFiles::open(d), kFormat, message);
  };
  check("[]", "weight_map: expected an object");
  check("{}", "weight_map: names no tensors");
  check(R"({"a": 1})", "the shard of 'a' is not a string");
  check(R"({"a": ["one.safetensors"]})", "the shard of 'a' is not a string");
  check(R"({"a": "one.safetensors", "a": "two.safetensors"})", "the key 'a' is there twice");
  write_text(d / "three.safetensors", small_safetensors({"x", "c"}));  // another c than in "two"
  check(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors", "d": "three.safetensors"})",
        "the tensor 'c' is in '");
  for (const char* name : {"../one.safetensors", "/etc/passwd", "sub/one.safetensors", ".", "..", "", "one\\u0000x",
                           "one\\nx", "one safetensors", "öne"}) {
    check(std::string("{\"a\": \"") + name + "\"}", "which is no plain file name");
  }
  write_text(d / kIndexName, "{}");
  CHECK_ERROR(WeightFiles::open(d), kFormat, "the key 'weight_map' is missing");
  write_text(d / kIndexName, "{\"weight_map\"");
  CHECK_ERROR(WeightFiles::open(d), kFormat, "index.json: not valid JSON at line 1, column 14");
}

TEST_CASE("an index that names what is not there, or not all, is read and said: the shards count", "[unit]") {
  const TempDir dir;
  const fs::path d = dir.path();
  write_sharded(d);
  CHECK(WeightFiles::open(d).notes().empty());
  const auto notes = [&](const std::string& weight_map) {
    write_index(d, weight_map);
    const auto weights = WeightFiles::open(d);
    CHECK(weights.names() == std::vector<std::string>{"a", "b", "c"});
    std::string all;
    for (const std::string& note : weights.notes()) all += note + "\n";
    return all;
  };
  const auto says = [](const std::string& found, const std::string& part) { CHECK(found.find(part) != std::string::npos); };
  says(notes(R"({"a": "one.safetensors", "c": "two.safetensors"})"), "tensors of the shards that it does not have, 1 ('b')");
  says(notes(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors", "d": "one.safetensors"})"),
       "tensors that no shard has, 1 ('d')");
  says(notes(R"({"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"})"), "tensors that are in another shard than it says, 1 ('b')");
  write_text(d / "three.safetensors", small_safetensors({"c"}));
  says(notes(R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors", "d": "three.safetensors"})"), "there twice, with equal values, 1 ('c')");
}

TEST_CASE("shards without an index are read where all are there", "[unit]") {
  const TempDir dir;
  const fs::path d = dir.path();
  write_text(d / "model-00001-of-00002.safetensors", small_safetensors({"a"}));
  CHECK_ERROR(WeightFiles::open(d), kMissing, "the shard 'model-00002-of-00002.safetensors' is not there; download the rest of the model (1 of 2");
  write_text(d / "model-00002-of-00002.safetensors", small_safetensors({"b"}));
  const auto weights = WeightFiles::open(d);
  CHECK(weights.names() == std::vector<std::string>{"a", "b"});
  CHECK(weights.sharded());
  REQUIRE(weights.notes().size() == 1);
  CHECK(weights.notes()[0].find("its 2 shards are read as they are") != std::string::npos);
  write_text(d / "other-00001-of-00002.safetensors", small_safetensors({"a"}));  // which of both is not known
  CHECK_ERROR(WeightFiles::open(d), kMissing, "holds no weights");
}

TEST_CASE("the names of a wrapped module's weights are those of the module", "[unit]") {
  const TempDir dir;
  const auto names = [&](const std::vector<std::string>& stored) {
    write_text(dir / "model.safetensors", small_safetensors(stored));
    const auto weights = WeightFiles::open(dir.path());
    CHECK(weights.notes().size() == 1);
    for (const std::string& name : weights.names()) CHECK(weights.find(name) != nullptr);
    CHECK(weights.names_in(*weights.files().front()) == weights.names());
    return weights.names();
  };
  const std::vector<std::string> own = {"lm_head.weight", "model.layers.0.up.weight"};
  CHECK(names({"_orig_mod.lm_head.weight", "_orig_mod.model.layers.0.up.weight"}) == own);
  CHECK(names({"module.lm_head.weight", "module.model.layers.0.up.weight"}) == own);
  CHECK(names({"module._orig_mod.lm_head.weight", "module._orig_mod.model.layers.0.up.weight"}) == own);
  CHECK(names({"lm_head.weight", "model.layers.0._orig_mod.up.weight"}) == own);
  CHECK(names({"lm_head.weight", "model.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.up.weight"}) == own);
  CHECK(names({"_fsdp_wrapped_module.lm_head.weight", "_fsdp_wrapped_module.model.layers.0._fsdp_wrapped_module.up.weight"}) == own);
  CHECK(names({"base_model.model.lm_head.weight", "base_model.model.model.layers.0.up.weight"}) == own);
  write_text(dir / "model.safetensors", small_safetensors({"module.lm_head.weight", "other.weight"}));  // a name of its own
  CHECK(WeightFiles::open(dir.path()).names().front() == "module.lm_head.weight");
  write_text(dir / "model.safetensors", small_safetensors({"base_model.model.lm_head.weight", "base_model.model.model.q.base_layer.weight",
                                                           "base_model.model.model.q.lora_A.default.weight"}));
  CHECK_ERROR(WeightFiles::open(dir.path()), kFormat, "merge_and_unload");
}

TEST_CASE("a folder that holds nearly a model says what to give or do instead", "[unit]") {
  const TempDir dir;
  const auto advice = [&](const std::string& folder) { return folder_advice(dir / folder); };
  const auto says = [](const std::string& found, const std::string& part) {
    INFO(found);
    CHECK(found.find(part) != std::string::npos);
  };
  write_text(dir / "empty/notes.txt", "x");
  CHECK(advice("empty").empty());
  CHECK(advice("not-there").empty());
  for (const char* step : {"8", "40", "9"}) write_text(dir / "trainer" / (std::string("checkpoint-") + step) / "adapter_config.json", "{}");
  says(advice("trainer"), "; give its newest checkpoint, " + (dir / "trainer/checkpoint-40").string());
  write_text(dir / "run/checkpoints/checkpoint-3/adapter_config.json", "{}");
  says(advice("run"), "checkpoints/checkpoint-3");
  write_text(dir / "trl/policy/config.json", "{}");
  write_text(dir / "trl/value/config.json", "{}");
  says(advice("trl"), (dir / "trl/policy").string());
  write_text(dir / "outer/inner/config.json", "{}");
  says(advice("outer"), "; give the folder inside it, " + (dir / "outer/inner").string());
  write_text(dir / "zero/global_step40/mp_rank_00_model_states.pt", "x");
  says(advice("zero"), "python zero_to_fp32.py " + (dir / "zero").string());
  write_text(dir / "fsdp/pytorch_model_fsdp_0/__0_0.distcp", "x");
  says(advice("fsdp"), "accelerate merge-weights " + (dir / "fsdp/pytorch_model_fsdp_0").string());
  write_text(dir / "gguf/tiny.gguf", "x");
  says(advice("gguf"), "tiny.gguf, which llama.cpp runs");
}

TEST_CASE("a shard that is missing or no file is refused", "[unit]") {
  const TempDir dir;
  const fs::path d = dir.path();
  const std::string map = R"({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"})";
  write_sharded(d);
  fs::remove(d / "two.safetensors");
  CHECK_ERROR(WeightFiles::open(d), kMissing, "the shard 'two.safetensors' is not there");
  CHECK_ERROR(WeightFiles::open(d), kMissing, "(1 of 2 shards are present)");
  fs::create_directory(d / "two.safetensors");
  CHECK_ERROR(WeightFiles::open(d), kFormat, "two.safetensors' is a directory");
  fs::remove(d / "two.safetensors");
  REQUIRE(::mkfifo((d / "two.safetensors").c_str(), 0600) == 0);
  CHECK_ERROR(WeightFiles::open(d), kFormat, "two.safetensors' is a FIFO");
  fs::remove(d / "two.safetensors");
  fs::create_symlink("/dev/zero", d / "two.safetensors");
  CHECK_ERROR(WeightFiles::open(d), kFormat, "two.safetensors' is a device");
  fs::remove(d / "two.safetensors");
  fs::create_symlink("nowhere", d / "two.safetensors");
  CHECK_ERROR(WeightFiles::open(d), kMissing, "it is a link to a file that is not there");
  fs::remove(d / "two.safetensors");
  fs::create_symlink("two.safetensors", d / "two.safetensors");
  CHECK_ERROR(WeightFiles::open(d), kIo, "Too many levels of symbolic links");
}

TEST_CASE("tensor files may be links to anywhere, and it is said where they lead; no other file may", "[unit]") {
  const TempDir dir;
  const std::string bytes = small_safetensors({"a"});
  const auto link_model = [&](const fs::path& folder, const fs::path& target) {
    fs::create_directories(folder);
    fs::remove(folder / "model.safetensors");
    fs::create_symlink(target, folder / "model.safetensors");
    return folder;
  };
  // Inside the folder.
  write_text(dir / "inside/real.safetensors", bytes);
  CHECK(WeightFiles::open(link_model(dir / "inside", "real.safetensors")).links().empty());
  // The folder itself reached through a link.
  fs::create_directory_symlink(dir / "inside", dir / "alias");
  CHECK_NOTHROW(WeightFiles::open(dir / "alias"));
  // Out of the folder, also into one whose name begins alike.
  const auto leads_to = [&](const fs::path& folder, const fs::path& real) {
    const std::vector<std::string> expected = {(folder / "model.safetensors").string() +
                                               " is a link out of its folder, to " + real.string()};
    CHECK(WeightFiles::open(folder).links() == expected);
  };
  write_text(dir / "outside.safetensors", bytes);
  leads_to(link_model(dir / "out", "../outside.safetensors"), dir / "outside.safetensors");
  write_text(dir / "out-2/x", bytes);
  leads_to(link_model(dir / "out", "../out-2/x"), dir / "out-2/x");
  // The Hugging Face cache: its entry is one folder.
  const fs::path entry = dir / "hub/models--org--name";
  write_text(entry / "blobs/0123abcd", bytes);
  write_text(dir / "hub/models--org--other/blobs/0123abcd", bytes);
  const fs::path snapshot = entry / "snapshots/rev";
  CHECK(WeightFiles::open(link_model(snapshot, "../../blobs/0123abcd")).files()[0]->path() ==
        snapshot / "model.safetensors");
  CHECK(WeightFiles::open(snapshot).links().empty());
  leads_to(link_model(snapshot, "../../../models--org--other/blobs/0123abcd"),
           dir / "hub/models--org--other/blobs/0123abcd");
  // An index is words.
  write_text(dir / "index.json", R"({"weight_map": {"a": "model.safetensors"}})");
  fs::create_directories(dir / "indexed");
  fs::create_symlink("../index.json", dir / "indexed/model.safetensors.index.json");
  CHECK_ERROR(WeightFiles::open(dir / "indexed"), kFormat, "is a link that leads out of its folder, to '");
  // A shard by another name is not taken for a tensor file.
  const fs::path secret = dir / "secret.json";
  write_text(secret, bytes);
  write_text(dir / "sly/model.safetensors.index.json", R"({"weight_map": {"a": "config.json"}})");
  fs::create_symlink(secret, dir / "sly/config.json");
  CHECK_ERROR(WeightFiles::open(dir / "sly"), kFormat, "is a link that leads out of its folder, to '" + secret.string());
}

TEST_CASE("a folder without safetensors says what it has", "[unit]") {
  const TempDir dir;
  CHECK_ERROR(WeightFiles::open(dir / "none"), kMissing, "there is no folder '");
  CHECK_ERROR(WeightFiles::open(dir.path()), kMissing,
              "holds no weights: neither model.safetensors nor model.safetensors.index.json is there");
  write_text(dir / "file", "x");
  CHECK_ERROR(WeightFiles::open(dir / "file"), kFormat, "is not a folder");
  write_text(dir / "consolidated.safetensors", "x");
  CHECK_ERROR(WeightFiles::open(dir.path()), kMissing, "(it has consolidated.safetensors)");
  CHECK_FALSE(pickle_advice(dir.path()));
  CHECK_FALSE(pickle_advice(dir / "none"));
  write_text(dir / "pytorch_model.bin", "x");
  CHECK_ERROR(WeightFiles::open(dir.path()), kFormat,
              "as a pickle file (pytorch_model.bin), which can run code and is never");
  CHECK_ERROR(WeightFiles::open(dir.path()), kFormat, "transformers.AutoModelForCausalLM.from_pretrained(DIR)");
  write_text(dir / "adapter_model.bin", "x");
  CHECK(pickle_advice(dir.path())->find("peft.AutoPeftModelForCausalLM") != std::string::npos);
}

TEST_CASE("the models of the assets are read", "[parity]") {
  const auto assets = lowrank_test::assets();
  if (!assets) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  int read = 0;
  for (const auto& entry : fs::directory_iterator(*assets / "models")) {
    if (!fs::exists(entry.path() / "model.safetensors") && !fs::exists(entry.path() / kIndexName)) continue;
    INFO(entry.path().string());
    CHECK(WeightFiles::open(entry.path()).total_bytes() > 0);
    ++read;
  }
  CHECK(read > 0);
}
