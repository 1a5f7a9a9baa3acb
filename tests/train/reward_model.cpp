// Reward models against torch by TRL's formula under PEFT (tests/parity/make_seq_cls_goldens.py), as every other run,
// and as the reward of PPO.
#include "lowrank/train/reward_model.h"

#include "golden_gradients.h"
#include "golden_pairs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/flat_parameters.h"
#include "lowrank/train/reward_adapter.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

models::LoadedClassifier golden_reward(const models::Decoder& decoder,
                                       const std::string& name = lora::kDefaultAdapter) {
  return models::load_classifier(decoder, golden_dir() / "train" / "seq_cls" / "reward", nullptr, name);
}

models::Decoder golden_decoder() {
  const fs::path folder = golden_dir() / "models" / "llama";
  return models::load_decoder(models::read_config(folder), formats::WeightFiles::open(folder), at::kFloat);
}

struct TinyReward {
  explicit TinyReward(bool recompute = false, double dropout = 0.1) {
    models::LoadedModel model;
    model.decoder = models::random_decoder(tiny_config(), 5, false);
    models::SequenceClassifier classifier = models::new_classifier(model, 1, 11);
    lora::LoraConfig config;
    config.r = 5;
    config.lora_alpha = 10;
    config.lora_dropout = dropout;
    config.task_type = "SEQ_CLS";
    config.modules_to_save = {"score"};
    adapter = lora::attach(classifier.slot_table(), config, 9);
    train::RewardModel::Parts parts{classifier};
    parts.adapter = &*adapter;
    parts.train = tiny_data(22, 1);  // neighbours are pairs
    parts.evaluation.emplace_back("validation", tiny_data(10, 2));
    parts.plan.batch_size = 3;
    parts.plan.grad_accum = 2;
    parts.plan.max_steps = 14;
    parts.center = 0.01;
    parts.recompute = recompute;
    objective = std::make_unique<train::RewardModel>(std::move(parts));
  }
  std::optional<lora::Adapter> adapter;
  std::unique_ptr<train::RewardModel> objective;
};

}  // namespace

TEST_CASE("rewards, loss and gradients are those of TRL's RewardTrainer on transformers' model under PEFT",
          "[parity]") {
  const core::Json golden = core::read_json(golden_dir() / "train" / "seq_cls" / "golden.json")["reward"];
  models::LoadedClassifier loaded = golden_reward(golden_decoder());
  train::RewardModel::Parts parts{loaded.classifier};
  parts.adapter = &loaded.adapter;
  parts.train = golden_pairs(golden);
  parts.evaluation.emplace_back("validation", golden_pairs(golden));
  parts.plan.batch_size = 3;
  parts.plan.grad_accum = 2;
  parts.plan.shuffle = false;
  parts.center = golden["center"].get<double>();
  train::RewardModel objective(std::move(parts));
  train::FlatParameters flat(objective.parameters());
  double loss = 0;
  std::int64_t count = 0;
  for (std::int64_t micro = 0; micro < objective.micro_batches(0); ++micro) {
    const train::MicroLoss part = objective.forward(0, micro);
    part.loss_sum.backward();
    loss += part.value;
    count += part.count;
  }
  REQUIRE(count == 5);
  CHECK(loss / 5 == Approx(golden["loss"].get<double>()).epsilon(1e-4));
  check_gradients(flat, golden_dir() / "train" / "seq_cls" / "reward.safetensors", 5);
  // TRL's measures, of the whole set.
  double mean = 0, margin = 0, right = 0, lowest = 1e9, highest = -1e9;
  for (std::size_t i = 0; i < 5; ++i) {
    const double up = golden["chosen"][i].get<double>(), down = golden["rejected"][i].get<double>();
    mean += (up + down) / 10;
    margin += (up - down) / 5;
    right += up > down ? 0.2 : 0;
    lowest = std::min({lowest, up, down});
    highest = std::max({highest, up, down});
  }
  const train::EvalResult found = objective.evaluate().at(0);
  CHECK(found.loss == Approx(golden["loss"].get<double>()).epsilon(1e-4));
  CHECK(found.metrics.at("mean_reward") == Approx(mean).margin(1e-4));
  CHECK(found.metrics.at("margin") == Approx(margin).margin(1e-4));
  CHECK(found.metrics.at("accuracy") == Approx(right));
  CHECK(found.metrics.at("min_reward") == Approx(lowest).margin(1e-4));
  CHECK(found.metrics.at("max_reward") == Approx(highest).margin(1e-4));
}

