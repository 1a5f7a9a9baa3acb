// Making a decoder from its weights, and listing what it is made of.
#include <ATen/core/Tensor.h>

#include <set>
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
  const std::int64_t columns = embedding_width(config_);
  const kernels::BaseWeight table = beginning.table(spec.embedding.name + ".weight", config_.vocab_size, columns);
  for (std::size_t i = 0; i < layers; ++i) {
    parts.layers.emplace_back(spec.layers[i], width,
                              scope(i + 1, spec.prefix + spec.layer_scope + "." + std::to_string(i) + "."));
  }
  const Scope end = scope(layers + 1, spec.prefix);
  parts.norm = Norm(spec.final_norm, width, end);
  if (!spec.final_projection.empty()) parts.projection = end.linear(spec.final_projection, {width, columns});
  parts.head = std::make_unique<Head>(spec.head, state_width(config_), config_.vocab_size,
                                      config_.tied ? table : kernels::BaseWeight(), scope(layers + 2, ""));
  parts.embedding = std::make_unique<Embedding>(spec.embedding, table, width, beginning);
}

DecoderImpl::~DecoderImpl() = default;

at::Device DecoderImpl::device() const { return parts_->embedding->slot()->base().device(); }

lora::SlotTable DecoderImpl::slot_table() const {
  lora::SlotTable table;
  table.embedding = parts_->embedding->slot();
  table.others.push_back(table.embedding->path());
  for (const Modules& part : parts_->modules) {
    table.slots.insert(table.slots.end(), part.slots.begin(), part.slots.end());
    table.routers.insert(table.routers.end(), part.routers.begin(), part.routers.end());
    table.experts.insert(table.experts.end(), part.experts.begin(), part.experts.end());
    table.whole.insert(table.whole.end(), part.whole.begin(), part.whole.end());
    for (const lora::WholeModule& module : part.whole) table.others.push_back(module->path());
    table.kept_from_all_linear.insert(table.kept_from_all_linear.end(), part.kept_from_all_linear.begin(),
                                      part.kept_from_all_linear.end());
  }
  std::set<std::string> holders;  // modules of tensors beside, and what holds those: PEFT matches all of them
  for (std::string name : beside)
    for (std::size_t dot; (dot = name.rfind('.')) != std::string::npos;) holders.insert(name = name.substr(0, dot));
  table.others.insert(table.others.end(), holders.begin(), holders.end());
  table.beside = beside;
  table.head = parts_->head->slot()->path();
  const DecoderSpec& spec = *config_.blocks;
  table.own_spelling = spec.own_spelling, table.older_spelling = spec.older_spelling;
  table.converts_expert_targets = spec.converts_expert_targets;
  for (const lora::LinearSlot& router : table.routers) table.others.push_back(router->path());
  for (const lora::ExpertsSlot& experts : table.experts) table.others.push_back(experts->base().owner);
  table.tied = config_.tied;
  table.file_rows = file_rows;
  table.activations = activations_;
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
    for (const lora::LinearSlot& slot : part.routers) add(slot->whole());
    for (const lora::ExpertsSlot& slot : part.experts) {
      all.insert(all.end(), slot->base().own.begin(), slot->base().own.end());
    }
    for (const lora::WholeModule& module : part.whole) add(module);
  }
  return all;
}

std::vector<std::int64_t> DecoderImpl::kept_by_layer() const {
  std::vector<std::int64_t> values(parts_->layers.size(), 0);
  for (std::size_t i = first_trained_layer(); i < values.size(); ++i) {
    values[i] = parts_->layers[i].kept_per_token();
    for (const lora::LinearSlot& slot : parts_->modules[i + 1].slots) values[i] += slot->kept_per_token();
  }
  return values;
}

void DecoderImpl::rebind() {
  for (const Modules& part : parts_->modules) {
    for (lora::LinearSlot slot : part.slots) slot->rebind();
    for (lora::LinearSlot slot : part.routers) slot->rebind();
    for (lora::ExpertsSlot slot : part.experts) slot->unmerge();
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

std::int64_t embedding_width(const DecoderConfig& config) {
  const std::int64_t own = config.blocks->embedding.width;
  return own != 0 ? own : config.hidden_size;
}

std::int64_t state_width(const DecoderConfig& config) {
  return config.blocks->final_projection.empty() ? config.hidden_size : embedding_width(config);
}

std::int64_t DecoderConfig::parameter_count() const {
  Shapes shapes;
  const DecoderImpl sketch(*this, shapes);
  return shapes.elements();
}

std::int64_t DecoderConfig::active_parameter_count() const {
  std::int64_t count = parameter_count();
  for (const LayerSpec& layer : blocks->layers) count -= layer.mlp->idle_parameters(hidden_size);
  return count;
}

}  // namespace lowrank::models
