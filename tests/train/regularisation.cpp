// Penalties, caps, averages, smoothing and noise through the loop: what they do to a run, and that a killed run resumes
// to the same bytes with each of them.
#include "lowrank/core/error.h"
#include "lowrank/train/ema.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct Variant {
  std::string name;
  train::TrainOptions training;
  TinyOptions tiny;
};

TinyOptions short_tiny() {
  TinyOptions options;
  options.steps = 11;
  options.validation = true;
  return options;
}

std::vector<Variant> variants() {
  std::vector<Variant> all;
  const auto add = [&](const std::string& name) -> Variant& {
    all.push_back({name, tiny_training(), short_tiny()});
    return all.back();
  };
  add("delta-l1").training.delta.l1 = 1e-3;
  add("delta-l2").training.delta.l2 = 1e-1;
  add("orthogonality").training.delta.orthogonality = 1e-1;
  add("max-delta-norm").training.max_delta_norm = 0.05;
  add("ema").training.ema = 0.9;
  add("label-smoothing").tiny.label_smoothing = 0.1;
  add("neftune").tiny.neftune = 5;
  Variant& early = add("early stopping with a least gain");
  early.training.early_stopping = 2;
  early.training.min_gain = 0.05;
  early.training.eval_every = 2;
  Variant& together = add("all at once");
  together.training.delta = {1e-3, 1e-2, 1e-2};
  together.training.max_delta_norm = 0.5;
  together.training.ema = 0.95;
  together.training.l1 = 1e-4;
  together.tiny.label_smoothing = 0.05;
  together.tiny.neftune = 3;
  return all;
}

train::TrainResult run(const Variant& variant, const fs::path& out, Recorder& recorder, bool resume = false) {
  Tiny tiny(variant.tiny);
  return train::Trainer(*tiny.objective, variant.training, out, {}).run(recorder, resume);
}

double largest_norm(const fs::path& adapter) {
  const auto file = formats::SafetensorsFile::open(adapter / "adapter_model.safetensors");
  double largest = 0;
  for (const auto& info : file->header().tensors) {
    if (info.name.find("lora_A") == std::string::npos) continue;
    std::string partner = info.name;
    partner.replace(partner.find("lora_A"), 6, "lora_B");
    const lora::Factors factors{info.name, formats::tensor_view(file, info),
                                formats::tensor_view(file, *file->find(partner)), 2.0};
    largest = std::max(largest, lora::delta_norm(factors));
  }
  return largest;
}

}  // namespace

TEST_CASE("with each option against overfitting a killed run resumes to the same bytes, and each changes the result",
          "[unit]") {
  TempDir bare;
  Recorder recorder;
  run({"", tiny_training(), short_tiny()}, bare.path(), recorder);
  const auto without = results_of(bare.path());
  for (const Variant& variant : variants()) {
    INFO(variant.name);
    TempDir whole;
    const std::int64_t steps = run(variant, whole.path(), recorder).steps;
    const auto expected = results_of(whole.path());
    CHECK((expected.at("metrics") != without.at("metrics")));
    std::vector<std::int64_t> kills;
    for (const std::int64_t kill : {1, 4, 5}) {
      if (kill <= steps) kills.push_back(kill);  // else early stopping came before
    }
    check_resumes([&](const fs::path& out, Recorder& r, bool resume) { run(variant, out, r, resume); }, kills,
                  expected);
  }
}

TEST_CASE("with every option against overfitting, 1, 2 and 3 threads give the same bytes", "[unit]") {
  const Variant variant = variants().back();
  const int before = at::get_num_threads();
  std::vector<std::map<std::string, std::string>> results;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    TempDir out;
    Recorder recorder;
    run(variant, out.path(), recorder);
    results.push_back(results_of(out.path()));
  }
  at::set_num_threads(before);
  CHECK(differing(results[1], results[0]) == "");
  CHECK(differing(results[2], results[0]) == "");
}

// Of the last step: the best may be the start, which no step has touched.
TEST_CASE("the cap on the update holds in what training leaves, and bites", "[unit]") {
  Variant variant{"", tiny_training(), short_tiny()};
  Recorder recorder;
  TempDir free, capped;
  run(variant, free.path(), recorder);
  CHECK(largest_norm(*train::newest_checkpoint(free.path(), nullptr)) > 0.1);
  variant.training.max_delta_norm = 0.05;
  run(variant, capped.path(), recorder);
  CHECK(largest_norm(*train::newest_checkpoint(capped.path(), nullptr)) <= 0.05 * (1 + 1e-5));
  TempDir averaged;  // the average is what is saved, and it is held too
  variant.training.ema = 0.99;
  run(variant, averaged.path(), recorder);
  CHECK(largest_norm(*train::newest_checkpoint(averaged.path(), nullptr)) <= 0.05 * (1 + 1e-5));
}

