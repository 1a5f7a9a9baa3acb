// PEFT's DoRA, PiSSA, OLoRA, LoRA+, whole modules, biases, rows of tokens, and adapters on the embedding and the head
// (tests/parity/make_method_goldens.py) against ours: logits, gradients, five steps of AdamW, and the files; and runs
// of them that go on after a stop.
#include <fmt/format.h>

#include <array>

#include "lowrank/core/json.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/models/load.h"
#include "lowrank/train/causal_lm.h"
#include "lowrank/train/optimizer.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

using Tensors = std::map<std::string, at::Tensor>;

Tensors read(const fs::path& path) {
  const auto file = formats::SafetensorsFile::open(path);
  Tensors tensors;
  for (const auto& info : file->header().tensors) tensors[info.name] = formats::tensor_view(file, info).clone();
  return tensors;
}

double distance(const at::Tensor& a, const at::Tensor& b) { return (a.detach() - b).abs().max().item<double>(); }

/// A golden case: the model, the adapter at its start, and what PEFT made of it.
struct Case {
  explicit Case(const std::string& name) : folder(golden_dir() / "methods" / name) {
    record = core::read_json(folder / "case.json");
    golden = read(folder / "golden.safetensors");
    const fs::path model = golden_dir() / "models" / record["model"].get<std::string>();
    weights = formats::WeightFiles::open(model);
    decoder = models::load_decoder(models::read_config(model), weights, at::kFloat);
    if (fs::exists(folder / "start")) {
      adapter = lora::load_peft(decoder->slot_table(), folder / "start");
    } else {
      lora::LoraConfig config;
      config.r = record["r"];
      config.lora_alpha = record["lora_alpha"];
      config.target_modules = record["targets"].get<std::vector<std::string>>();
      config.use_rslora = record["config"].value("use_rslora", false);
      config.init_lora_weights = record["config"]["init_lora_weights"];
      adapter = lora::attach(decoder->slot_table(), config, 7);
    }
  }

  at::Tensor logits(const at::Tensor& ids) {
    const torch::NoGradGuard no_grad;
    return decoder->logits(decoder->hidden(ids, kernels::Segments::of_lengths({ids.size(0)})));
  }

  train::CausalLm objective() {
    train::CausalLm::Parts parts;
    parts.decoder = decoder;
    parts.adapter = &*adapter;
    for (const auto& ids : record["documents"]) {
      data::Example example;
      example.ids = ids.get<std::vector<data::TokenId>>();
      example.learned.assign(example.ids.size(), 1);
      example.document = static_cast<std::uint32_t>(parts.train.documents.size());
      parts.train.documents.push_back({fmt::format("document {}", example.document)});
      parts.train.examples.push_back(std::move(example));
    }
    parts.plan.batch_size = record["batch_size"];
    parts.plan.shuffle = false;
    parts.plan.max_steps = 5;
    return train::CausalLm(std::move(parts));
  }

  void train(const fs::path& out, Recorder& recorder) {
    train::CausalLm learned = objective();
    train::TrainOptions options;
    options.lr = record["lr"];
    options.lora_plus_ratio = record["ratio"];
    options.weight_decay = record["weight_decay"];
    options.schedule = train::Schedule::kConstant;
    options.warmup = options.clip = 0;
    options.save_every = 5;
    train::Trainer(learned, options, out, {}).run(recorder);
  }

  fs::path folder;
  core::Json record;
  Tensors golden;
  formats::WeightFiles weights;
  models::Decoder decoder{nullptr};
  std::optional<lora::Adapter> adapter;
};

/// Gradients of the summed loss of the first document, by the names in the file.
Tensors gradients(Case& c) {
  std::vector<std::int64_t> ids = c.record["documents"][0].get<std::vector<std::int64_t>>();
  std::vector<std::int64_t> labels(ids.begin() + 1, ids.end());
  labels.push_back(-100);
  const at::Tensor hidden = c.decoder->hidden(torch::tensor(ids, torch::kLong),
                                              kernels::Segments::of_lengths({static_cast<std::int64_t>(ids.size())}));
  const at::Tensor loss = c.decoder->token_losses(hidden, torch::tensor(labels, torch::kLong)).sum();
  CHECK(loss.item<double>() == Approx(c.golden.at("loss").item<double>()).epsilon(1e-5));
  loss.backward();
  Tensors result;
  for (const auto& [name, tensor] : c.adapter->parameters()) result[name] = tensor.grad();
  return result;
}

}  // namespace

