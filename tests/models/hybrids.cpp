// Decoders whose layers carry a state: packed streams, caches in pieces, recomputation, names on disk.
#include <tuple>

#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/combine.h"
#include "lowrank/lora/merge.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/peft_tensors.h"
#include "lowrank/models/beam_search.h"
#include "models_helpers.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

const std::vector<std::string> hybrids = {"qwen3_5", "qwen3_5-tied", "qwen3_5-pictures", "lfm2", "lfm2-bias"};

at::Tensor some_ids(std::int64_t n, std::int64_t vocabulary, std::int64_t start) {
  return torch::arange(start, start + n, at::kLong).square().add(start).remainder(vocabulary - 3).add(3);
}

// Documents of these lengths: shorter than a convolution, and longer than a chunk of the delta rule.
const std::vector<std::int64_t> lengths = {75, 1, 2, 140, 3, 64};

struct Result {
  at::Tensor losses;  // [T], of the predicted tokens
  std::vector<at::Tensor> gradients;
};

// The losses of documents in one stream, each document's last token without a label, and the gradients of their sum.
Result result_of(models::Decoder& decoder, const lora::Adapter& adapter, const std::vector<at::Tensor>& documents,
                 const models::ForwardOptions& options = {}) {
  std::vector<std::int64_t> of;
  std::vector<at::Tensor> labels;
  for (const at::Tensor& ids : documents) {
    of.push_back(ids.numel());
    labels.push_back(torch::cat({ids.slice(0, 1), torch::full({1}, -100, at::kLong)}));
  }
  clear_gradients(adapter);
  const at::Tensor hidden = decoder->hidden(torch::cat(documents), kernels::Segments::of_lengths(of), options);
  Result result{decoder->token_losses(hidden, torch::cat(labels), options.dropout), {}};
  result.losses.sum().backward();
  for (const auto& parameter : adapter.parameters()) result.gradients.push_back(parameter.tensor.grad().clone());
  return result;
}

lora::Adapter random_adapter(models::Decoder& decoder, double dropout = 0) {
  lora::LoraConfig config;
  config.r = 3;
  config.init_lora_weights = "gaussian";
  lora::Adapter adapter = lora::attach(decoder->slot_table(), config, 7);
  torch::manual_seed(4);
  for (lora::LinearSlot slot : adapter.slots()) {
    torch::NoGradGuard no_grad;
    slot->lora().b.normal_().mul_(0.2);
    slot->lora().dropout = dropout;
  }
  return adapter;
}

}  // namespace

TEST_CASE("a packed stream of a hybrid is its documents one by one, in losses and gradients", "[unit]") {
  for (const std::string& name : hybrids) {
    INFO(name);
    models::Decoder decoder = Golden(name).load();
    const lora::Adapter adapter = random_adapter(decoder);
    std::vector<at::Tensor> documents, losses, sums;
    for (const std::int64_t n : lengths) documents.push_back(some_ids(n, decoder->config().vocab_size, n));
    for (const at::Tensor& document : documents) {
      const Result alone = result_of(decoder, adapter, {document});
      losses.push_back(alone.losses.detach());
      for (std::size_t i = 0; i < alone.gradients.size(); ++i) {
        if (i == sums.size()) sums.push_back(torch::zeros_like(alone.gradients[i], at::kDouble));
        sums[i].add_(alone.gradients[i]);
      }
    }
    const Result packed = result_of(decoder, adapter, documents);
    CHECK(distance(packed.losses, torch::cat(losses)) <= 1e-6 * largest(packed.losses));
    for (std::size_t i = 0; i < sums.size(); ++i) {
      INFO(adapter.parameters()[i].name);
      CHECK(distance(packed.gradients[i], sums[i]) <= 1e-5 * largest(sums[i]));
    }
    // Another company, the same losses.
    std::swap(documents[0], documents[3]);
    const Result swapped = result_of(decoder, adapter, documents);
    CHECK(distance(swapped.losses.slice(0, 0, 140), losses[3]) <= 1e-6 * largest(packed.losses));
  }
}

