#include "lowrank/models/blocks/attention.h"

#include <vector>

#include "lowrank/kernels/activation.h"
#include "lowrank/kernels/ops.h"
#include "lowrank/models/blocks/attention_state.h"

namespace lowrank::models {
namespace {

struct Projected {
  at::Tensor q, k, v;  // [T, heads or kv_heads, head_dim]
  at::Tensor gate;     // as q, or undefined
};

class Attention : public Mixer {
 public:
  Attention(const AttentionSpec& spec, std::int64_t width, const Scope& layer) : spec_(spec) {
    const Scope scope = layer.inside(spec.scope);
    const std::int64_t q_width = spec.heads * spec.head_dim, kv_width = spec.kv_heads * spec.head_dim;
    const std::int64_t q_columns = spec.gate ? 2 * q_width : q_width;
    const auto input = [&](const std::string& name, std::int64_t columns) {
      return scope.linear(name, {width, columns, spec.qkv_bias, spec.transposed});
    };
    if (spec.fused.empty()) {
      q_ = input(spec.q, q_columns);
      if (!spec.shares) k_ = input(spec.k, kv_width);
      if (!spec.shares && !spec.keys_are_values) v_ = input(spec.v, kv_width);
    } else {
      fused_ = input(spec.fused, q_columns + 2 * kv_width);
    }
    o_ = scope.linear(spec.o, {q_width, width, spec.o_bias, spec.transposed, spec.o_deviation});
    q_norm_ = Norm(spec.q_norm, spec.norms_whole_width ? q_width : spec.head_dim, scope);
    if (!spec.shares) k_norm_ = Norm(spec.k_norm, spec.norms_whole_width ? kv_width : spec.head_dim, scope);
    v_norm_ = Norm(spec.v_norm, spec.head_dim, scope);
    if (spec.sinks) sinks_ = layer.parameters(spec.scope, {{"sinks", {spec.heads}}});
  }

  at::Tensor forward(const at::Tensor& x, const LayerPass& pass, MixerState* state) const override {
    Projected p = project(x, pass.dropout);
    p.q = turned(q_norm_, p.q, spec_.rotary ? &pass.rotary.queries(*spec_.rotary) : nullptr);
    at::Tensor mixed;
    if (spec_.shares) {
      const SharedKeys& shared = pass.carried->shared.at(*spec_.shares);
      mixed = state == nullptr ? kernels::attention(p.q, shared.keys, shared.values, pass.segments, options())
                               : kernels::attention(p.q, shared.all_keys, shared.all_values, pass.segments, options());
    } else {
      p.k = turned(k_norm_, p.k, spec_.rotary ? &pass.rotary.keys(*spec_.rotary) : nullptr);
      p.v = v_norm_.forward(p.v);
      SharedKeys* const stored = spec_.stores ? &pass.carried->shared.at(*spec_.stores) : nullptr;
      if (stored != nullptr) stored->keys = p.k, stored->values = p.v;
      if (state == nullptr) {
        mixed = kernels::attention(p.q, p.k, p.v, pass.segments, options());
      } else {
        const KeysAndValues all = static_cast<AttentionState*>(state)->append(p.k, p.v, pass.segments);
        mixed = kernels::attention(p.q, all.keys, all.values, pass.segments, options());
        if (stored != nullptr) stored->all_keys = all.keys, stored->all_values = all.values;
      }
    }
    const std::int64_t q_width = spec_.heads * spec_.head_dim;
    mixed = mixed.reshape({-1, q_width});
    if (p.gate.defined()) mixed = kernels::gated(p.gate.reshape({-1, q_width}), mixed, kernels::Activation::kSigmoid);
    return o_->forward(mixed, pass.dropout);
  }

