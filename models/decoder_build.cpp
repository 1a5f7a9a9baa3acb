// Making a decoder from its weights, and listing what it is made of.
#include <ATen/core/Tensor.h>

#include <string>

#include "lowrank/kernels/aten.h"
#include "lowrank/models/decoder_parts.h"

namespace lowrank::models {

DecoderImpl::DecoderImpl(DecoderConfig config, WeightSource& weights)
    : module_(lora::holder_module("Decoder")),
      config_(std::move(config)),
      dtype_(weights.dtype()),
      parts_(std::make_unique<Parts>()) {
  const DecoderSpec& spec = *config_.blocks;
  const std::int64_t width = config_.hidden_size;
  Parts& parts = *parts_;
  parts.modules.resize(spec.layers.size() + 3);
  const auto scope = [&](std::size_t part, const std::string& prefix) {
    return Scope(weights, parts.modules[part], module_, prefix);
  };
  const std::size_t layers = spec.layers.size();
  const Scope beginning = scope(0, spec.prefix);
  const at::Tensor table = beginning.take(spec.embedding.name + ".weight", {config_.vocab_size, width});
  for (std::size_t i = 0; i < layers; ++i) {
    parts.layers.emplace_back(spec.layers[i], width,
                              scope(i + 1, spec.prefix + spec.layer_scope + "." + std::to_string(i) + "."));
  }
  parts.norm = Norm(spec.final_norm, width, scope(layers + 1, spec.prefix));
  parts.head = std::make_unique<Head>(spec.head, width, config_.vocab_size, config_.tied ? table : at::Tensor(),
                                      scope(layers + 2, ""));
  parts.embedding = std::make_unique<Embedding>(spec.embedding, table, beginning);
}

DecoderImpl::~DecoderImpl() = default;

at::Device DecoderImpl::device() const { return parts_->embedding->slot()->base().device(); }

lora::SlotTable DecoderImpl::slot_table() const {
  lora::SlotTable table;
  table.embedding = parts_->embedding->slot();
  table.others.push_back(table.embedding->path());
  for (const Modules& part : parts_->modules) {
    table.slots.insert(table.slots.end(), part.slots.begin(), part.slots.end());
    table.whole.insert(table.whole.end(), part.whole.begin(), part.whole.end());
    for (const lora::WholeModule& module : part.whole) table.others.push_back(module->path());
  }
  table.head = parts_->head->slot()->path();
  table.layers = static_cast<std::int64_t>(parts_->layers.size());
  table.base_name = base_name;
  return table;
}

std::vector<lora::NamedTensor> DecoderImpl::named_weights() const {
  std::vector<lora::NamedTensor> all;
  const auto add = [&](const lora::WholeModule& module) {
    for (const lora::NamedTensor& own : module->base()) all.push_back({module->path() + "." + own.name, own.tensor});
  };
  add(parts_->embedding->slot()->whole());
  for (const Modules& part : parts_->modules) {
    for (const lora::LinearSlot& slot : part.slots) {
      if (!config_.tied || slot != parts_->head->slot()) add(slot->whole());
    }
    for (const lora::WholeModule& module : part.whole) add(module);
  }
  return all;
}

std::int64_t DecoderImpl::kept_per_token() const {
  std::int64_t values = 0;
  for (const Layer& layer : parts_->layers) values += layer.kept_per_token();
  return values;
}

void DecoderImpl::rebind() {
  for (const Modules& part : parts_->modules) {
    for (lora::LinearSlot slot : part.slots) slot->rebind();
  }
}

namespace {

// Weights that take no memory, counted.
class Shapes : public WeightSource {
 public:
  at::Tensor take(const std::string&, const std::vector<std::int64_t>& shape, const Initial&) override {
    const at::Tensor tensor = kernels::aten::zeros({}, at::kFloat).expand(shape);
    elements_ += tensor.numel();
    return tensor;
  }
  std::int64_t elements() const { return elements_; }

 private:
  std::int64_t elements_ = 0;
};

}  // namespace

std::int64_t DecoderConfig::parameter_count() const {
  Shapes shapes;
  const DecoderImpl sketch(*this, shapes);
  return shapes.elements();
}

std::int64_t DecoderConfig::kept_per_token() const {
  Shapes shapes;
  return DecoderImpl(*this, shapes).kept_per_token();
}

}  // namespace lowrank::models