TEST_CASE("DoRA, LoRA+, whole modules, biases, embedding and head give PEFT's logits, gradients, losses and files",
          "[parity]") {
  keep_files_in_memory();
  for (const std::string name :
       {"dora", "dora-plus", "plus", "whole", "biases", "lora-biases", "embedding", "tied-embedding", "tied-head",
        "lora-bias", "dora-embedding", "tokens", "tied-tokens", "tied-whole"}) {
    INFO(name);
    Case c(name);
    CHECK(distance(c.logits(c.golden.at("ids")), c.golden.at("logits")) <= 1e-4);
    const Tensors found = gradients(c);
    std::size_t compared = 0;
    for (const auto& [key, expected] : c.golden) {
      if (!key.starts_with("grad.")) continue;
      INFO(key);
      ++compared;
      REQUIRE(found.count(key.substr(5)) == 1);
      // Rows of tokens that the document has not get no gradient here, and zeros there.
      const at::Tensor own = found.at(key.substr(5));
      CHECK(distance(own.defined() ? own : torch::zeros_like(expected), expected) <=
            1e-4 * std::max(1.0, expected.abs().max().item<double>()));
    }
    CHECK(compared == found.size());
    CHECK(compared == c.adapter->parameters().size());
    if (!c.adapter->whole().empty() || c.adapter->adapts_embedding() || !c.adapter->token_rows().empty()) {  // off, the model is the base again
      c.adapter->set_enabled(false);
      const at::Tensor off = c.logits(c.golden.at("ids"));
      c.adapter->detach();
      CHECK(distance(off, c.logits(c.golden.at("ids"))) == 0);
    }

    Case again(name);
    TempDir out;
    Recorder recorder;
    again.train(out.path(), recorder);
    REQUIRE(recorder.steps.size() == 5);
    for (std::size_t i = 0; i < 5; ++i)
      CHECK(recorder.steps[i].loss == Approx(c.record["losses"][i].get<double>()).epsilon(1e-5));
    CHECK(distance(again.logits(c.golden.at("ids")), c.golden.at("end_logits")) <= 1e-4);
    const Tensors ours = read(out / "adapter_model.safetensors"),
                  theirs = read(c.folder / "end" / "adapter_model.safetensors");
    CHECK(ours.size() == theirs.size());
    for (const auto& [key, expected] : theirs) {
      INFO(key);
      REQUIRE(ours.count(key) == 1);
      CHECK(distance(ours.at(key), expected) <= 1e-4);
    }
    const core::Json config = core::read_json(out / "adapter_config.json"),
                     peft = core::read_json(c.folder / "end" / "adapter_config.json");
    for (const auto& item : config.items()) CHECK(peft.at(item.key()) == item.value());
    CHECK(config.value("use_dora", false) == name.starts_with("dora"));
    CHECK(lora::peft_bytes(*again.adapter) == fs::file_size(out / "adapter_model.safetensors"));
  }
}

TEST_CASE("PiSSA and OLoRA train as PEFT's do, and are saved as its conversion to plain LoRA", "[parity]") {
  keep_files_in_memory();
  for (const std::string name : {"pissa", "olora"}) {
    INFO(name);
    Case c(name);
    CHECK(distance(c.logits(c.golden.at("ids")), c.golden.at("logits")) <= 1e-4);
    // Decompositions are the same up to the sign of each term.
    const Tensors found = gradients(c);
    for (const auto& [key, tensor] : c.adapter->parameters()) {
      INFO(key);
      const at::Tensor expected = c.golden.at("start." + key), gradient = c.golden.at("grad." + key);
      const std::int64_t along = key.find("lora_A") != std::string::npos ? 1 : 0;
      const at::Tensor signs = (tensor.detach() * expected).sum(along, true).sign();
      CHECK(distance(tensor * signs, expected) <= 1e-4);
      CHECK(distance(found.at(key) * signs, gradient) <= 1e-4 * std::max(1.0, gradient.abs().max().item<double>()));
    }

    Case again(name);
    TempDir out;
    Recorder recorder;
    again.train(out.path(), recorder);
    REQUIRE(recorder.steps.size() == 5);
    for (std::size_t i = 0; i < 5; ++i)
      CHECK(recorder.steps[i].loss == Approx(c.record["losses"][i].get<double>()).epsilon(1e-5));
    CHECK(distance(again.logits(c.golden.at("ids")), c.golden.at("end_logits")) <= 1e-4);

    const core::Json config = core::read_json(out / "adapter_config.json"),
                     peft = core::read_json(c.folder / "end" / "adapter_config.json");
    for (const char* key : {"r", "init_lora_weights", "peft_type"}) CHECK(config.at(key) == peft.at(key));
    CHECK(config["lora_alpha"].get<double>() == Approx(peft["lora_alpha"].get<double>()).epsilon(1e-12));
    // ΔW of both files, on a bare model; both folders of ours load as plain LoRA.
    for (const fs::path& folder : {out.path(), out / "checkpoints" / "checkpoint-5"}) {
      Case ours(name), theirs(name);
      ours.adapter->detach();
      theirs.adapter->detach();
      const lora::Adapter mine = lora::load_peft(ours.decoder->slot_table(), folder);
      const lora::Adapter other = lora::load_peft(theirs.decoder->slot_table(), c.folder / "end");
      REQUIRE(mine.slots().size() == other.slots().size());
      for (std::size_t i = 0; i < mine.slots().size(); ++i)
        CHECK(distance(mine.slots()[i]->delta_weight(), other.slots()[i]->delta_weight()) <= 1e-4);
      CHECK(distance(ours.logits(c.golden.at("ids")), c.golden.at("end_logits")) <= 1e-4);
    }
    CHECK(lora::peft_bytes(*again.adapter) == fs::file_size(out / "adapter_model.safetensors"));
  }
}

