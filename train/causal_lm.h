// Causal language modelling and completion: cross-entropy of the learned tokens.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/models/load.h"
#include "lowrank/train/text_objective.h"

namespace lowrank::train {

/// Either an adapter on a frozen decoder, or (adapter == nullptr) every weight of it. `adapter`, `tokenizer` and
/// `weights` must outlive this.
class CausalLm : public TextObjective {
 public:
  struct Parts : TextParts {
    lora::Adapter* adapter = nullptr;
    const data::Tokenizer* tokenizer = nullptr;  // for save() of a full model
    data::Dataset train;
    std::vector<std::pair<std::string, data::Dataset>>
        evaluation;  // "validation" first where there is one; "general" …
    /// What `evaluation` are parts of, for the start and the end; empty: they are whole.
    std::vector<std::pair<std::string, data::Dataset>> whole;
    at::ScalarType save_dtype = at::kFloat;  // of a full model's file
    double label_smoothing = 0;              // of the training loss; evaluation has none
    double router_aux_loss = 0;              // weight of the load-balancing loss of a mixture's routers
    double neftune = 0;                      // α of the noise on the embeddings in training
  };
  explicit CausalLm(Parts parts);

  std::vector<lora::NamedTensor> parameters() override;
  void parameters_moved() override;
  /// Its backward must come before the next call.
  MicroLoss forward(std::int64_t step, std::int64_t micro) override;
  std::vector<EvalResult> evaluate() override { return measure(evaluation_); }
  std::vector<EvalResult> evaluate_whole() override { return measure(whole_); }
  /// The loss, as evaluate() has it, on examples of the training data spread evenly over it, of about so many tokens.
  EvalResult evaluate_train(std::int64_t tokens);
  bool has_validation() const override { return begins_with_validation(evaluation_); }
  /// The validation data; null where there is none.
  const data::Dataset* validation() const { return has_validation() ? &evaluation_.front().second : nullptr; }
  void save(const std::filesystem::path& directory) override;

 private:
  EvalResult measure(const std::string& split, const data::Dataset& set);
  std::vector<EvalResult> measure(const std::vector<std::pair<std::string, data::Dataset>>& sets);

  const data::Tokenizer* tokenizer_;
  std::vector<std::pair<std::string, data::Dataset>> evaluation_, whole_;
  at::ScalarType save_dtype_;
  double label_smoothing_, neftune_, router_aux_loss_;
};

}  // namespace lowrank::train
