#include "lowrank/eval/compare.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "lowrank/core/error.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/kernels/divergence.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/row_losses.h"

namespace lowrank::eval {
namespace {

constexpr std::int64_t kRows = 256;  // rows whose logits exist at the same time
constexpr std::size_t kDocumentsToResample = 20;

/// Rows of a batch that are counted: their place, label and unit.
struct Counted {
  std::vector<std::int64_t> rows, labels;
  std::vector<std::uint32_t> units;
};

Counted counted_rows(const data::Batch& batch, const std::vector<std::uint32_t>& unit_of_segment) {
  Counted counted;
  const std::vector<std::int64_t> labels = kernels::to_host<std::int64_t>(batch.labels);
  for (std::int64_t s = 0; s < batch.segments.count(); ++s) {
    const auto segment = static_cast<std::size_t>(s);
    for (std::int64_t i = batch.segments.q_offsets[segment]; i < batch.segments.q_offsets[segment + 1]; ++i) {
      const std::int64_t label = labels[static_cast<std::size_t>(i)];
      if (label == -100) continue;
      counted.rows.push_back(i);
      counted.labels.push_back(label);
      counted.units.push_back(unit_of_segment[segment]);
    }
  }
  return counted;
}

void check(const std::vector<Candidate>& candidates) {
  if (candidates.empty()) throw InternalError("there is no model to compare");
  const std::int64_t vocabulary = candidates.front().decoder->config().vocab_size;
  for (const Candidate& candidate : candidates) {
    if (candidate.decoder->config().vocab_size == vocabulary) continue;
    throw ModelError(fmt::format("'{}' predicts {} tokens and '{}' {}: models are compared over one vocabulary",
                                 candidate.name, candidate.decoder->config().vocab_size, candidates.front().name,
                                 vocabulary));
  }
}

void add_batch(const std::vector<Candidate>& candidates, const data::Batch& batch, const Counted& counted,
               std::vector<std::vector<UnitLoss>>& losses) {
  const auto rows = static_cast<std::int64_t>(counted.rows.size());
  std::vector<at::Tensor> hidden;
  for (const Candidate& candidate : candidates) {
    const Active active(candidate);
    const at::Tensor all = candidate.decoder->hidden(batch.ids, batch.segments);
    hidden.push_back(all.index_select(0, kernels::from_host<std::int64_t>(counted.rows, {rows}, all.device())));
  }
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t end = std::min(begin + kRows, rows), count = end - begin;
    const std::span label(counted.labels.data() + begin, static_cast<std::size_t>(count));
    at::Tensor first;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      at::Tensor log_q;
      {
        const Active active(candidates[c]);
        log_q = kernels::row_log_softmax(candidates[c].decoder->logits(hidden[c].slice(0, begin, end)));
      }
      if (c == 0) first = log_q;
      const std::vector<double> kl =
          c == 0 ? std::vector<double>(static_cast<std::size_t>(count), 0.0)
                 : kernels::to_host<double>(kernels::divergences(first, log_q.to(first.device())));
      const at::Tensor place = kernels::from_host<std::int64_t>(label, {count, 1}, log_q.device());
      const std::vector<float> values = kernels::to_host<float>(log_q.gather(1, place));
      for (std::int64_t i = begin; i < end; ++i) {
        const auto row = static_cast<std::size_t>(i);
        UnitLoss& unit = losses[c][counted.units[row]];
        ++unit.tokens;
        unit.nll -= double{values[row - static_cast<std::size_t>(begin)]};
        unit.kl += kl[row - static_cast<std::size_t>(begin)];
      }
    }
  }
}

}  // namespace

Units units_of(const data::Dataset& dataset) {
  std::set<std::uint32_t> documents;
  for (std::size_t i = 0; i < dataset.examples.size(); ++i) documents.insert(documents.end(), dataset.examples.document(i));
  Units units;
  units.documents = documents.size() >= kDocumentsToResample;
  std::vector<std::uint32_t> place(dataset.documents.size(), 0);
  for (const std::uint32_t document : documents) place[document] = units.count++;
  if (!units.documents) units.count = static_cast<std::uint32_t>(dataset.examples.size());
  for (std::uint32_t i = 0; i < dataset.examples.size(); ++i) {
    units.of_example.push_back(units.documents ? place[dataset.examples.document(i)] : i);
  }
  return units;
}

std::vector<std::vector<UnitLoss>> compare(const std::vector<Candidate>& candidates, const data::Dataset& dataset,
                                           const Units& units, std::int64_t batch_tokens,
                                           core::ProgressObserver* progress) {
  check(candidates);
  at::NoGradGuard no_grad;
  for (const Candidate& candidate : candidates) {
    if (candidate.adapter != nullptr) candidate.adapter->set_enabled(false);
  }
  const data::Examples& examples = dataset.examples;
  std::vector<std::vector<UnitLoss>> losses(candidates.size(), std::vector<UnitLoss>(units.count));
  const core::ProgressScope scope(progress, "evaluating", static_cast<std::int64_t>(examples.size()), "examples");
  data::ReadAlong along(dataset.storage, true);  // a part of a set lies apart
  std::int64_t counted_tokens = 0;
  for (std::size_t next = 0; next < examples.size();) {
    const std::vector<std::uint32_t> which = data::examples_from(examples, next, batch_tokens);
    next += which.size();
    std::vector<std::uint32_t> unit_of_segment;
    for (const std::uint32_t example : which) unit_of_segment.push_back(units.of_example[example]);
    const data::Batch batch = data::make_batch(examples, which);
    for (const std::uint32_t example : which) along.read(examples[example]);
    counted_tokens += batch.counted;
    if (batch.counted > 0) add_batch(candidates, batch, counted_rows(batch, unit_of_segment), losses);
    scope.advance(static_cast<std::int64_t>(next));
  }
  if (counted_tokens == 0) throw DataError("there is nothing to evaluate: no token is predicted in the data set");
  for (std::size_t c = 0; c < candidates.size(); ++c) {
    for (const UnitLoss& unit : losses[c]) {
      if (std::isfinite(unit.nll) && std::isfinite(unit.kl)) continue;
      throw ModelError(
          fmt::format("'{}': the loss is not a finite number, so the model or the adapter holds NaN or overflows; "
                      "try `dtype` float32, and `lowrank inspect` on both",
                      candidates[c].name));
    }
  }
  return losses;
}

}  // namespace lowrank::eval
