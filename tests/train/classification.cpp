// Classification against transformers and PEFT (tests/parity/make_seq_cls_goldens.py), and as every other run: resumed,
// cut, on other threads.
#include "lowrank/train/classification.h"

#include "golden_gradients.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/kernels/class_loss.h"
#include "lowrank/kernels/host.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/flat_parameters.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

train::Classification::Set golden_set(const core::Json& golden) {
  train::Classification::Set set;
  for (const core::Json& text : golden["texts"]) {
    data::Example example;
    example.ids = text.get<std::vector<data::TokenId>>();
    example.learned.assign(example.ids.size(), 0);
    example.document = static_cast<std::uint32_t>(set.texts.documents.size());
    set.texts.documents.push_back({fmt::format("texts.jsonl line {}", set.texts.documents.size() + 1)});
    set.texts.examples.push_back(std::move(example));
  }
  set.classes = golden["labels"].get<std::vector<std::int64_t>>();
  return set;
}

/// Rows of tiny_data whose class is that of their last token, of three.
train::Classification::Set tiny_set(std::uint32_t rows, std::uint64_t seed) {
  train::Classification::Set set;
  set.texts = tiny_data(rows, seed);
  for (const data::Example& example : set.texts.examples) set.classes.push_back(example.ids.back() % 3);
  return set;
}

struct TinyClassification {
  /// `by_heart`: it is evaluated on the rows that it learns.
  explicit TinyClassification(bool recompute = false, double dropout = 0.1, bool by_heart = false) {
    models::LoadedModel model;
    model.decoder = models::random_decoder(tiny_config(), 5, false);
    models::SequenceClassifier classifier = models::new_classifier(model, 3, 11);
    lora::LoraConfig config;
    config.r = 5;
    config.lora_alpha = 10;
    config.lora_dropout = dropout;
    config.task_type = "SEQ_CLS";
    config.modules_to_save = {"score"};
    adapter = lora::attach(classifier.slot_table(), config, 9);
    train::Classification::Parts parts{classifier};
    parts.adapter = &*adapter;
    parts.labels = {"a", "b", "c"};
    parts.train = tiny_set(22, 1);
    parts.evaluation.emplace_back("validation", by_heart ? tiny_set(22, 1) : tiny_set(9, 2));
    parts.plan.batch_size = 3;
    parts.plan.grad_accum = 2;
    parts.plan.max_steps = 14;
    parts.recompute = recompute;
    objective = std::make_unique<train::Classification>(std::move(parts));
  }
  std::optional<lora::Adapter> adapter;
  std::unique_ptr<train::Classification> objective;
};

std::map<std::string, std::string> results(const fs::path& out) {
  std::map<std::string, std::string> files = results_of(out);
  files["labels"] = read_text(out / "label2id.json");
  return files;
}

}  // namespace

TEST_CASE("scores, losses and gradients are those of transformers' LlamaForSequenceClassification under PEFT",
          "[parity]") {
  const fs::path folder = golden_dir() / "models" / "llama", goldens = golden_dir() / "train" / "seq_cls";
  const core::Json golden = core::read_json(goldens / "golden.json");
  const auto weights = formats::WeightFiles::open(folder);
  for (const auto& [name, smoothing] :
       std::vector<std::pair<std::string, double>>{{"classification", 0}, {"smoothed", 0.1}}) {
    INFO(name);
    models::LoadedClassifier loaded = models::load_classifier(
        models::load_decoder(models::read_config(folder), weights, at::kFloat), goldens / "adapter");
    REQUIRE(loaded.classifier.labels() == 3);
    CHECK(models::read_labels(goldens / "adapter", 3) == std::vector<std::string>{"0", "1", "2"});
    train::Classification::Parts parts{loaded.classifier};
    parts.adapter = &loaded.adapter;
    parts.train = golden_set(golden);
    parts.evaluation.emplace_back("validation", golden_set(golden));
    parts.plan.batch_size = 4;
    parts.plan.grad_accum = 2;
    parts.plan.shuffle = false;
    parts.label_smoothing = smoothing;
    const std::vector<double> scores = models::score_texts(loaded.classifier, parts.train.texts.examples, 16);
    REQUIRE(scores.size() == 21);
    for (std::size_t i = 0; i < 7; ++i) {
      for (std::size_t k = 0; k < 3; ++k) {
        CHECK(scores[3 * i + k] == Approx(golden["logits"][i][k].get<double>()).margin(1e-4));
      }
    }
    std::int64_t right = 0;
    for (std::size_t i = 0; i < 7; ++i) {
      const auto first = scores.begin() + static_cast<std::ptrdiff_t>(3 * i);
      right += std::max_element(first, first + 3) - first == parts.train.classes[i] ? 1 : 0;
    }
    REQUIRE(right < 7);
    train::Classification objective(std::move(parts));
    train::FlatParameters flat(objective.parameters());
    double loss = 0, accuracy = 0;
    REQUIRE(objective.micro_batches(0) == 2);
    for (std::int64_t micro = 0; micro < 2; ++micro) {
      const train::MicroLoss part = objective.forward(0, micro);
      part.loss_sum.backward();
      loss += part.value / 7;
      accuracy += part.metrics.at("accuracy");
    }
    CHECK(accuracy == static_cast<double>(right));
    CHECK(loss == Approx(golden[name].get<double>()).epsilon(1e-4));
    check_gradients(flat, goldens / (name + ".safetensors"), 7);
    const auto evaluation = objective.evaluate();
    CHECK(evaluation.at(0).loss == Approx(golden["classification"].get<double>()).epsilon(1e-4));  // never smoothed
  }
}

