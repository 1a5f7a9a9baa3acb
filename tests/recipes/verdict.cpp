// What a run comes to: learned or not, with the certainty that the data allow, and what to do next.
#include "lowrank/recipes/run/verdict.h"

#include "catch.h"
#include "lowrank/recipes/finetune.h"
#include "lowrank/recipes/ppo.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

/// `units` of 10 tokens; `each`: nats a token of unit i.
template <typename Each>
train::EvalResult result(const std::string& split, int units, const Each& each) {
  train::EvalResult result{split, 0, 10 * units};
  for (int i = 0; i < units; ++i) {
    result.units.push_back({10.0 * each(i), 10});
    result.loss += each(i) / units;
  }
  return result;
}

struct Ending {
  Ending() {
    spec.model = "models/base";
    spec.run.out = "runs/a";
    fields.set("data", {"corpus.txt"}, "command line");
    facts.fields = &fields;
    facts.verb = "finetune";
    facts.model = spec.model;
    facts.out = spec.run.out;
    facts.lr = 2e-4;
    run.steps = 60;
    run.top_is_best = true;
    for (int step = 1; step <= 60; ++step) curves.loss.points.emplace_back(step, 3.0 - step * 0.01);
  }
  void evaluations(train::EvalResult before, train::EvalResult after, std::int64_t best_step) {
    curves.evaluations.push_back({before.split, {{0, before.loss}, {60, after.loss}}, true});
    run.best_step = best_step;
    run.best_loss = best_step == 0 ? before.loss : after.loss;
    run.after.push_back(best_step == 0 ? before : std::move(after));
    run.before.push_back(std::move(before));
  }
  recipes::Verdict verdict() const { return recipes::verdict_of(facts, run, curves); }

  recipes::FinetuneSpec spec;
  recipes::Fields fields = recipes::fields_of(spec);
  recipes::VerdictFacts facts;
  train::TrainResult run;
  recipes::Curves curves;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a run that beats its start beyond chance has learned, and says by how much", "[unit]") {
  Ending ending;
  ending.evaluations(result("validation", 40, [](int i) { return 3 + 0.5 * (i % 5); }),
                     result("validation", 40, [](int i) { return 2.8 + 0.5 * (i % 5) + 0.01 * (i % 3); }), 60);
  const recipes::Verdict verdict = ending.verdict();
  CHECK(verdict.learned);
  // Paired: the spread of the units themselves is not the spread of the difference.
  CHECK(has(verdict.learned_text, "(-0.1902, with 95 % confidence -0.19"));
  CHECK(verdict.forgotten_text == "not measured: give `general-data`");
  CHECK(has(verdict.next_text, "`lowrank generate models/base --adapter runs/a --prompt \"...\"`"));
  CHECK(has(verdict.next_text, "`lowrank merge models/base --adapter runs/a --out runs/a-merged`"));
}

TEST_CASE("a best that is the start is said loudly, with a rate to try", "[unit]") {
  Ending ending;
  ending.facts.lr = 1;
  ending.evaluations(result("validation", 40, [](int) { return 3.0; }),
                     result("validation", 40, [](int) { return 9.0; }), 0);
  const recipes::Verdict verdict = ending.verdict();
  CHECK_FALSE(verdict.learned);
  CHECK(has(verdict.learned_text, "nothing: every step was worse than the start on validation data (3.0000 at the "
                                  "start, 9.0000 at the end)"));
  CHECK(has(verdict.next_text, "a learning rate of 0.001 or less may learn"));
  CHECK(has(verdict.next_text, "`lowrank finetune models/base --data corpus.txt"));
  CHECK(has(verdict.next_text, "--lr 0.001"));
  ending.facts.lr = 2e-5;
  CHECK(has(ending.verdict().next_text, "--lr 2e-06 "));
  CHECK(has(verdict.next_text, "--overwrite"));
}

TEST_CASE("a rate far below the usual is not told to fall further", "[unit]") {
  Ending ending;
  ending.facts.lr = 1e-9;
  ending.facts.usual_lr = 2.6e-3;
  ending.evaluations(result("validation", 40, [](int) { return 3.0; }), result("validation", 40, [](int) { return 3.0; }), 0);
  CHECK(has(ending.verdict().next_text, "far below what is usual for such a model (about 0.003)"));
  CHECK(has(ending.verdict().next_text, "--lr 0.003"));
}

TEST_CASE("a reward that rose has been learned, whatever the loss did", "[unit]") {
  Ending ending;
  for (int step = 1; step <= 60; ++step) ending.curves.reward.points.emplace_back(step, 0.01 * step);
  CHECK(ending.verdict().learned);
  CHECK(has(ending.verdict().learned_text, "reward less KL 0.03"));
  ending.curves.reward.points = {{1, 0.5}, {60, 0.4}};
  CHECK_FALSE(ending.verdict().learned);
  // Of an evaluation the loss is the reward's negative.
  ending.evaluations(result("validation", 40, [](int) { return -0.2; }), result("validation", 40, [](int i) { return -0.5 - 0.001 * (i % 3); }), 60);
  CHECK(ending.verdict().learned);
  CHECK(has(ending.verdict().learned_text, "reward less KL on validation data 0.2000 at the start, 0.50"));
  CHECK(has(ending.verdict().learned_text, "(+0.30"));
}

