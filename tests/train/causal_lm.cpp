#include "lowrank/train/causal_lm.h"

#include "lowrank/core/error.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/train/flat_parameters.h"
#include "message.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct StepGradients {
  double loss = 0;
  std::vector<lora::NamedTensor> gradients;
};

/// Loss and gradients of step 0, divided by the count.
StepGradients first_step(const TinyOptions& options) {
  Tiny tiny(options);
  train::FlatParameters flat(tiny.objective->parameters());
  train::MicroBatches done;
  train::StepTotals totals;
  double differentiated = 0;
  for (std::int64_t m = 0; m < tiny.objective->micro_batches(0); ++m) {
    train::MicroLoss loss = tiny.objective->forward(0, m);
    differentiated += loss.loss_sum.item<double>();
    CHECK(loss.metrics.empty());
    done.differentiate(std::move(loss));
  }
  done.add_to(totals);
  CHECK(differentiated == Approx(totals.loss).epsilon(1e-6));
  flat.check_aliasing();
  const auto count = static_cast<double>(totals.count);
  StepGradients result{totals.loss / count, {}};
  for (const auto& [name, tensor] : flat.parameters()) result.gradients.push_back({name, tensor.grad() / count});
  return result;
}

train::TrainResult run(const TinyOptions& tiny_options, const fs::path& out, Recorder& recorder, bool resume = false) {
  Tiny tiny(tiny_options);
  return train::Trainer(*tiny.objective, tiny_training(), out, {}).run(recorder, resume);
}

std::string adapter_after_20_steps(const TinyOptions& options) {
  TempDir out;
  Recorder recorder;
  run(options, out.path(), recorder);
  CHECK(recorder.steps.back().loss < recorder.steps.front().loss);
  return read_text(out / "adapter_model.safetensors");
}

class NoTokenizer : public data::Tokenizer {
 public:
  std::vector<data::TokenId> encode(std::string_view, bool) const override { return {}; }
  std::string decode(std::span<const data::TokenId>, bool) const override { return ""; }
  std::optional<data::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  std::string id_to_token(data::TokenId) const override { return ""; }
  bool is_special(data::TokenId) const override { return false; }
  data::TokenId size() const override { return 97; }
};

}  // namespace

TEST_CASE("8x1 = 4x2 = 2x4 = 1x8: equal losses and gradients on rows of unequal length, dropout included", "[unit]") {
  for (const double dropout : {0.0, 0.1}) {
    TinyOptions options;
    options.dropout = dropout;
    options.batch_size = 8;
    const StepGradients whole = first_step(options);
    for (const int accum : {2, 4, 8}) {
      options.grad_accum = accum;
      options.batch_size = 8 / accum;
      const StepGradients cut = first_step(options);
      INFO("dropout " << dropout << " accumulation " << accum);
      CHECK(cut.loss == Approx(whole.loss).epsilon(1e-6));
      REQUIRE(cut.gradients.size() == whole.gradients.size());
      for (std::size_t i = 0; i < whole.gradients.size(); ++i) {
        const at::Tensor& expected = whole.gradients[i].tensor;
        INFO(whole.gradients[i].name);
        CHECK(expected.abs().max().item<double>() > 0);
        CHECK((cut.gradients[i].tensor - expected).abs().max().item<double>() <=
              1e-5 * expected.abs().max().item<double>());
      }
    }
  }
}

TEST_CASE("1, 2 and 3 threads give the same adapter to the byte after 20 steps", "[unit]") {
  const int threads = at::get_num_threads();
  std::vector<std::string> adapters;
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    adapters.push_back(adapter_after_20_steps({}));
  }
  at::set_num_threads(threads);
  CHECK((adapters[1] == adapters[0]));
  CHECK((adapters[2] == adapters[0]));
}

TEST_CASE("recomputation gives the same adapter to the byte, with dropout", "[unit]") {
  TinyOptions options;
  const std::string without = adapter_after_20_steps(options);
  options.recompute = true;
  CHECK((adapter_after_20_steps(options) == without));
}

TEST_CASE("dropout depends on the seed's place, not on luck: two runs are equal, and it does drop", "[unit]") {
  TinyOptions options;
  const std::string first = adapter_after_20_steps(options);
  CHECK((adapter_after_20_steps(options) == first));
  options.dropout = 0;
  CHECK((adapter_after_20_steps(options) != first));
}

TEST_CASE("a language model killed in the middle of an epoch resumes to the same bytes, with dropout", "[unit]") {
  TinyOptions options;
  options.steps = 14;  // 6 steps an epoch
  options.validation = true;
  TempDir whole;
  Recorder recorder;
  run(options, whole.path(), recorder);
  const auto expected = results_of(whole.path());
  check_resumes([&](const fs::path& out, Recorder& r, bool resume) { run(options, out, r, resume); }, {1, 4, 5, 8, 13},
                expected);
}

TEST_CASE("evaluation results are those of the perplexity of the sets, best first", "[unit]") {
  TinyOptions options;
  options.validation = true;
  Tiny tiny(options);
  CHECK(tiny.objective->has_validation());
  const auto results = tiny.objective->evaluate();
  REQUIRE(results.size() == 1);
  CHECK(results[0].split == "validation");
  std::int64_t counted = 0;
  for (const auto& example : tiny_data(5, 2).examples) counted += example.counted();
  CHECK(results[0].tokens == counted);
  options.validation = false;
  CHECK_FALSE(Tiny(options).objective->has_validation());
}

TEST_CASE("a step's documents are named once each, eight at most", "[unit]") {
  TinyOptions options;
  options.batch_size = 22;
  const std::string text = Tiny(options).objective->describe(0);
  INFO(text);
  CHECK(contains(text, "rows.jsonl line "));
  CHECK(contains(text, " and 3 more"));
}

TEST_CASE("every weight trains, and a checkpoint is a model folder", "[unit]") {
  TinyOptions options;
  options.full = true;
  NoTokenizer tokenizer;
  Tiny tiny(options, &tokenizer);
  TempDir out;
  Recorder recorder;
  train::TrainOptions training = tiny_training();
  training.lr = 3e-3;
  training.save_every = 20;
  train::Trainer(*tiny.objective, training, out.path(), {}).run(recorder);
  CHECK(recorder.steps.back().loss < recorder.steps.front().loss);

  // The plain twins see every weight anew at each step; the fused kernels must too.
  const kernels::RuntimeScope composite({.mode = kernels::Mode::kComposite});
  Tiny twin(options, &tokenizer);
  TempDir twin_out;
  Recorder twin_recorder;
  train::Trainer(*twin.objective, training, twin_out.path(), {}).run(twin_recorder);
  for (std::size_t i = 0; i < recorder.steps.size(); ++i) {
    CHECK(twin_recorder.steps[i].loss == Approx(recorder.steps[i].loss).epsilon(1e-4));
  }

  const auto checkpoint = train::newest_checkpoint(out.path(), nullptr);
  REQUIRE(checkpoint);
  for (const fs::path& folder : {out.path(), *checkpoint}) {
    CHECK(fs::exists(folder / "config.json"));
    const auto weights = formats::WeightFiles::open(folder);
    for (const auto& [name, tensor] : tiny.decoder->named_weights()) {
      INFO(name);
      REQUIRE(weights.find(name) != nullptr);
      CHECK(torch::equal(formats::tensor_view(*weights.find(name)), tensor));
    }
  }
  options.full = true;
  CHECK_THROWS_AS(Tiny(options, nullptr), InternalError);
}
