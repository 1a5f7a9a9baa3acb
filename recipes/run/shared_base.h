// The base model that the runs of one process share, and their data.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/models/load.h"
#include "lowrank/recipes/run/data_cache.h"

namespace lowrank::recipes {

/// Weights are frozen, and an adapter is off them again after its run.
class SharedBase {
 public:
  /// `several`: more than one run will come, so that what is read is kept.
  explicit SharedBase(bool several) : several_(several) {}
  /// Whether get() would give the model that is there.
  bool holds(const models::Resolved& resolved, const models::LoadOptions& options) const;
  /// Loaded when it is first asked for, when it is asked for in another way, and always anew when its weights are to be
  /// trained.
  models::LoadedModel& get(const models::Resolved& resolved, const models::LoadOptions& options,
                           core::ProgressObserver& progress);
  /// The model that get() gave last.
  models::LoadedModel& model() { return *model_; }
  const models::LoadedModel& model() const { return *model_; }
  /// Of its weights; computed once.
  const std::string& sha256(core::ProgressObserver* progress = nullptr);
  bool several() const { return several_; }
  /// Null where a single run would only hold its data twice.
  DataCache* data() { return several_ ? &data_ : nullptr; }

 private:
  bool several_;
  DataCache data_;
  std::optional<models::LoadedModel> model_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;  // the model's own: a run may read by its adapter's
  std::filesystem::path path_;
  models::LoadOptions options_;
  std::string sha256_;
};

/// SHA-256 over the files' own SHA-256, in order.
std::string hash_files(const std::vector<std::filesystem::path>& files, core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::recipes
