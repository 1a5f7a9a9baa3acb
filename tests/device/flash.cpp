// LibTorch's attention over streams of segments as GPUs have it, for the tests' own device: what it takes (offsets as int32 on the
// device, everything contiguous, half precision, no head beyond 256) and what it gives, segment by segment. Causal masks and
// windows end with the last key.
#include <ATen/Functions.h>
#include <torch/library.h>

#include <cmath>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "device/device.h"
#include "device/waits.h"

namespace test_device {
namespace {

/// The arguments of a call, by name.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack* stack) : op_(op), stack_(stack) {}
  const c10::IValue& operator[](const std::string& name) const {
    const auto index = op_.schema().argumentIndexWithName(name);
    TORCH_CHECK(index, "test device: no argument ", name);
    return (*stack_)[stack_->size() - op_.schema().arguments().size() + static_cast<std::size_t>(*index)];
  }
  at::Tensor taken(const std::string& name) const {
    const at::Tensor x = (*this)[name].toTensor();
    TORCH_CHECK(x.is_privateuseone() && x.is_contiguous(), "test device: ", name, " is elsewhere or not contiguous");
    return x;
  }
  at::Tensor stream(const std::string& name) const {
    const at::Tensor x = taken(name);
    const bool half = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
    TORCH_CHECK(x.dim() == 3 && half && x.size(2) <= 256 && x.size(2) % 8 == 0, "test device: ", name, " is no stream of heads");
    return x.cpu().to(at::kFloat);
  }
  std::vector<std::int64_t> offsets(const std::string& name) const {
    const at::Tensor x = taken(name);
    TORCH_CHECK(x.scalar_type() == at::kInt, "test device: ", name, " is not int32");
    const at::Tensor host = x.cpu().to(at::kLong);
    return {host.const_data_ptr<std::int64_t>(), host.const_data_ptr<std::int64_t>() + host.numel()};
  }
  void give(std::vector<c10::IValue> values) {
    stack_->resize(stack_->size() - op_.schema().arguments().size());
    for (c10::IValue& value : values) stack_->push_back(std::move(value));
  }

 private:
  const c10::OperatorHandle& op_;
  torch::jit::Stack* stack_;
};

at::Tensor attend(const Call& call, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::vector<std::int64_t> nq = call.offsets("cum_seq_q"), nk = call.offsets("cum_seq_k");
  const std::optional<std::int64_t> left = call["window_size_left"].toOptional<std::int64_t>();
  TORCH_CHECK(call["dropout_p"].toDouble() == 0 && call["is_causal"].toBool() != left.has_value());
  TORCH_CHECK(!left || call["window_size_right"].toOptional<std::int64_t>() == 0);
  TORCH_CHECK(nq.size() == nk.size() && nq.back() == q.size(0) && nk.back() == k.size(0));
  std::vector<at::Tensor> outputs{at::empty({0, q.size(1), q.size(2)})};
  for (std::size_t s = 0; s + 1 < nq.size(); ++s) {
    const std::int64_t queries = nq[s + 1] - nq[s], keys = nk[s + 1] - nk[s];
    TORCH_CHECK(queries <= call["max_q"].toInt() && keys <= call["max_k"].toInt());
    const std::int64_t group = q.size(1) / k.size(1);
    const auto part = [&](const at::Tensor& x, std::int64_t begin, std::int64_t n, std::int64_t times) {
      return x.narrow(0, begin, n).repeat_interleave(times, 1).transpose(0, 1);
    };
    at::Tensor scores = part(q, nq[s], queries, 1).matmul(part(k, nk[s], keys, group).transpose(1, 2));
    scores = scores.mul(call["scale"].toOptional<double>().value());
    const at::Tensor place = at::arange(keys - queries, keys).unsqueeze(1), key = at::arange(keys).unsqueeze(0);
    at::Tensor hidden = key.gt(place);
    if (left) hidden = hidden.logical_or(key.lt(place.sub(*left)));
    outputs.push_back(scores.masked_fill(hidden, -INFINITY).softmax(-1).matmul(part(v, nk[s], keys, group)).transpose(0, 1));
  }
  return at::cat(outputs);
}

at::Tensor there(const at::Tensor& x, at::ScalarType dtype = at::kBFloat16) { return x.to(dtype).to(device()); }

int calls = 0;

void forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  ++calls;
  const OwnWork own;
  Call call(op, stack);
  const at::Tensor out = attend(call, call.stream("query"), call.stream("key"), call.stream("value"));
  const at::Tensor none = there(at::zeros({1}), at::kFloat);
  call.give({there(out), none, none, none, none});
}

void backward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const OwnWork own;
  Call call(op, stack);
  std::vector<at::Tensor> leaves;
  for (const char* const name : {"query", "key", "value"}) leaves.push_back(call.stream(name).detach());
  const at::Tensor gradient = call["grad_out"].toTensor().cpu().to(at::kFloat);
  std::async(std::launch::async, [&] {  // a thread of its own, which is not below autograd
    const OwnWork there;
    for (at::Tensor& leaf : leaves) leaf.requires_grad_(true);
    attend(call, leaves[0], leaves[1], leaves[2]).backward(gradient);
  }).get();
  call.give({there(leaves[0].grad()), there(leaves[1].grad()), there(leaves[2].grad())});
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("_flash_attention_forward", torch::CppFunction::makeFromBoxedFunction<&forward>());
  library.impl("_flash_attention_backward", torch::CppFunction::makeFromBoxedFunction<&backward>());
}

}  // namespace

int flash_calls() { return calls; }

}  // namespace test_device