namespace {

/// The tiny decoder with an adapter of a method, dropout on.
struct Method {
  Method(const std::string& init, bool dora, const std::vector<std::string>& targets,
         const std::vector<std::string>& whole) {
    decoder = models::random_decoder(tiny_config(), 5, false);
    lora::LoraConfig config;
    config.r = 4;
    config.lora_alpha = 10;
    config.lora_dropout = 0.1;
    config.use_dora = dora;
    config.init_lora_weights = init;
    if (!targets.empty()) config.target_modules = targets;
    config.modules_to_save = whole;
    adapter = lora::attach(decoder->slot_table(), config, 9);
    train::CausalLm::Parts parts;
    parts.decoder = decoder;
    parts.adapter = &*adapter;
    parts.train = tiny_data(22, 1);
    parts.evaluation.emplace_back("validation", tiny_data(5, 2));
    parts.plan.max_steps = 8;
    objective = std::make_unique<train::CausalLm>(std::move(parts));
  }
  models::Decoder decoder{nullptr};
  std::optional<lora::Adapter> adapter;
  std::unique_ptr<train::CausalLm> objective;
};

}  // namespace

TEST_CASE("a run of every method that is stopped and resumed ends with the same bytes", "[unit]") {
  keep_files_in_memory();
  struct Way {
    const char* init;
    bool dora;
    std::vector<std::string> targets = {}, whole = {};
  };
  for (const Way& way :
       {Way{"default", true}, Way{"orthogonal", true}, Way{"pissa", false}, Way{"pissa_niter_2", false},
        Way{"olora", false}, Way{"default", false, {"q_proj", "embed_tokens", "lm_head"}, {"norm", "0.mlp"}},
        Way{"pissa", false, {}, {"embed_tokens", "lm_head", "0.self_attn.v_proj"}}}) {
    INFO(way.init << (way.dora ? ", DoRA" : "") << (way.whole.empty() ? "" : ", whole modules"));
    train::TrainOptions options;
    options.lr = 1e-2;
    options.lora_plus_ratio = 4;
    options.eval_every = 4;
    options.save_every = 3;
    TempDir whole, out;
    Recorder recorder;
    Method uninterrupted(way.init, way.dora, way.targets, way.whole);
    train::Trainer(*uninterrupted.objective, options, whole.path(), {}).run(recorder);
    {
      std::atomic<int> stop{0};
      Recorder first;
      first.after_step = [&](std::int64_t step) { stop = step == 5 ? 2 : 0; };
      Method begun(way.init, way.dora, way.targets, way.whole);
      CHECK(train::Trainer(*begun.objective, options, out.path(), {}, &stop).run(first).stop ==
            train::TrainResult::Stop::kSignal);
    }
    Method resumed(way.init, way.dora, way.targets, way.whole);
    for (const auto& slot : resumed.adapter->slots()) {  // what a resumed run begins with is the checkpoint's
      lora::LoraMatrices& lora = slot->lora();
      if (lora.a0.defined()) lora.a0 = torch::zeros_like(lora.a0);
    }
    const int threads = at::get_num_threads();
    at::set_num_threads(threads == 1 ? 2 : 1);
    train::Trainer(*resumed.objective, options, out.path(), {}).run(recorder, true);
    at::set_num_threads(threads);
    CHECK(differing(results_of(out.path()), results_of(whole.path())) == "");
    CHECK(fs::exists(train::list_checkpoints(out.path()).back().second / "initial_adapter.safetensors") ==
          resumed.adapter->config().splits_base());
    CHECK_FALSE(fs::exists(out / "initial_adapter.safetensors"));
  }
}

TEST_CASE("the rates of LoRA+ are B's and the vectors', in ranges that cover the buffer", "[unit]") {
  const std::vector<lora::NamedTensor> parameters = {{"p.lora_A.weight", torch::zeros({2, 3})},
                                                     {"p.lora_B.weight", torch::zeros({4, 2})},
                                                     {"p.lora_magnitude_vector", torch::zeros({4})},
                                                     {"q.lora_A.weight", torch::zeros({2, 5})}};
  const auto ranges = train::rate_ranges(parameters, 16);
  REQUIRE(ranges.size() == 3);
  const std::vector<std::array<double, 3>> expected = {{0, 6, 1}, {6, 18, 16}, {18, 28, 1}};
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(static_cast<double>(ranges[i].begin) == expected[i][0]);
    CHECK(static_cast<double>(ranges[i].end) == expected[i][1]);
    CHECK(ranges[i].factor == expected[i][2]);
  }
  CHECK(train::rate_ranges(parameters, 1).size() == 1);
}
