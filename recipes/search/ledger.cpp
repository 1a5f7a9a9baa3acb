#include "lowrank/recipes/search/ledger.h"

#include <chrono>
#include <thread>

#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/search/sweep_trials.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;
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
  bool taken() const override { return heart_ && heart_->lost(); }
  void end(const Claim& claim, Trial trial) override {
    const bool ours = study_.end(claim.id, trial);
    heart_.reset();
    ended_ = study_.ended();
    if (!ours) throw TrialTaken();
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

Json told_of(const train::Next& next, const std::vector<Trial>& ended) {
  Json json = {{"claim", nullptr}, {"others", next.others}, {"ended", Json::array()}};
  if (next.claim)
    json["claim"] = {{"id", next.claim->id},
                     {"number", next.claim->number},
                     {"options", to_json(next.claim->options)},
                     {"again", next.claim->again}};
  for (const Trial& trial : ended) json["ended"].push_back(to_json(trial));
  return json;
}

train::Next next_from(const core::JsonView& json) {
  train::Next next;
  if (json.has_value("claim")) {
    const core::JsonView claim = json.at("claim");
    next.claim = Claim{claim.at("id").as_int(0), claim.at("number").as_int(0), options_from(claim.at("options")),
                       claim.at("again").as_bool()};
  }
  const core::JsonView others = json.at("others");
  for (std::size_t i = 0; i < others.size(); ++i) next.others.push_back(others.at(i).as_string());
  return next;
}

class LedgerOfRanks : public Ledger {
 public:
  LedgerOfRanks(train::GradSync& sync, std::unique_ptr<Ledger> own) : sync_(sync), own_(std::move(own)) {}

  train::Next next(std::int64_t count) override {
    train::Next next;
    std::string told;
    if (own_) {
      next = own_->next(count);
      told = core::json_text(told_of(next, own_->ended()));
    }
    told = from_first("next trial:", told);
    if (own_) return next;
    const Json json = core::parse_json(told, "what rank 0 says of the trials");
    const core::JsonView view(json, "what rank 0 says of the trials"), ended = view.at("ended");
    ended_.clear();
    for (std::size_t i = 0; i < ended.size(); ++i) ended_.push_back(trial_from(ended.at(i)));
    return next_from(view);
  }
  const std::vector<Trial>& ended() const override { return own_ ? own_->ended() : ended_; }
  std::vector<Trial> rivals(const Claim& claim) override { return own_ ? own_->rivals(claim) : std::vector<Trial>(); }
  void report(const Claim& claim, std::int64_t step, double loss,
              const std::vector<std::pair<std::int64_t, double>>& rungs) override {
    if (own_) own_->report(claim, step, loss, rungs);
  }
  bool taken() const override { return own_ && own_->taken(); }
  void end(const Claim& claim, Trial trial) override {
    // Before anything is written: whether the trial has ended on all.
    try {
      from_first("ended:", "");
    } catch (const Elsewhere&) {
      if (trial.state == Trial::State::kFailed) throw DataError(trial.reason);  // on this rank alone
      throw;
    }
    std::string told;
    if (own_) {
      try {
        own_->end(claim, std::move(trial));
      } catch (const TrialTaken&) {
        told = "taken";
      }
    }
    if (!from_first("written:", told).empty()) throw TrialTaken();
  }
  void give_back(const Claim& claim) override {
    if (own_) own_->give_back(claim);
  }
  bool shared() const override { return own_ && own_->shared(); }

 private:
  struct Elsewhere : InternalError {
    using InternalError::InternalError;
  };

  /// Rank 0's text. A rank that has come out of a trial by an error that others do not have is at another place than they.
  std::string from_first(const std::string& place, const std::string& text) {
    const std::vector<std::string> all = sync_.gather(place + text);
    for (std::size_t rank = 0; rank < all.size(); ++rank)
      if (!all[rank].starts_with(place))
        throw Elsewhere(sync_.name(static_cast<int>(rank)) + " is at another place of the search than " +
                        sync_.name(sync_.rank()));
    return all.front().substr(place.size());
  }

  train::GradSync& sync_;
  std::unique_ptr<Ledger> own_;  // of rank 0
  std::vector<Trial> ended_;     // of the others
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

std::unique_ptr<Ledger> ledger_of_ranks(train::GradSync& sync, std::unique_ptr<Ledger> own) {
  if (sync.ranks() == 1) return own;
  return std::make_unique<LedgerOfRanks>(sync, std::move(own));
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
