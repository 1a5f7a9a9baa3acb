#include "lowrank/lora/export_mlx.h"

#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/mlx_names.h"

namespace lowrank::lora {

namespace {

/// "self_attn.q_proj" of "model.layers.3.self_attn.q_proj"; paths outside layers as they are.
std::string key_in_layer(const std::string& path) {
  for (std::size_t at = path.find('.'); at != std::string::npos; at = path.find('.', at + 1)) {
    const std::size_t next = path.find('.', at + 1);
    if (next == std::string::npos) break;
    if (std::all_of(path.begin() + static_cast<std::ptrdiff_t>(at) + 1, path.begin() + static_cast<std::ptrdiff_t>(next),
                    [](char c) { return c >= '0' && c <= '9'; }))
      return path.substr(next + 1);
  }
  return path;
}

/// Columns of zeros up to `rank`.
at::Tensor filled(const at::Tensor& matrix, std::int64_t rank, std::int64_t axis) {
  if (matrix.size(axis) == rank) return matrix.contiguous();
  std::vector<std::int64_t> sizes = matrix.sizes().vec();
  sizes[static_cast<std::size_t>(axis)] = rank;
  at::Tensor wide = at::zeros(sizes, matrix.options());
  wide.narrow(axis, 0, matrix.size(axis)).copy_(matrix);
  return wide;
}

}  // namespace

void export_mlx(const Adapter& adapter, at::ScalarType type, std::int64_t layers, const std::string& model,
                const std::filesystem::path& out) {
  if (!adapter.whole().empty())
    throw ModelError(fmt::format("an mlx-lm adapter cannot hold a trained copy of {}: merge the adapter into the model "
                                 "instead",
                                 adapter.whole().front()->path()));
  if (!adapter.experts().empty())
    throw ModelError(fmt::format("adapters on experts ({}) are not written for mlx-lm, which keeps them in another form: "
                                 "merge the adapter into the model instead",
                                 adapter.experts().front()->path()));
  struct Part {
    std::string path;
    at::Tensor a, b, m;  // a [in, r], b [r, out]
    double scale = 1;
  };
  std::vector<Part> parts;
  std::set<std::string> keys;
  std::int64_t rank = 0;
  const auto add = [&](const std::string& own_path, const LoraMatrices& lora) {
    const std::string path = mlx_name(own_path);
    parts.push_back({path, lora.a.detach().t(), lora.b.detach().t(), lora.magnitude, lora.scale});
    keys.insert(key_in_layer(path));
    rank = std::max(rank, lora.r);
  };
  if (adapter.adapts_embedding() && adapter.config().use_dora)
    throw ModelError(fmt::format("mlx-lm has DoRA's magnitude of an embedding by its rows, and {} has it by columns: merge the "
                                 "adapter into the model instead",
                                 adapter.embedding()->path()));
  if (adapter.adapts_embedding()) add(adapter.embedding()->path(), adapter.embedding()->lora(adapter.name()));
  for (const LinearSlot& slot : adapter.slots()) add(slot->path(), plain(adapter.at(slot)));

  const double scale = parts.front().scale;
  std::vector<formats::TensorToWrite> tensors;
  const auto write = [&](const std::string& name, const at::Tensor& values) {
    const at::Tensor stored = values.to(type);
    if (!stored.isfinite().all().item<bool>())
      throw ModelError(fmt::format("{} is not finite in this type: export in float32", name));
    tensors.push_back(formats::tensor_to_write(name, stored));
  };
  for (const Part& part : parts) {
    write(part.path + ".lora_a", filled(part.a, rank, 1));
    const at::Tensor b = filled(part.b, rank, 0);
    write(part.path + ".lora_b", part.scale == scale ? b : b.mul(part.scale / scale));
    if (part.m.defined()) write(part.path + ".m", part.m.detach());
  }
  core::Json config = {{"model", model},
                       {"fine_tune_type", adapter.config().use_dora ? "dora" : "lora"},
                       {"num_layers", layers},
                       {"lora_parameters",
                        {{"rank", rank}, {"scale", scale}, {"dropout", adapter.config().lora_dropout}, {"keys", keys}}}};
  core::StagedDirectory folder(out);
  formats::write_safetensors(folder.path() / "adapters.safetensors", std::move(tensors));
  core::write_file(folder.path() / "adapter_config.json", core::json_text(config, 4) + "\n");
  folder.commit();
}

}  // namespace lowrank::lora
