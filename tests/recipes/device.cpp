// `device`: whole recipes on the tests' own device, whose memory the CPU cannot read, beside the same runs on the CPU.
#include "device/device.h"

#include <cmath>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/kernels/device.h"
#include "lowrank/recipes/evaluation/evaluate.h"
#include "lowrank/recipes/generation/answer_file.h"
#include "small_run.h"
#include "train/same_bytes.h"

using namespace lowrank;
using namespace lowrank_test;
using State = recipes::RunResult::State;

namespace {

constexpr const char* kThere = "testdevice";

std::string problem_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

recipes::FinetuneSpec spec_on(const std::string& device, const fs::path& out) {
  recipes::FinetuneSpec spec = small_spec(out);
  spec.data.validation_source = recipes::texts({"Once there was a dog.", "The boat was red."});
  spec.adapter.dropout = 0.1;
  spec.run.device = device;
  return spec;
}

struct StopsAfter : Silent {
  void on_step(const train::StepMetrics& metrics) override {
    if (metrics.step == 3) stop();
  }
};

}  // namespace

TEST_CASE("a device is found by its name, or a sentence says what there is", "[unit]") {
  CHECK(kernels::find_device("cpu").is_cpu());
  CHECK(kernels::find_device(kThere) == test_device::device());
  CHECK(kernels::find_device(kThere, /*local=*/5) == test_device::device());  // the sixth process of a machine with one
  const auto problem = [](const char* name) { return problem_of([&] { kernels::find_device(name); }); };
  CHECK(problem("gpu") == "'gpu' is no device that is computed on; expected auto, cpu, cuda or cuda:N");
  CHECK(problem("meta") == "'meta' is no device that is computed on; expected auto, cpu, cuda or cuda:N");
  CHECK(problem("testdevice:3") == "testdevice:3 is not there; the only one is number 0");
  TempDir folder;
  recipes::FinetuneSpec spec = small_spec(folder / "out");
  spec.run.device = "gpu";
  Silent observer;
  CHECK(problem_of([&] { recipes::finetune(spec, observer); }) ==
        "`device`: 'gpu' is no device that is computed on; expected auto, cpu, cuda or cuda:N");
}

TEST_CASE("what does not go with a device is refused by its name", "[unit]") {
  TempDir folder;
  const auto problem = [&](auto&& change) {
    recipes::FinetuneSpec spec = small_spec(folder / "out");
    spec.run.device = kThere;
    change(spec.run);
    Silent observer;
    return problem_of([&] { recipes::finetune(spec, observer); });
  };
  CHECK(problem([](recipes::RunSpec& run) { run.fit = true; }).starts_with("`fit`: "));
  CHECK(problem([](recipes::RunSpec& run) { run.pack = "keep"; }).starts_with("`pack`: "));
  CHECK(problem([](recipes::RunSpec& run) { run.profile = true; }).starts_with("`profile`: "));
  CHECK(problem([](recipes::RunSpec& run) { run.shard_base = "auto"; }).starts_with("`shard-base`: "));
}

TEST_CASE("finetune on a device learns what it learns on the CPU, says where it ran, and goes on to the same bytes", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  keep_files_in_memory();
  TempDir folder;
  Silent observer;
  const auto loss = [&](const std::string& device, const char* out, const std::function<void(recipes::FinetuneSpec&)>& change) {
    recipes::FinetuneSpec spec = spec_on(device, folder / out);
    change(spec);
    const recipes::ModelResult result = recipes::finetune(spec, observer);
    REQUIRE(result.state == State::kTrained);
    const auto here = result.run["environment"]["device"].get<std::string>();
    CHECK(here == (device == "cpu" ? "cpu" : "testdevice:0"));
    CHECK(result.run.contains("memory") == (device == "cpu"));
    return result.training->after.at(0).loss;
  };
  const auto compare = [&](const char* name, double bound, const std::function<void(recipes::FinetuneSpec&)>& change) {
    INFO(name);
    const std::string there = std::string(name) + " there", here = std::string(name) + " here";
    CHECK(std::abs(loss(kThere, there.c_str(), change) - loss("cpu", here.c_str(), change)) <= bound);
  };
  compare("plain", 1e-5, [](recipes::FinetuneSpec&) {});
  compare("recomputed", 1e-5, [](recipes::FinetuneSpec& spec) { spec.run.recompute = "layer"; });
  const int before = test_device::flash_calls();
  compare("bf16", 2e-2, [](recipes::FinetuneSpec& spec) { spec.run.dtype = "bfloat16"; });
  CHECK(test_device::flash_calls() > before);
  compare("nf4", 1e-5, [](recipes::FinetuneSpec& spec) { spec.run.base_dtype = "nf4"; });

  recipes::FinetuneSpec parts = spec_on(kThere, folder / "parts");
  StopsAfter stops;
  REQUIRE(recipes::finetune(parts, stops).state == State::kStopped);
  parts.run.resume = true;
  parts.run.device = "cpu";
  CHECK(problem_of([&] { recipes::finetune(parts, observer); }).find("device") != std::string::npos);
  parts.run.device = kThere;
  REQUIRE(recipes::finetune(parts, observer).state == State::kTrained);
  CHECK(differing(results_of(folder / "parts"), results_of(folder / "plain there")) == "");

  recipes::FinetuneSpec whole = spec_on(kThere, folder / "whole");
  whole.adapter = {};
  whole.adapter.method = "full";
  CHECK(recipes::finetune(whole, observer).state == State::kTrained);
}

TEST_CASE("evaluate and answers to a file compute on a device what they compute on the CPU", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  write_text(folder / "text.txt", "Tom had a red ball and a dog.\nThe sun was warm.\n");
  write_text(folder / "prompts.jsonl", "{\"prompt\": \"Once upon\"}\n{\"prompt\": \"The dog\"}\n");
  std::vector<double> nll;
  std::vector<std::string> answers;
  for (const char* device : {"cpu", kThere}) {
    recipes::EvaluateSpec spec;
    spec.model = stories();
    spec.data = {(folder / "text.txt").string()};
    spec.device = device;
    recipes::EvaluationObserver observer;
    nll.push_back(recipes::evaluate(spec, observer).sets.at(0).base.nll);
    recipes::AnswerFileSpec asked;
    asked.model = stories();
    asked.load.device = kernels::find_device(device);
    asked.input = folder / "prompts.jsonl";
    asked.output = folder / (std::string(device) + ".jsonl");
    asked.sampling.max_new_tokens = 8;
    Silent silent;
    CHECK(recipes::answer_file(asked, silent).answers == 2);
    answers.push_back(read_text(asked.output));
  }
  CHECK(std::abs(nll[0] - nll[1]) <= 1e-5);
  CHECK(answers[0] == answers[1]);
}
