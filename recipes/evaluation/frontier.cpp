#include "lowrank/apps/evaluation/frontier.h"

#include <fmt/format.h>

#include <cmath>

#include "lowrank/eval/perplexity.h"
#include "lowrank/lora/delta_scale.h"

namespace lowrank::apps {

namespace {

constexpr int kSteps = 8;

}  // namespace

core::Json frontier(const std::vector<FrontierSet>& sets, Opened& opened, std::int64_t batch_tokens,
                    const Console& console) {
  core::Json points = core::Json::array();
  std::vector<std::vector<std::string>> rows;
  {
    lora::DeltaScale scale(*opened.adapter);
    ConsoleProgress progress(console);
    progress.begin("scaling the update", kSteps - 1, "scales");
    for (int k = 0; k <= kSteps; ++k) {
      const double t = static_cast<double>(k) / kSteps;
      scale.set(t);
      core::Json found = core::Json::object();
      std::vector<std::string> row = {fmt::format("{:.3f}", t)};
      for (const FrontierSet& set : sets) {
        const double nll = k == 0        ? set.base_nll
                           : k == kSteps ? set.adapter_nll
                                         : eval::perplexity(opened.decoder(), *set.data, batch_tokens).nll;
        found[set.name] = {{"nll", nll}, {"perplexity", std::exp(nll)}};
        row.push_back(fmt::format("{:.2f}", std::exp(nll)));
        row.push_back(fmt::format("{:+.1f} %", 100 * std::expm1(nll - set.base_nll)));
      }
      points.push_back({{"scale", t}, {"sets", found}});
      rows.push_back(std::move(row));
      progress.advance(k);
    }
    progress.end();
  }
  std::vector<std::string> header = {"scale of ΔW"};
  for (const FrontierSet& set : sets) header.insert(header.end(), {set.name, "change"});
  console.line();
  if (!console.silent()) print_out(table(header, rows));
  console.line("perplexity at each scale; --max-forgetting of `lowrank finetune` chooses one by such a bound");
  return points;
}

}  // namespace lowrank::apps
