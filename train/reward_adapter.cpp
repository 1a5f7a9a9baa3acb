#include "lowrank/train/reward_adapter.h"

#include <utility>

#include "lowrank/core/error.h"

namespace lowrank::train {
namespace {

/// While it lives the reward's adapter acts, and the policy's does not.
class Judging {
 public:
  Judging(lora::Adapter& judge, lora::Adapter& policy) : judge_(judge), policy_(policy) {
    policy_.set_enabled(false);
    judge_.set_enabled(true);
  }
  ~Judging() {
    judge_.set_enabled(false);
    policy_.set_enabled(true);
  }
  Judging(const Judging&) = delete;
  Judging& operator=(const Judging&) = delete;

 private:
  lora::Adapter& judge_;
  lora::Adapter& policy_;
};

}  // namespace

Reward adapter_reward(std::shared_ptr<models::LoadedClassifier> model, lora::Adapter& policy) {
  if (model->classifier.labels() != 1) {
    throw ConfigError("`reward` adapter: " + model->adapter.directory().string() + " has a score head of " +
                      std::to_string(model->classifier.labels()) +
                      " labels, and a reward is one number; train it with `lowrank align reward`");
  }
  model->adapter.set_enabled(false);
  return [model = std::move(model), &policy](const std::vector<Answer>& answers) {
    const Judging judging(model->adapter, policy);
    std::vector<data::Example> texts(answers.size());
    for (std::size_t i = 0; i < answers.size(); ++i) {
      texts[i].ids = answers[i].ids;
      texts[i].learned.assign(texts[i].ids.size(), 0);
    }
    return models::score_texts(model->classifier, texts);
  };
}

}  // namespace lowrank::train
