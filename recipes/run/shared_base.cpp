#include "lowrank/recipes/run/shared_base.h"

#include "lowrank/core/files.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

bool SharedBase::holds(const models::Resolved& resolved, const models::LoadOptions& options) const {
  return model_ && path_ == resolved.model && options_.dtype == options.dtype && options_.form == options.form &&
         options_.device == options.device && options_.adapter == options.adapter && options_.grown == nullptr && options.grown == nullptr &&
         !options_.trainable && !options.trainable;
}

models::LoadedModel& SharedBase::get(const models::Resolved& resolved, const models::LoadOptions& options,
                                     core::ProgressObserver& progress) {
  if (!holds(resolved, options)) {
    model_.reset();
    model_ = models::load(resolved.model.string(), options, &progress);
    path_ = resolved.model;
    options_ = options;
    tokenizer_ = model_->tokenizer;
    sha256_.clear();
  }
  model_->tokenizer = tokenizer_;
  return *model_;
}

const std::string& SharedBase::sha256(core::ProgressObserver* progress) {
  if (sha256_.empty()) sha256_ = model_->coded.sha256;
  if (sha256_.empty()) {
    std::vector<fs::path> files;
    for (const auto& file : model_->weights.files()) files.push_back(file->path());
    sha256_ = hash_files(files, progress);
  }
  return sha256_;
}

std::string hash_files(const std::vector<fs::path>& files, core::ProgressObserver* progress) {
  std::string all;
  if (progress != nullptr)
    progress->begin("checking the model's files", static_cast<std::int64_t>(files.size()), "files");
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (progress != nullptr) progress->advance(static_cast<std::int64_t>(i));
    all += core::sha256_file(files[i]) + "\n";
  }
  if (progress != nullptr) progress->end();
  return core::sha256(all);
}

}  // namespace lowrank::recipes
