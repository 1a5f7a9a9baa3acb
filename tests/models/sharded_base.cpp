// A decoder of which ranks keep shares computes what the whole one does, to the byte.
#include "lowrank/kernels/sharded_base.h"

#include "../memory_shares.h"
#include "lowrank/core/error.h"
#include "lowrank/lora/adapter.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

models::Decoder load(const Golden& golden, const std::shared_ptr<kernels::ShardedBase>& shares,
                     at::ScalarType dtype = at::kFloat) {
  return models::load_decoder(models::read_config(golden.folder), golden.weights, dtype, false, nullptr, at::kCPU, nullptr,
                              nullptr, nullptr, shares);
}

struct Computed {
  at::Tensor losses;
  std::vector<at::Tensor> gradients;
};

/// Losses of a document, and the gradients of a new adapter on all layers.
Computed computed(models::DecoderImpl& decoder, const Golden& golden, bool recompute) {
  lora::LoraConfig config;
  config.r = 4;
  lora::Adapter adapter = lora::attach(decoder.slot_table(), config, 3);
  for (const lora::NamedTensor& one : adapter.parameters()) {
    const at::NoGradGuard no_grad;
    one.tensor.add_(0.01);  // B is zero at first, and A has no gradient then
  }
  const at::Tensor ids = golden.tensor("document.0");
  models::ForwardOptions options;
  options.recompute = recompute;
  const at::Tensor hidden = decoder.hidden(ids, kernels::Segments::of_lengths({ids.size(0)}), options);
  Computed result{decoder.token_losses(hidden, ids), {}};
  result.losses.sum().backward();
  for (const lora::NamedTensor& one : adapter.parameters()) result.gradients.push_back(one.tensor.grad());
  result.losses = result.losses.detach();
  adapter.detach();
  return result;
}

}  // namespace

TEST_CASE("every family computes the same bytes from shares", "[unit]") {
  for (const std::string& name : golden_cases()) {
    INFO(name);
    const Golden golden(name);
    SharesOfRanks ranks(3);
    std::vector<models::Decoder> decoders;
    try {
      for (const auto& base : ranks.bases) decoders.push_back(load(golden, base));
    } catch (const ConfigError& error) {
      CHECK(name == "gpt-oss-mxfp4");
      CHECK(std::string(error.what()).find("is packed in 4 bits, of which no shares can be kept") != std::string::npos);
      continue;
    }
    const models::Decoder plain = golden.load();
    const lora::SlotTable table = decoders[1]->slot_table();
    for (const lora::LinearSlot& slot : table.slots) CHECK((slot->whole()->base().empty() || slot->base().bias().defined()));
    CHECK(ranks.bases[0]->held_bytes() + ranks.bases[1]->held_bytes() + ranks.bases[2]->held_bytes() ==
          ranks.bases[0]->total_bytes());
    const at::NoGradGuard no_grad;
    const at::Tensor ids = golden.tensor("document.0");
    const auto segments = kernels::Segments::of_lengths({ids.size(0)});
    for (const models::Decoder& decoder : decoders) {
      const at::Tensor found = decoder->hidden(ids, segments), expected = plain->hidden(ids, segments);
      CHECK(torch::equal(found, expected));
      CHECK(torch::equal(decoder->logits(found), plain->logits(expected)));
    }
  }
}

TEST_CASE("adapters learn the same bytes on shares, in either dtype and with layers computed again", "[unit]") {
  for (const char* name : {"llama", "gpt2", "mixtral"}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const bool recompute : {false, true}) {
        INFO(name << ", " << c10::toString(dtype) << (recompute ? ", recomputed" : ""));
        const Golden golden(name);
        SharesOfRanks ranks(4);
        std::vector<models::Decoder> decoders;
        for (const auto& base : ranks.bases) decoders.push_back(load(golden, base, dtype));
        const models::Decoder plain = golden.load(dtype);
        const Computed expected = computed(*plain, golden, recompute), found = computed(*decoders[2], golden, recompute);
        CHECK(torch::equal(expected.losses, found.losses));
        REQUIRE(expected.gradients.size() == found.gradients.size());
        for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
          REQUIRE(expected.gradients[i].defined());
          CHECK(torch::equal(expected.gradients[i], found.gradients[i]));
        }
      }
    }
  }
}

TEST_CASE("what needs a whole weight is refused where ranks keep shares", "[unit]") {
  const Golden golden("llama");
  SharesOfRanks ranks(2);
  std::vector<models::Decoder> decoders;
  for (const auto& base : ranks.bases) decoders.push_back(load(golden, base));
  for (const char* module : {"lm_head", "embed_tokens"}) {
    lora::LoraConfig config;
    config.modules_to_save = {module};
    CHECK_THROWS_WITH(lora::attach(decoders[0]->slot_table(), config, 1),
                      Catch::Matchers::Contains("shared out over ranks, of which no whole copy can be trained"));
  }
}
