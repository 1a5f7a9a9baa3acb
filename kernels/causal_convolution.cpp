#include <algorithm>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/differentiable.h"
#include "lowrank/kernels/dispatch.h"
#include "lowrank/kernels/linear_attention.h"
#include "lowrank/kernels/loops_state.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

namespace {

constexpr std::int64_t kChunk = 64;  // tokens

// A call: x and before in their dtype, weight [k, C] and bias [C] (or undefined) in what is computed in.
struct Inputs {
  at::Tensor x, weight, bias;
  Segments segments;
  bool silu;
  std::vector<at::Tensor> before;  // [k − 1, C] a segment, or undefined; may be empty

  std::int64_t taps() const { return weight.size(0); }
  std::int64_t channels() const { return weight.size(1); }
};

// In which segment a token is.
std::vector<std::int64_t> segment_of(const Segments& segments) {
  std::vector<std::int64_t> result;
  for (std::int64_t s = 0; s < segments.count(); ++s) result.insert(result.end(), segments.q_length(s), s);
  return result;
}

template <typename T>
class Convolution {
 public:
  using W = Wide<T>;
  explicit Convolution(const Inputs& in)
      : in_(in),
        x_(in.x.const_data_ptr<T>()),
        w_(in.weight.const_data_ptr<W>()),
        bias_(in.bias.defined() ? in.bias.const_data_ptr<W>() : nullptr),
        segment_(segment_of(in.segments)) {}

  std::int64_t segment(std::int64_t t) const { return segment_[static_cast<std::size_t>(t)]; }

  // What the taps of token t see; null: nothing.
  void see(std::int64_t t, std::vector<const T*>& taps) const {
    const std::int64_t k = in_.taps(), s = segment(t), begin = in_.segments.q_offsets[s];
    const at::Tensor before = in_.before.empty() ? at::Tensor() : in_.before[static_cast<std::size_t>(s)];
    for (std::int64_t j = 0; j < k; ++j) {
      const std::int64_t from = t - k + 1 + j;
      taps[static_cast<std::size_t>(j)] = from >= begin ? x_ + from * in_.channels()
                                          : before.defined()
                                              ? before.const_data_ptr<T>() + (from - begin + k - 1) * in_.channels()
                                              : nullptr;
    }
  }

  void forward(T* y) const {
    for_row_chunks(in_.x.size(0), kChunk, [&](std::int64_t begin, std::int64_t end) {
      std::vector<const T*> taps(static_cast<std::size_t>(in_.taps()));
      std::vector<W> sum(static_cast<std::size_t>(in_.channels()));
      for (std::int64_t t = begin; t < end; ++t) {
        see(t, taps);
        loops::tap_sum<T>(taps.data(), w_, bias_, sum.data(), in_.taps(), in_.channels());
        loops::silu_row<T>(sum.data(), y + t * in_.channels(), in_.channels(), in_.silu);
      }
    });
  }

  // dx, and where they are not null sums for each chunk of tokens: of the weight [k, C], of the bias [C].
  void backward(const T* g, T* dx, W* dweight, W* dbias) const {
    const std::int64_t k = in_.taps(), width = in_.channels(), tokens = in_.x.size(0);
    for_row_chunks(tokens, kChunk, [&](std::int64_t begin, std::int64_t end) {
      std::vector<const T*> taps(static_cast<std::size_t>(k));
      std::vector<W> sum(static_cast<std::size_t>(width));
      // What reaches the sums of these tokens and of the k − 1 after them, which see these too.
      const std::int64_t last = std::min(tokens, end + k - 1);
      std::vector<W> reaches(static_cast<std::size_t>((last - begin) * width));
      for (std::int64_t t = begin; t < last; ++t) {
        see(t, taps);
        if (in_.silu) loops::tap_sum<T>(taps.data(), w_, bias_, sum.data(), k, width);
        W* const du = reaches.data() + (t - begin) * width;
        loops::silu_row_backward<T>(g + t * width, sum.data(), du, width, in_.silu);
        if (t >= end) continue;
        const std::int64_t chunk = begin / kChunk;
        for (std::int64_t j = 0; j < k && dweight != nullptr; ++j) {
          const T* const seen = taps[static_cast<std::size_t>(j)];
          if (seen != nullptr) loops::add_product<T>(du, seen, dweight + (chunk * k + j) * width, width);
        }
        for (std::int64_t c = 0; c < width && dbias != nullptr; ++c) dbias[chunk * width + c] += du[c];
      }
      std::vector<const W*> later(static_cast<std::size_t>(k));
      for (std::int64_t t = begin; t < end; ++t) {
        for (std::int64_t j = 0; j < k; ++j) {
          const std::int64_t by = t + k - 1 - j;  // sees t by its tap j
          const bool same = by < tokens && segment(by) == segment(t);
          later[static_cast<std::size_t>(j)] = same ? reaches.data() + (by - begin) * width : nullptr;
        }
        loops::tap_sum_backward<T>(later.data(), w_, dx + t * width, k, width);
      }
    });
  }