TEST_CASE("recomputing a hybrid gives the same bytes", "[unit]") {
  for (const std::string& name : hybrids) {
    INFO(name);
    models::Decoder decoder = Golden(name).load();
    const lora::Adapter adapter = random_adapter(decoder, 0.1);
    const std::vector<at::Tensor> documents = {some_ids(70, decoder->config().vocab_size, 5),
                                               some_ids(9, decoder->config().vocab_size, 8)};
    std::vector<std::int64_t> tokens(79);
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int64_t>(i);
    const kernels::DropoutContext dropout{.seed = 3, .step = 5, .token_in_step = tokens.data()};
    const Result plain = result_of(decoder, adapter, documents, {.dropout = &dropout});
    const Result again = result_of(decoder, adapter, documents, {.dropout = &dropout, .recompute = true});
    CHECK(torch::equal(plain.losses, again.losses));
    for (std::size_t i = 0; i < plain.gradients.size(); ++i) {
      CHECK(largest(plain.gradients[i]) > 0);
      CHECK(torch::equal(plain.gradients[i], again.gradients[i]));
    }
  }
}

TEST_CASE("the cache of a hybrid takes pieces of any length, copies and forgets sequences", "[unit]") {
  torch::NoGradGuard no_grad;
  for (const std::string& name : hybrids) {
    INFO(name);
    models::Decoder decoder = Golden(name).load();
    const std::int64_t vocabulary = decoder->config().vocab_size;
    std::vector<at::Tensor> texts = {some_ids(150, vocabulary, 2), some_ids(90, vocabulary, 9)};
    models::KvCache cache(2);
    std::vector<std::int64_t> done(2, 0);
    const auto go_on = [&](const std::vector<std::int64_t>& by) {
      std::vector<at::Tensor> ids, expected;
      for (std::size_t s = 0; s < texts.size(); ++s) {
        ids.push_back(texts[s].slice(0, done[s], done[s] + by[s]));
        expected.push_back(logits_of(decoder, texts[s]).slice(0, done[s], done[s] + by[s]));
        done[s] += by[s];
      }
      const at::Tensor hidden = decoder->hidden(torch::cat(ids), cache.segments(by), {.cache = &cache});
      CHECK(distance(decoder->logits(hidden), torch::cat(expected)) <= 1e-4);
    };
    go_on({70, 1});
    go_on({1, 2});
    go_on({2, 0});
    go_on({30, 66});
    cache.select({1, 0, 1});  // a beam that is copied goes its own way
    texts = {texts[1], texts[0], texts[1].clone()};
    texts[2].slice(0, 69).copy_(some_ids(21, vocabulary, 30));
    done = {done[1], done[0], done[1]};
    go_on({3, 5, 4});
    go_on({1, 1, 1});
    // A state cannot go back: the sequence is read anew.
    cache.truncate(5, 1);
    CHECK(cache.length(1) == 0);
    done[1] = 0;
    go_on({1, 20, 1});
    cache.add();
    texts.push_back(some_ids(12, vocabulary, 40));
    done.push_back(0);
    go_on({1, 1, 1, 12});
  }
}

TEST_CASE("beam search over a hybrid finds the likeliest of what it looked at, with the whole pass's score", "[unit]") {
  const ByteTokenizer tokenizer;
  for (const std::string name : {"qwen3_5", "lfm2"}) {
    models::DecoderConfig config = models::read_config(golden_dir() / "models" / name);
    config.eos_token_ids = {5};
    models::Decoder decoder = models::load_decoder(config, Golden(name).weights, at::kFloat);
    const std::vector<data::TokenId> prompt = {7, 3, 9, 11, 4};
    const auto found = models::beam_search(*decoder, tokenizer, {{prompt, 0}}, {.max_new_tokens = 20}, {.beams = 4});
    std::vector<std::int64_t> all(prompt.begin(), prompt.end());
    all.insert(all.end(), found.front().ids.begin(), found.front().ids.end());
    const at::Tensor log_probs = logits_of(decoder, torch::tensor(all)).to(at::kDouble).log_softmax(-1);
    double sum = 0;
    for (std::size_t i = prompt.size(); i < all.size(); ++i) {
      sum += log_probs[static_cast<std::int64_t>(i) - 1][all[i]].item<double>();
    }
    CHECK(found.front().score == Approx(sum / static_cast<double>(found.front().ids.size())).margin(1e-4));
  }
}

