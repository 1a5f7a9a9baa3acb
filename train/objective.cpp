#include "lowrank/train/objective.h"

#include <numeric>
#include <utility>

#include "lowrank/kernels/host.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/train/grad_sync.h"

namespace lowrank::train {

namespace {
constexpr std::size_t kKeptUnits = 4096;  // 100 kB of a checkpoint
}

core::Json to_json(const std::vector<EvalResult>& results) {
  core::Json json = core::Json::array();
  for (const EvalResult& r : results) {
    json.push_back({{"split", r.split}, {"loss", r.loss}, {"tokens", r.tokens}});
    if (!r.metrics.empty()) json.back()["metrics"] = r.metrics;
    if (r.units.empty() || r.units.size() > kKeptUnits) continue;
    core::Json& units = json.back()["units"] = core::Json::array();
    for (const UnitLoss& unit : r.units) units.push_back({unit.loss, unit.weight});
  }
  return json;
}

std::vector<EvalResult> evaluation_from_json(const core::Json& json) {
  std::vector<EvalResult> results;
  const core::JsonView view(json, "trainer_state.json: evaluation");
  for (std::size_t i = 0; i < view.size(); ++i) {
    const core::JsonView one = view.at(i);
    results.push_back({one.at("split").as_string(), one.at("loss").as_double(), one.at("tokens").as_int(0)});
    if (one.has("units")) {
      const core::JsonView units = one.at("units");
      for (std::size_t k = 0; k < units.size(); ++k)
        results.back().units.push_back({units.at(k).at(0).as_double(), units.at(k).at(1).as_int(0)});
    }
    if (!one.has("metrics")) continue;
    const core::JsonView metrics = one.at("metrics");
    for (const std::string& name : metrics.keys()) results.back().metrics[name] = metrics.at(name).as_double();
  }
  return results;
}

void MicroBatches::differentiate(MicroLoss loss) {
  if (loss.count > 0) loss.loss_sum.backward();
  loss.loss_sum.reset();  // with all that the layers kept
  done_.push_back(std::move(loss));
}

void MicroBatches::add_to(StepTotals& totals) const {
  for (const MicroLoss& one : done_) {
    double value = one.value;
    if (one.unread.defined()) {
      const std::vector<float> losses = kernels::to_host<float>(one.unread);
      value = std::accumulate(losses.begin(), losses.end(), value);
    }
    totals.loss += value;
    totals.count += one.count;
    totals.tokens += one.tokens;
    for (const auto& [name, sum] : one.metrics) totals.metrics[name] += sum;
  }
}

std::vector<Penalised> Objective::penalised() {
  std::vector<Penalised> factors, all;
  for (const lora::NamedTensor& parameter : parameters()) {
    all.push_back({parameter.tensor});
    const auto name = lora::parse_peft_name(parameter.name);
    if (name && name->part != lora::LoraPart::kMagnitude) factors.push_back({parameter.tensor});
  }
  return factors.empty() ? all : factors;
}

}  // namespace lowrank::train
