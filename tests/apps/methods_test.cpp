// Adapter methods from the command line: trained, inspected, evaluated, merged, resumed, refused.
#include <algorithm>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

std::vector<std::string> finetune(const fs::path& text, const fs::path& out, const std::vector<std::string>& options) {
  std::vector<std::string> words = {"finetune",   stories(),     "--data",    text.string(),     "--out",
                                    out.string(), "--max-steps", "3",         "--seq-len",       "64",
                                    "--rank",     "4",           "--targets", "q_proj,down_proj"};
  words.insert(words.end(), options.begin(), options.end());
  return words;
}

fs::path text_in(const fs::path& directory) {
  std::string text;
  for (int i = 0; i < 60; ++i)
    text += "Once upon a time there was a small house number " + std::to_string(i) + " at the edge of the wood.\n";
  write_text(directory / "text.txt", text);
  return directory / "text.txt";
}

}  // namespace

TEST_CASE("every method trains, and what it leaves is inspected, evaluated, generated with and merged", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path text = text_in(dir.path());
  struct Way {
    const char* name;
    std::vector<std::string> options;
    int rank;
    bool dora;
  };
  for (const Way& way :
       {Way{"dora", {"--dora", "--lora-plus-ratio", "4"}, 4, true}, Way{"pissa", {"--init", "pissa"}, 8, false},
        Way{"fast", {"--init", "pissa_niter_4", "--rslora"}, 8, false}, Way{"olora", {"--init", "olora"}, 8, false},
        Way{"orthogonal", {"--init", "orthogonal"}, 4, false}}) {
    INFO(way.name);
    const fs::path out = dir / way.name;
    const Json trained = run_json(finetune(text, out, way.options));
    CHECK(trained["adapter"]["r"] == way.rank);
    CHECK(trained["adapter"].value("use_dora", false) == way.dora);
    CHECK(trained["totals"]["adapter_bytes"] == fs::file_size(out / "adapter_model.safetensors"));
    const Json seen = run_json({"inspect", out.string()});
    CHECK(seen["rank"] == way.rank);
    CHECK(seen["dora"] == way.dora);
    CHECK(seen["modules"] == 10);
    CHECK(seen["finite"] == true);
    const Json adapted = run_json({"evaluate", stories(), "--adapter", out.string(), "--data", text.string()});
    CHECK(adapted["nll"] != adapted["base"]["nll"]);
    const Json said = run_json({"generate", stories(), "--adapter", out.string(), "--prompt", "Once",
                                "--max-new-tokens", "8", "--temperature", "0"});
    const fs::path merged = dir / (std::string(way.name) + "-merged");
    const Json proof = run_json({"merge", stories(), "--adapter", out.string(), "--out", merged.string()});
    CHECK(proof["changed_tensors"] == 10);
    CHECK(proof["probe"]["max_logit_difference"].get<double>() < 1e-3);
    CHECK(run_json({"generate", merged.string(), "--prompt", "Once", "--max-new-tokens", "8", "--temperature",
                    "0"})["ids"] == said["ids"]);
    CHECK(std::abs(run_json({"evaluate", merged.string(), "--data", text.string()})["nll"].get<double>() -
                   adapted["nll"].get<double>()) < 1e-4);
  }
}

TEST_CASE("whole modules and an adapted embedding train, and their merge parts a tied head", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path text = text_in(dir.path());
  for (const bool copies : {true, false}) {
    const std::string name = copies ? "copies" : "embedding";
    INFO(name);
    const fs::path out = dir / name, merged = dir / (name + "-merged");
    std::vector<std::string> words = finetune(text, out, {"--lr", "5e-3"});
    if (copies) {
      words.insert(words.end(), {"--modules-to-save", "lm_head,model.norm"});
    } else {
      *std::find(words.begin(), words.end(), "q_proj,down_proj") = "q_proj,down_proj,embed_tokens";
    }
    const Json trained = run_json(words);
    CHECK(trained["totals"]["adapter_bytes"] == fs::file_size(out / "adapter_model.safetensors"));
    const Json seen = run_json({"inspect", out.string()});
    CHECK(seen["whole"] == (copies ? Json({"lm_head.weight", "model.norm.weight"}) : Json::array()));
    CHECK(seen["modules"] == (copies ? 10 : 11));
    const Json adapted = run_json({"evaluate", stories(), "--adapter", out.string(), "--data", text.string()});
    CHECK(adapted["nll"] != adapted["base"]["nll"]);
    const Json proof = run_json({"merge", stories(), "--adapter", out.string(), "--out", merged.string()});
    CHECK(proof["untied"] == true);
    CHECK(proof["changed_tensors"] == (copies ? 12 : 11));
    CHECK(proof["probe"]["max_logit_difference"].get<double>() < 1e-3);
    CHECK(std::abs(run_json({"evaluate", merged.string(), "--data", text.string()})["nll"].get<double>() -
                   adapted["nll"].get<double>()) < 1e-4);
  }
}