  std::unique_ptr<MixerState> make_state(KvDtype dtype) const override {
    if (spec_.shares) return std::make_unique<NoState>();
    return std::make_unique<AttentionState>(dtype);
  }
  std::optional<std::size_t> stores() const override { return spec_.stores; }
  std::optional<std::size_t> shares() const override { return spec_.shares; }

  std::int64_t kept_per_token() const override {
    const std::int64_t q = spec_.heads * spec_.head_dim, k = spec_.shares ? 0 : spec_.kv_heads * spec_.head_dim;
    // Queries, keys, values and what is mixed of them, in fp32 a number a head; a gate; what goes into norms whose output
    // is not made again, since it is read in another shape.
    const bool apart = spec_.norms_whole_width || spec_.q_norm.heads > 0;
    return 2 * q + 2 * k + spec_.heads + (q_norm_ && apart ? q : 0) + (k_norm_ && apart ? k : 0) + (spec_.gate ? q : 0);
  }

 private:
  at::Tensor heads(const at::Tensor& x, std::int64_t count) const { return x.reshape({-1, count, spec_.head_dim}); }

  Projected project(const at::Tensor& x, const kernels::DropoutContext* dropout) const {
    Projected p;
    if (fused_ == nullptr && k_ != nullptr && v_ != nullptr) {
      const auto parts = lora::forward_together({q_, k_, v_}, x, dropout);
      p.q = parts[0], p.k = parts[1], p.v = parts[2];
    } else if (fused_ == nullptr) {
      p.q = q_->forward(x, dropout);
      if (k_ != nullptr) p.k = k_->forward(x, dropout);
      p.v = v_ != nullptr ? v_->forward(x, dropout) : p.k;
    } else if (spec_.fusion == AttentionSpec::Fusion::kByHead) {
      const auto parts = fused_->forward(x, dropout).view({-1, spec_.heads, 3, spec_.head_dim}).unbind(2);
      return {parts[0], parts[1], parts[2], {}};
    } else {
      const std::int64_t kv_width = spec_.kv_heads * spec_.head_dim;
      const at::Tensor all = fused_->forward(x, dropout);
      const auto parts = all.split_with_sizes({all.size(1) - 2 * kv_width, kv_width, kv_width}, 1);
      p.q = parts[0], p.k = parts[1], p.v = parts[2];
    }
    if (spec_.gate) {
      const auto parts = p.q.reshape({-1, spec_.heads, 2, spec_.head_dim}).unbind(2);
      p.q = parts[0], p.gate = parts[1];
    }
    p.q = heads(p.q, spec_.heads);
    if (p.k.defined()) p.k = heads(p.k, spec_.kv_heads), p.v = heads(p.v, spec_.kv_heads);
    return p;
  }

  // Normed and turned, in the family's order; no tables: not turned.
  at::Tensor turned(const Norm& norm, at::Tensor x, const kernels::RotaryTables* tables) const {
    if (!spec_.norms_after_rotation) x = normed(norm, x);
    if (tables != nullptr) x = kernels::rotary(x, *tables);
    return spec_.norms_after_rotation ? normed(norm, x) : x;
  }

  at::Tensor normed(const Norm& norm, const at::Tensor& x) const {
    if (!norm || !spec_.norms_whole_width) return norm.forward(x);
    return norm.forward(x.reshape({x.size(0), -1})).view_as(x);
  }

  kernels::AttentionOptions options() const {
    return {.scale = spec_.scale,
            .window = spec_.window,
            .cap = spec_.cap,
            .sinks = sinks_ == nullptr ? at::Tensor() : sinks_->current("sinks")};
  }

  AttentionSpec spec_;
  lora::LinearSlot q_, k_, v_, fused_, o_;
  Norm q_norm_, k_norm_, v_norm_;
  lora::WholeModule sinks_;
};

}  // namespace

std::unique_ptr<Mixer> AttentionSpec::build(std::int64_t width, const Scope& layer) const {
  return std::make_unique<Attention>(*this, width, layer);
}

}  // namespace lowrank::models
