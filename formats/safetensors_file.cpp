#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors.h"

namespace lowrank::formats {

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const fs::path& file) {
  auto opened = std::make_shared<SafetensorsFile>();
  opened->map_ = core::MappedFile::open(file);
  opened->header_ = parse_safetensors(opened->map_->bytes(), file.string());
  const auto& tensors = opened->header_.tensors;
  for (std::size_t i = 0; i < tensors.size(); ++i) opened->index_.emplace(tensors[i].name, i);
  return opened;
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &header_.tensors[found->second];
}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& info) const {
  return map_->bytes().subspan(header_.data_start + info.begin, info.end - info.begin);
}

}  // namespace lowrank::formats
