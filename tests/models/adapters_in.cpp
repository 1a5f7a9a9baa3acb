// Adapters on bases with further rows, from attach to a merged model; adapters that act on some tokens alone; names of
// wrapped modules; repositories that are refused.
#include "lowrank/core/json.h"
#include "lowrank/lora/merge.h"
#include "lowrank/models/grown.h"
#include "lowrank/models/next_logits.h"
#include "models_helpers.h"

using namespace lowrank_test;

namespace {

void randomise(const lora::Adapter& adapter) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (const auto& parameter : adapter.parameters()) at::Tensor(parameter.tensor).add_(torch::randn_like(parameter.tensor), 0.1);
}

}  // namespace

TEST_CASE("rows that are trained beyond the base's go through saving, loading and merging", "[unit]") {
  for (const std::string name : {"llama", "llama-linear-tied"}) {
    INFO(name);
    TempDir temp;
    const Golden golden(name);
    const auto config = models::read_config(golden.folder);
    const std::int64_t rows = config.vocab_size;
    models::GrownVocabulary grown;
    grown.rows = rows + 2;
    grown.begin = {{}, {3, 4}};
    models::Decoder decoder = models::load_decoder(config, golden.weights, at::kFloat, false, nullptr, at::kCPU, &grown);
    lora::SlotTable table = decoder->slot_table();
    CHECK(table.file_rows == rows);
    const at::Tensor own = table.embedding->whole()->base().front().tensor;
    REQUIRE(own.size(0) == rows + 2);
    CHECK((own[rows] - own.slice(0, 0, rows).to(at::kDouble).mean(0)).abs().max().item<double>() < 1e-6);
    CHECK((own[rows + 1] - (own[3] + own[4]) / 2).abs().max().item<double>() < 1e-6);

    lora::LoraConfig lora;
    lora.target_modules = std::vector<std::string>{"q_proj"};
    lora.trainable_token_indices = {{"embed_tokens", {rows, rows + 1}}};
    if (!config.tied) lora.trainable_token_indices.push_back({"lm_head", {rows + 1, rows}});
    lora::Adapter adapter = lora::attach(table, lora);
    CHECK(adapter.keeps_tied() == config.tied);
    randomise(adapter);
    lora::save_peft(adapter, temp / "adapter");
    // The rows alone: what the base's files have not is in them.
    const auto saved = formats::SafetensorsFile::open(temp / "adapter" / "adapter_model.safetensors");
    for (const auto& info : saved->header().tensors) CHECK(info.shape[0] != rows + 2);
    const at::Tensor ids = torch::tensor({std::int64_t{5}, rows, std::int64_t{9}, rows + 1, std::int64_t{4}});
    const at::Tensor expected = logits_of(decoder, ids);

    const auto found = models::grown_vocabulary(temp / "adapter", config);
    REQUIRE(found);
    CHECK(found->rows == rows + 2);
    models::Decoder other = models::load_decoder(config, golden.weights, at::kFloat, false, nullptr, at::kCPU, &*found);
    const at::Tensor base = logits_of(other, ids);
    lora::Adapter back = lora::load_peft(other->slot_table(), temp / "adapter");
    CHECK((logits_of(other, ids) - expected).abs().max().item<double>() == 0);
    back.set_enabled(false);
    CHECK((logits_of(other, ids) - base).abs().max().item<double>() == 0);
    back.set_enabled(true);

    lora::merge_files(golden.folder, back, temp / "merged");
    lora::verify_merge(golden.folder, back, temp / "merged");
    const auto merged_config = models::read_config(temp / "merged");
    CHECK(merged_config.vocab_size == rows + 2);
    CHECK(merged_config.tied == config.tied);
    const auto weights = formats::WeightFiles::open(temp / "merged");
    models::Decoder merged = models::load_decoder(merged_config, weights, at::kFloat);
    CHECK((logits_of(merged, ids) - expected).abs().max().item<double>() < 1e-4);

    // On a base that was not resized the message says what is missing.
    models::Decoder plain = golden.load();
    check_refused<FormatError>([&] { lora::load_peft(plain->slot_table(), temp / "adapter"); },
                               {"trainable_token_indices", std::to_string(rows)});
    // What is loaded is saved again with the same bytes.
    lora::save_peft(back, temp / "again");
    CHECK(read_text(temp / "again" / "adapter_model.safetensors") == read_text(temp / "adapter" / "adapter_model.safetensors"));
  }
}

