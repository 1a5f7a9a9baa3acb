#include "lowrank/train/spikes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::train {

namespace {

constexpr std::size_t kWindow = 128, kFewest = 20;
constexpr double kDeviations = 6, kLeastDeviation = 0.01;  // of the mean

std::string fault_of(const char* name, double value, const std::vector<double>& before) {
  if (!std::isfinite(value)) return fmt::format("{} is {}", name, value);
  if (before.size() < kFewest) return "";
  double mean = 0, square = 0;
  for (const double one : before) mean += one;
  mean /= static_cast<double>(before.size());
  for (const double one : before) square += (one - mean) * (one - mean);
  const double deviation = std::max(std::sqrt(square / static_cast<double>(before.size())), kLeastDeviation * std::abs(mean));
  if (value <= mean + kDeviations * deviation) return "";
  return fmt::format("{} is {:.4g}, {:.0f} deviations above the {:.4g} of the {} steps before", name, value,
                     (value - mean) / deviation, mean, before.size());
}

void keep(std::vector<double>& window, double value) {
  window.push_back(value);
  if (window.size() > kWindow) window.erase(window.begin());
}

const std::vector<std::string>& names() {
  static const std::vector<std::string> all = {"ignore", "stop", "skip", "rollback"};
  return all;
}

}  // namespace

OnSpike parse_on_spike(const std::string& name) {
  for (std::size_t i = 0; i < names().size(); ++i) {
    if (names()[i] == name) return static_cast<OnSpike>(i);
  }
  throw ConfigError("`on-spike` '" + name + "' is unknown; there are stop, skip and rollback" + core::did_you_mean(name, names()));
}

std::string on_spike_name(OnSpike what) { return names()[static_cast<std::size_t>(what)]; }

std::string SpikeWatch::fault(double loss, double norm) const {
  if (what_ == OnSpike::kIgnore) return "";
  const std::string of_loss = fault_of("the loss", loss, losses_);
  return of_loss.empty() ? fault_of("the gradient's norm", norm, norms_) : of_loss;
}

void SpikeWatch::took(double loss, double norm) {
  if (what_ == OnSpike::kIgnore) return;
  keep(losses_, loss);
  keep(norms_, norm);
  in_a_row_ = 0;
}

void SpikeWatch::left_out(std::int64_t step, const std::string& fault, const char* done) {
  ++in_a_row_;
  if (what_ == OnSpike::kRollback) ++rollbacks_;
  events_.push_back({{"step", step}, {"what", fault}, {"done", done}});
}

void SpikeWatch::back_to(const core::JsonView& then) {
  SpikeWatch at(what_);
  if (then.is_object()) at.restore(then);
  losses_ = std::move(at.losses_);
  norms_ = std::move(at.norms_);
  rate_ /= 2;
}

core::Json SpikeWatch::to_json() const {
  return {{"losses", losses_}, {"norms", norms_},         {"rate", rate_},
          {"in_a_row", in_a_row_}, {"rollbacks", rollbacks_}, {"events", events_}};
}

void SpikeWatch::restore(const core::JsonView& state) {
  const auto numbers = [&](const char* name) {
    std::vector<double> values;
    const core::JsonView list = state.at(name);
    for (std::size_t i = 0; i < list.size(); ++i) values.push_back(list.at(i).as_double());
    return values;
  };
  losses_ = numbers("losses");
  norms_ = numbers("norms");
  rate_ = state.at("rate").as_double();
  in_a_row_ = state.at("in_a_row").as_int(0);
  rollbacks_ = state.at("rollbacks").as_int(0);
  events_ = state.at("events").raw();
  if (!events_.is_array()) state.at("events").fail("expected a list");
}

}  // namespace lowrank::train