 private:
  const Inputs& in_;
  const T* x_;
  const W *w_, *bias_;
  std::vector<std::int64_t> segment_;
};

at::Tensor forward_pass(const Inputs& in) {
  at::Tensor y = in.x.new_empty(in.x.sizes());
  with_element_type(in.x, [&](auto tag) {
    using T = decltype(tag);
    Convolution<T>(in).forward(y.mutable_data_ptr<T>());
  });
  return y;
}

// [chunks, …] -> […], in the chunks' order.
at::Tensor added_up(const at::Tensor& sums) {
  const at::Tensor rows = sums.view({sums.size(0), -1});
  at::Tensor result = aten::empty({rows.size(1)}, rows.options());
  for_row_chunks(rows.size(1), 64, [&](std::int64_t begin, std::int64_t end) {
    result.narrow(0, begin, end - begin).copy_(rows.narrow(1, begin, end - begin).sum(0));
  });
  return result.view(sums.sizes().slice(1));
}

// Of x, the weight [k, C] and the bias.
std::vector<at::Tensor> backward_pass(const Inputs& in, const at::Tensor& g, bool with_weight, bool with_bias) {
  const std::int64_t chunks = (in.x.size(0) + kChunk - 1) / kChunk;
  const auto sums = [&](bool needed, std::vector<std::int64_t> shape) {
    return needed ? aten::zeros(shape, in.weight.options()) : at::Tensor();
  };
  const at::Tensor by_weight = sums(with_weight, {chunks, in.taps(), in.channels()});
  const at::Tensor by_bias = sums(with_bias, {chunks, in.channels()});
  at::Tensor dx = in.x.new_empty(in.x.sizes());
  with_element_type(in.x, [&](auto tag) {
    using T = decltype(tag);
    using W = Wide<T>;
    Convolution<T>(in).backward(g.const_data_ptr<T>(), dx.mutable_data_ptr<T>(),
                                with_weight ? by_weight.mutable_data_ptr<W>() : nullptr,
                                with_bias ? by_bias.mutable_data_ptr<W>() : nullptr);
  });
  return {dx, with_weight ? added_up(by_weight) : at::Tensor(), with_bias ? added_up(by_bias) : at::Tensor()};
}

void check(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const Segments& segments) {
  const bool shapes = x.dim() == 2 && weight.dim() == 2 && weight.size(0) == x.size(1) && weight.size(1) > 0 &&
                      (!bias.defined() || bias.sizes() == at::IntArrayRef{x.size(1)});
  if (!shapes || segments.q_offsets.empty() || segments.tokens() != x.size(0)) {
    throw InternalError(
        "kernels::causal_convolution: x [T, C], weight [C, k], bias [C] and segments that end at the last token are "
        "expected");
  }
}

}  // namespace

at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const Segments& segments, bool silu) {
  check(x, weight, bias, segments);
  if (!use_fused(x)) {
    std::vector<at::Tensor> nothing(static_cast<std::size_t>(segments.count()));
    return composite::causal_convolution(x, weight, bias, segments, silu, nothing);
  }
  const auto wide = wide_dtype(x);
  const at::Tensor in = x.contiguous(), w = weight.to(wide).t().contiguous();
  const at::Tensor b = bias.defined() ? bias.to(wide).contiguous() : bias;
  if (!records(in, w) && !(b.defined() && records(b))) return forward_pass({in, w, b, segments, silu, {}});
  std::vector<at::Tensor> inputs{in, w};
  if (b.defined()) inputs.push_back(b);
  const auto of = [segments, silu](const std::vector<at::Tensor>& all) -> Inputs {
    return {all[0], all[1], all.size() == 3 ? all[2] : at::Tensor(), segments, silu, {}};
  };
  return differentiable_again(
      inputs, [of](const std::vector<at::Tensor>& all) { return forward_pass(of(all)); },
      [of](const BackwardPass& pass) {
        return backward_pass(of(pass.saved), pass.gradient.contiguous(), pass.needs(1),
                             pass.saved.size() == 3 && pass.needs(2));
      });
}

at::Tensor causal_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                              const Segments& segments, bool silu, std::vector<at::Tensor>& before) {
  check(x, weight, bias, segments);
  const at::NoGradGuard no_grad;
  if (!use_fused(x)) return composite::causal_convolution(x, weight, bias, segments, silu, before);
  const auto wide = wide_dtype(x);
  const at::Tensor in = x.contiguous();
  const at::Tensor y = forward_pass({in, weight.to(wide).t().contiguous(),
                                     bias.defined() ? bias.to(wide).contiguous() : bias, segments, silu, before});
  const std::int64_t kept = weight.size(1) - 1;
  for (std::int64_t s = 0; s < segments.count(); ++s) {
    at::Tensor& last = before[static_cast<std::size_t>(s)];
    const std::int64_t n = segments.q_length(s), fresh = std::min(n, kept);
    at::Tensor next = aten::zeros({kept, x.size(1)}, x.options());
    if (last.defined()) next.narrow(0, 0, kept - fresh).copy_(last.narrow(0, fresh, kept - fresh));
    next.narrow(0, kept - fresh, fresh).copy_(in.narrow(0, segments.q_offsets[s] + n - fresh, fresh));
    last = next;
  }
  return y;
}

}  // namespace lowrank::kernels
