#include "lowrank/recipes/run/samples.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/models/generate_batch.h"

namespace lowrank::recipes {

namespace {

constexpr std::int64_t kContinuation = 48;  // tokens
constexpr std::int64_t kTogether = 8;       // answers that grow at the same time
constexpr std::size_t kTextPrompt = 24;     // tokens of a text that are given
constexpr std::size_t kMaskedTokens = 200;  // of an example that are shown

std::size_t first_learned(const data::Example& example) {
  for (std::size_t i = 1; i < example.learned.size(); ++i) {
    if (example.learned[i] != 0) return i;
  }
  return example.learned.size();
}

}  // namespace

std::vector<SamplePrompt> sample_prompts(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                                         std::int64_t positions, int count) {
  std::vector<SamplePrompt> prompts;
  const std::size_t n = dataset.examples.size();
  for (std::size_t k = 0; k < static_cast<std::size_t>(count) && k < n; ++k) {
    const data::Example& example = dataset.examples[k * n / std::min(n, static_cast<std::size_t>(count))];
    std::size_t length = first_learned(example);
    if (length == 1) length = std::min(kTextPrompt, example.ids.size() / 2);  // a text: all of it is learned
    if (length == 0 || static_cast<std::int64_t>(length) + kContinuation > positions) continue;
    SamplePrompt prompt;
    prompt.ids.assign(example.ids.begin(), example.ids.begin() + static_cast<std::ptrdiff_t>(length));
    prompt.text = tokenizer.decode(prompt.ids);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

std::vector<eval::Sample> continue_prompts(const std::vector<SamplePrompt>& prompts,
                                           const std::vector<eval::Candidate>& candidates,
                                           const data::Tokenizer& tokenizer, const std::vector<data::TokenId>& ends) {
  models::GenerateOptions greedy;
  greedy.end_ids = ends;
  greedy.max_new_tokens = kContinuation;
  std::vector<models::BatchPrompt> batch;
  std::vector<eval::Sample> samples;
  for (const SamplePrompt& prompt : prompts) {
    batch.push_back({prompt.ids, batch.size()});
    samples.push_back({prompt.text, {}});
  }
  for (const eval::Candidate& candidate : candidates) {
    const eval::Active active(candidate);
    const std::vector<models::Generated> answers =
        models::generate_batch(*candidate.decoder, tokenizer, batch, greedy, {.size = kTogether});
    for (std::size_t i = 0; i < answers.size(); ++i) samples[i].answers.emplace_back(candidate.name, answers[i].text);
  }
  return samples;
}

std::function<std::vector<eval::Sample>()> before_and_after(const models::LoadedModel& model, lora::Adapter* adapter,
                                                            const std::optional<std::filesystem::path>& start,
                                                            const data::Dataset& dataset, int count,
                                                            const std::vector<data::TokenId>& ends) {
  const auto prompts = sample_prompts(dataset, *model.tokenizer, model.decoder->config().max_positions, count);
  const models::DTypeChoice dtype =
      model.decoder->dtype() == at::kBFloat16 ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
  return [=, &model]() -> std::vector<eval::Sample> {
    if (prompts.empty()) return {};
    std::optional<models::LoadedModel> found;
    std::optional<lora::Adapter> begun;
    if (adapter == nullptr || start)
      found = models::load(model.path.string(), {.dtype = dtype, .form = model.coded.form, .adapter = start, .device = model.decoder->device()});
    if (start) begun = lora::load_peft(found->decoder->slot_table(), *start);
    if (adapter != nullptr) adapter->set_enabled(false);
    auto samples = continue_prompts(prompts,
                                    {{"before", (found ? *found : model).decoder.get(), begun ? &*begun : nullptr},
                                     {"after", model.decoder.get(), adapter}},
                                    *model.tokenizer, ends);
    if (adapter != nullptr) adapter->set_enabled(true);
    return samples;
  };
}

std::vector<eval::MaskedText> label_masks(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                                          std::size_t count) {
  std::vector<eval::MaskedText> masks;
  for (std::size_t e = 0; e < std::min(count, dataset.examples.size()); ++e) {
    const data::Example& example = dataset.examples[e];
    const std::size_t shown = std::min(kMaskedTokens, example.ids.size());
    const std::string part =
        shown < example.ids.size() ? fmt::format(", the first {} of {} tokens", shown, example.ids.size()) : "";
    eval::MaskedText mask{dataset.documents.at(example.document).where.text() + part, {}};
    data::StreamDecoder stream(tokenizer, false);
    for (std::size_t i = 0; i < shown; ++i) {
      std::string text = stream.push(example.ids[i]);
      if (i + 1 == shown) text += stream.flush();
      // Half a character has no text yet: it comes with the token that ends it. The first token is never predicted.
      if (!text.empty()) mask.pieces.emplace_back(std::move(text), i > 0 && example.learned[i] != 0);
    }
    masks.push_back(std::move(mask));
  }
  return masks;
}

}  // namespace lowrank::recipes
