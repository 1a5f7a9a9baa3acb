#include "lowrank/lora/lora_conv.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <numeric>
#include <ostream>
#include <variant>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/layer_modules.h"

namespace lowrank::lora {
namespace {

const char* mode_name(const torch::nn::detail::conv_padding_mode_t& mode) {
  if (std::holds_alternative<torch::enumtype::kReflect>(mode)) return "reflect";
  if (std::holds_alternative<torch::enumtype::kReplicate>(mode)) return "replicate";
  if (std::holds_alternative<torch::enumtype::kCircular>(mode)) return "circular";
  return "constant";
}

template <std::size_t D>
kernels::ConvShape shape_of(const torch::nn::detail::ConvNdOptions<D>& options) {
  kernels::ConvShape shape;
  shape.stride.assign(options.stride()->begin(), options.stride()->end());
  shape.dilation.assign(options.dilation()->begin(), options.dilation()->end());
  shape.padding.assign(2 * D, 0);
  shape.padding_mode = mode_name(options.padding_mode());
  shape.groups = options.groups();
  const auto* numbers = std::get_if<torch::ExpandingArray<D>>(&options.padding());
  const bool same = std::holds_alternative<torch::enumtype::kSame>(options.padding());
  for (std::size_t i = 0; i < D; ++i) {  // dimension i of the kernel is pair D - 1 - i of the padding
    std::int64_t before = 0, after = 0;
    if (numbers != nullptr) before = after = (**numbers)[i];
    if (same) {
      const std::int64_t total = shape.dilation[i] * ((*options.kernel_size())[i] - 1);
      before = total / 2;
      after = total - before;
    }
    shape.padding[2 * (D - 1 - i)] = before;
    shape.padding[2 * (D - 1 - i) + 1] = after;
  }
  return shape;
}

}  // namespace

LoraConvImpl::LoraConvImpl(const char* name, const std::shared_ptr<torch::nn::Module>& base, ConvSlot slot,
                           const LoraConvOptions& options)
    : torch::nn::Module(name), slot_(std::move(slot)), seed_(options.seed) {
  LoraConfig config;
  config.r = options.r;
  config.lora_alpha = options.alpha;
  config.lora_dropout = options.dropout;
  config.use_rslora = options.rslora;
  config.validate_new();
  LoraMatrices matrices = new_conv_matrices(options.name.empty() ? name : options.name, slot_->weight(),
                                            slot_->shape().groups, options.r, "default", options.seed);
  matrices.scale = config.scale_for(options.name);
  matrices.dropout = options.dropout;
  for (at::Tensor& parameter : base->parameters()) parameter.set_requires_grad(false);
  register_module("base_layer", base);
  register_module("lora_A", factor_module(matrices.a));
  register_module("lora_B", factor_module(matrices.b));
  slot_->attach(std::move(matrices));
}

at::Tensor LoraConvImpl::forward(const at::Tensor& x) {
  if (is_training() && at::GradMode::is_enabled() && slot_->enabled() && slot_->merged())
    throw ConfigError(
        fmt::format("a merged {} cannot be trained: call unmerge(), or eval() to use it as it is", this->name()));
  if (!is_training() || slot_->lora().dropout == 0) return slot_->forward(x);
  std::vector<std::int64_t> places(x.dim() == slot_->weight().dim() ? static_cast<std::size_t>(x.size(0)) : 1);
  std::iota(places.begin(), places.end(), std::int64_t{0});
  const kernels::DropoutContext dropout{seed_, calls_++, places.data()};
  return slot_->forward(x, &dropout);
}

void LoraConvImpl::pretty_print(std::ostream& stream) const {
  const LoraMatrices& lora = slot_->lora();
  stream << fmt::format("lowrank::lora::{}(in_channels={}, out_channels={}, groups={}, r={}, scale={}, dropout={})",
                        name(), slot_->in_channels(), slot_->out_channels(), slot_->shape().groups, lora.r, lora.scale,
                        lora.dropout);
}

LoraConv1dImpl::LoraConv1dImpl(torch::nn::Conv1d base, const LoraConvOptions& options)
    : LoraConvImpl("LoraConv1d", base.ptr(),
                   std::make_shared<ConvSlotImpl>(options.name, base->weight, base->bias, shape_of<1>(base->options)),
                   options) {}

LoraConv2dImpl::LoraConv2dImpl(torch::nn::Conv2d base, const LoraConvOptions& options)
    : LoraConvImpl("LoraConv2d", base.ptr(),
                   std::make_shared<ConvSlotImpl>(options.name, base->weight, base->bias, shape_of<2>(base->options)),
                   options) {}

}  // namespace lowrank::lora
