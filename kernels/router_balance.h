// The load-balancing loss of routers (Fedus et al. 2021, eq. 4 to 6), as transformers' load_balancing_loss_func has it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace lowrank::kernels {

/// Of all routers of one forward pass together: E · Σ_e f_e P_e, f_e the share of rows that take expert e (Σ f_e = K)
/// and P_e its mean probability. The shares are constants for the gradient, which reaches every router's logits times
/// `weight` in the backward pass. Not for two passes at once.
class RouterBalance {
 public:
  explicit RouterBalance(double weight) : weight_(weight) {}

  /// logits [T, E] themselves, of a router that takes the K greatest; counted, and the gradient is added to what comes
  /// back. After close() nothing is counted: a layer that is computed again is no router more.
  friend at::Tensor balanced(const at::Tensor& logits, std::int64_t per_token,
                             const std::shared_ptr<RouterBalance>& balance);
  void close() { closed_ = true; }
  /// Without the weight; 0 where there was no router.
  double loss() const;

 private:
  double weight_;
  bool closed_ = false;
  std::int64_t rows_ = 0;
  std::vector<double> taken_, probability_;  // [E], sums over rows
};
at::Tensor balanced(const at::Tensor& logits, std::int64_t per_token, const std::shared_ptr<RouterBalance>& balance);

}  // namespace lowrank::kernels
