#include "lowrank/eval/perplexity.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/models/load.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

// Documents of a golden's loss curve as examples.
data::Dataset golden_documents(const std::string& name) {
  const core::Json curve = core::read_json(golden_dir() / "models" / name / "loss_curve.json");
  data::Dataset dataset;
  for (const core::Json& ids : curve["documents"]) {
    data::Example example;
    example.ids = ids.get<std::vector<data::TokenId>>();
    example.learned.assign(example.ids.size(), 1);
    example.document = static_cast<std::uint32_t>(dataset.documents.size());
    dataset.documents.push_back({"document " + std::to_string(dataset.documents.size())});
    dataset.examples.push_back(std::move(example));
  }
  return dataset;
}

models::Decoder golden_decoder(const std::string& name) {
  const fs::path folder = golden_dir() / "models" / name;
  return models::load_decoder(models::read_config(folder), formats::WeightFiles::open(folder), at::kFloat);
}

// The first `n` characters of UTF-8 text.
std::string first_characters(const std::string& text, std::size_t n) {
  std::size_t end = 0, count = 0;
  for (; end < text.size(); ++end) {
    if ((static_cast<unsigned char>(text[end]) & 0xC0) != 0x80 && count++ == n) break;
  }
  return text.substr(0, end);
}

std::string normalised(const fs::path& file) {
  std::string raw = read_text(file), text;
  if (raw.starts_with("\xEF\xBB\xBF")) raw.erase(0, 3);
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\r') text += raw[i];
    if (raw[i] == '\r' && (i + 1 == raw.size() || raw[i + 1] != '\n')) text += '\n';
  }
  return text;
}

}  // namespace

TEST_CASE("perplexity does not depend on how examples are batched or on the threads", "[unit]") {
  models::Decoder decoder = golden_decoder("mistral");
  const data::Dataset dataset = golden_documents("mistral");
  const eval::Perplexity one = eval::perplexity(*decoder, dataset, 1, true);
  const eval::Perplexity all = eval::perplexity(*decoder, dataset, 100000, true);
  CHECK(one.tokens == 147);
  CHECK(all.tokens == one.tokens);
  CHECK(one.per_token.size() == 147);
  CHECK(all.nll == Approx(one.nll).epsilon(1e-6));
  CHECK(one.perplexity() == Approx(std::exp(one.nll)));
  double sum = 0;
  for (const double loss : one.per_token) sum += loss;
  CHECK(sum / 147 == one.nll);
  CHECK(eval::perplexity(*decoder, dataset, 1).per_token.empty());

  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const eval::Perplexity single = eval::perplexity(*decoder, dataset, 100000, true);
  at::set_num_threads(3);
  const eval::Perplexity three = eval::perplexity(*decoder, dataset, 100000, true);
  at::set_num_threads(threads);
  CHECK(single.per_token == three.per_token);
}

TEST_CASE("only learned tokens count, and nothing to count is an error", "[unit]") {
  models::Decoder decoder = golden_decoder("llama");
  data::Dataset dataset = golden_documents("llama");
  dataset.examples.resize(1);
  const eval::Perplexity full = eval::perplexity(*decoder, dataset, 2048, true);
  for (std::size_t i = 0; i < 10; ++i) dataset.examples.own()[0].learned[i] = 0;
  const eval::Perplexity half = eval::perplexity(*decoder, dataset, 2048, true);
  REQUIRE(half.tokens == full.tokens - 9);
  for (std::size_t i = 0; i < half.per_token.size(); ++i) {
    CHECK(half.per_token[i] == Approx(full.per_token[i + 9]).epsilon(1e-6));
  }
  auto& learned = dataset.examples.own()[0].learned;
  std::fill(learned.begin(), learned.end(), std::uint8_t{0});
  CHECK_THROWS_AS(eval::perplexity(*decoder, dataset), DataError);
}

TEST_CASE("stories260K on Pater: the mean NLL is transformers'", "[parity]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const core::Json golden = core::read_json(golden_dir() / "eval" / "pater.json");
  const std::string text = first_characters(
      normalised(*assets() / "corpora" / "art-history" / "pater-renaissance.pg2398.txt"), golden["characters"]);
  struct Run {
    std::string model;
    models::DTypeChoice dtype;
    double bound;  // relative
  };
  for (const Run& run : {Run{"stories260K-hf", models::DTypeChoice::kFloat32, 1e-5},
                         Run{"stories260K-hf-bf16", models::DTypeChoice::kBFloat16, 2e-3}}) {
    INFO(run.model);
    models::LoadedModel model = models::load((*assets() / "models" / run.model).string(), {.dtype = run.dtype});
    const data::Dataset dataset = data::from_texts({text}, *model.tokenizer, {.seq_len = golden["seq_len"]});
    const eval::Perplexity found = eval::perplexity(*model.decoder, dataset);
    CHECK(dataset.report.tokens == golden[run.model]["tokens"].get<std::int64_t>());
    CHECK(found.tokens == golden[run.model]["counted"].get<std::int64_t>());
    CHECK(found.nll == Approx(golden[run.model]["nll"].get<double>()).epsilon(run.bound));
  }
}
