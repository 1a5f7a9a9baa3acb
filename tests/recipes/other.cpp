// Recipes that train nothing, or many runs, from C++: sweep, evaluate, compare, compress, merge, answers to a file.
#include <fstream>

#include "catch.h"
#include "lowrank/recipes/compress.h"
#include "lowrank/recipes/evaluation/compare.h"
#include "lowrank/recipes/generation/answer_file.h"
#include "lowrank/recipes/merge.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/search/sweep.h"
#include "small_run.h"

using namespace lowrank;
using namespace lowrank_test;
using State = recipes::RunResult::State;

namespace {

fs::path text_file(const fs::path& file) {
  std::ofstream out(file);
  for (int i = 0; i < 24; ++i) out << (i > 0 ? "<|endoftext|>\n" : "") << "Tom had " << i << " red balls and a dog.\n";
  return file;
}

recipes::FinetuneSpec small_spec(const fs::path& data, const fs::path& out) {
  recipes::FinetuneSpec spec;
  spec.model = stories();
  spec.data.data = {data.string()};
  spec.data.seq_len = 32;
  spec.adapter.rank = 2;
  spec.train.max_steps = 3;
  spec.train.lr = 1e-2;
  spec.samples = 0;
  spec.run.out = out.string();
  return spec;
}

struct SweepWatcher : recipes::SweepObserver {
  void on_trial(const train::Trial& trial, bool) override { ended.push_back(trial.number); }
  void on_trial_progress(const recipes::TrialProgress& progress) override {
    if (stop_in >= 0 && progress.number == stop_in && progress.step == 2) stop();
  }
  std::vector<std::int64_t> ended;
  std::int64_t stop_in = -1;
};

struct Facts : recipes::EvaluationObserver {
  void on_facts(const recipes::Rows& found) override { rows = found; }
  recipes::Rows rows;
};

}  // namespace

TEST_CASE("a sweep from C++ searches fields, is stopped and goes on as it would have", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const auto spec_for = [&](const char* out) {
    recipes::SweepSpec spec;
    spec.finetune = small_spec(text_file(folder / "text.txt"), folder / out);
    spec.finetune.train.lr.reset();
    spec.trials = 2;
    spec.sampler = "random";
    spec.space = {rates()};
    return spec;
  };
  SweepWatcher whole;
  const auto all = recipes::sweep(spec_for("whole"), whole);
  CHECK(all.state == State::kTrained);
  CHECK(whole.ended == std::vector<std::int64_t>{0, 1});
  REQUIRE(all.best.is_object());
  CHECK(all.best["command"].get<std::string>().find(" --lr ") != std::string::npos);

  auto spec = spec_for("parts");
  SweepWatcher stopped, resumed;
  stopped.stop_in = 1;
  CHECK(recipes::sweep(spec, stopped).state == State::kStopped);
  spec.finetune.run.resume = true;
  const auto rest = recipes::sweep(spec, resumed);
  CHECK(resumed.ended == std::vector<std::int64_t>{0, 1});
  for (std::size_t i = 0; i < 2; ++i) CHECK(rest.trials[i].value == all.trials[i].value);

  spec.finetune.train.lr = 1e-3;  // fixed and searched
  CHECK_THROWS_AS(recipes::sweep(spec, resumed), recipes::FieldError);
}

TEST_CASE("what was trained is evaluated, compared, compressed, merged and asked from C++", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  const fs::path data = text_file(folder / "text.txt"), adapter = folder / "adapter";
  recipes::Observer quiet;
  REQUIRE(recipes::finetune(small_spec(data, adapter), quiet).state == State::kTrained);

  recipes::EvaluateSpec spec;
  spec.model = stories();
  spec.adapter = adapter.string();
  spec.data = {"own=" + data.string()};
  spec.seq_len = 32;
  spec.frontier = true;
  Facts facts;
  const auto evaluated = recipes::evaluate(spec, facts);
  REQUIRE(evaluated.sets.size() == 1);
  CHECK(facts.rows.front().first == "model");
  CHECK(evaluated.sets.front().adapter->nll < evaluated.sets.front().base.nll);
  CHECK(evaluated.frontier.size() == 9);
  CHECK(evaluated.json["sets"]["own"]["nll"] == evaluated.sets.front().adapter->nll);

  spec.frontier = false;
  spec.compare = {"again=" + adapter.string()};
  spec.out = (folder / "comparison").string();
  const auto compared = recipes::compare(spec, quiet);
  REQUIRE(compared.comparison.models.size() == 3);  // base, adapter, again
  CHECK(compared.comparison.texts.front().models[1].nll == compared.comparison.texts.front().models[2].nll);
  CHECK(fs::exists(folder / "comparison" / "report.html"));

  recipes::CompressSpec smaller;
  smaller.adapter = adapter.string();
  smaller.rank = 1;
  smaller.data = {data.string()};
  smaller.seq_len = 32;
  smaller.out = (folder / "smaller").string();
  recipes::CompressObserver unheard;
  const auto compressed = recipes::compress(smaller, unheard);
  for (const auto& [path, rank] : compressed.ranks) CHECK(rank <= 1);
  CHECK(fs::exists(folder / "smaller" / "adapter_model.safetensors"));
  smaller.max_kl = 0.1;  // both, which is one too many
  CHECK_THROWS_AS(recipes::compress(smaller, unheard), ConfigError);

  auto opened = recipes::open_model(stories(), adapter, {.dtype = recipes::dtype_of_files(stories())}, quiet);
  const auto merged = recipes::merge(opened.model, *opened.adapter, folder / "merged", recipes::kProbe, quiet);
  CHECK(merged.error.kl < 1e-6);
  CHECK(merged.effect.kl > merged.error.kl);

  std::ofstream(folder / "prompts.txt") << "Once upon\nThe dog\n";
  recipes::AnswerFileSpec asking;
  asking.model = stories();
  asking.adapters = recipes::named_adapters(stories(), {"tom=" + adapter.string()});
  asking.input = folder / "prompts.txt";
  asking.output = folder / "answers.jsonl";
  asking.sampling.max_new_tokens = 4;
  const auto answered = recipes::answer_file(asking, quiet);
  CHECK(answered.answers == 2);
  CHECK(answered.tokens == 8);
  CHECK_THROWS_AS(recipes::answer_file(asking, quiet), recipes::FieldError);  // the output is there
  asking.resume = true;
  CHECK(recipes::answer_file(asking, quiet).before == 2);
}
