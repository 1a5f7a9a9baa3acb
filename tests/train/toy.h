// A small objective for tests of the loop: linear regression with counter-based noise on its inputs, so that a step
// depends on (seed, step, example) alone, as dropout does. Micro-batches have unequal counts.
#pragma once

#include <torch/types.h>
#include <torch/utils.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "catch.h"
#include "lowrank/core/random.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/train/checkpoint.h"
#include "lowrank/train/trainer.h"

namespace lowrank_test {

namespace train = lowrank::train;

struct ToyOptions {
  std::int64_t steps = 12, micro = 3, width = 7, rows = 5;
  bool validation = true, noise = true, uphill = false;  // uphill: validation gets worse as training goes on
  std::int64_t nan_at = -1;                              // step from 0
  std::int64_t spike_at = -1;                            // step from 0, whose inputs are a thousand times as large
  int spikes = 1 << 20;                                  // so many times
};

class Toy : public train::Objective {
 public:
  explicit Toy(ToyOptions options = {}) : options_(options), random_(7, "toy") {
    torch::NoGradGuard no_grad;
    weight = normal({options.width, 3}, 1).mul_(0.1);
    bias = torch::zeros({3});
    weight.set_requires_grad(true);
    bias.set_requires_grad(true);
    truth_ = normal({options.width, 3}, 2);
  }

  std::vector<lowrank::lora::NamedTensor> parameters() override { return {{"weight", weight}, {"bias", bias}}; }
  std::int64_t steps() const override { return options_.steps; }
  double epoch_after(std::int64_t step) const override { return static_cast<double>(step + 1) / 5; }
  std::int64_t micro_batches(std::int64_t) const override { return options_.micro; }

  train::MicroLoss forward(std::int64_t step, std::int64_t micro) override {
    if (on_forward) on_forward(step, micro);
    const std::int64_t rows = options_.rows + micro;
    const auto place = static_cast<std::uint64_t>(100 + step * 16 + micro);
    const at::Tensor x = normal({rows, options_.width}, place);
    const at::Tensor y = x.matmul(truth_);
    at::Tensor seen = options_.noise ? x + 0.1 * normal({rows, options_.width}, place + 100000) : x;
    if (step == options_.nan_at) seen = seen / 0.0;
    if (step == options_.spike_at && options_.spikes > 0) seen = seen * 1000;
    if (step == options_.spike_at && micro + 1 == options_.micro) --options_.spikes;
    const at::Tensor losses = (seen.matmul(weight) + bias - y).square().sum(1);
    return {losses.sum(), losses.detach().to(torch::kDouble).sum().item<double>(), rows, 10 * rows};
  }
  std::string describe(std::int64_t step) const override { return "toy batch " + std::to_string(step); }

  std::vector<train::EvalResult> evaluate() override {
    ++evaluations;
    const at::Tensor x = normal({4, options_.width}, 5);
    double loss = (x.matmul(weight) + bias - x.matmul(truth_)).square().mean().item<double>();
    if (options_.uphill) loss = 1 + bias.abs().sum().item<double>();
    std::vector<train::EvalResult> results;
    if (options_.validation) results.push_back({"validation", loss, 12});
    results.push_back({"general", weight.square().mean().item<double>(), 21});
    return results;
  }
  bool has_validation() const override { return options_.validation; }

  void save(const std::filesystem::path& directory) override {
    lowrank::formats::write_safetensors(directory / "adapter_model.safetensors",
                                        {lowrank::formats::tensor_to_write("weight", weight.detach()),
                                         lowrank::formats::tensor_to_write("bias", bias.detach())});
  }

  at::Tensor weight, bias;
  std::function<void(std::int64_t step, std::int64_t micro)> on_forward;
  int evaluations = 0;

 private:
  at::Tensor normal(std::vector<std::int64_t> shape, std::uint64_t place) const {
    at::Tensor t = torch::empty(shape);
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      t.data_ptr<float>()[i] = static_cast<float>(random_.normal(place, static_cast<std::uint64_t>(i)));
    }
    return t;
  }
  ToyOptions options_;
  lowrank::core::RandomStream random_;
  at::Tensor truth_;
};

/// Keeps what the loop reports.
struct Recorder : train::TrainObserver {
  std::vector<train::StepMetrics> steps;
  std::vector<std::string> notes;
  std::vector<std::int64_t> best, evaluated;
  int checkpoints = 0;
  std::int64_t first_step = -1;
  std::function<void(std::int64_t)> after_step;
  void on_start(std::int64_t first, std::int64_t) override { first_step = first; }
  void on_step(const train::StepMetrics& m) override {
    steps.push_back(m);
    if (after_step) after_step(m.step);
  }
  void on_eval(std::int64_t step, const std::vector<train::EvalResult>&, bool is_best) override {
    evaluated.push_back(step);
    if (is_best) best.push_back(step);
  }
  void on_checkpoint(const std::filesystem::path&) override { ++checkpoints; }
  void on_note(const std::string& note) override { notes.push_back(note); }
  bool noted(const std::string& part) const {
    for (const std::string& note : notes) {
      if (note.find(part) != std::string::npos) return true;
    }
    return false;
  }
};

inline train::TrainOptions toy_training() {
  train::TrainOptions options;
  options.lr = 0.05;
  options.schedule = train::Schedule::kLinear;
  options.eval_every = 3;
  options.save_every = 2;
  return options;
}

/// metrics.jsonl without what may differ between two equal runs.
inline std::string metrics_without_times(const std::filesystem::path& run) {
  std::istringstream in(read_text(run / "metrics.jsonl"));
  std::string all;
  for (std::string line; std::getline(in, line);) {
    auto row = lowrank::core::Json::parse(line);
    row.erase("tokens_per_second");
    row.erase("peak_rss_bytes");
    all += row.dump() + "\n";
  }
  return all;
}

/// What a run leaves that must be equal to the byte: the adapter on top, the newest checkpoint, the metrics.
inline std::map<std::string, std::string> results_of(const std::filesystem::path& run) {
  std::map<std::string, std::string> files;
  files["adapter"] = read_text(run / "adapter_model.safetensors");
  files["metrics"] = metrics_without_times(run);
  const auto all = train::list_checkpoints(run);
  for (const auto& [step, folder] : all) files["kept"] += std::to_string(step) + " ";
  if (!all.empty()) {
    files["optimizer"] = read_text(all.back().second / "optimizer.safetensors");
    files["checkpoint adapter"] = read_text(all.back().second / "adapter_model.safetensors");
  }
  return files;
}

/// Names of the results that differ (their bytes would say little on a console); "" when all are equal.
inline std::string differing(const std::map<std::string, std::string>& found,
                             const std::map<std::string, std::string>& expected) {
  std::string names;
  for (const auto& [name, bytes] : expected) {
    if (found.count(name) == 0 || found.at(name) != bytes) names += name + " ";
  }
  return found.size() == expected.size() ? names : names + "(another number of results)";
}

/// Folders of tests that sync thousands of times: in memory, where there is such a file system.
inline void keep_files_in_memory() {
  if (std::getenv("TMPDIR") == nullptr && ::access("/dev/shm", W_OK) == 0) ::setenv("TMPDIR", "/dev/shm", 0);
}

}  // namespace lowrank_test
