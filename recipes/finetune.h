// One fine-tuning run, from options to result; what `finetune`, and verbs made of many such runs, do.
#pragma once

#include <optional>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/training/data_cache.h"
#include "lowrank/apps/training/training_run.h"

namespace lowrank::apps {

/// The base model that the runs of one process share, weights frozen, an adapter off it again after its run; and their
/// data.
class SharedBase {
 public:
  /// `several`: more than one run will come, so that what is read is kept.
  explicit SharedBase(bool several) : several_(several) {}
  /// Loaded when it is first asked for, when it is asked for in another way, and always anew when its weights are to be
  /// trained.
  models::LoadedModel& get(const models::Resolved& resolved, const models::LoadOptions& options,
                           core::ProgressObserver& progress);
  /// Of the weights of the model that get() gave last; computed once.
  const std::string& sha256();
  /// Null where a single run would only hold its data twice.
  DataCache* data() { return several_ ? &data_ : nullptr; }

 private:
  bool several_;
  DataCache data_;
  std::optional<models::LoadedModel> model_;
  std::filesystem::path path_;
  models::LoadOptions options_;
  std::string sha256_;
};

/// Takes an adapter off the shared base at the end of its run, however that ends.
class Detach {
 public:
  explicit Detach(lora::Adapter& adapter) : adapter_(adapter) {}
  ~Detach() { adapter_.detach(); }
  Detach(const Detach&) = delete;
  Detach& operator=(const Detach&) = delete;

 private:
  lora::Adapter& adapter_;
};

/// Runs what finetune's options ask for. `observer`: instead of the view on the console.
RunOutcome run_finetune(const Options& options, const Console& console, SharedBase& base,
                        train::TrainObserver* observer = nullptr);

}  // namespace lowrank::apps