// TRL: −log σ(r chosen − r rejected − margin); the figures of accuracy and margin do not change.
TEST_CASE("a pair's margin is taken from the difference of its rewards", "[parity]") {
  const core::Json golden = core::read_json(golden_dir() / "train" / "seq_cls" / "golden.json")["reward"];
  models::LoadedClassifier loaded = golden_reward(golden_decoder());
  data::Dataset pairs = golden_pairs(golden);
  const std::vector<float> margins = {0.5f, 0, 2, -1, 30};
  const std::vector<data::Document> documents(pairs.documents.begin(), pairs.documents.end());
  pairs.documents = {};
  for (std::size_t i = 0; i < documents.size(); ++i) {
    data::Document one = documents[i];
    one.margin = margins.at(i);
    pairs.documents.push_back(one);
  }
  train::RewardModel::Parts parts{loaded.classifier};
  parts.adapter = &loaded.adapter;
  parts.train = pairs;
  parts.evaluation.emplace_back("validation", pairs);
  parts.plan.batch_size = 3;
  parts.plan.grad_accum = 2;
  parts.plan.shuffle = false;
  train::RewardModel objective(std::move(parts));
  double expected = 0, margin = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    const double up = golden["chosen"][i].get<double>(), down = golden["rejected"][i].get<double>();
    expected += std::log1p(std::exp(-(up - down - margins[i]))) / 5;
    margin += (up - down) / 5;
  }
  double loss = 0;
  for (std::int64_t micro = 0; micro < objective.micro_batches(0); ++micro) loss += objective.forward(0, micro).value / 5;
  CHECK(loss == Approx(expected).epsilon(1e-4));
  const train::EvalResult found = objective.evaluate().at(0);
  CHECK(found.loss == Approx(expected).epsilon(1e-4));
  CHECK(found.metrics.at("margin") == Approx(margin).margin(1e-4));
}

TEST_CASE("the slopes of a pair's reward loss are its differences, at any margin", "[unit]") {
  for (const double center : {0.0, 0.01}) {
    for (const auto& [chosen, rejected] :
         std::vector<std::pair<double, double>>{{0, 0}, {3, -2}, {-30, 4}, {800, -90}, {-800, 0}}) {
      const train::RewardPairLoss at = train::reward_pair_loss(chosen, rejected, center);
      const double h = 1e-4;
      CHECK(std::isfinite(at.loss));
      CHECK(at.chosen_slope == Approx((train::reward_pair_loss(chosen + h, rejected, center).loss -
                                       train::reward_pair_loss(chosen - h, rejected, center).loss) /
                                      (2 * h))
                                   .margin(1e-6));
      CHECK(at.rejected_slope == Approx((train::reward_pair_loss(chosen, rejected + h, center).loss -
                                         train::reward_pair_loss(chosen, rejected - h, center).loss) /
                                        (2 * h))
                                     .margin(1e-6));
    }
  }
  CHECK(train::reward_pair_loss(0, 0, 0).loss == Approx(std::log(2.0)));
}

TEST_CASE("a reward model resumes to the same bytes, and neither threads nor recomputation change them", "[unit]") {
  check_same_bytes<TinyReward>();
}

TEST_CASE("as a reward it scores prompt and response at their last token, on the policy's base and without the policy",
          "[parity]") {
  const core::Json golden = core::read_json(golden_dir() / "train" / "seq_cls" / "golden.json")["reward"];
  const models::Decoder decoder = golden_decoder();
  lora::Adapter policy = lora::load_peft(decoder->slot_table(), golden_dir() / "models" / "llama" / "adapter");
  const data::Dataset pairs = golden_pairs(golden);
  const auto log_likelihood = [&] {
    const data::Batch batch = data::make_batch(pairs.examples, std::vector<std::uint32_t>{0});
    return decoder->token_losses(decoder->hidden(batch.ids, batch.segments), batch.labels);
  };
  const at::Tensor before = log_likelihood();
  const train::Reward reward =
      train::adapter_reward(std::make_shared<models::LoadedClassifier>(golden_reward(decoder, "reward")), policy);
  CHECK(at::equal(log_likelihood(), before));  // the policy acts, and the reward's adapter does not
  std::vector<train::Answer> answers;
  for (const data::Example& example : pairs.examples) {
    train::Answer answer;
    answer.ids = example.ids;
    answers.push_back(answer);
  }
  const std::vector<double> scores = reward(answers);
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(scores.at(2 * i) == Approx(golden["chosen"][i].get<double>()).margin(1e-4));
    CHECK(scores.at(2 * i + 1) == Approx(golden["rejected"][i].get<double>()).margin(1e-4));
  }
  CHECK(at::equal(log_likelihood(), before));
  const auto three = std::make_shared<models::LoadedClassifier>(
      models::load_classifier(decoder, golden_dir() / "train" / "seq_cls" / "adapter", nullptr, "three"));
  CHECK(contains(message_of<ConfigError>([&] { train::adapter_reward(three, policy); }), "3 labels"));
}