TEST_CASE("whole modules of a hybrid: convolutions, decays and gates are trained, saved, read and merged", "[unit]") {
  for (const auto& [name, entries, count] :
       {std::tuple("qwen3_5", std::vector<std::string>{"conv1d", "0.linear_attn"}, 10), {"lfm2-bias", {"conv"}, 6}}) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    lora::LoraConfig config;
    config.r = 2;
    config.target_modules = std::vector<std::string>{"q_proj"};
    config.modules_to_save = entries;
    lora::Adapter adapter = lora::attach(decoder->slot_table(), config, 3);
    const std::vector<at::Tensor> documents = {some_ids(70, decoder->config().vocab_size, 5)};
    const Result result = result_of(decoder, adapter, documents);
    const auto parameters = adapter.parameters();
    std::int64_t copies = 0;
    torch::manual_seed(2);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      INFO(parameters[i].name);
      if (parameters[i].name.find("lora_") != std::string::npos) continue;
      ++copies;
      CHECK(largest(result.gradients[i]) > 0);
      torch::NoGradGuard no_grad;
      parameters[i].tensor.add_(0.1 * torch::randn_like(parameters[i].tensor));
    }
    CHECK(copies == count);
    const at::Tensor expected = logits_of(decoder, golden.tensor("ids"));
    CHECK(distance(expected, golden.tensor("logits")) > 0.01);
    TempDir folder;
    lora::save_peft(adapter, folder / "adapter");
    const auto file = formats::SafetensorsFile::open(folder / "adapter" / "adapter_model.safetensors");
    if (name == std::string("qwen3_5")) {
      CHECK(file->find("base_model.model.model.layers.0.linear_attn.A_log") != nullptr);
      CHECK(file->find("base_model.model.model.layers.2.linear_attn.conv1d.weight") != nullptr);
      CHECK(file->find("base_model.model.model.layers.2.linear_attn.A_log") == nullptr);
    }
    models::Decoder again = golden.load();
    lora::Adapter read = lora::load_peft(again->slot_table(), folder / "adapter");
    CHECK(torch::equal(logits_of(again, golden.tensor("ids")), expected));
    lora::merge_files(golden.folder, adapter, folder / "merged");
    lora::verify_merge(golden.folder, adapter, folder / "merged");
    models::Decoder merged = models::load_decoder(models::read_config(folder / "merged"),
                                                  formats::WeightFiles::open(folder / "merged"), at::kFloat);
    CHECK(distance(logits_of(merged, golden.tensor("ids")), expected) <= 1e-5);
  }
}

TEST_CASE("an adapter of a model of pictures and text is read under both names, and written under the base's",
          "[unit]") {
  const Golden golden("qwen3_5-pictures");
  models::Decoder decoder = golden.load();
  const std::string layer = "model.language_model.layers.0.linear_attn.in_proj_qkv";
  CHECK(decoder->slot_table().slots.at(1)->path() == layer);
  const fs::path folder = golden.folder / "adapter";
  const auto file = formats::SafetensorsFile::open(folder / "adapter_model.safetensors");
  CHECK(file->find("base_model.model." + layer + ".lora_A.weight") != nullptr);
  // The same adapter as the text model alone names it.
  lora::Adapter adapter = lora::load_peft(decoder->slot_table(), folder);
  const at::Tensor expected = logits_of(decoder, golden.tensor("ids"));
  core::Json text = core::read_json(golden.folder / "config.json").at("text_config");
  models::Decoder alone =
      models::load_decoder(models::parse_config(core::JsonView(text, "config.json")), golden.weights, at::kFloat);
  CHECK(alone->slot_table().slots.at(1)->path() == "model.layers.0.linear_attn.in_proj_qkv");
  std::vector<std::string> notes;
  lora::Adapter other = lora::load_peft(alone->slot_table(), folder, &notes);
  CHECK(distance(logits_of(alone, golden.tensor("ids")), expected) <= 1e-6);
  REQUIRE(notes.size() >= 1);
  CHECK(says(notes.front(), {"model.language_model.", "matched by their ends"}));
  CHECK(other.parameters().front().name.starts_with("base_model.model.model.layers.0."));
}

