#include "lowrank/recipes/run/regularisation.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "lowrank/core/error.h"
#include "lowrank/core/number.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/eval/forgetting.h"
#include "lowrank/lora/delta_scale.h"
#include "lowrank/lora/update_norms.h"
#include "lowrank/models/sequence_classifier.h"

namespace lowrank::recipes {

namespace {

using core::Json;
constexpr std::size_t kShown = 3;  // layers named on screen
constexpr double kSeen = 0.5;      // epochs: of less, the training data that would be measured was for the most part never learned

const train::EvalResult* find(const std::vector<train::EvalResult>& results, const std::string& split) {
  const auto it = std::find_if(results.begin(), results.end(), [&](const auto& r) { return r.split == split; });
  return it == results.end() ? nullptr : &*it;
}

double percent_change(double nats) { return 100 * std::expm1(nats); }

Json to_json(const eval::ScalePoint& point) {
  return {{"scale", point.scale},
          {"general_loss", point.general_nll},
          {"general_change", point.general.mean},
          {"general_change_upper", point.general.upper},
          {"validation_loss", point.domain_nll ? Json(*point.domain_nll) : Json(nullptr)},
          {"within", point.within}};
}

}  // namespace

double router_aux_loss(double asked, const models::DecoderImpl& decoder, const Fields& fields) {
  if (asked != 0 && decoder.slot_table().routers.empty())
    fields.fail("router-aux-loss",
                fmt::format("is for mixtures of experts whose routers transformers balances, and this model ({}) is none",
                            decoder.config().model_type));
  return asked;
}

std::optional<double> max_forgetting(const RegularisationSpec& spec, const DataSpec& data, const AdapterSpec& adapter,
                                     const Fields& fields) {
  if (!spec.max_forgetting) return std::nullopt;
  const std::string& text = *spec.max_forgetting;
  const bool percent = text.ends_with('%');
  double value = 0;
  const char* end = text.data() + text.size() - (percent ? 1 : 0);
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (percent) value /= 100;
  if (error != std::errc() || stop != end || !(value > 0) || value > (percent ? 100 : 1)) {
    fields.fail("max-forgetting",
                "expected a rise of perplexity such as 5%, or as a share below 1 such as 0.05, found '" +
                    core::printable(text) + "'");
  }
  if (!data.has_general()) {
    fields.fail("max-forgetting", "is measured on general text; give `general-data` too");
  }
  if (adapter.method == "full") {
    fields.fail("max-forgetting", "scales the update of an adapter, and `method` full has none; leave it out");
  }
  return value;
}

void check_update_fields(const Fields& fields, const lora::Adapter& adapter) {
  const lora::LoraConfig& config = adapter.config();
  // A score head begins anew: it is no copy of what the base knows, and penalties are as good for it as for A and B.
  const auto copy = std::find_if(adapter.whole().begin(), adapter.whole().end(), [](const auto& module) {
    return module->path() != models::SequenceClassifier::kScore;
  });
  const bool rows = !adapter.token_rows().empty(), copies = copy != adapter.whole().end() || rows;
  const auto refuse = [&](std::initializer_list<const char*> names, const std::string& why) {
    for (const char* name : names) {
      if (fields.given(name)) fields.fail(name, why + "; leave it out");
    }
  };
  const char* const form = config.use_dora        ? "DoRA's magnitudes"
                           : config.splits_base() ? "PiSSA's and OLoRA's beginning"
                                                  : nullptr;
  const auto on_factors = {"delta-l1", "delta-l2", "orthogonality", "max-delta-norm"};
  if (form != nullptr)
    refuse(on_factors, fmt::format("is computed from A and B alone, which {} make a part of the update only", form));
  if (config.use_dora)
    refuse({"max-forgetting"},
           "scales the update, and with DoRA's magnitudes a scaled one is no adapter of the same form");
  if (copies || adapter.adapts_embedding()) {
    refuse(on_factors, fmt::format("acts on A and B of linear layers, and {} is trained beside them",
                                   copies && !rows ? (*copy)->path() : adapter.embedding()->path()));
  }
  if (copies) {
    const std::string what = rows ? fmt::format("the rows of {} that are trained (`add-tokens`, trainable_token_indices)",
                                                adapter.token_rows().front().path)
                                  : "the trained copy of " + (*copy)->path();
    refuse({"max-forgetting"}, "scales the update of low rank, and not " + what);
    refuse({"l1", "l2"}, fmt::format("is a penalty on A and B, and would pull {} to zero", what));
  }
}

void report_overfitting(RunReport& report, const train::TrainResult& result, train::CausalLm& objective,
                        const lora::Adapter* adapter) {
  const bool seen = result.steps > 0 && objective.epoch_after(result.steps - 1) >= kSeen;
  if (const train::EvalResult* validation = find(result.after, "validation"); validation != nullptr && seen) {
    const train::EvalResult train = objective.evaluate_train(validation->tokens);
    const double gap = validation->loss - train.loss;
    report.findings["gap"] = {{"train_loss", train.loss},
                              {"train_tokens", train.tokens},
                              {"validation_loss", validation->loss},
                              {"nats", gap}};
    report.findings_text +=
        fmt::format("training data {:.4f}, validation {:.4f} nats a token with this result: a gap of {}\n",
                    train.loss, validation->loss, core::format_change(gap, 4));
  }
  if (adapter == nullptr) return;
  std::vector<lora::UpdateNorm> norms = lora::update_norms(*adapter);
  Json layers = Json::object();
  for (const lora::UpdateNorm& norm : norms) {
    layers[norm.path] = {{"delta_norm", norm.delta}, {"base_norm", norm.base}, {"ratio", norm.ratio()}};
  }
  report.findings["update"] = {{"layers", layers}};
  std::stable_sort(norms.begin(), norms.end(), [](const auto& a, const auto& b) { return a.ratio() > b.ratio(); });
  std::string largest;
  for (std::size_t i = 0; i < std::min(kShown, norms.size()); ++i) {
    largest += fmt::format("{}{} {:.3g}", i > 0 ? ", " : "", norms[i].path, norms[i].ratio());
  }
  const double median = norms[norms.size() / 2].ratio();
  report.findings["update"]["median_ratio"] = median;
  report.findings_text +=
      fmt::format("|ΔW|/|W|: largest at {}; median of {} {:.3g}\n", largest, core::counted(static_cast<std::int64_t>(norms.size()), "layer"), median);
}

void bound_forgetting(RunReport& report, train::TrainResult& result, train::CausalLm& objective,
                      models::DecoderImpl& decoder, lora::Adapter& adapter, const data::Dataset& choosing, double bound,
                      const std::filesystem::path& out, core::ProgressObserver& progress, train::GradSync& sync) {
  const eval::ForgettingSearch search =
      eval::search_scale(decoder, adapter, choosing, objective.validation(), bound, &progress);
  Json points = Json::array();
  for (const eval::ScalePoint& point : search.points) points.push_back(to_json(point));
  if (search.scale == 0) {
    throw ConfigError(
        fmt::format("`max-forgetting`: no scale of the update down to 1/512 keeps the perplexity of general text "
                    "within {:g} % of the base's; the trained adapter is in {} as it was: allow more, train more "
                    "gently, or give more `general-data`",
                    100 * bound, out.string()));
  }
  const std::vector<train::EvalResult> unscaled = result.after;
  lora::fold_scale(adapter, search.scale);
  train::together(sync, [&] {
    if (sync.rank() == 0) objective.save(out);
  });
  const std::vector<train::EvalResult> whole_sets = objective.evaluate_whole();
  result.after = whole_sets.empty() ? objective.evaluate() : whole_sets;

  const train::EvalResult *before = find(result.before, "general"), *after = find(result.after, "general"),
                          *full = find(unscaled, "general");
  const double change = after->loss - before->loss;
  report.findings["forgetting"] = {{"bound", bound},
                                   {"scale", search.scale},
                                   {"change", std::expm1(change)},
                                   {"change_unscaled", std::expm1(full->loss - before->loss)},
                                   {"held", change <= std::log1p(bound)},
                                   {"choosing", {{"base_loss", search.base_nll}, {"points", points}}}};
  std::string text = fmt::format(
      "forgetting: ΔW scaled by {:.4g}, so that general perplexity changes by {} % ({} % unscaled; "
      "bound {:g} %), measured on text that took no part in the choice\n",
      search.scale, core::format_change(percent_change(change), 2),
      core::format_change(percent_change(full->loss - before->loss), 2), 100 * bound);
  const train::EvalResult *start = find(result.before, "validation"), *now = find(result.after, "validation"),
                          *whole = find(unscaled, "validation");
  if (now != nullptr && whole->loss < start->loss) {
    const double kept = (start->loss - now->loss) / (start->loss - whole->loss);
    report.findings["forgetting"]["gain_kept"] = kept;
    text += fmt::format("            {:.0f} % of the gain on validation is kept\n", 100 * kept);
  }
  report.findings_text += text;
}

}  // namespace lowrank::recipes
