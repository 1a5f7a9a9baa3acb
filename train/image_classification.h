// Image classification: mean cross-entropy a picture.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/image_set.h"
#include "lowrank/data/plan.h"
#include "lowrank/eval/image_scores.h"
#include "lowrank/lora/inject.h"
#include "lowrank/models/resnet/resnet.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/objective.h"

namespace lowrank::train {

/// What of the network is trained.
enum class ImageMethod {
  kLora,  // adapters and, whole, the classifier; batch norms keep their running statistics
  kHead,  // the classifier; likewise
  kFull,  // every weight; batch norms take the statistics of each micro-batch
};

/// `model` and `adapter` (for kLora) must outlive this. With kFull the running statistics that the result is evaluated
/// and saved with are those of the weights: estimated from training pictures (at most 2,048, spread evenly) whenever
/// they are needed, so they are a function of the weights alone. At the start they are those that the model came with.
class ImageClassification : public Objective {
 public:
  struct Parts {
    models::ResNet* model = nullptr;
    lora::Injected* adapter = nullptr;
    ImageMethod method = ImageMethod::kLora;
    data::ImageSet train;
    std::vector<std::pair<std::string, data::ImageSet>> evaluation;  // "validation" first where there is one
    data::PlanOptions plan;
    double label_smoothing = 0;                                    // of the training loss; evaluation has none
    GradSync* sync = nullptr;                                      // the other ranks, those of the trainer; null: one
    std::function<void(const std::filesystem::path&)> save_extra;  // beside the adapter or the model
  };
  explicit ImageClassification(Parts parts);

  std::vector<lora::NamedTensor> parameters() override;
  std::int64_t steps() const override { return plan_.steps(); }
  std::int64_t planned_tokens() const override { return plan_.total_tokens(); }  // pictures
  double epoch_after(std::int64_t step) const override { return plan_.step(step).epoch; }
  int batch_ranks() const override { return plan_.batch_ranks(); }
  std::int64_t micro_batches(std::int64_t step) const override;
  /// Metrics: accuracy.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::string describe(std::int64_t step) const override;
  /// Metrics: accuracy, macro_f1, matthews.
  std::vector<EvalResult> evaluate() override;
  bool has_validation() const override;
  /// The adapter as PEFT writes it, or the model as transformers does.
  void save(const std::filesystem::path& directory) override;

  /// The evaluation sets under the weights of now, in full.
  std::vector<std::pair<std::string, eval::ImageScores>> scores();

 private:
  eval::ImageScores score(const data::ImageSet& images);
  void settle_statistics();
  std::string weights_hash();

  Parts parts_;
  GradSync& sync_;
  data::Plan plan_;
  std::string start_, settled_;  // hashes of the weights at the start, and of those the statistics are of
  std::vector<lora::NamedTensor> start_statistics_;
};

/// The ranks each doing their share.
eval::ImageScores score_images(models::ResNet& model, const data::ImageSet& images, GradSync& sync,
                               core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::train