TEST_CASE("targets that are written name no module of a picture's encoder, whatever holds its weights", "[unit]") {
  // Gemma 4's encoder wraps each linear layer: PEFT matches q_proj where the files have q_proj.linear.weight.
  for (const char* name : {"gemma3-pictures", "gemma4-pictures", "qwen3_5-pictures"}) {
    INFO(name);
    models::Decoder decoder = Golden(name).load();
    lora::LoraConfig config;
    config.r = 2;
    const auto adapter = lora::attach(decoder->slot_table(), config);
    const auto& targets = std::get<std::vector<std::string>>(adapter.config().target_modules);
    REQUIRE_FALSE(targets.empty());
    REQUIRE_FALSE(decoder->beside.empty());
    for (std::string path : decoder->beside) {
      for (std::size_t dot; (dot = path.rfind('.')) != std::string::npos;) {
        path.resize(dot);
        for (const std::string& target : targets) {
          INFO(path << " and " << target);
          CHECK_FALSE((path == target || path.ends_with("." + target)));
        }
      }
    }
  }
}

TEST_CASE("an adapter on a picture's encoder too is used for text, saved as it is and merged whole", "[unit]") {
  for (const char* name : {"gemma3-pictures", "qwen3_5-pictures"}) {
    INFO(name);
    const Golden golden(name);
    models::Decoder decoder = golden.load();
    lora::LoraConfig config;
    config.r = 2;
    config.target_modules = std::vector<std::string>{"q_proj"};
    lora::Adapter own = lora::attach(decoder->slot_table(), config);
    torch::manual_seed(3);
    for (const lora::NamedTensor& one : own.parameters()) {
      torch::NoGradGuard no_grad;
      one.tensor.detach().copy_(0.2 * torch::randn(one.tensor.sizes()));
    }
    const at::Tensor expected = logits_of(decoder, golden.tensor("ids"));
    // As PEFT has it: the encoder's layer is named with the model's own prefix.
    const auto matrix = std::find_if(decoder->beside.begin(), decoder->beside.end(), [&](const std::string& tensor) {
      return tensor.ends_with(".weight") && golden.weights.find(tensor)->info->shape.size() == 2;
    });
    REQUIRE(matrix != decoder->beside.end());
    const std::vector<std::int64_t> shape = golden.weights.find(*matrix)->info->shape;
    std::string path = matrix->substr(0, matrix->rfind('.'));
    if (!path.starts_with("model.")) path = "model." + path;
    const at::Tensor a = torch::randn({2, shape[1]}), b = torch::randn({shape[0], 2});
    std::vector<lora::NamedTensor> tensors = own.parameters();
    tensors.push_back({lora::peft_name(path, lora::LoraPart::kA), a});
    tensors.push_back({lora::peft_name(path, lora::LoraPart::kB), b});
    lora::LoraConfig both = config;
    both.target_modules = std::vector<std::string>{"q_proj", path.substr(path.rfind('.') + 1)};
    const TempDir dir;
    lora::write_peft(tensors, both, dir / "adapter");

    models::Decoder again = golden.load();
    std::vector<std::string> notes;
    lora::Adapter read = lora::load_peft(again->slot_table(), dir / "adapter", &notes);
    REQUIRE(read.beside_text().size() == 1);
    CHECK(read.beside_text().front().tensor == *matrix);
    CHECK(std::any_of(notes.begin(), notes.end(), [&](const std::string& note) { return says(note, {path, "text does not pass through"}); }));
    CHECK(torch::equal(logits_of(again, golden.tensor("ids")), expected));
    lora::save_peft(read, dir / "saved");
    CHECK(core::read_file(dir / "saved" / "adapter_model.safetensors") == core::read_file(dir / "adapter" / "adapter_model.safetensors"));
    CHECK(lora::peft_bytes(read) == fs::file_size(dir / "saved" / "adapter_model.safetensors"));
    CHECK(std::get<std::vector<std::string>>(read.config().target_modules) == std::get<std::vector<std::string>>(both.target_modules));
    lora::CombineOptions linear;
    linear.method = "linear";
    linear.weights = {1, 1};
    CHECK_THROWS_AS(lora::combine(again->slot_table(), {&read, &read}, linear), ConfigError);

    lora::merge_files(golden.folder, read, dir / "merged");
    lora::verify_merge(golden.folder, read, dir / "merged");
    const auto merged = formats::WeightFiles::open(dir / "merged");
    const at::Tensor before = formats::tensor_view(*golden.weights.find(*matrix)).to(at::kFloat);
    const at::Tensor after = formats::tensor_view(*merged.find(*matrix)).to(at::kFloat);
    CHECK(distance(after, before + config.lora_alpha / 2 * b.matmul(a)) <= 1e-5);
  }
}
