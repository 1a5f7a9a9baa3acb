// Recipes from C++: data in memory, progress, cancellation and going on, the model afterwards, errors that name fields.
#include "lowrank/recipes/finetune.h"

#include <fstream>
#include <sstream>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/models/generate.h"
#include "lowrank/recipes/run/run_report.h"

using namespace lowrank;
using namespace lowrank_test;
using State = recipes::RunResult::State;

namespace {

std::string file_text(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

recipes::FinetuneSpec small_spec(const fs::path& out) {
  recipes::FinetuneSpec spec;
  spec.model = (*assets() / "models" / "stories260K-hf").string();
  spec.data.train_source = recipes::texts({"Once upon a time there was a small boat.", "Tom had a red ball.",
                                           "The sun was warm and the cat slept.", "Lily saw a big dog."});
  spec.data.val_split = 0;
  spec.data.seq_len = 64;
  spec.adapter.rank = 4;
  spec.train.batch_size = 2;
  spec.train.max_steps = 6;
  spec.run.save_every = 2;
  spec.samples = 1;
  spec.run.out = out.string();
  return spec;
}

struct Watcher : recipes::Observer {
  void on_opening(const recipes::RunReport& report) override { openings += report.steps == 6 ? 1 : 100; }
  void on_closing(const recipes::RunReport&, const train::TrainResult&) override { ++closings; }
  void on_step(const train::StepMetrics& metrics) override {
    steps.push_back(metrics.step);
    if (metrics.step == stop_after) stop();
  }
  void note(const std::string& text) override { notes.push_back(text); }
  int openings = 0, closings = 0;
  std::int64_t stop_after = 0;
  std::vector<std::int64_t> steps;
  std::vector<std::string> notes;
};

}  // namespace

TEST_CASE("a run from C++: strings in memory, events, files, and the model afterwards", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Watcher watcher;
  recipes::ModelResult result = recipes::finetune(small_spec(folder / "out"), watcher);
  CHECK(result.state == State::kTrained);
  CHECK(watcher.openings == 1);
  CHECK(watcher.closings == 1);
  CHECK(watcher.steps == std::vector<std::int64_t>{1, 2, 3, 4, 5, 6});
  for (const char* file :
       {"adapter_model.safetensors", "adapter_config.json", "README.md", "report.html", "run.json", "metrics.jsonl"})
    CHECK(fs::exists(folder / "out" / file));
  CHECK(result.run["finished"] == true);
  CHECK(result.run["options"]["rank"] == 4);
  CHECK(result.run["command"].get<std::string>().find("--rank 4") != std::string::npos);
  CHECK(result.run["validation"] == "none (val-split 0)");  // no flags for who has none

  models::LoadedModel& model = result.base->model();
  models::GenerateOptions options;
  options.max_new_tokens = 8;
  const auto prompt = model.tokenizer->encode("Once upon a time");
  REQUIRE(result.adapter);
  CHECK(result.adapter->parameter_count() == result.run["totals"]["trainable_parameters"].get<std::int64_t>());
  CHECK_FALSE(models::generate(*model.decoder, *model.tokenizer, prompt, options).text.empty());

  recipes::FinetuneSpec again = small_spec(folder / "out");
  again.run.resume = true;
  Watcher second;
  CHECK(recipes::finetune(again, second).state == State::kWasFinished);
  CHECK(second.notes.size() == 1);
}

TEST_CASE("a run that is stopped goes on to the same bytes", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Watcher whole, stopped, resumed;
  recipes::finetune(small_spec(folder / "whole"), whole);
  recipes::FinetuneSpec spec = small_spec(folder / "parts");
  stopped.stop_after = 3;
  const recipes::ModelResult first = recipes::finetune(spec, stopped);
  CHECK(first.state == State::kStopped);
  CHECK(first.training->steps == 3);
  CHECK(stopped.closings == 0);
  spec.run.resume = true;
  const recipes::ModelResult second = recipes::finetune(spec, resumed);
  CHECK(second.state == State::kTrained);
  CHECK(resumed.steps == std::vector<std::int64_t>{4, 5, 6});
  CHECK(file_text(folder / "whole" / "adapter_model.safetensors") ==
        file_text(folder / "parts" / "adapter_model.safetensors"));
}

TEST_CASE("mistakes in a spec name the field before anything is read", "[unit]") {
  recipes::Observer quiet;
  recipes::FinetuneSpec spec;
  spec.model = "/nowhere";
  spec.run.out = "/nowhere-either";
  const auto field = [&] {
    try {
      recipes::finetune(spec, quiet);
    } catch (const recipes::FieldError& error) {
      CHECK(std::string(error.what()).find("--") == std::string::npos);
      return error.field;
    }
    return std::string("none");
  };
  spec.train.lr = -1;
  CHECK(field() == "lr");
  spec.train.lr.reset();
  spec.adapter.method = "head";
  CHECK(field() == "method");
  spec.adapter.method = "lora";
  spec.run.out.clear();
  CHECK(field() == "out");
}