TEST_CASE("an activated adapter acts from the last occurrence of its invocation on", "[unit]") {
  const Golden golden("llama");
  models::Decoder decoder = golden.load();
  const at::Tensor ids = torch::tensor(std::vector<std::int64_t>{5, 7, 8, 9, 7, 8, 4, 6});
  const at::Tensor base = logits_of(decoder, ids);
  lora::LoraConfig config;
  config.target_modules = std::vector<std::string>{"q_proj", "down_proj"};
  lora::Adapter plain = lora::attach(decoder->slot_table(), config);
  randomise(plain);
  const at::Tensor everywhere = logits_of(decoder, ids);
  std::vector<lora::NamedTensor> values = plain.parameters();
  plain.detach();

  config.alora_invocation_tokens = {7, 8};
  lora::Adapter adapter = lora::attach(decoder->slot_table(), config);
  {
    const torch::NoGradGuard no_grad;
    const auto own = adapter.parameters();
    for (std::size_t i = 0; i < own.size(); ++i) at::Tensor(own[i].tensor).copy_(values[i].tensor);
  }
  const at::Tensor found = logits_of(decoder, ids);
  const auto same = [](const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>() < 1e-5; };
  CHECK(same(found.slice(0, 0, 4), base.slice(0, 0, 4)));
  CHECK_FALSE(same(found.slice(0, 4, 8), base.slice(0, 4, 8)));
  CHECK_FALSE(same(found, everywhere));
  CHECK(same(logits_of(decoder, ids.slice(0, 0, 2)), base.slice(0, 0, 2)));  // half an invocation is none

  // Packed among others, each has its own beginning.
  const torch::NoGradGuard no_grad;
  const at::Tensor both = decoder->logits(decoder->hidden(torch::cat({ids.slice(0, 0, 3), ids}), kernels::Segments::of_lengths({3, 8})));
  CHECK(same(both.slice(0, 3, 11), found));
  CHECK(same(both.slice(0, 0, 3), logits_of(decoder, ids.slice(0, 0, 3))));
  // Through the cache: what follows the invocation.
  models::KvCache cache;
  const std::vector<data::TokenId> tokens = {5, 7, 8, 9, 7, 8, 4, 6};
  models::next_logits(*decoder, cache, {std::span(tokens).first(6)});
  CHECK(same(models::next_logits(*decoder, cache, {std::span(tokens).first(7)})[0], found[6]));
  CHECK(same(models::next_logits(*decoder, cache, {std::span(tokens)})[0], found[7]));

  TempDir temp;
  check_refused<ModelError>([&] { lora::merge_files(golden.folder, adapter, temp / "merged"); }, {"alora_invocation_tokens"});
  lora::save_peft(adapter, temp / "saved");
  adapter.detach();
  lora::load_peft(decoder->slot_table(), temp / "saved");
  CHECK(same(logits_of(decoder, ids), found));
}

TEST_CASE("weights that were saved in a wrapper are read without its prefix, which is said", "[unit]") {
  const Golden golden("llama");
  for (const std::string outer : {"_orig_mod.", "module.", "module._orig_mod."}) {
    TempDir temp;
    fs::copy_file(golden.folder / "config.json", temp / "config.json");
    std::vector<formats::TensorToWrite> tensors;
    for (const std::string& name : golden.weights.names())
      tensors.push_back(formats::tensor_to_write(outer + name, formats::tensor_view(*golden.weights.find(name))));
    formats::write_safetensors(temp / "model.safetensors", std::move(tensors));
    std::vector<std::string> warnings;
    const auto weights = formats::WeightFiles::open(temp.path());
    models::Decoder decoder =
        models::load_decoder(models::read_config(temp.path()), weights, at::kFloat, false, &warnings);
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].find("'" + outer + "'") != std::string::npos);
    CHECK((logits_of(decoder, golden.tensor("ids")) - golden.tensor("logits")).abs().max().item<double>() <= 1e-4);
  }
}

