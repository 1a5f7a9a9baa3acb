// Gradients of an objective's parameters against those of a golden file.
#pragma once

#include <filesystem>

#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/train/flat_parameters.h"
#include "toy.h"

namespace lowrank_test {

/// All that the file holds: each, divided by `count`, within 1e-4 of the largest of its tensor, which is not nothing.
inline void check_gradients(const train::FlatParameters& flat, const std::filesystem::path& golden, double count) {
  const auto file = lowrank::formats::SafetensorsFile::open(golden);
  REQUIRE(flat.parameters().size() == file->header().tensors.size());
  for (const auto& [name, tensor] : flat.parameters()) {
    INFO(name);
    const lowrank::formats::TensorInfo* info = file->find(name);
    REQUIRE(info != nullptr);
    const at::Tensor gradient = lowrank::formats::tensor_view(file, *info);
    CHECK(gradient.abs().max().item<double>() > 0);
    CHECK((tensor.grad() / count - gradient).abs().max().item<double>() <= 1e-4 * gradient.abs().max().item<double>());
  }
}

}  // namespace lowrank_test
