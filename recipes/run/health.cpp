#include "lowrank/recipes/run/health.h"

#include <ATen/Parallel.h>

#include "lowrank/core/error.h"
#include "lowrank/train/schedule.h"

namespace lowrank::recipes {

namespace {

constexpr std::size_t kLookedAt = 4000;  // examples of a set: well under a second

}  // namespace

void check_health(TrainingRun& run, const data::Dataset& train,
                  const std::vector<std::pair<std::string, data::Dataset>>& others, const data::Tokenizer& tokenizer,
                  const models::DecoderConfig& config, const TrainSpec& training, data::Learns learns,
                  bool usual_rate, bool full) {
  tell_health(run, examine_data(run, train, others, tokenizer, config, learns), config, training, usual_rate, full);
}

std::vector<data::Finding> examine_data(const TrainingRun& run, const data::Dataset& train,
                                        const std::vector<std::pair<std::string, data::Dataset>>& others,
                                        const data::Tokenizer& tokenizer, const models::DecoderConfig& config,
                                        data::Learns learns) {
  data::Patient patient{&train, {}, &tokenizer, run.layout(), config.eos_token_ids};
  for (const auto& [name, set] : others) patient.others.emplace_back(name, &set);
  if (run.start) {
    for (const data::TokenId id : models::adapter_end_ids(*run.start)) patient.end_ids.push_back(id);
    patient.invocation = lora::read_adapter_config(*run.start).alora_invocation_tokens;
  }
  // The end of a turn is added to what is saved, and that is said where it is.
  patient.end_ids.insert(patient.end_ids.end(), run.turn_ends.begin(), run.turn_ends.end());
  patient.learns = learns;
  patient.at_most = kLookedAt;
  patient.threads = at::get_num_threads();
  return data::examine_data(patient);
}

void tell_health(TrainingRun& run, std::vector<data::Finding> found, const models::DecoderConfig& config,
                 const TrainSpec& training, bool usual_rate, bool full) {
  data::Patient patient;
  patient.steps = run.planned_steps;
  if (training.warmup >= 1) patient.warmup = train::warmup_steps(training.warmup, patient.steps);
  patient.full = full;
  patient.parameters = config.parameter_count();
  if (usual_rate && run.fields.given("lr") && !training.lr.automatic) patient.lr = training.lr.value_or(0);

  core::Json all = core::Json::array();
  std::string fatal;
  for (const data::Finding& finding : data::with_schedule(std::move(found), patient)) {
    const std::string text = run.spelled(finding.text);
    all.push_back({{"check", finding.check}, {"text", text}});
    if (!finding.fatal || finding.check == "leakage" || run.spec.force) {
      run.observer.warning(text);
    } else {
      fatal += (fatal.empty() ? "" : "; ") + finding.text;
    }
  }
  if (!fatal.empty()) throw DataError(fatal + " (`lowrank doctor` shows more; `force` trains all the same)");
  if (!all.empty()) run.report.findings["doctor"] = std::move(all);
}

}  // namespace lowrank::recipes
