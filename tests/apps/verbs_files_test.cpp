// merge and inspect on the real small model.
#include "lowrank/core/files.h"
#include "verbs_helpers.h"

using namespace lowrank_test;

TEST_CASE("merge writes a model that is base + adapter, proves it and says so", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  for (const char* name : {"stories260K-hf", "stories260K-hf-bf16"}) {
    CAPTURE(name);
    TempDir dir;
    const std::string model = (*assets() / "models" / name).string(), adapter = (dir / "adapter").string(),
                      out = (dir / "merged").string();
    const bool half = std::string(name) != "stories260K-hf";
    write_adapter(adapter, 0.1);
    const Json result = run_json({"merge", model, "--adapter", adapter, "--out", out});
    CHECK(result["verified"] == true);
    CHECK(result["changed_tensors"] == 10);
    CHECK(result["probe"]["dtype"] == (half ? "bfloat16" : "float32"));
    CHECK(result["probe"]["max_logit_difference"].get<double>() < (half ? 1.0 : 1e-3));
    CHECK(result["probe"]["mean_kl"].get<double>() < (half ? 1e-2 : 1e-6));
    CHECK(result["probe"]["adapter_max_logit_change"].get<double>() > 0.1);
    CHECK(lowrank::core::read_json(fs::path(out) / "merge_report.json") == result);
    for (const char* file : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}) {
      CHECK(read_text(fs::path(out) / file) == read_text(fs::path(model) / file));
    }
    if (!half) {
      const std::vector<std::string> prompt = {"--prompt", "Once upon a time", "--max-new-tokens", "40"};
      std::vector<std::string> merged = {"generate", out}, with_adapter = {"generate", model, "--adapter", adapter};
      merged.insert(merged.end(), prompt.begin(), prompt.end());
      with_adapter.insert(with_adapter.end(), prompt.begin(), prompt.end());
      CHECK(run_json(merged)["ids"] == run_json(with_adapter)["ids"]);
    }
    const Json other = run_json({"merge", model, "--adapter", adapter, "--dtype", half ? "float32" : "float16", "--out", out + "-other"});
    CHECK(other["dtype"] == (half ? "F32" : "F16"));
    CHECK(other["bytes"].get<double>() == Approx(result["bytes"].get<double>() * (half ? 2 : 0.5)).epsilon(0.05));
    CHECK(other["probe"]["max_logit_difference"].get<double>() < (half ? 1e-3 : 0.1));
    const CommandResult blocks = run({"merge", model, "--adapter", adapter, "--dtype", "q8_0", "--out", out + "-blocks"});
    CHECK(blocks.exit == 2);
    CHECK(contains(blocks.err, "GGUF"));
    const CommandResult again = run({"merge", model, "--adapter", adapter, "--out", out});
    CHECK(again.exit == 2);
    CHECK(contains(again.err, "already exists"));
  }
}

TEST_CASE("merge takes an adapter as MODEL and its own probe, and refuses a model without an adapter", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_adapter(dir / "adapter", 0.1);
  const CommandResult told =
      run({"merge", (dir / "adapter").string(), "--out", (dir / "out").string(), "--probe", "Lily and her mom"});
  CAPTURE(told.err);
  CHECK(told.exit == 0);
  CHECK(contains(told.out, "re-read and equal"));
  CHECK(contains(told.out, "5 tokens"));
  const CommandResult bare = run({"merge", stories(), "--out", (dir / "out2").string()});
  CHECK(bare.exit == 2);
  CHECK(contains(bare.err, "--adapter"));
  CHECK_FALSE(fs::exists(dir / "out2"));
}

TEST_CASE("inspect tells of a model", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const Json model = run_json({"inspect", stories(), "--tensors"});
  CHECK(model["kind"] == "model");
  CHECK(model["model_type"] == "llama");
  CHECK(model["layers"] == 5);
  CHECK(model["dtypes"]["F32"] == model["tensors"]);
  CHECK(model["tensor_list"].size() == model["tensors"].get<std::size_t>());
  CHECK(model["parameters"].get<std::int64_t>() > 200000);
  CHECK(model["tokenizer"]["size"] == 512);
  const CommandResult text = run({"inspect", stories()});
  CHECK(contains(text.out, "tied"));
  CHECK_FALSE(contains(text.out, "\033["));
  CHECK_FALSE(contains(text.out, "embed_tokens"));
  CHECK(contains(run({"inspect", stories(), "--tensors"}).out, "embed_tokens"));
}

