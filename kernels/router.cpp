#include "lowrank/kernels/router.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/loops.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kTokens = 32;  // of a task

// z [n] becomes its softmax.
template <typename W>
void softmax(std::vector<W>& z) {
  W most = z.front();
  for (const W x : z) most = std::max(most, x);
  W sum = 0;
  for (W& x : z) sum += x = std::exp(x - most);
  for (W& x : z) x /= sum;
}

// The places of the K greatest values, the first of equal ones first; NaN is greater than none.
template <typename W>
void greatest(const std::vector<W>& values, std::int64_t k, std::vector<bool>& taken, std::int64_t* places) {
  std::fill(taken.begin(), taken.end(), false);
  for (std::int64_t i = 0; i < k; ++i) {
    std::size_t best = values.size();
    for (std::size_t j = 0; j < values.size(); ++j) {
      if (!taken[j] && (best == values.size() || values[j] > values[best])) best = j;
    }
    taken[best] = true;
    places[i] = static_cast<std::int64_t>(best);
  }
}

// f(row of wide logits, token) for each token.
template <typename T, typename F>
void for_tokens(const at::Tensor& logits, const F& f) {
  const std::int64_t experts = logits.size(1);
  const T* const z = logits.const_data_ptr<T>();
  for_row_chunks(logits.size(0), kTokens, [&](std::int64_t begin, std::int64_t end) {
    std::vector<Wide<T>> row(static_cast<std::size_t>(experts));
    for (std::int64_t t = begin; t < end; ++t) {
      for (std::int64_t e = 0; e < experts; ++e) {
        row[static_cast<std::size_t>(e)] = static_cast<Wide<T>>(z[t * experts + e]);
      }
      f(row, t);
    }
  });
}

Routed forward_pass(const at::Tensor& logits, std::int64_t k, Router router) {
  const std::int64_t tokens = logits.size(0);
  Routed result{aten::empty({tokens, k}, logits.options()),
                aten::empty({tokens, k}, logits.options().dtype(at::kLong))};
  with_element_type(logits, [&](auto tag) {
    using T = decltype(tag);
    T* const weights = result.weights.mutable_data_ptr<T>();
    auto* const experts = result.experts.mutable_data_ptr<std::int64_t>();
    for_tokens<T>(logits, [&](std::vector<Wide<T>>& row, std::int64_t t) {
      std::vector<bool> taken(row.size());
      if (router != Router::kSoftmaxOfTop) softmax(row);
      greatest(row, k, taken, experts + t * k);
      std::vector<Wide<T>> top(static_cast<std::size_t>(k));
      for (std::int64_t i = 0; i < k; ++i) {
        top[static_cast<std::size_t>(i)] = row[static_cast<std::size_t>(experts[t * k + i])];
      }
      if (router == Router::kSoftmaxOfTop) softmax(top);
      const Wide<T> sum = router == Router::kRenormalised ? std::accumulate(top.begin(), top.end(), Wide<T>{0}) : 1;
      for (std::int64_t i = 0; i < k; ++i) weights[t * k + i] = static_cast<T>(top[static_cast<std::size_t>(i)] / sum);
    });
  });
  return result;
}

// With p the softmax over all: dz = p (g − Σ g p), g of the experts not taken 0. Where weights w are divided by their
// sum, or are a softmax of the top alone: dz = w (g − Σ g w) for those taken, 0 for the others.
at::Tensor backward_pass(const BackwardPass& pass, Router router) {
  const at::Tensor &logits = pass.saved[0], &experts = pass.saved[1], gradient = pass.gradient.contiguous();
  const std::int64_t k = experts.size(1), count = logits.size(1);
  at::Tensor result = aten::empty(logits.sizes(), logits.options());
  const auto* const chosen = experts.const_data_ptr<std::int64_t>();
  with_element_type(logits, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    const T* const g = gradient.const_data_ptr<T>();
    T* const out = result.mutable_data_ptr<T>();
    for_tokens<T>(logits, [&](std::vector<W>& row, std::int64_t t) {
      const auto at = [&](std::int64_t i) { return static_cast<std::size_t>(chosen[t * k + i]); };
      const bool all = router == Router::kSoftmax;
      if (all) softmax(row);
      std::vector<W> w(static_cast<std::size_t>(k));
      for (std::int64_t i = 0; i < k; ++i) w[static_cast<std::size_t>(i)] = row[at(i)];
      if (!all) softmax(w);
      W mean = 0;
      for (std::int64_t i = 0; i < k; ++i) mean += static_cast<W>(g[t * k + i]) * w[static_cast<std::size_t>(i)];
      for (std::int64_t e = 0; e < count; ++e) {
        out[t * count + e] = static_cast<T>(all ? -row[static_cast<std::size_t>(e)] * mean : W{0});
      }
      for (std::int64_t i = 0; i < k; ++i) {
        const W own = static_cast<W>(g[t * k + i]);
        out[t * count + chosen[t * k + i]] = static_cast<T>(w[static_cast<std::size_t>(i)] * (own - mean));
      }
    });
  });
  return result;
}

}  // namespace

Routed route(const at::Tensor& logits, std::int64_t per_token, Router router) {
  if (logits.dim() != 2 || per_token < 1 || per_token > logits.size(1)) {
    throw InternalError("kernels::route: logits [T, E] and from 1 to E experts a token are expected");
  }
  if (!use_fused(logits)) return composite::route(logits, per_token, router);
  const at::Tensor z = logits.contiguous();
  if (!records(z)) return forward_pass(z, per_token, router);
  Routed result;
  result.weights = differentiable({z}, [&]() -> ForwardPass {
    const Routed routed = forward_pass(z, per_token, router);
    result.experts = routed.experts;
    return {routed.weights, {z, routed.experts}, [router](const BackwardPass& pass) {
              return std::vector<at::Tensor>{backward_pass(pass, router)};
            }};
  });
  return result;
}

ExpertRows sort_by_expert(const at::Tensor& experts, std::int64_t count) {
  ExpertRows rows{experts.size(0), experts.size(1), count, {}, {}, {}};
  const std::vector<std::int64_t> chosen = to_host<std::int64_t>(experts);
  rows.offsets.assign(static_cast<std::size_t>(count) + 1, 0);
  for (const std::int64_t e : chosen) {
    if (e < 0 || e >= count) throw InternalError("kernels::sort_by_expert: an expert that there is not");
    ++rows.offsets[static_cast<std::size_t>(e) + 1];
  }
  std::partial_sum(rows.offsets.begin(), rows.offsets.end(), rows.offsets.begin());
  std::vector<std::int64_t> next(rows.offsets.begin(), rows.offsets.end() - 1);
  rows.token.resize(chosen.size());
  rows.row.resize(chosen.size());
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const std::int64_t row = next[static_cast<std::size_t>(chosen[i])]++;
    rows.row[i] = row;
    rows.token[static_cast<std::size_t>(row)] = static_cast<std::int64_t>(i) / rows.per_token;
  }
  return rows;
}

ExpertRows rows_of_one(std::int64_t tokens) {
  ExpertRows rows{tokens, 1, 1, {0, tokens}, std::vector<std::int64_t>(static_cast<std::size_t>(tokens)), {}};
  std::iota(rows.token.begin(), rows.token.end(), 0);
  rows.row = rows.token;
  return rows;
}

}  // namespace lowrank::kernels