TEST_CASE("options of methods that contradict each other are refused in one sentence", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path text = text_in(dir.path());
  write_adapter(dir / "adapter", 0.1);
  const auto refused = [&](std::vector<std::string> options) {
    const CommandResult result = run(finetune(text, dir / "out", options));
    CHECK(result.exit == 2);
    CHECK_FALSE(fs::exists(dir / "out"));  // no run began
    return result.err;
  };
  CHECK(contains(refused({"--dora", "--init", "pissa"}), "use_dora does not go with the initialisation 'pissa'"));
  CHECK(contains(refused({"--init", "orthogonal", "--rank-pattern", "q_proj=3"}), "must be even"));
  CHECK(contains(refused({"--init", "pisa"}), "did you mean 'pissa'"));
  CHECK(contains(refused({"--lora-plus-ratio", "0"}), "--lora-plus-ratio"));
  CHECK(contains(refused({"--use-dora"}), "--dora"));
  CHECK(contains(refused({"--rank-pattern", "q_proj=4", "q_proj=8"}), "--rank-pattern: names 'q_proj' twice"));
  CHECK(contains(refused({"--alpha-pattern", "q_proj=4", "q_proj=4"}), "--alpha-pattern: names 'q_proj' twice"));
  CHECK(contains(refused({"--rank-pattern", "nothing=4"}), "no adapted module is named 'nothing'"));
  CHECK(contains(refused({"--early-stopping", "2", "--val-split", "0"}), "--early-stopping needs validation data"));
  CHECK(contains(refused({"--modules-to-save", "lm_hed"}), "did you mean 'lm_head'"));
  CHECK(contains(refused({"--modules-to-save", "q_proj"}), "both name 'q_proj'"));
  const CommandResult unbiased = run(finetune(text, dir / "out", {"--bias", "all", "--dry-run"}));
  CHECK(unbiased.exit == 0);
  CHECK(contains(unbiased.out, "this model's modules have no biases, so that it adds nothing that is trained, as in PEFT"));
  CHECK(contains(refused({"--bias", "lora"}), "--bias is one of"));
  CHECK(contains(refused({"--modules-to-save", "lm_head", "--l2", "0.1"}),
                 "would pull the trained copy of lm_head to zero"));
  CHECK(contains(refused({"--modules-to-save", "lm_head", "--delta-l2", "0.1"}), "is trained beside them"));
  const auto whole = [&](std::vector<std::string> options) {
    std::vector<std::string> words = {"finetune", stories(), "--data", text.string(), "--out", (dir / "out").string()};
    words.insert(words.end(), options.begin(), options.end());
    const CommandResult result = run(words);
    CHECK(result.exit == 2);
    return result.err;
  };
  CHECK(contains(whole({"--init", "pissa", "--rank", "100"}), "has at most rank"));
  for (const std::vector<std::string>& option :
       {std::vector<std::string>{"--dora"}, {"--init", "pissa"}, {"--lora-plus-ratio", "4"}}) {
    std::vector<std::string> words = {"--method", "full"};
    words.insert(words.end(), option.begin(), option.end());
    CHECK(contains(whole(words), "is for --method lora"));
  }
  for (const std::vector<std::string>& option : {std::vector<std::string>{"--dora"}, {"--init", "pissa"}}) {
    std::vector<std::string> words = {"--adapter", (dir / "adapter").string()};
    words.insert(words.end(), option.begin(), option.end());
    CHECK(contains(whole(words), "contradicts the adapter that the run starts from"));
  }
}

TEST_CASE("going on from an adapter that is on a picture's encoder alone is refused in one sentence", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir dir;
  const fs::path model = dir / "model";
  fs::copy(golden_dir() / "models" / "gemma3-pictures", model);
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) fs::copy_file(fs::path(stories()) / file, model / file);
  fs::create_directories(dir / "adapter");
  const std::string module = "vision_tower.encoder.layers.0.mlp.fc1";
  lowrank::formats::write_safetensors(dir / "adapter" / "adapter_model.safetensors",
                                      {random_tensor("base_model.model.model." + module + ".lora_A.weight", 2, 8, 0.1),
                                       random_tensor("base_model.model.model." + module + ".lora_B.weight", 8, 2, 0.1)});
  write_text(dir / "adapter" / "adapter_config.json",
             Json{{"base_model_name_or_path", model.string()}, {"peft_type", "LORA"}, {"r", 2}, {"target_modules", {"fc1"}}}.dump());
  write_text(dir / "pairs.jsonl", R"({"prompt": "a", "chosen": "b", "rejected": "c"})" "\n");
  const CommandResult result = run({"align", "dpo", model.string(), "--adapter", (dir / "adapter").string(), "--data",
                                    (dir / "pairs.jsonl").string(), "--out", (dir / "out").string(), "--quiet"});
  CHECK(result.exit == 2);
  CHECK(contains(result.err, "the adapter in " + (dir / "adapter").string() + " is on nothing but modules that text does not pass through"));
  CHECK(contains(result.err, module));
}