TEST_CASE("what is advised can be given", "[unit]") {
  Ending ending;
  ending.fields.set("resume", true, "command line");
  ending.fields.set("force", true, "command line");
  ending.evaluations(result("validation", 40, [](int) { return 3.0; }), result("validation", 40, [](int) { return 9.0; }), 0);
  CHECK(has(ending.verdict().next_text, "--overwrite"));
  CHECK_FALSE(has(ending.verdict().next_text, "--resume"));
  CHECK_FALSE(has(ending.verdict().next_text, "--force"));
  ending.facts.lr = 0;
  CHECK(has(ending.verdict().next_text, "--lr auto"));
  ending.facts.lr_auto = false;
  CHECK_FALSE(has(ending.verdict().next_text, "auto"));
  recipes::PpoSpec spec;
  recipes::Fields fields = recipes::fields_of(spec);
  ending.facts.fields = &fields;
  ending.facts.verb = "align ppo";
  CHECK(has(ending.verdict().forgotten_text, "`lowrank evaluate models/base --compare result=runs/a --data general=FILE`"));
}

TEST_CASE("a difference within chance is none, and few pieces carry no interval", "[unit]") {
  {
    Ending ending;
    ending.evaluations(result("validation", 40, [](int) { return 3.0; }),
                       result("validation", 40, [](int i) { return i % 2 == 0 ? 2.0 : 3.99; }), 60);
    const recipes::Verdict verdict = ending.verdict();
    CHECK_FALSE(verdict.learned);
    CHECK(has(verdict.learned_text, "nothing that can be told from chance"));
    CHECK(has(verdict.next_text, "--epochs 9"));
  }
  {
    Ending ending;
    ending.evaluations(result("validation", 3, [](int) { return 3.0; }),
                       result("validation", 3, [](int) { return 2.0; }), 60);
    const recipes::Verdict verdict = ending.verdict();
    CHECK(verdict.learned);
    CHECK(has(verdict.learned_text, "on 3 pieces it is too little to say how certain"));
  }
}

TEST_CASE("an overfitted end, and what was forgotten", "[unit]") {
  Ending ending;
  ending.evaluations(result("validation", 40, [](int) { return 3.0; }),
                     result("validation", 40, [](int) { return 2.5; }), 30);
  ending.curves.evaluations.front().points = {{0, 3.0}, {30, 2.5}, {60, 2.9}};
  ending.run.before.push_back(result("general", 40, [](int) { return 2.0; }));
  ending.run.after.push_back(result("general", 40, [](int) { return 2.1; }));
  const recipes::Verdict verdict = ending.verdict();
  CHECK(verdict.learned);
  CHECK(has(verdict.next_text,
            "the end was overfitted (validation 2.5000 at step 30, 2.9000 at the end), and the best is what was kept"));
  CHECK(has(verdict.forgotten_text, "7.39 at the start, 8.17 now (+10.5 %, with 95 % confidence +10.5 to +10.5 %)"));
  CHECK(has(verdict.forgotten_text, "`max-forgetting` 5%"));
}

TEST_CASE("without validation data the training loss speaks, and says that it is all it has", "[unit]") {
  Ending ending;
  recipes::Verdict verdict = ending.verdict();
  CHECK(verdict.learned);
  CHECK(has(verdict.learned_text, "training loss 2.9650 at the beginning, 2.4250 at the end"));
  for (auto& [step, loss] : ending.curves.loss.points) loss = 3 + step * 0.1;
  verdict = ending.verdict();
  CHECK_FALSE(verdict.learned);
  CHECK(has(verdict.learned_text, "nothing: training loss"));
}

TEST_CASE("an update many times the weights is nothing to keep, whatever the training loss does", "[unit]") {
  Ending ending;
  ending.facts.lr = 1;
  ending.facts.update = 1110;
  recipes::Verdict verdict = ending.verdict();
  CHECK_FALSE(verdict.learned);
  CHECK(has(verdict.learned_text, "the update is 1,110 times the weights"));
  CHECK(has(verdict.learned_text, "training loss 2.9650 at the beginning, 2.4250 at the end"));
  CHECK(has(verdict.next_text, "a learning rate of 0.001 or less may learn"));
  // Held-out data that got better decide; the update is said all the same.
  ending.evaluations(result("validation", 40, [](int) { return 3.0; }),
                     result("validation", 40, [](int) { return 2.5; }), 60);
  verdict = ending.verdict();
  CHECK(verdict.learned);
  CHECK(has(verdict.next_text, "the update is 1,110 times the weights: a lower rate may well learn more; try it:"));
  ending.facts.update = 0.3;
  CHECK_FALSE(has(ending.verdict().next_text, "times the weights"));
}

TEST_CASE("a learning rate of 1 ends as a run that learned nothing, in every file", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  TempDir folder;
  recipes::FinetuneSpec spec;
  spec.model = (*assets() / "models" / "stories260K-hf").string();
  std::vector<std::string> train, held_out;
  for (int i = 0; i < 24; ++i) {
    train.push_back("Tom had " + std::to_string(i) + " red balls and a big dog.");
    held_out.push_back("Lily saw " + std::to_string(i) + " warm cats in the sun.");
  }
  spec.data.train_source = recipes::texts(train);
  spec.data.validation_source = recipes::texts(held_out);
  spec.train.max_steps = 10;
  spec.samples = 0;
  struct Quiet : recipes::Observer {
    void note(const std::string&) override {}
  } observer;

  spec.train.lr = 1;
  spec.run.out = (folder / "wild").string();
  core::Json run = recipes::finetune(spec, observer).run;
  CHECK(run.at("learned") == false);
  CHECK(has(run.at("verdict"), "nothing: every step was worse than the start"));
  CHECK(has(run.at("next"), "0.001 or less"));
  CHECK(has(read_text(folder / "wild" / "README.md"), "nothing: every step was worse than the start"));
  CHECK(has(read_text(folder / "wild" / "report.html"), "nothing: every step was worse than the start"));

  spec.train.lr = 2e-3;
  spec.run.out = (folder / "calm").string();
  run = recipes::finetune(spec, observer).run;
  CHECK(run.at("learned") == true);
  CHECK(has(run.at("verdict"), "with 95 % confidence -"));
}
