#include "lowrank/recipes/run/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lowrank/core/number.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/eval/bootstrap.h"

namespace lowrank::recipes {

namespace {

constexpr std::size_t kFewUnits = 20;  // fewer carry no interval
constexpr double kOverfitted = 0.02;   // nats that the end lies above the best
constexpr double kForgot = 0.05;       // rise of general perplexity that is worth a remedy
constexpr double kReplaced = 3;        // |ΔW|/|W| beyond which little is left of what the base knew
constexpr double kFarBelow = 10;       // times below the usual rate: too low to learn, not too high
constexpr std::uint64_t kSeed = 20'260'101;

const train::EvalResult* find(const std::vector<train::EvalResult>& results, const std::string& split) {
  const auto it = std::find_if(results.begin(), results.end(), [&](const auto& r) { return r.split == split; });
  return it == results.end() ? nullptr : &*it;
}

/// Means of the first and the last tenth of a curve.
std::pair<double, double> ends_of(const eval::Curve& curve) {
  const std::size_t part = std::max<std::size_t>(1, curve.points.size() / 10);
  double first = 0, last = 0;
  for (std::size_t i = 0; i < part; ++i) {
    first += curve.points[i].second / static_cast<double>(part);
    last += curve.points[curve.points.size() - 1 - i].second / static_cast<double>(part);
  }
  return {first, last};
}

std::string times(double ratio) {
  return ratio < 10 ? fmt::format("{:.1f}", ratio) : core::format_count(std::llround(ratio));
}

struct Writer {
  const VerdictFacts& facts;
  const train::TrainResult& result;
  const Curves& curves;
  Verdict verdict = {};
  bool starts_best = false;  // every step was worse than the start
  bool in_noise = false;

  /// " (-0.12 to -0.08 with 95 % confidence, 41 texts)".
  std::string certainty(const Verdict::Change& change) const {
    if (change.has_interval)
      return fmt::format(" ({}, with 95 % confidence {} to {})", core::format_change(shown(change.after - change.before), 4),
                         core::format_change(shown(rewarded() ? change.high : change.low), 4),
                         core::format_change(shown(rewarded() ? change.low : change.high), 4));
    return fmt::format(" ({}; on {} too little to say how certain that is)",
                       core::format_change(shown(change.after - change.before), 4), counted(change.units));
  }
  std::string counted(std::size_t units) const {
    const char* const what = facts.unit == "token" ? "piece" : facts.unit.c_str();
    return units == 0 ? "this set it is" : fmt::format("{} {}{} it is", units, what, units == 1 ? "" : "s");
  }
  /// The figure of an evaluation is the reward, its loss the negative of it.
  bool rewarded() const { return !curves.reward.points.empty(); }
  double shown(double loss) const { return rewarded() ? -loss : loss; }
  const char* measure() const { return rewarded() ? "reward less KL" : "loss"; }
  std::string loss(double value) const {
    if (rewarded()) return fmt::format("{:.4f}", shown(value));
    return facts.of_tokens ? fmt::format("{:.4f} (perplexity {:.2f})", value, std::exp(value))
                                 : fmt::format("{:.4f}", value);
  }

  void learned(const train::EvalResult& before, const train::EvalResult& after) {
    const Verdict::Change change = change_between(before, after);
    if (result.top_is_best && result.best_step == 0) {
      starts_best = true;
      const eval::Curve* const all = curves.evaluation(before.split);
      const double end = all != nullptr && !all->points.empty() ? all->points.back().second : change.after;
      verdict.learned_text = fmt::format(
          "nothing: every step was worse than the start on {} data ({:.4f} at the start, {:.4f} at the end), so "
          "the result is the start itself",
          before.split, shown(change.before), shown(end));
      return;
    }
    const std::string figures =
        fmt::format("{} on {} data {} at the start, {} now{}", measure(), before.split, loss(change.before),
                    loss(change.after), certainty(change));
    if (!(change.after < change.before)) {
      starts_best = true;
      verdict.learned_text = "nothing: " + figures;
    } else if (change.has_interval && change.high >= 0) {
      in_noise = true;
      verdict.learned_text = "nothing that can be told from chance: " + figures;
    } else {
      verdict.learned = true;
      verdict.learned_text = figures;
    }
  }