TEST_CASE("penalties on the update are in the penalty key, and leave the loss alone", "[unit]") {
  Variant variant{"", tiny_training(), short_tiny()};
  variant.training.delta.l2 = 0.5;
  TempDir out;
  Recorder recorder;
  run(variant, out.path(), recorder);
  Tiny start(variant.tiny);
  double expected = 0;
  for (const auto& factors : start.objective->factors()) expected += 0.25 * std::pow(lora::delta_norm(factors), 2);
  CHECK(recorder.steps.at(0).penalty == Approx(expected).epsilon(1e-9));
  std::istringstream in(read_text(out / "metrics.jsonl"));
  bool seen = false;
  for (std::string line; std::getline(in, line);) seen = seen || core::Json::parse(line).contains("penalty");
  CHECK(seen);
  variant.training.delta.l2 = 0;
  TempDir plain;
  Recorder other;
  run(variant, plain.path(), other);
  CHECK(other.steps.at(0).loss == recorder.steps.at(0).loss);
}

TEST_CASE("penalties on the update need factors", "[unit]") {
  TempDir out;
  Toy toy;
  Recorder recorder;
  train::TrainOptions options = toy_training();
  options.delta.l2 = 0.1;
  CHECK(contains(message_of<ConfigError>([&] { train::Trainer(toy, options, out.path(), {}).run(recorder); }),
                 "`method` lora"));
}

TEST_CASE("the moving average is that of its definition, and is what is evaluated and saved", "[unit]") {
  at::Tensor values = torch::tensor({1.0F, -2.0F, 3.0F});
  train::Ema ema(0.5, values);
  values = torch::tensor({2.0F, 2.0F, 2.0F});
  ema.update(values, 1);  // d = min(0.5, 2/11)
  at::Tensor expected = torch::tensor({1.0F, -2.0F, 3.0F}) * (2.0 / 11) + values * (9.0 / 11);
  CHECK(torch::allclose(ema.average(), expected, 1e-6, 1e-7));
  ema.update(values, 100);  // d = 0.5
  CHECK(torch::allclose(ema.average(), (expected + values) / 2, 1e-6, 1e-7));
  const at::Tensor average = ema.average().clone();
  {
    const train::Averaged averaged(&ema, values);
    CHECK(torch::equal(values, average));
  }
  CHECK(torch::equal(values, torch::full({3}, 2.0F)));

  Variant variant{"", tiny_training(), short_tiny()};
  variant.training.ema = 0.9;
  TempDir out;
  Recorder recorder;
  Tiny tiny(variant.tiny);
  const auto result = train::Trainer(*tiny.objective, variant.training, out.path(), {}).run(recorder);
  CHECK(result.after.at(0).loss == tiny.objective->evaluate().at(0).loss);  // the model holds the average
  const auto newest = train::newest_checkpoint(out.path(), nullptr);
  const auto file = formats::SafetensorsFile::open(*newest / "optimizer.safetensors");
  REQUIRE(file->find("ema") != nullptr);
  CHECK_FALSE(torch::equal(formats::tensor_view(file, *file->find("ema")),
                           formats::tensor_view(file, *file->find("parameters"))));
  if (result.top_is_best && result.best_step == result.steps) {
    CHECK((read_text(*newest / "adapter_model.safetensors") == read_text(out / "adapter_model.safetensors")));
  }
}

TEST_CASE("early stopping counts a gain only from the least one on", "[unit]") {
  ToyOptions shape;
  shape.steps = 60;
  shape.noise = false;
  train::TrainOptions options = toy_training();
  options.eval_every = 1;
  options.early_stopping = 3;
  Recorder recorder;
  TempDir patient, strict;
  Toy first(shape), second(shape);
  const auto slow = train::Trainer(first, options, patient.path(), {}).run(recorder);
  options.min_gain = 10;  // never reached after the first evaluation
  const auto early = train::Trainer(second, options, strict.path(), {}).run(recorder);
  CHECK(early.stop == train::TrainResult::Stop::kEarly);
  CHECK(early.steps == 3);
  CHECK(slow.steps > early.steps);
  CHECK(early.best_step == 3);  // the best is kept although no gain was large enough
}
