// How the matrices of experts lie in a model's files.
#include <utility>

#include "lowrank/kernels/mxfp4.h"
#include "lowrank/models/blocks/scope.h"

namespace lowrank::models {

lora::ExpertsSlot Scope::experts(const std::string& name, const ExpertsShape& shape) const {
  lora::ExpertsBase base;
  base.owner = prefix_ + name, base.parameter = shape.parameter, base.parts = shape.parts;
  const std::string one = base.owner + "." + shape.parameter;
  const std::int64_t count = shape.experts;
  const auto stored = [&](const std::string& tensor) { return weights_.stored_name(tensor); };
  const auto give = [&](const std::string& tensor, const std::vector<std::int64_t>& sizes, const Initial& initial) {
    return base.own.emplace_back(lora::NamedTensor{tensor, weights_.take(tensor, sizes, initial)}).tensor;
  };
  const Initial normal = {Initial::Kind::kNormal};

  std::vector<std::vector<at::Tensor>> parts;
  at::Tensor all;
  std::vector<std::vector<std::shared_ptr<const kernels::BaseStorage>>> storages;  // by expert and part
  if (weights_.holds(one + "_blocks")) {
    const std::vector<std::int64_t> groups = {count, shape.out, shape.in / 32};
    const at::Tensor blocks = weights_.take_bytes(one + "_blocks", {count, shape.out, shape.in / 32, 16});
    const at::Tensor scales = weights_.take_bytes(one + "_scales", groups);
    base.packed = true;
    for (std::int64_t e = 0; e < count; ++e) {
      storages.push_back({kernels::mxfp4_storage(blocks.select(0, e), scales.select(0, e))});
      base.stored.push_back({{stored(one + "_blocks"), e, false, shape.out}});
    }
  } else if (shape.parts.empty() || weights_.holds(one)) {
    for (std::int64_t e = 0; e < count; ++e) {
      const auto coded = frozen({one, e, shape.transposed, shape.out, shape.in, count});
      if (coded != nullptr) storages.push_back({coded});
    }
    if (storages.empty())
      all = give(
          one, shape.transposed ? std::vector{count, shape.in, shape.out} : std::vector{count, shape.out, shape.in},
          normal);
    for (std::int64_t e = 0; e < count; ++e) base.stored.push_back({{stored(one), e, shape.transposed, shape.out}});
  } else {
    const std::int64_t rows = shape.out / static_cast<std::int64_t>(shape.parts.size());
    for (std::int64_t e = 0; e < count; ++e) {
      auto& own = parts.emplace_back();
      auto& places = base.stored.emplace_back();
      for (const std::string& part : shape.parts) {
        const std::string tensor = base.owner + "." + std::to_string(e) + "." + part + ".weight";
        if (const auto coded = frozen({tensor, -1, false, rows, shape.in})) {
          storages.resize(static_cast<std::size_t>(e) + 1);
          storages.back().push_back(coded);
        } else {
          own.push_back(give(tensor, {rows, shape.in}, normal));
        }
        places.push_back({stored(tensor), -1, false, rows});
      }
    }
  }
  at::Tensor bias;
  if (shape.bias) {
    bias = give(one + "_bias", {count, shape.out}, {Initial::Kind::kZeros});
    if (bias.scalar_type() != dtype()) bias = bias.to(dtype());
  }
  base.weight = !storages.empty() ? kernels::ExpertsWeight::of_storages(storages, bias)
                : all.defined()   ? kernels::ExpertsWeight::stacked(all, shape.transposed, bias)
                                  : kernels::ExpertsWeight::of_parts(std::move(parts), bias);
  auto slot = std::make_shared<lora::ExpertsSlotImpl>(std::move(base));
  add_tree(slot->path(), slot->module());
  return modules_.experts.emplace_back(std::move(slot));
}

}  // namespace lowrank::models