TEST_CASE("the slopes of a text's loss are its differences, with and without smoothing", "[unit]") {
  const auto class_loss = [](const std::vector<double>& scores, std::int64_t truth, double smoothing) {
    return kernels::class_loss(kernels::from_host<double>(scores, {1, 3}), std::vector<std::int64_t>{truth}, smoothing);
  };
  for (const double smoothing : {0.0, 0.3}) {
    for (const std::vector<double>& scores : {std::vector<double>{0.3, -2, 1}, {900, 0, -900}, {-1e3, 1e3, 2}}) {
      const kernels::ClassLoss at = class_loss(scores, 2, smoothing);
      CHECK(std::isfinite(at.losses[0]));
      for (std::size_t k = 0; k < 3; ++k) {
        std::vector<double> up = scores, down = scores;
        up[k] += 1e-4;
        down[k] -= 1e-4;
        const double slope = (class_loss(up, 2, smoothing).losses[0] - class_loss(down, 2, smoothing).losses[0]) / 2e-4;
        CHECK(at.gradient[0][static_cast<std::int64_t>(k)].item<double>() == Approx(slope).margin(1e-7));
      }
    }
  }
  CHECK(class_loss({1, 3, 3}, 0, 0).predicted[0] == 1);
}

TEST_CASE("a classifier is saved as PEFT saves it, with the names of its labels, and read again", "[unit]") {
  TempDir out;
  TinyClassification tiny;
  tiny.objective->save(out.path());
  const core::Json config = core::read_json(out / "adapter_config.json");
  CHECK(config["task_type"] == "SEQ_CLS");
  CHECK(config["modules_to_save"] == core::Json::array({"score"}));
  const auto file = formats::SafetensorsFile::open(out / "adapter_model.safetensors");
  REQUIRE(file->find("base_model.model.score.weight") != nullptr);
  CHECK(file->find("base_model.model.score.weight")->shape == std::vector<std::int64_t>{3, 36});
  CHECK(models::read_labels(out.path(), 3) == std::vector<std::string>{"a", "b", "c"});
  const eval::Classified before = tiny.objective->classified(0);

  const models::Decoder decoder = models::random_decoder(tiny_config(), 5, false);
  const models::LoadedClassifier again = models::load_classifier(decoder, out.path());
  const train::Classification::Set set = tiny_set(9, 2);
  CHECK(eval::classify(again.classifier, set.texts, set.classes).nll == before.nll);
  CHECK(contains(message_of<FormatError>([&] { models::read_labels(out.path(), 4); }), "label2id.json"));
  CHECK(contains(message_of<ModelError>([&] { lora::load_peft(decoder->slot_table(), out.path(), nullptr, "other"); }),
                 "sequence classifier"));
  CHECK(contains(
      message_of<ModelError>([&] { models::load_classifier(decoder, golden_dir() / "models" / "llama" / "adapter"); }),
      "no sequence classifier"));
}

TEST_CASE("classification resumes to the same bytes, and neither threads nor recomputation change them", "[unit]") {
  check_same_bytes<TinyClassification>(results);
}

TEST_CASE("classification learns, and its evaluation says accuracy with an interval, macro F1 and Matthews", "[unit]") {
  TempDir out;
  Recorder recorder;
  TinyClassification tiny(false, 0, true);
  const train::TrainResult result = train::Trainer(*tiny.objective, tiny_training(), out.path(), {}).run(recorder);
  CHECK(result.after.at(0).loss < 0.8 * result.before.at(0).loss);
  CHECK(recorder.steps.front().metrics.count("accuracy") == 1);
  const train::Metrics& metrics = result.after.at(0).metrics;
  CHECK(metrics.at("accuracy_low") < metrics.at("accuracy"));
  CHECK(metrics.at("accuracy_high") >= metrics.at("accuracy"));  // equal where all are right
  CHECK(metrics.count("macro_f1") + metrics.count("matthews") == 2);
  const eval::Classified found = tiny.objective->classified(0);  // the model is what was saved
  CHECK(found.nll == result.after[0].loss);
  CHECK(found.scores.accuracy == metrics.at("accuracy"));
}
