// A real model: stories260K against the reference values of llama2.c's own run.
#include "lowrank/core/json.h"
#include "lowrank/models/generate.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

TEST_CASE("stories260K: logits and greedy continuations are llama2.c's", "[parity]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const fs::path folder = *assets() / "models" / "stories260K-hf";
  models::LoadedModel model = models::load(folder.string());
  CHECK(model.warnings.empty());
  CHECK(model.decoder->config().tied);
  CHECK(model.decoder->config().parameter_count() == 260032);

  const core::Json reference = core::read_json(folder / "stories260K.logits.json");
  const auto ids = reference["ids"].get<std::vector<std::int64_t>>();
  const auto rows = reference["logits"].get<std::vector<std::vector<double>>>();
  const at::Tensor logits = logits_of(model.decoder, torch::tensor(ids));
  double worst = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    worst = std::max(worst, distance(logits[static_cast<std::int64_t>(i)], torch::tensor(rows[i], at::kDouble)));
  }
  CHECK(worst <= 1e-4);

  for (const core::Json& sample : core::read_json(folder / "stories260K.greedy.json")) {
    const auto prompt = sample["prompt_ids"].get<std::vector<data::TokenId>>();
    CHECK(model.tokenizer->encode(sample["prompt"].get<std::string>()) == prompt);
    // greedy_ids are the whole sequence, the prompt included.
    const auto expected = sample["greedy_ids"].get<std::vector<data::TokenId>>();
    std::string streamed;
    const models::Generated generated = models::generate(
        *model.decoder, *model.tokenizer, prompt,
        {.max_new_tokens = static_cast<std::int64_t>(expected.size() - prompt.size()), .ignore_eos = true},
        [&](const std::string& text) { streamed += text; });
    std::vector<data::TokenId> all = prompt;
    all.insert(all.end(), generated.ids.begin(), generated.ids.end());
    CHECK(all == expected);
    CHECK(streamed == generated.text);
    CHECK(model.tokenizer->decode(all) == sample["text"].get<std::string>());
  }
}
