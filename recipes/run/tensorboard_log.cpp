#include "lowrank/recipes/run/tensorboard_log.h"

namespace lowrank::recipes {

void TensorBoardLog::on_start(std::int64_t first_step, std::int64_t steps) {
  events_.emplace(file_, first_step);
  next_.on_start(first_step, steps);
}

void TensorBoardLog::on_step(const train::StepMetrics& m) {
  formats::Scalars scalars = {{"train/loss", m.loss},
                              {"train/lr", m.lr},
                              {"train/grad_norm", m.grad_norm},
                              {"train/epoch", m.epoch},
                              {"train/tokens_per_second", m.tokens_per_second}};
  if (m.penalty != 0) scalars.emplace_back("train/penalty", m.penalty);
  events_->write(m.step, scalars);
  next_.on_step(m);
}

void TensorBoardLog::on_eval(std::int64_t step, const std::vector<train::EvalResult>& results, bool best) {
  // The evaluation before the first step is made by runs from the beginning alone: what an earlier try left goes.
  if (step == 0) events_.emplace(file_, -1);
  formats::Scalars scalars;
  for (const train::EvalResult& result : results) scalars.emplace_back(result.split + "/loss", result.loss);
  if (!scalars.empty()) events_->write(step, scalars);
  next_.on_eval(step, results, best);
}

void TensorBoardLog::on_checkpoint(const std::filesystem::path& path) {
  events_->sync();
  next_.on_checkpoint(path);
}

}  // namespace lowrank::recipes
