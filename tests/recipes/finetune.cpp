// Recipes from C++: data in memory, progress, cancellation and going on, the model afterwards, errors that name fields.
#include "lowrank/recipes/finetune.h"

#include <fstream>
#include <sstream>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/lora/config.h"
#include "lowrank/models/generate.h"
#include "lowrank/recipes/combine.h"
#include "lowrank/recipes/evaluation/compare.h"
#include "lowrank/recipes/generation/adapter_switch.h"
#include "lowrank/recipes/repeated_runs.h"
#include "lowrank/recipes/run/base_remarks.h"
#include "lowrank/recipes/run/run_report.h"
#include "small_run.h"

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

TEST_CASE("a finished run that is asked for more is told how to go on, and left as it is", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Watcher watcher;
  recipes::FinetuneSpec spec = small_spec(folder / "run");
  recipes::finetune(spec, watcher);
  const std::string before = file_text(folder / "run" / "run.json");
  spec.run.resume = true;
  CHECK(recipes::finetune(spec, watcher).state == State::kWasFinished);
  spec.train.max_steps = 12;
  CHECK_THROWS_WITH(recipes::finetune(spec, watcher),
                    Catch::Matchers::Contains("`max-steps` 6, now 12") &&
                        Catch::Matchers::Contains("--adapter " + (folder / "run").string()) &&
                        Catch::Matchers::Contains("--out " + (folder / "run-2").string()));
  CHECK(file_text(folder / "run" / "run.json") == before);
}

TEST_CASE("a finished run of a constant rate goes on for further steps, as the longer run would have", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Watcher watcher;
  recipes::FinetuneSpec spec = small_spec(folder / "run");
  spec.train.schedule = "constant";
  recipes::finetune(spec, watcher);
  spec.run.resume = true;
  spec.train.max_steps = 10;
  CHECK(recipes::finetune(spec, watcher).state == State::kTrained);
  recipes::FinetuneSpec whole = small_spec(folder / "whole");
  whole.train.schedule = "constant";
  whole.train.max_steps = 10;
  recipes::finetune(whole, watcher);
  CHECK(file_text(folder / "run" / "adapter_model.safetensors") == file_text(folder / "whole" / "adapter_model.safetensors"));
  // Fewer steps, or other data, is no going on.
  spec.train.max_steps = 8;
  CHECK_THROWS_AS(recipes::finetune(spec, watcher), ConfigError);
  spec.train.max_steps = 12;
  spec.data.train_source = recipes::texts({"Another text.", "And one more."});
  CHECK_THROWS_AS(recipes::finetune(spec, watcher), ConfigError);
}

TEST_CASE("tokens that are added are trained, saved with their tokenizer, and go on", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  write_text(folder / "tokens.txt", "<|user|>\tTom\n<|end|>\n");
  Watcher watcher;
  recipes::FinetuneSpec spec = small_spec(folder / "run");
  spec.data.train_source = recipes::texts({"<|user|>Tom had a red ball.<|end|>", "<|user|>The sun was warm.<|end|>",
                                           "<|user|>Lily saw a big dog.<|end|>"});
  spec.adapter.add_tokens = (folder / "tokens.txt").string();
  CHECK(recipes::finetune(spec, watcher).state == State::kTrained);
  const auto config = lora::read_adapter_config(folder / "run");
  REQUIRE(config.trainable_token_indices.size() == 1);  // its head is tied: one list for both
  CHECK(config.trainable_token_indices[0] == std::pair{std::string(), std::vector<std::int64_t>{512, 513}});
  const auto tokenizer = data::Tokenizer::load(folder / "run");
  CHECK(tokenizer->size() == 514);
  CHECK(tokenizer->encode("<|end|>", false) == std::vector<data::TokenId>{513});

  // Of another base than the run's there is a remark.
  const auto model = models::load(spec.model, {.adapter = folder / "run"});
  CHECK(recipes::base_remarks(folder / "run", model).empty());
  auto json = core::read_json(folder / "run" / "run.json");
  json["model"]["bytes"] = 2 * json["model"]["bytes"].get<std::int64_t>();
  fs::create_directories(folder / "other");
  write_text(folder / "other" / "run.json", json.dump());
  REQUIRE(recipes::base_remarks(folder / "other", model).size() == 1);
  CHECK(recipes::base_remarks(folder / "other", model)[0].find("another type") != std::string::npos);
  json["model"]["parameters"] = 7;
  write_text(folder / "other" / "run.json", json.dump());
  CHECK(recipes::base_remarks(folder / "other", model)[0].find("of 7 parameters") != std::string::npos);

  // A second run goes on from it, and reads and writes by the same tokenizer.
  recipes::FinetuneSpec next = small_spec(folder / "next");
  next.data.train_source = spec.data.train_source;
  next.adapter = {};
  next.adapter.adapter = (folder / "run").string();
  CHECK(recipes::finetune(next, watcher).state == State::kTrained);
  CHECK(lora::read_adapter_config(folder / "next").trainable_token_indices == config.trainable_token_indices);
  CHECK(data::Tokenizer::load(folder / "next")->size() == 514);
  next.run.out = (folder / "third").string();
  next.adapter.add_tokens = spec.adapter.add_tokens;
  CHECK_THROWS_AS(recipes::finetune(next, watcher), Error);
}

