// A text on which two forms of a model are compared.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "lowrank/models/load.h"

namespace lowrank::recipes {

/// Where no other is given.
extern const char* const kProbe;

/// Its tokens, cut to the model's positions. FieldError by `probe` for a text without tokens.
std::vector<data::TokenId> probe_ids(const models::LoadedModel& model, const std::string& probe);

/// Logits [T, V] fp32.
at::Tensor probe_logits(models::DecoderImpl& decoder, const std::vector<data::TokenId>& ids);

/// Of logits, in double.
struct Difference {
  double largest = 0;  // of any logit
  double kl = 0;       // mean over positions of KL(softmax(a) || softmax(b)), nats
};
Difference difference(const at::Tensor& a, const at::Tensor& b);

/// e to the mean negative log-likelihood of all tokens but the first; 1 where there is only one.
double perplexity(const at::Tensor& logits, const std::vector<data::TokenId>& ids);

}  // namespace lowrank::recipes