  void learned_by_training() {
    if (curves.loss.points.empty()) {
      verdict.learned_text = "nothing: there was no step";
      return;
    }
    const auto [first, last] = ends_of(rewarded() ? curves.reward : curves.loss);
    const bool better = rewarded() ? last > first : last < first, replaced = facts.update > kReplaced;
    verdict.learned = better && !replaced;
    starts_best = !verdict.learned;
    const std::string figures =
        fmt::format("{} {:.4f} at the beginning, {:.4f} at the end", rewarded() ? "reward less KL" : "training loss", first, last);
    verdict.learned_text = (verdict.learned ? "" : "nothing: ") + figures;
    if (replaced) {
      verdict.learned_text = fmt::format(
          "nothing worth keeping: the update is {} times the weights, so that what the base knew is gone ({}, without "
          "validation data)",
          times(facts.update), figures);
    } else if (verdict.learned) {
      verdict.learned_text += "; whether it holds for other data is not known without validation data";
    }
  }

  void forgotten() {
    const train::EvalResult *before = find(result.before, "general"), *after = find(result.after, "general");
    if (before == nullptr || after == nullptr) {
      verdict.forgotten_text = "not measured";
      if (facts.fields->contains("general-data"))
        verdict.forgotten_text += ": give `general-data`";
      else if (facts.generates && facts.has_adapter)
        verdict.forgotten_text += fmt::format(": `lowrank evaluate {} --compare result={} --data general=FILE` does",
                                              core::shell_quoted(base()), core::shell_quoted(facts.out));
      return;
    }
    const Verdict::Change change = change_between(*before, *after);
    const auto percent = [](double nats) { return 100 * std::expm1(nats); };
    std::string range;
    if (change.has_interval)
      range = fmt::format(", with 95 % confidence {} to {} %", core::format_change(percent(change.low)),
                          core::format_change(percent(change.high)));
    verdict.forgotten_text = fmt::format("perplexity of general data {:.2f} at the start, {:.2f} now ({} %{})",
                                         std::exp(change.before), std::exp(change.after),
                                         core::format_change(percent(change.after - change.before)), range);
    if (change.after - change.before > std::log1p(kForgot) && facts.fields->contains("max-forgetting") &&
        !facts.fields->given("max-forgetting"))
      verdict.forgotten_text += "; `max-forgetting` 5% bounds that";
  }

  const std::string& base() const { return facts.base.empty() ? facts.model : facts.base; }

  std::string again(std::map<std::string, core::Json> with) const {
    with["overwrite"] = true;
    for (const char* of_this_run : {"resume", "force"}) with[of_this_run] = nullptr;
    return facts.fields->command(facts.verb, {facts.model}, with);
  }