TEST_CASE("adapters that bring tokens of their own do not share a base", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  write_text(folder / "tokens.txt", "<|user|>\n<|end|>\n");
  Watcher watcher;
  recipes::FinetuneSpec spec = small_spec(folder / "tokens");
  spec.train.max_steps = 1;
  recipes::FinetuneSpec plain = spec;
  plain.run.out = (folder / "plain").string();
  recipes::finetune(plain, watcher);
  spec.adapter.add_tokens = (folder / "tokens.txt").string();
  recipes::finetune(spec, watcher);
  const auto says_so = Catch::Matchers::Contains("the adapter in " + (folder / "tokens").string() +
                                                 " brings tokens of its own (its vocabulary has 514 rows, the base's 512)");

  models::LoadedModel model = models::load(spec.model);
  const std::vector<recipes::NamedAdapter> both = {{"plain", folder / "plain"}, {"tokens", folder / "tokens"}};
  CHECK_THROWS_WITH(recipes::AdapterSwitch(*model.decoder, both, watcher), says_so);

  models::LoadedModel other = models::load(spec.model);
  CHECK_THROWS_WITH(recipes::combine_adapters(other, {plain.run.out, spec.run.out}, {}, folder / "combined", watcher), says_so);

  write_text(folder / "text.txt", "Tom had a red ball.");
  recipes::EvaluateSpec evaluation;
  evaluation.model = spec.model;
  evaluation.compare = {"a=" + spec.run.out};
  evaluation.data = {(folder / "text.txt").string()};
  CHECK_THROWS_WITH(recipes::compare(evaluation, watcher), says_so);
}

