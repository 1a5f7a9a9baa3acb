#include "lowrank/recipes/search/ledger.h"

#include <chrono>
#include <thread>

#include "lowrank/core/files.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using train::Claim;
using train::Trial;

constexpr double kSilence = 60;
constexpr int kTries = 600;  // a tenth of a second each

class ListOfTrials : public Ledger {
 public:
  ListOfTrials(std::vector<Trial> ended, Draw draw) : ended_(std::move(ended)), draw_(std::move(draw)) {}
  train::Next next(std::int64_t count) override {
    train::Next next;
    const auto number = static_cast<std::int64_t>(ended_.size());
    if (number >= count) return next;
    if (auto options = draw_(number, ended_)) next.claim = Claim{number, number, std::move(*options), false};
    return next;
  }
  const std::vector<Trial>& ended() const override { return ended_; }
  std::vector<Trial> rivals(const Claim&) override { return ended_; }
  void end(const Claim&, Trial trial) override { ended_.push_back(std::move(trial)); }

 private:
  std::vector<Trial> ended_;
  Draw draw_;
};

class SharedStudy : public Ledger {
 public:
  SharedStudy(train::StudyOptions options, const train::SearchSpace& space, const core::Json& identity,
              train::Study::Choose choose, std::function<fs::path(std::int64_t)> folder)
      : study_(std::move(options), space, identity), choose_(std::move(choose)), folder_(std::move(folder)) {
    ended_ = study_.ended();
  }
  train::Next next(std::int64_t count) override {
    heart_.reset();
    train::Next next =
        study_.next(count, choose_, [&](std::int64_t number) { return core::in_use(folder_(number)); });
    ended_ = study_.ended();
    if (next.claim) heart_ = std::make_unique<train::Heartbeat>(study_.options(), next.claim->id);
    return next;
  }
  const std::vector<Trial>& ended() const override { return ended_; }
  std::vector<Trial> rivals(const Claim& claim) override { return study_.others(claim.id); }
  void report(const Claim& claim, std::int64_t step, double loss,
              const std::vector<std::pair<std::int64_t, double>>& rungs) override {
    study_.report(claim.id, step, loss);
    if (!rungs.empty()) study_.reached(claim.id, rungs);
  }
  void check() const override {
    if (heart_ && heart_->lost()) throw TrialTaken("the trial was given to another process");
  }
  void end(const Claim& claim, Trial trial) override {
    const bool ours = study_.end(claim.id, trial);
    heart_.reset();
    ended_ = study_.ended();
    if (!ours) throw TrialTaken("the trial was given to another process");
  }
  void give_back(const Claim& claim) override {
    heart_.reset();
    study_.give_back(claim.id);
  }
  bool shared() const override { return true; }

 private:
  train::Study study_;
  train::Study::Choose choose_;
  std::function<fs::path(std::int64_t)> folder_;
  std::unique_ptr<train::Heartbeat> heart_;
  std::vector<Trial> ended_;
};

}  // namespace

std::unique_ptr<Ledger> list_of_trials(std::vector<Trial> ended, Draw draw) {
  return std::make_unique<ListOfTrials>(std::move(ended), std::move(draw));
}

std::unique_ptr<Ledger> shared_study(const StudySpec& spec, const fs::path& out, const train::SearchSpace& space,
                                     const core::Json& identity, train::Study::Choose choose,
                                     std::function<fs::path(std::int64_t)> folder) {
  train::StudyOptions options;
  options.file = train::study_file(*spec.storage);
  const fs::path named = out.has_filename() ? out : out.parent_path();  // "out/" is "out"
  options.name = spec.study_name.value_or(named.filename().string());
  options.silence = spec.trial_timeout.value_or(kSilence);
  return std::make_unique<SharedStudy>(std::move(options), space, identity, std::move(choose), std::move(folder));
}

void write_together(const fs::path& out, const std::function<void()>& write) {
  for (int tried = 1;; ++tried) {
    try {
      const core::DirectoryLock lock(out);
      write();
      return;
    } catch (const core::InUseError&) {
      if (tried == kTries) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

}  // namespace lowrank::recipes
