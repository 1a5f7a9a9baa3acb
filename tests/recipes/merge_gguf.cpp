// A model for llama.cpp: what the file says is what the model says, read back; what cannot be is refused. (That
// llama.cpp itself says so too: tests/parity/llama_cpp_parity.py.)
#include "lowrank/recipes/merge_gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "catch.h"
#include "lowrank/core/json.h"
#include "lowrank/formats/gguf_read.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/merge.h"
#include "lowrank/recipes/run/card_parts.h"
#include "lowrank/recipes/run/opened.h"
#include "small_run.h"

using namespace lowrank;
using namespace lowrank_test;
using formats::GgmlType;

namespace {

recipes::GgufResult made(const fs::path& adapter, const fs::path& out, GgmlType type, Silent& silent) {
  std::optional<fs::path> with;
  if (!adapter.empty()) with = adapter;
  recipes::Opened opened = recipes::open_model(stories(), with, {.dtype = models::DTypeChoice::kFloat32}, silent);
  return recipes::merge_gguf(opened.model, opened.adapter ? &*opened.adapter : nullptr, out, type, recipes::kProbe,
                             silent);
}

void fine_tune(const fs::path& out, const std::string& targets, Silent& silent) {
  recipes::FinetuneSpec spec = small_spec(out);
  spec.train.max_steps = 3;
  spec.train.lr = 0.01;
  spec.samples = 0;
  spec.adapter.targets = targets;
  recipes::finetune(spec, silent);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

TEST_CASE("a GGUF model says what the model says, with the adapter in it", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  fine_tune(folder / "run", "all-linear", silent);
  const auto plain = made({}, folder / "plain", GgmlType::kF32, silent);
  CHECK(plain.file == "stories260K-hf-F32.gguf");
  CHECK(plain.error.largest < 1e-5);
  CHECK(plain.after == Approx(plain.before).epsilon(1e-6));
  CHECK(names_in(folder / "plain") ==
        std::vector<std::string>{"Modelfile", "README.md", "merge_report.json", "stories260K-hf-F32.gguf"});

  const auto adapted = made(folder / "run", folder / "adapted", GgmlType::kF32, silent);
  CHECK(adapted.error.largest < 1e-4);  // W + s·BA in one product, against two
  CHECK(std::abs(adapted.before - plain.before) > 1e-3);

  const auto file = formats::GgufFile::open(folder / "adapted" / adapted.file);
  CHECK(file.values().at("general.architecture") == formats::GgufValue(std::string("llama")));
  CHECK(file.values().at("tokenizer.ggml.model") == formats::GgufValue(std::string("llama")));
  CHECK(std::get<std::vector<std::string>>(file.values().at("tokenizer.ggml.tokens")).size() == 512);
  CHECK(file.values().at("tokenizer.ggml.bos_token_id") == formats::GgufValue(std::uint32_t{1}));
  CHECK(file.values().at("tokenizer.ggml.add_bos_token") == formats::GgufValue(true));
  CHECK(file.find("output.weight") == nullptr);  // tied
  CHECK(file.find("token_embd.weight")->shape == std::vector<std::int64_t>{512, 64});

  const std::string modelfile = read_text(folder / "adapted" / "Modelfile");
  CHECK(modelfile.find("FROM ./stories260K-hf-F32.gguf\n") != std::string::npos);
  CHECK(modelfile.find("PARAMETER stop \"</s>\"\n") != std::string::npos);
  const std::string card = read_text(folder / "adapted" / "README.md");
  CHECK(card.find((*assets()).string()) == std::string::npos);
  CHECK(card.find(folder.path().string()) == std::string::npos);
  CHECK(card.find("library_name: gguf") != std::string::npos);
  CHECK(card.find("rank 4") != std::string::npos);
}

TEST_CASE("a quantised GGUF model is near, and says how near", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  std::map<GgmlType, double> errors;
  for (const GgmlType type : {GgmlType::kBF16, GgmlType::kQ8_0, GgmlType::kQ4_0}) {
    const auto result = made({}, folder / std::string(formats::ggml_name(type)), type, silent);
    CHECK(result.error.largest > 0);
    CHECK(result.json["probe"]["perplexity_after"] == result.after);
    errors[type] = result.error.kl;
  }
  CHECK(errors[GgmlType::kQ8_0] < 1e-2);
  CHECK(errors[GgmlType::kQ4_0] > errors[GgmlType::kQ8_0]);
  const auto file = formats::GgufFile::open(folder / "Q4_0" / "stories260K-hf-Q4_0.gguf");
  const auto type_of = [&](const char* name) { return static_cast<GgmlType>(file.find(name)->type); };
  CHECK(type_of("blk.0.attn_q.weight") == GgmlType::kQ4_0);
  CHECK(type_of("token_embd.weight") == GgmlType::kQ8_0);     // which is the head
  CHECK(type_of("blk.0.ffn_down.weight") == GgmlType::kF16);  // rows of 172
  CHECK(type_of("blk.0.attn_norm.weight") == GgmlType::kF32);
}

TEST_CASE("a tied head that the adapter changes is a tensor of its own in the GGUF model", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  fine_tune(folder / "run", "q_proj,lm_head", silent);
  const auto result = made(folder / "run", folder / "out", GgmlType::kF32, silent);
  CHECK(result.error.largest < 1e-4);
  const auto file = formats::GgufFile::open(folder / "out" / result.file);
  REQUIRE(file.find("output.weight") != nullptr);
  CHECK(std::memcmp(file.bytes(*file.find("output.weight")).data(), file.bytes(*file.find("token_embd.weight")).data(),
                    512 * 64 * 4) != 0);
}

TEST_CASE("the card of a merged model has no path of this machine, and the licence of the base", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  const fs::path base = folder / "my-base";
  fs::create_directory(base);
  for (const char* name :
       {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"})
    fs::copy_file(fs::path(stories()) / name, base / name);
  write_text(base / "README.md", "---\nlicense: mit\nlicense_link: LICENSE\ntags:\n- x\n---\n\n# Base\n");
  fine_tune(folder / "run", "all-linear", silent);
  recipes::Opened opened = recipes::open_model(base.string(), folder / "run", {.dtype = models::DTypeChoice::kFloat32}, silent);
  recipes::merge(opened.model, *opened.adapter, folder / "merged", recipes::kProbe, silent);
  const std::string card = read_text(folder / "merged" / "README.md");
  CHECK(card.starts_with(
      "---\nlicense: mit\nlicense_link: LICENSE\nlibrary_name: transformers\npipeline_tag: text-generation\n"));
  CHECK(card.find("# my-base with an adapter merged into it") != std::string::npos);
  CHECK(card.find(folder.path().string()) == std::string::npos);
  CHECK(card.find("3 optimiser steps") != std::string::npos);
}

TEST_CASE("cards name no folder of this machine", "[unit]") {
  CHECK(recipes::hub_name("meta-llama/Llama-3.2-1B") == "meta-llama/Llama-3.2-1B");
  CHECK(recipes::hub_name("gpt2") == "gpt2");
  for (const char* folder : {"/home/me/models/x", "./x", "../x", "~/x", "runs/a/b", "/"})
    CHECK(recipes::hub_name(folder).empty());
  CHECK(recipes::shown_name("/home/me/models/x/") == "x");
  CHECK(recipes::without_folders(
            "lowrank finetune /home/me/x --data '/a b/c.txt' --out=/tmp/o --lr 1e-4 ~/y ../z/w org/name") ==
        "lowrank finetune x --data 'c.txt' --out=o --lr 1e-4 y w org/name");
  const std::string front = recipes::card_front("/home/me/x", "text-generation");
  CHECK(front.find("base_model") == std::string::npos);
  CHECK(recipes::card_front("org/name", "text-generation").find("base_model: org/name\n") != std::string::npos);
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Silent silent;
  fine_tune(folder / "run", "q_proj", silent);
  const std::string card = read_text(folder / "run" / "README.md");
  CHECK(card.find(folder.path().string()) == std::string::npos);
  CHECK(card.find((*assets()).string()) == std::string::npos);
}