TEST_CASE("a tied base that keeps the head alone, or with names of a wrapped module, is merged under the model's own names", "[unit]") {
  const Golden golden("llama-linear-tied");
  const at::Tensor ids = golden.tensor("ids");
  for (const std::string kept : {"lm_head.weight", "_orig_mod.model.embed_tokens.weight"}) {
    for (const std::vector<std::string>& targets : {std::vector<std::string>{"q_proj"}, {"q_proj", "lm_head"}, {"embed_tokens", "q_proj"}}) {
      INFO(kept + " " + targets.front() + " " + targets.back());
      TempDir temp;
      core::Json config = core::read_json(golden.folder / "config.json");
      const bool wrapped = kept.starts_with("_orig_mod.");
      if (wrapped) config.erase("tie_word_embeddings");  // as the files have no head, it is the embedding
      write_text(temp / "model/config.json", config.dump());
      std::vector<formats::TensorToWrite> tensors;
      for (const std::string& name : golden.weights.names()) {
        const std::string stored = name == "model.embed_tokens.weight" ? kept : (wrapped ? "_orig_mod." : "") + name;
        tensors.push_back(formats::tensor_to_write(stored, formats::tensor_view(*golden.weights.find(name))));
      }
      formats::write_safetensors(temp / "model/model.safetensors", std::move(tensors));
      models::Decoder decoder =
          models::load_decoder(models::read_config(temp / "model"), formats::WeightFiles::open(temp / "model"), at::kFloat);
      CHECK((logits_of(decoder, ids) - golden.tensor("logits")).abs().max().item<double>() <= 1e-4);
      lora::LoraConfig lora;
      lora.target_modules = targets;
      lora::Adapter adapter = lora::attach(decoder->slot_table(), lora);
      randomise(adapter);
      const at::Tensor expected = logits_of(decoder, ids);

      const bool parts = targets != std::vector<std::string>{"q_proj"};
      const auto report = lora::merge_files(temp / "model", adapter, temp / "merged");
      lora::verify_merge(temp / "model", adapter, temp / "merged");
      CHECK(report.untied == parts);
      const auto merged = formats::SafetensorsFile::open(temp / "merged/model.safetensors");
      for (const std::string& name : golden.weights.names()) CHECK(merged->find(name) != nullptr);
      CHECK((merged->find("lm_head.weight") != nullptr) == parts);
      CHECK(core::read_json(temp / "merged/config.json")["tie_word_embeddings"] == core::Json(!parts));
      models::Decoder again =
          models::load_decoder(models::read_config(temp / "merged"), formats::WeightFiles::open(temp / "merged"), at::kFloat);
      CHECK((logits_of(again, ids) - expected).abs().max().item<double>() <= 1e-4);
    }
  }
}

TEST_CASE("quantised repositories and GGUF files are refused with what to give instead", "[unit]") {
  const Golden golden("llama");
  TempDir temp;
  core::Json config = core::read_json(golden.folder / "config.json");
  config["_name_or_path"] = "org/model";
  const auto refused = [&](const core::Json& how, const std::string& said) {
    config["quantization_config"] = how;
    write_text(temp / "config.json", config.dump());
    check_refused<ModelError>([&] { models::read_config(temp.path()); },
                              {"quantization_config", said, "download", "org/model"});
  };
  refused({{"quant_method", "gptq"}, {"bits", 4}}, "gptq, 4 bits");
  refused({{"quant_method", "awq"}, {"bits", 4}}, "awq, 4 bits");
  refused({{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}}, "bitsandbytes, nf4");
  refused({{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}}, "int8");
  write_text(temp / "model.gguf", "GGUF");
  check_refused<MissingError>([&] { models::resolve((temp / "model.gguf").string()); }, {"llama.cpp", "safetensors"});
}