TEST_CASE("a finished run that is asked for again with other data, another model or other seeds is refused", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const auto text = [&](const char* name, const char* words) {
    std::ofstream(folder / name) << words;
    return (folder / name).string();
  };
  recipes::FinetuneSpec spec = small_spec(folder / "one");
  spec.data.train_source = {};
  spec.data.data = {text("a.txt", "Once upon a time there was a small boat. Tom had a red ball and a blue one.")};
  spec.train.max_steps = 2;
  Silent silent;
  REQUIRE(recipes::finetune(spec, silent).state == State::kTrained);
  const auto message = [&](const std::function<void(recipes::FinetuneSpec&)>& change) -> std::string {
    recipes::FinetuneSpec again = spec;
    again.run.resume = true;
    change(again);
    try {
      const State state = again.little.seeds ? recipes::finetune_repeatedly(again, silent).state : recipes::finetune(again, silent).state;
      return state == State::kWasFinished ? "nothing was done" : "it ran";
    } catch (const ConfigError& error) {
      return error.what();
    }
  };
  const auto says = [](const std::string& found, std::initializer_list<const char*> parts) {
    INFO(found);
    for (const char* part : parts) CHECK(found.find(part) != std::string::npos);
  };
  CHECK(message([](auto&) {}) == "nothing was done");
  says(message([&](auto& s) { s.data.data = {text("b.txt", "The sun was warm and the cat slept all day.")}; }), {"`data`", "a.txt", "b.txt", "train its adapter further"});
  says(message([&](auto& s) { s.data.val_data = {text("v.txt", "Lily saw a big dog.")}; }), {"`val-data` not given"});
  says(message([&](auto& s) { s.adapter.rank = 8; }), {"`rank`", "now 8", "begin a new run with", "--rank 8"});
  says(message([&](auto& s) { s.model = (*assets() / "models" / "stories260K-hf-bf16").string(); }), {"MODEL", "begin a new run"});
  // The same paths, and other contents; the same contents written again.
  const std::string own = core::read_file(folder / "a.txt");
  text("a.txt", "Once upon a time there was a small goat. Tom had a red ball and a blue one.");
  says(message([](auto&) {}), {"a finished run of other inputs", "`data`", "a.txt has other contents now", "train its adapter further"});
  text("a.txt", own.c_str());
  CHECK(message([](auto&) {}) == "nothing was done");
  const fs::path model = folder / "model";
  fs::copy(*assets() / "models" / "stories260K-hf", model);
  recipes::FinetuneSpec of_copy = spec;
  of_copy.model = model.string();
  of_copy.run.out = (folder / "of-copy").string();
  REQUIRE(recipes::finetune(of_copy, silent).state == State::kTrained);
  std::swap(spec, of_copy);
  const std::string weights = core::read_file(model / "model.safetensors");
  core::write_file(model / "model.safetensors", weights);
  CHECK(message([](auto&) {}) == "nothing was done");
  std::string others = weights;
  others.back() ^= 1;
  core::write_file(model / "model.safetensors", others);
  says(message([](auto&) {}), {"MODEL: ", "model.safetensors has other contents now", "begin a new run"});
  core::write_file(model / "model.safetensors", weights);
  core::write_file(model / "config.json", core::read_file(model / "config.json") + " ");
  says(message([](auto&) {}), {"MODEL's settings: ", "config.json has other contents now"});
  std::swap(spec, of_copy);

  const std::string held_out = text("held-out.txt", "Lily saw a big dog and ran home to her mother.");  // that several runs are compared on
  says(message([&](auto& s) {
         s.little.seeds = 2;
         s.data.val_data = {held_out};
       }),
       {"finished runs", "`seeds`"});

  spec.data.val_data = {held_out};
  spec.run.out = (folder / "two").string();
  spec.little.seeds = 2;
  REQUIRE(recipes::finetune_repeatedly(spec, silent).state == State::kTrained);
  CHECK(message([](auto&) {}) == "nothing was done");
  says(message([](auto& s) { s.little.seeds = 3; }), {"`seeds` 2, now 3", "begin new ones"});
  says(message([](auto& s) { s.adapter.dora = true; }), {"`dora`"});
  says(message([](auto& s) { s.little.seeds.reset(); }), {"`seeds` 2, now not given"});
}

TEST_CASE("a run that is refused leaves the one that it would have replaced", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Watcher watcher;
  recipes::FinetuneSpec spec = small_spec(folder / "out");
  REQUIRE(recipes::finetune(spec, watcher).state == State::kTrained);
  const std::string adapter = file_text(folder / "out" / "adapter_model.safetensors"), run = file_text(folder / "out" / "run.json");
  const auto refused = [&](const std::function<void(recipes::FinetuneSpec&)>& change) {
    recipes::FinetuneSpec other = small_spec(folder / "out");
    other.run.overwrite = true;
    change(other);
    CHECK_THROWS(recipes::finetune(other, watcher));
    CHECK(file_text(folder / "out" / "adapter_model.safetensors") == adapter);
    CHECK(file_text(folder / "out" / "run.json") == run);
  };
  std::ofstream(folder / "blank.txt") << "\n";
  const auto data = [&](const fs::path& file) {
    return [file](recipes::FinetuneSpec& s) {
      s.data.train_source = nullptr;
      s.data.data = {file.string()};
    };
  };
  refused(data(folder / "none.txt"));
  refused(data(folder / "blank.txt"));
  refused(data(folder / "out" / "metrics.jsonl"));
  refused([&](auto& s) { s.adapter.targets = "nothing"; });
  refused([&](auto& s) { s.adapter.adapter = (folder / "none").string(); });
  refused([&](auto& s) { s.data.seq_len = 1 << 20; });

  // Nor is one of several runs in the place of one.
  recipes::FinetuneSpec several = small_spec(folder / "out");
  several.run.overwrite = true;
  several.little.seeds = 2;
  several.data.val_split = 0.2;
  several.adapter.targets = "nothing";
  CHECK_THROWS(recipes::finetune_repeatedly(several, watcher));
  CHECK(file_text(folder / "out" / "run.json") == run);
  several.adapter.targets.reset();
  REQUIRE(recipes::finetune_repeatedly(several, watcher).state == State::kTrained);
  CHECK_FALSE(fs::exists(folder / "out" / "adapter_model.safetensors"));
  const std::string both = file_text(folder / "out" / "run.json");
  several.adapter.targets = "nothing";
  CHECK_THROWS(recipes::finetune_repeatedly(several, watcher));
  CHECK(file_text(folder / "out" / "run.json") == both);
  CHECK(fs::exists(folder / "out" / "seed-42" / "adapter_model.safetensors"));
}

