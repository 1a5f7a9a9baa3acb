#include "lowrank/eval/compare.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/data/batch_torch.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::eval {
namespace {

constexpr std::int64_t kRows = 256;  // rows whose logits exist at the same time
constexpr std::size_t kDocumentsToResample = 20;

/// Rows of a batch that are counted: their place, label and unit.
struct Counted {
  at::Tensor rows;  // int64 [C]
  std::vector<std::int64_t> labels;
  std::vector<std::uint32_t> units;
};

Counted counted_rows(const data::Batch& batch, const std::vector<std::uint32_t>& unit_of_segment) {
  Counted counted;
  std::vector<std::int64_t> rows;
  const std::int64_t* label = batch.labels.const_data_ptr<std::int64_t>();
  for (std::int64_t s = 0; s < batch.segments.count(); ++s) {
    const auto segment = static_cast<std::size_t>(s);
    for (std::int64_t i = batch.segments.q_offsets[segment]; i < batch.segments.q_offsets[segment + 1]; ++i) {
      if (label[i] == -100) continue;
      rows.push_back(i);
      counted.labels.push_back(label[i]);
      counted.units.push_back(unit_of_segment[segment]);
    }
  }
  counted.rows = kernels::aten::empty({static_cast<std::int64_t>(rows.size())}, at::kLong);
  std::copy(rows.begin(), rows.end(), counted.rows.mutable_data_ptr<std::int64_t>());
  return counted;
}

/// log softmax [rows, V] fp32, by chunks of rows that do not depend on the threads.
at::Tensor log_probabilities(const at::Tensor& logits) {
  at::Tensor result = kernels::aten::empty(logits.sizes(), at::kFloat);
  kernels::for_row_chunks(logits.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    result.slice(0, begin, end).copy_(logits.slice(0, begin, end).log_softmax(1, at::kFloat));
  });
  return result;
}

/// KL(p ‖ q) of each row of log-probabilities, in double.
std::vector<double> divergences(const at::Tensor& log_p, const at::Tensor& log_q) {
  const std::int64_t width = log_p.size(1);
  std::vector<double> result(static_cast<std::size_t>(log_p.size(0)));
  kernels::for_row_chunks(log_p.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor p = log_p.slice(0, begin, end).exp();
    const float* weight = p.const_data_ptr<float>();
    for (std::int64_t i = begin; i < end; ++i) {
      const float* a = log_p.const_data_ptr<float>() + i * width;
      const float* b = log_q.const_data_ptr<float>() + i * width;
      double sum = 0;
      for (std::int64_t j = 0; j < width; ++j) {
        const float w = weight[(i - begin) * width + j];
        if (w > 0) sum += double{w} * (double{a[j]} - double{b[j]});
      }
      result[static_cast<std::size_t>(i)] = sum;
    }
  });
  return result;
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
  std::vector<at::Tensor> hidden;
  for (const Candidate& candidate : candidates) {
    const Active active(candidate);
    hidden.push_back(candidate.decoder->hidden(batch.ids, batch.segments).index_select(0, counted.rows));
  }
  const std::int64_t rows = counted.rows.size(0);
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t end = std::min(begin + kRows, rows);
    at::Tensor first;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      at::Tensor log_q;
      {
        const Active active(candidates[c]);
        log_q = log_probabilities(candidates[c].decoder->logits(hidden[c].slice(0, begin, end)));
      }
      if (c == 0) first = log_q;
      const std::vector<double> kl =
          c == 0 ? std::vector<double>(static_cast<std::size_t>(end - begin), 0.0) : divergences(first, log_q);
      const float* values = log_q.const_data_ptr<float>();
      for (std::int64_t i = begin; i < end; ++i) {
        const auto row = static_cast<std::size_t>(i);
        UnitLoss& unit = losses[c][counted.units[row]];
        ++unit.tokens;
        unit.nll -= double{values[(i - begin) * log_q.size(1) + counted.labels[row]]};
        unit.kl += kl[row - static_cast<std::size_t>(begin)];
      }
    }
  }
}

}  // namespace

Units units_of(const data::Dataset& dataset) {
  std::set<std::uint32_t> documents;
  for (const data::Example& example : dataset.examples) documents.insert(example.document);
  Units units;
  units.documents = documents.size() >= kDocumentsToResample;
  std::vector<std::uint32_t> place(dataset.documents.size(), 0);
  for (const std::uint32_t document : documents) place[document] = units.count++;
  if (!units.documents) units.count = static_cast<std::uint32_t>(dataset.examples.size());
  for (std::uint32_t i = 0; i < dataset.examples.size(); ++i) {
    units.of_example.push_back(units.documents ? place[dataset.examples[i].document] : i);
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
  const std::vector<data::Example>& examples = dataset.examples;
  std::vector<std::vector<UnitLoss>> losses(candidates.size(), std::vector<UnitLoss>(units.count));
  const core::ProgressScope scope(progress, "evaluating", static_cast<std::int64_t>(examples.size()), "examples");
  std::int64_t counted_tokens = 0;
  for (std::size_t next = 0; next < examples.size();) {
    const std::vector<std::uint32_t> which = data::examples_from(examples, next, batch_tokens);
    next += which.size();
    std::vector<std::uint32_t> unit_of_segment;
    for (const std::uint32_t example : which) unit_of_segment.push_back(units.of_example[example]);
    const data::Batch batch = data::make_batch(examples, which);
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
                      "try --dtype float32, and `lowrank inspect` on both",
                      candidates[c].name));
    }
  }
  return losses;
}

}  // namespace lowrank::eval
