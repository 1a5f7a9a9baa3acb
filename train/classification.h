// Classes of texts: cross-entropy of the label by a score head over the decoder.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/labelled.h"
#include "lowrank/eval/classify.h"
#include "lowrank/models/sequence_classifier.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::train {

/// A frozen decoder with an adapter that trains a score head too. The loss is the mean over the step's texts. `adapter`
/// and `weights` must outlive this.
class Classification : public TextObjective {
 public:
  struct Set {
    data::Dataset texts;
    std::vector<std::int64_t> classes;  // of each example
  };
  struct Parts : TextParts {
    explicit Parts(models::SequenceClassifier of);
    models::SequenceClassifier classifier;
    lora::Adapter* adapter = nullptr;
    std::vector<std::string> labels = {};  // names, saved beside the adapter
    Set train = {};
    std::vector<std::pair<std::string, Set>> evaluation = {};  // "validation", or none
    double label_smoothing = 0;                                // of the training loss; evaluation has none
    double neftune = 0;
  };
  explicit Classification(Parts parts);

  /// Predictions for an evaluation set with what is trained now.
  eval::Classified classified(std::size_t index) const;

  /// Its backward must come before the next call. Metric: accuracy.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  /// Metrics: accuracy (with its interval), macro_f1, matthews.
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override { return begins_with_validation(evaluation_); }
  void save(const std::filesystem::path& directory) override;

 private:
  bool makes_logits() const override { return false; }
  models::SequenceClassifier classifier_;
  std::vector<std::string> labels_;
  std::vector<std::int64_t> classes_;
  std::vector<std::pair<std::string, Set>> evaluation_;
  double label_smoothing_, neftune_;
};

}  // namespace lowrank::train
