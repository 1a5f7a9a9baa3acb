// Who runs a recipe hears of it here: progress, notes, the facts of a run, steps and evaluations; and may stop it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/trainer.h"

namespace lowrank::recipes {

struct RunReport;

/// All methods are called from the thread that runs the recipe; stop() may be called from any other, too.
class Observer : public train::TrainObserver, public core::ProgressObserver {
 public:
  /// Everything is read and chosen; nothing is trained or written yet.
  virtual void on_opening(const RunReport&) {}
  /// Trained to its end; all files are written.
  virtual void on_closing(const RunReport&, const train::TrainResult&) {}
  void on_note(const std::string& text) override { note(text); }
  core::ProgressObserver* evaluation_progress() override { return this; }

  /// The run ends after the step that it is in, with a checkpoint: a later run with `resume` goes on from there.
  void stop(int reason = 1) { *stop_flag() = reason; }
  /// Not 0: stop. Asked for when training is about to begin.
  virtual std::atomic<int>* stop_flag() { return &stop_; }
  /// The other processes that run this recipe with the same spec (train::join of train/ranks/); null: none. Each has an
  /// observer; what is told to those after the first is for nobody's eyes.
  virtual train::GradSync* ranks() { return nullptr; }

  /// {name: value} of its own options, which stand beside the fields in run.json.
  virtual core::Json own_options() const { return core::Json::object(); }
  /// Of a run that is one of many.
  virtual std::unique_ptr<Observer> of_part();
  /// Whether report.html shows how models go on from beginnings of the data.
  virtual bool wants_samples() const { return true; }
  /// How the name of a field is written in texts that go into files ("on val-data").
  virtual std::string spelled(const std::string& field) const { return field; }

 private:
  std::atomic<int> stop_{0};
};

/// One run of many: heard of by nobody, but stopped with the others.
class QuietObserver : public Observer {
 public:
  explicit QuietObserver(Observer& others) : others_(others) {}
  std::atomic<int>* stop_flag() override { return others_.stop_flag(); }
  train::GradSync* ranks() override { return others_.ranks(); }
  std::string spelled(const std::string& field) const override { return others_.spelled(field); }

 private:
  Observer& others_;
};

inline std::unique_ptr<Observer> Observer::of_part() { return std::make_unique<QuietObserver>(*this); }

}  // namespace lowrank::recipes
