// Which experts a token goes to, by what weights, and the rows that this makes: one for each token and each of its
// experts, sorted by expert.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace lowrank::kernels {

/// How a router's logits become the weights of the K experts of a token.
enum class Router {
  kSoftmax,       // a softmax over all experts; its K greatest values (Qwen2-MoE)
  kRenormalised,  // these divided by their sum (Mixtral; Qwen with norm_topk_prob)
  kSoftmaxOfTop,  // a softmax over the K greatest logits (gpt-oss)
};

struct Routed {
  at::Tensor weights;  // [T, K] in the logits' dtype, the greatest first; differentiable in the logits
  at::Tensor experts;  // int64 [T, K]; of equal ones the lower number first
};
/// logits [T, E], 1 <= K <= E. Softmax and division in fp32, rounded once.
Routed route(const at::Tensor& logits, std::int64_t per_token, Router router);

/// The rows of T tokens with K experts each, by expert and inside an expert by token.
struct ExpertRows {
  std::int64_t tokens = 0, per_token = 0, experts = 0;
  std::vector<std::int64_t> offsets;  // [E + 1]: expert e has the rows [offsets[e], offsets[e + 1])
  std::vector<std::int64_t> token;    // [T K]: the token of each row
  std::vector<std::int64_t> row;      // [T K]: the row of token t's k-th expert, at t K + k

  std::int64_t count() const { return static_cast<std::int64_t>(token.size()); }
};
/// experts int64 [T, K], each in [0, count).
ExpertRows sort_by_expert(const at::Tensor& experts, std::int64_t count);
/// One row a token: for combine_experts over what every token goes through.
ExpertRows rows_of_one(std::int64_t tokens);

namespace composite {
Routed route(const at::Tensor& logits, std::int64_t per_token, Router router);
}

}  // namespace lowrank::kernels
