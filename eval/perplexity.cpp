#include "lowrank/eval/perplexity.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/kernels/host.h"

namespace lowrank::eval {

double Perplexity::perplexity() const { return std::exp(nll); }

Perplexity perplexity(models::DecoderImpl& decoder, const data::Dataset& dataset, std::int64_t batch_tokens,
                      bool keep_per_token, core::ProgressObserver* progress) {
  at::NoGradGuard no_grad;
  const data::Examples& examples = dataset.examples;
  Perplexity result;
  double sum = 0;
  const core::ProgressScope scope(progress, "evaluating", static_cast<std::int64_t>(examples.size()), "examples");
  data::ReadAlong along(dataset.storage, true);  // a part of a set lies apart
  for (std::size_t next = 0; next < examples.size();) {
    const std::vector<std::uint32_t> which = data::examples_from(examples, next, batch_tokens);
    next += which.size();
    const data::Batch batch = data::make_batch(examples, which);
    for (const std::uint32_t example : which) along.read(examples[example]);
    if (batch.counted > 0) {
      const at::Tensor hidden = decoder.hidden(batch.ids, batch.segments);
      const std::vector<float> loss = kernels::to_host<float>(decoder.token_losses(hidden, batch.labels));
      const std::vector<std::int64_t> label = kernels::to_host<std::int64_t>(batch.labels);
      for (std::size_t i = 0; i < loss.size(); ++i) {
        if (label[i] == -100) continue;
        sum += double{loss[i]};
        ++result.tokens;
        if (keep_per_token) result.per_token.push_back(double{loss[i]});
      }
    }
    scope.advance(static_cast<std::int64_t>(next));
  }
  if (result.tokens == 0) throw DataError("there is nothing to evaluate: no token is predicted in the data set");
  result.nll = sum / static_cast<double>(result.tokens);
  return result;
}

}  // namespace lowrank::eval
