#include "lowrank/recipes/run/shared_base.h"

#include "lowrank/core/files.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

models::LoadedModel& SharedBase::get(const models::Resolved& resolved, const models::LoadOptions& options,
                                     core::ProgressObserver& progress) {
  const bool same =
      model_ && path_ == resolved.model && options_.dtype == options.dtype && !options_.trainable && !options.trainable;
  if (!same) {
    model_.reset();
    model_ = models::load(resolved.model.string(), options, &progress);
    path_ = resolved.model;
    options_ = options;
    sha256_.clear();
  }
  return *model_;
}

const std::string& SharedBase::sha256() {
  if (sha256_.empty()) {
    std::vector<fs::path> files;
    for (const auto& file : model_->weights.files()) files.push_back(file->path());
    sha256_ = hash_files(files);
  }
  return sha256_;
}

std::string hash_files(const std::vector<fs::path>& files) {
  std::string all;
  for (const fs::path& file : files) all += core::sha256_file(file) + "\n";
  return core::sha256(all);
}

}  // namespace lowrank::recipes