TEST_CASE("a finished run whose adapter is gone has it again from its checkpoint", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::FinetuneSpec spec = small_spec(folder / "run");
  Watcher watcher;
  REQUIRE(recipes::finetune(spec, watcher).state == State::kTrained);
  const fs::path file = folder / "run" / "adapter_model.safetensors";
  const std::string bytes = core::read_file(file);
  spec.run.resume = true;
  fs::remove(file);
  fs::remove(folder / "run" / "README.md");  // not missed
  CHECK(recipes::finetune(spec, watcher).state == State::kWasFinished);
  CHECK(core::read_file(file) == bytes);
  fs::remove(file);
  fs::remove_all(folder / "run" / "checkpoints");
  CHECK_THROWS_WITH(recipes::finetune(spec, watcher), Catch::Matchers::Contains("adapter_model.safetensors is gone") &&
                                                          Catch::Matchers::Contains("`overwrite`"));
}

TEST_CASE("going on from an adapter takes other words for its targets, and another dropout", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  Watcher watcher;
  recipes::FinetuneSpec spec = small_spec(folder / "start");
  spec.adapter.dropout = 0.05;
  recipes::finetune(spec, watcher);
  REQUIRE_FALSE(lora::read_adapter_config(folder / "start").all_linear());  // names of the modules

  const auto going_on = [&](const std::string& out) {
    recipes::FinetuneSpec next = small_spec(folder / out);
    next.adapter = {};
    next.adapter.adapter = (folder / "start").string();
    return next;
  };
  for (const char* targets : {"all-linear", ".*proj", "up_proj,q_proj,k_proj,v_proj,o_proj,gate_proj,down_proj"}) {
    recipes::FinetuneSpec next = going_on("targets");
    next.adapter.targets = targets;
    next.run.overwrite = true;
    CHECK(recipes::finetune(next, watcher).state == State::kTrained);
  }
  for (const char* targets : {"q_proj,v_proj", ".*[qv]_proj", "nothing"}) {
    recipes::FinetuneSpec next = going_on("other-targets");
    next.adapter.targets = targets;
    CHECK_THROWS_WITH(recipes::finetune(next, watcher), Catch::Matchers::Contains("contradicts the adapter"));
  }

  recipes::FinetuneSpec dropped = going_on("dropped");
  dropped.adapter.dropout = 0.3;
  CHECK(recipes::finetune(dropped, watcher).state == State::kTrained);
  CHECK(lora::read_adapter_config(folder / "dropped").lora_dropout == 0.3);
  recipes::finetune(going_on("kept"), watcher);
  CHECK(lora::read_adapter_config(folder / "kept").lora_dropout == 0.05);
  CHECK(file_text(folder / "dropped" / "adapter_model.safetensors") !=
        file_text(folder / "kept" / "adapter_model.safetensors"));
  // The same bytes where the run is stopped and gone on with.
  dropped.run.out = (folder / "parts").string();
  Watcher stopped;
  stopped.stop_after = 3;
  CHECK(recipes::finetune(dropped, stopped).state == State::kStopped);
  dropped.run.resume = true;
  CHECK(recipes::finetune(dropped, watcher).state == State::kTrained);
  CHECK(file_text(folder / "parts" / "adapter_model.safetensors") ==
        file_text(folder / "dropped" / "adapter_model.safetensors"));
  // A finished run of another dropout is gone on with by its adapter, and the dropout stays asked for.
  dropped.adapter.dropout = 0.2;
  CHECK_THROWS_WITH(recipes::finetune(dropped, watcher), Catch::Matchers::Contains("--dropout 0.2"));

  recipes::FinetuneSpec beyond = going_on("beyond");
  beyond.adapter.dropout = 1;
  CHECK_THROWS_WITH(recipes::finetune(beyond, watcher), Catch::Matchers::Contains("lora_dropout is 1"));
}
