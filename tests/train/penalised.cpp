// What L1 and L2 act on: A and B alone, measured from where an adapter that begins with a part of the base began.
#include "lowrank/core/error.h"
#include "lowrank/train/dpo.h"
#include "lowrank/train/penalties.h"
#include "same_bytes.h"
#include "tiny_model.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

struct Method {
  explicit Method(const std::string& init, bool dora = false, const std::vector<std::string>& whole = {}) {
    decoder = models::random_decoder(tiny_config(), 5, false);
    lora::LoraConfig config;
    config.r = 4;
    config.lora_alpha = 10;
    config.use_dora = dora;
    config.init_lora_weights = init;
    config.modules_to_save = whole;
    adapter = lora::attach(decoder->slot_table(), config, 9);
    train::CausalLm::Parts parts;
    parts.decoder = decoder;
    parts.adapter = &*adapter;
    parts.train = tiny_data(22, 1);
    objective = std::make_unique<train::CausalLm>(std::move(parts));
    for (const lora::NamedTensor& parameter : objective->parameters()) start.push_back(parameter.tensor.clone());
  }
  models::Decoder decoder{nullptr};
  std::optional<lora::Adapter> adapter;
  std::unique_ptr<train::CausalLm> objective;
  std::vector<at::Tensor> start;
};

bool is_factor(const std::string& name) {
  return name.find("lora_A") != std::string::npos || name.find("lora_B") != std::string::npos;
}

}  // namespace

TEST_CASE("L1 and L2 act on A and B, not on DoRA's magnitudes or trained copies", "[unit]") {
  Method m("default", true, {"norm", "lm_head"});
  train::FlatParameters flat(m.objective->parameters());
  flat.values().add_(0.5);
  const train::Penalties penalties(flat, m.objective->penalised());
  double expected = 0;
  for (const auto& [name, tensor] : flat.parameters()) {
    if (is_factor(name)) expected += tensor.detach().to(at::kDouble).abs().sum().item<double>();
  }
  CHECK(penalties.value(2, 0) == Approx(2 * expected).epsilon(1e-9));
  penalties.add_l2_gradient(0.25);
  penalties.shrink(1e9);
  std::size_t others = 0;
  for (std::size_t i = 0; i < m.start.size(); ++i) {
    const auto& [name, tensor] = flat.parameters()[i];
    INFO(name);
    others += is_factor(name) ? 0 : 1;
    CHECK((tensor.abs().max().item<double>() == 0) == is_factor(name));
    CHECK((tensor.grad().abs().max().item<double>() == 0) == !is_factor(name));
    if (is_factor(name)) continue;
    CHECK(torch::equal(tensor, m.start[i] + 0.5F));
  }
  CHECK(others > 3);
  CHECK(penalties.share_of_zeros() == 1);
}

TEST_CASE("of PiSSA and OLoRA L1 and L2 see what was added to the beginning, so that they pull to the base", "[unit]") {
  for (const char* init : {"pissa", "olora"}) {
    INFO(init);
    Method m(init);
    train::FlatParameters flat(m.objective->parameters());
    const train::Penalties penalties(flat, m.objective->penalised());
    CHECK(penalties.value(1, 1) == 0);
    penalties.add_l2_gradient(0.5);
    penalties.shrink(1e9);
    CHECK(flat.gradient_norm() == 0);
    CHECK(penalties.share_of_zeros() == 1);
    for (std::size_t i = 0; i < m.start.size(); ++i) CHECK(torch::equal(flat.parameters()[i].tensor, m.start[i]));
    flat.values().add_(0.25);
    CHECK(penalties.value(1, 0) == Approx(0.25 * static_cast<double>(flat.size())).epsilon(1e-5));
    penalties.shrink(0.125);
    for (std::size_t i = 0; i < m.start.size(); ++i) {
      CHECK(torch::allclose(flat.parameters()[i].tensor, m.start[i] + 0.125F, 0, 1e-6));
    }
    penalties.shrink(0.2);
    for (const lora::LinearSlot& slot : m.adapter->slots()) {
      CHECK(slot->delta_weight().abs().max().item<double>() <= 1e-6);
    }
  }
}

TEST_CASE("without an adapter every weight is penalised", "[unit]") {
  Toy toy;
  train::FlatParameters flat(toy.parameters());
  const train::Penalties penalties(flat, toy.penalised());
  CHECK(penalties.value(1, 0) == Approx(train::penalty_value(flat.values(), 1, 0)));
  penalties.shrink(1e9);
  CHECK(penalties.share_of_zeros() == 1);
}

TEST_CASE("a run with L1 on PiSSA that is stopped and resumed ends with the same bytes", "[unit]") {
  const auto run = [](const fs::path& out, Recorder& recorder, bool resume) {
    Method m("pissa");
    if (resume) {  // what a resumed run begins with is the checkpoint's
      for (const lora::LinearSlot& slot : m.adapter->slots()) slot->lora().a0 = torch::zeros_like(slot->lora().a0);
    }
    train::TrainOptions options = tiny_training();
    options.l1 = 1e-2;
    options.l2 = 1e-2;
    train::Trainer(*m.objective, options, out, {}).run(recorder, resume);
  };
  TempDir whole;
  Recorder recorder;
  run(whole.path(), recorder, false);
  check_resumes(run, {4}, results_of(whole.path()));
}

TEST_CASE("DPO of an adapter that begins with a part of the base resumes to the same bytes", "[unit]") {
  struct PissaDpo {
    explicit PissaDpo(bool resume) {
      decoder = models::random_decoder(tiny_config(), 5, false);
      lora::LoraConfig config;
      config.r = 4;
      config.lora_alpha = 10;
      config.init_lora_weights = "pissa";
      adapter = lora::attach(decoder->slot_table(), config, 9);
      train::Dpo::Parts parts;
      parts.decoder = decoder;
      parts.adapter = &*adapter;
      parts.train = tiny_data(22, 1);
      parts.plan.max_steps = 8;
      objective = std::make_unique<train::Dpo>(std::move(parts));
      if (!resume) return;
      for (const lora::LinearSlot& slot : adapter->slots()) slot->lora().a0 = torch::zeros_like(slot->lora().a0);
    }
    models::Decoder decoder{nullptr};
    std::optional<lora::Adapter> adapter;
    std::unique_ptr<train::Dpo> objective;
  };
  const auto run = [](const fs::path& out, Recorder& recorder, bool resume) {
    PissaDpo tiny(resume);
    train::Trainer(*tiny.objective, tiny_training(), out, {}).run(recorder, resume);
  };
  TempDir whole;
  Recorder recorder;
  run(whole.path(), recorder, false);
  CHECK(fs::exists(train::list_checkpoints(whole.path()).back().second / "initial_adapter.safetensors"));
  check_resumes(run, {4}, results_of(whole.path()));
}
