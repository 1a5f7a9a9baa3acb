// A model's linear slots without a model: the paths and shapes of the tiny Llama that the goldens were made with.
#pragma once

#include <ATen/ATen.h>
#include <torch/nn/modules/linear.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/adapter.h"

namespace lora_test {

using namespace lowrank;

inline lora::LinearSlot linear_slot(const std::string& path, const at::Tensor& weight, const at::Tensor& bias = {}) {
  return std::make_shared<lora::LinearSlotImpl>(path, kernels::BaseWeight::dense(weight, bias));
}

/// W [out, in], of a dense weight where it lies.
inline at::Tensor weight_of(const kernels::BaseWeight& base) { return base.rows(0, base.out_features(), base.dtype()); }
inline at::Tensor weight_of(const lora::LinearSlot& slot) { return weight_of(slot->base()); }

/// Random weights at std 0.2; 3 layers, hidden 16, 2 of 4 heads for k and v, 24 in the MLP, vocabulary 32.
inline lora::SlotTable tiny_llama(at::ScalarType dtype = at::kFloat, std::int64_t layers = 3) {
  torch::manual_seed(7);
  lora::SlotTable table;
  const auto add = [&](const std::string& path, std::int64_t out, std::int64_t in) {
    table.slots.push_back(linear_slot(path, (torch::randn({out, in}) * 0.2).to(dtype)));
  };
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "self_attn.q_proj", 16, 16);
    add(layer + "self_attn.k_proj", 8, 16);
    add(layer + "self_attn.v_proj", 8, 16);
    add(layer + "self_attn.o_proj", 16, 16);
    add(layer + "mlp.gate_proj", 24, 16);
    add(layer + "mlp.up_proj", 24, 16);
    add(layer + "mlp.down_proj", 16, 24);
    table.others.push_back(layer + "input_layernorm");
    table.others.push_back(layer + "post_attention_layernorm");
  }
  add("lm_head", 32, 16);
  table.others.insert(table.others.end(), {"model.embed_tokens", "model.norm"});
  table.embedding = std::make_shared<lora::EmbeddingSlotImpl>(
      "model.embed_tokens", kernels::BaseWeight::dense((torch::randn({32, 16}) * 0.2).to(dtype)));
  for (const std::string& norm : table.others)
    if (norm != table.embedding->path())
      table.whole.push_back(std::make_shared<lora::WholeModuleImpl>(
          norm, std::vector<lora::NamedTensor>{{"weight", (1 + torch::randn({16}) * 0.1).to(dtype)}}));
  table.head = "lm_head";
  table.layers = layers;
  table.base_name = "tiny/llama";
  return table;
}

inline std::vector<std::string> paths(const std::vector<lora::LinearSlot>& slots) {
  std::vector<std::string> result;
  for (const auto& slot : slots) result.push_back(slot->path());
  return result;
}

inline lora::LinearSlot slot_named(const lora::SlotTable& table, const std::string& path) {
  for (const auto& slot : table.slots)
    if (slot->path() == path) return slot;
  throw std::runtime_error("no slot " + path);
}

/// Makes B random, so that the adapter does something.
inline void randomise(const lora::Adapter& adapter) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(11);
  for (const auto& slot : adapter.slots()) at::Tensor(slot->lora().b).normal_(0, 0.5);
}

/// The message of the lowrank::Error that f throws; fails the test when it throws none, or of another kind.
template <typename F>
std::string message_of(ErrorKind kind, F f) {
  try {
    f();
  } catch (const Error& error) {
    CHECK(static_cast<int>(error.kind()) == static_cast<int>(kind));
    return error.what();
  }
  FAIL("nothing was thrown");
  return "";
}

/// All that it trains moves.
inline void shake(const lora::Adapter& adapter) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(19);
  for (const auto& parameter : adapter.parameters())
    at::Tensor(parameter.tensor).add_(torch::randn_like(parameter.tensor) * 0.3);
}

/// The adapter's file again, with its tensors as `change` leaves them.
template <typename Change>
void rewrite(const std::filesystem::path& adapter, Change change) {
  std::map<std::string, at::Tensor> tensors;
  {
    const auto file = formats::SafetensorsFile::open(adapter / "adapter_model.safetensors");
    for (const auto& info : file->header().tensors) tensors[info.name] = formats::tensor_view(file, info).clone();
  }
  change(tensors);
  std::vector<formats::TensorToWrite> out;
  for (const auto& [name, tensor] : tensors) out.push_back(formats::tensor_to_write(name, tensor));
  formats::write_safetensors(adapter / "adapter_model.safetensors", std::move(out));
}

inline bool contains(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) UNSCOPED_INFO("'" << part << "' is not in: " << text);
  return found;
}

inline bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.scalar_type() == y.scalar_type() && x.sizes() == y.sizes() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

/// The largest difference, in shares of the largest of b.
inline double far(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  const at::Tensor x = a.to(at::kDouble), y = b.to(at::kDouble);
  return (x - y).abs().max().item<double>() / std::max(1e-6, y.abs().max().item<double>());
}

inline std::filesystem::path golden_adapter(const std::string& name) {
  return lowrank_test::golden_dir() / "lora" / ("adapter-" + name);
}

inline nlohmann::ordered_json golden(const std::string& name) {
  return nlohmann::ordered_json::parse(lowrank_test::read_text(lowrank_test::golden_dir() / "lora" / name));
}

}  // namespace lora_test