  void next() {
    if (!verdict.learned) {
      if (starts_best) {
        if (!(facts.lr > 0) && facts.lr_auto) {
          verdict.next_text = fmt::format("a learning rate of {:g} learns nothing: `{}`", facts.lr, again({{"lr", "auto"}}));
          return;
        }
        if (!(facts.lr > 0)) {
          verdict.next_text = fmt::format("a learning rate of {:g} learns nothing: give another `lr`", facts.lr);
          return;
        }
        if (facts.lr * kFarBelow < facts.usual_lr) {
          const double usual = core::read_double(fmt::format("{:.0e}", facts.usual_lr));
          verdict.next_text = fmt::format("not worth keeping; the learning rate is far below what is usual for such a model (about {:g}): `{}`",
                                          usual, again({{"lr", usual}}));
          return;
        }
        const double calmer = facts.lr > 1e-3 ? 1e-3 : core::read_double(fmt::format("{:g}", facts.lr / 10));  // not 2.0000000000000003e-06
        verdict.next_text =
            fmt::format("not worth keeping; a learning rate of {:g} or less may learn: `{}`", calmer,
                        again({{"lr", calmer}}));
      } else if (in_noise) {
        const bool by_steps = facts.fields->given("max-steps");
        const double more = by_steps ? 4.0 * static_cast<double>(result.steps)
                                     : 3 * facts.fields->get("epochs").get<double>();
        verdict.next_text = fmt::format("train longer, or at a higher rate, or measure on more data: `{}`",
                                        by_steps ? again({{"max-steps", static_cast<std::int64_t>(more)}})
                                                 : again({{"epochs", more}}));
      } else {
        verdict.next_text = "give data to learn from";
      }
      return;
    }
    std::string caution;
    if (const eval::Curve* const all = curves.evaluation("validation"); all != nullptr && result.best_loss) {
      const double end = all->points.back().second;
      if (end > *result.best_loss + kOverfitted)
        caution = fmt::format("the end was overfitted (validation {:.4f} at step {}, {:.4f} at the end), {}; ",
                              *result.best_loss, result.best_step, end,
                              result.top_is_best ? "and the best is what was kept" : "and the last is what was kept");
    }
    if (facts.update > kReplaced)
      caution += fmt::format("the update is {} times the weights: a lower rate may well learn more; ", times(facts.update));
    const std::string out = core::shell_quoted(facts.out), model = core::shell_quoted(base());
    if (!facts.has_adapter) {
      verdict.next_text = caution + (facts.generates ? fmt::format("try it: `lowrank generate {} --prompt \"...\"`", out)
                                                     : fmt::format("use it: `lowrank evaluate {} --data ...`", out));
    } else if (facts.generates) {
      verdict.next_text = fmt::format(
          "{}try it: `lowrank generate {} --adapter {} --prompt \"...\"`; keep it: `lowrank merge {} --adapter {} --out {}`",
          caution, model, out, model, out, core::shell_quoted(facts.out + "-merged"));
    } else if (facts.verb == "align reward") {
      verdict.next_text = fmt::format("{}use it: `lowrank align ppo {} --reward adapter:{} --data ... --out ...`", caution, model, out);
    } else {
      verdict.next_text = fmt::format("{}measure it: `lowrank evaluate {} --adapter {} --task {} --data ...`", caution, model, out,
                                      facts.fields->contains("task") ? facts.fields->get("task").get<std::string>() : "classification");
    }
  }
};

}  // namespace

std::vector<std::pair<std::string, std::string>> Verdict::rows() const {
  return {{"learned", learned_text}, {"forgotten", forgotten_text}, {"next", next_text}};
}

Verdict::Change change_between(const train::EvalResult& before, const train::EvalResult& after) {
  Verdict::Change change{before.loss, after.loss, std::max(before.units.size(), after.units.size())};
  if (before.units.size() != after.units.size() || before.units.size() < kFewUnits) return change;
  std::vector<eval::Statistics> pairs;
  for (std::size_t i = 0; i < before.units.size(); ++i) {
    const train::UnitLoss &was = before.units[i], &is = after.units[i];
    pairs.push_back({was.loss, static_cast<double>(was.weight), is.loss, static_cast<double>(is.weight)});
  }
  const eval::Score difference = [](const eval::Statistics& sums) {
    return (sums[3] > 0 ? sums[2] / sums[3] : 0) - (sums[1] > 0 ? sums[0] / sums[1] : 0);
  };
  const eval::Interval interval = eval::percentile_interval(
      eval::resampled_scores({pairs}, difference, eval::counted_draw(kSeed, static_cast<std::uint32_t>(pairs.size())))
          .front());
  change.has_interval = true;
  change.low = interval.low;
  change.high = interval.high;
  return change;
}

Verdict verdict_of(const VerdictFacts& facts, const train::TrainResult& result, const Curves& curves) {
  Writer writer{facts, result, curves};
  // The set that the best is chosen by stands first.
  const bool held_out = result.best_loss && !result.before.empty();
  const train::EvalResult* const after = held_out ? find(result.after, result.before.front().split) : nullptr;
  if (after != nullptr) {
    writer.learned(result.before.front(), *after);
  } else {
    writer.learned_by_training();
  }
  writer.forgotten();
  writer.next();
  return writer.verdict;
}

}  // namespace lowrank::recipes