TEST_CASE("inspect tells of a .safetensors file", "[unit]") {
  TempDir dir;
  lowrank::formats::write_safetensors(dir / "a.safetensors",
                                      {random_tensor("one", 2, 3, 1), random_tensor("two", 4, 1, 1)}, {{"k", "v"}});
  const Json file = run_json({"inspect", (dir / "a.safetensors").string()});
  CHECK(file["kind"] == "safetensors");
  CHECK(file["tensors"] == 2);
  CHECK(file["elements"] == 10);
  CHECK(file["bytes"] == 40);
  CHECK(file["metadata"]["k"] == "v");
  CHECK(contains(run({"inspect", (dir / "a.safetensors").string()}).out, "2×3"));
  write_text(dir / "b.safetensors", "no tensors here");
  CHECK(run({"inspect", (dir / "b.safetensors").string()}).exit == 65);
}

TEST_CASE("inspect tells of an adapter, and of one that holds NaN", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_adapter(dir / "some", 0.1);
  const Json some = run_json({"inspect", (dir / "some").string()});
  CHECK(some["kind"] == "adapter");
  CHECK(some["rank"] == 4);
  CHECK(some["modules"] == 10);
  CHECK(some["parameters"] == 5 * (4 * 64 + 64 * 4 + 4 * 172 + 64 * 4));
  CHECK(some["finite"] == true);
  CHECK(some["trained"] == true);
  REQUIRE(some["layers"].size() == 5);
  CHECK(some["layers"][3]["layer"] == 3);
  CHECK(some["layers"][3]["modules"] == 2);
  CHECK(some["layers"][3]["norm_delta"].get<double>() > 0);
  write_adapter(dir / "zero", 0);
  CHECK(run_json({"inspect", (dir / "zero").string()})["trained"] == false);
  write_adapter(dir / "nan", std::numeric_limits<double>::quiet_NaN());
  const Json nan = run_json({"inspect", (dir / "nan").string()});
  CHECK(nan["finite"] == false);
  CHECK(nan["not_finite"].size() == 10);
}

TEST_CASE("inspect tells whether a checkpoint holds", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "a.txt", std::string("Once upon a time, there was a little girl named Lily. She loved to play.\n"));
  const CommandResult trained = run({"finetune", stories(), "--data", (dir / "a.txt").string(), "--out",
                                     (dir / "run").string(), "--max-steps", "2", "--rank", "2"});
  CAPTURE(trained.err);
  REQUIRE(trained.exit == 0);
  const fs::path checkpoint = dir / "run" / "checkpoints" / "checkpoint-2";
  const Json whole = run_json({"inspect", checkpoint.string() + "/"});
  CHECK(whole["kind"] == "checkpoint");
  CHECK(whole["valid"] == true);
  CHECK(whole["step"] == 2);
  CHECK(whole["adapter"]["rank"] == 2);
  CHECK(run_json({"inspect", (dir / "run").string()})["kind"] == "adapter");
  write_text(checkpoint / "adapter_model.safetensors", "cut");
  const Json broken = run_json({"inspect", checkpoint.string()});
  CHECK(broken["valid"] == false);
  CHECK(contains(broken["fault"], "adapter_model.safetensors"));
  CHECK(contains(run({"inspect", checkpoint.string()}).out, "NOT valid"));
}

TEST_CASE("inspect shows examples of data with their masks", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  write_text(dir / "rows.jsonl",
             "{\"prompt\": \"Who was there?\", \"completion\": \" A little girl.\"}\n"
             "{\"prompt\": \"Where?\", \"completion\": \" In the park.\"}\n");
  const std::string rows = (dir / "rows.jsonl").string();
  const Json data = run_json({"inspect", stories(), "--data", rows, "--examples", "1"});
  CHECK(data["kind"] == "data");
  CHECK(data["report"]["examples"] == 2);
  REQUIRE(data["examples"].size() == 1);
  const Json& example = data["examples"][0];
  CHECK(example["ids"].size() == example["learned"].size());
  std::int64_t learned = 0;
  for (const Json& one : example["learned"]) learned += one.get<int>();
  CHECK(learned == example["counted"]);
  CHECK(example["ids"].front() == 1);
  CHECK(example["ids"].back() == 2);
  CHECK(example["learned"].back() == 1);
  CHECK(contains(example["text"], "Who was there? A little girl."));
  const CommandResult text = run({"inspect", stories(), "--data", rows, "--examples", "1"});
  CHECK(contains(text.out, "Who was there?⟧ A little girl."));
  CHECK(contains(text.out, "(1) "));
  CHECK_FALSE(contains(text.out, "In the park"));
  CHECK_FALSE(contains(text.out, "\033["));
  CHECK(run({"inspect", stories(), "--data", (dir / "none.jsonl").string()}).exit == 66);
}
