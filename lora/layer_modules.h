// What a layer and a model show of themselves as LibTorch's modules, under a header without LibTorch's module headers,
// which cost every file that includes them 15 s of compilation.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

namespace torch::nn {
class Module;
}

namespace lowrank::lora {

using ModulePtr = std::shared_ptr<torch::nn::Module>;

/// A module that only holds others.
ModulePtr holder_module(const std::string& name);

/// A torch::nn::Linear whose parameters are weight [out, in] and bias [out] (undefined: none) themselves.
ModulePtr linear_module(const at::Tensor& weight, const at::Tensor& bias);

/// One factor of an adapter as a module, so that its tensor's name ends in ".weight" as PEFT's does.
ModulePtr factor_module(const at::Tensor& weight);

/// A child of `parent` by this name, until it is removed.
void add_module(const ModulePtr& parent, const std::string& name, const ModulePtr& child);
void remove_module(const ModulePtr& parent, const std::string& name);

}  // namespace lowrank::lora
