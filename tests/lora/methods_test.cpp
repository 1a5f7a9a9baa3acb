// DoRA, PiSSA, OLoRA and the orthogonal initialisation on slots and in files.
#include "fixture.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/delta.h"
#include "lowrank/lora/init.h"
#include "lowrank/lora/merge.h"

using namespace lora_test;
namespace fs = std::filesystem;

namespace {

lora::LoraConfig config_of(const std::string& init, bool dora = false) {
  lora::LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.use_dora = dora;
  config.init_lora_weights = init;
  return config;
}

double largest(const at::Tensor& t) { return t.detach().abs().max().item<double>(); }

// As training would, A too.
void move(const lora::Adapter& adapter) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(12);
  for (const auto& parameter : adapter.parameters())
    at::Tensor(parameter.tensor).add_(torch::randn_like(parameter.tensor), 0.1);
}

at::Tensor dense(const lora::LoraMatrices& lora, const at::Tensor& weight) {
  const at::Tensor wide = weight.to(at::kFloat);
  at::Tensor sum = wide + lora.scale * lora.b.detach().matmul(lora.a.detach());
  if (lora.a0.defined()) sum = sum - lora.scale * lora.b0.matmul(lora.a0);
  if (lora.magnitude.defined()) sum = sum * (lora.magnitude.detach() / sum.norm(2, {1}, false)).unsqueeze(1);
  return sum;
}

}  // namespace

TEST_CASE("every initialisation begins as the base, and computes what its dense weight does", "[unit]") {
  for (const auto& [init, dora] : std::vector<std::pair<std::string, bool>>{{"default", true},
                                                                            {"gaussian", true},
                                                                            {"orthogonal", false},
                                                                            {"orthogonal", true},
                                                                            {"pissa", false},
                                                                            {"pissa_niter_3", false},
                                                                            {"olora", false}}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      INFO(init << (dora ? ", DoRA " : " ") << dtype);
      const auto table = tiny_llama(dtype);
      const auto bare = tiny_llama(dtype);
      const auto adapter = lora::attach(table, config_of(init, dora));
      const torch::NoGradGuard no_grad;
      torch::manual_seed(13);
      for (std::size_t i = 0; i < table.slots.size(); ++i) {
        auto slot = table.slots[i];
        if (!slot->adapted()) continue;
        const at::Tensor x = torch::randn({5, slot->base().in_features()});
        CHECK(largest(slot->forward(x) - bare.slots[i]->forward(x)) < 2e-5);
      }
      move(adapter);
      for (const auto& slot : adapter.slots()) {
        const at::Tensor x = torch::randn({5, slot->base().in_features()});
        const at::Tensor weight = dense(slot->lora(), weight_of(slot));
        CHECK(largest(lora::LinearSlot(slot)->forward(x) - x.matmul(weight.t())) < 2e-5);
        CHECK(largest(lora::merged_rows(weight_of(slot), slot->lora(), 0, slot->base().out_features()).to(at::kFloat) -
                      weight.to(dtype).to(at::kFloat)) <= (dtype == at::kFloat ? 1e-5 : 0.02));
        // A plain LoRA of twice the rank is the same.
        const lora::LoraMatrices twice = lora::plain(slot->lora());
        CHECK(twice.r == (adapter.config().splits_base() ? 8 : 4));
        CHECK(same_bytes(lora::delta_rows(twice, 0, 3), lora::delta_rows(slot->lora(), 0, 3)));
      }
    }
  }
}

TEST_CASE("PiSSA takes the greatest terms, OLoRA Q and R, and the orthogonal pair nothing", "[unit]") {
  torch::manual_seed(14);
  const at::Tensor u = std::get<0>(torch::linalg_qr(torch::randn({24, 16}, at::kDouble)));
  const at::Tensor v = std::get<0>(torch::linalg_qr(torch::randn({16, 16}, at::kDouble)));
  const at::Tensor s = torch::pow(0.6, torch::arange(16, at::kDouble));
  const at::Tensor w = (u * s).matmul(v.t()).to(at::kFloat);
  const at::Tensor best = (u.narrow(1, 0, 4) * s.narrow(0, 0, 4)).matmul(v.narrow(1, 0, 4).t()).to(at::kFloat);
  for (const std::string init : {"pissa", "pissa_niter_4"}) {
    INFO(init);
    const auto lora = lora::split_from(kernels::BaseWeight::dense(w), "p", 4, 1.5, init, 1);
    CHECK(largest(1.5 * lora.b0.matmul(lora.a0) - best) < (init == "pissa" ? 1e-5 : 1e-3));
    // √S on both sides.
    CHECK(largest(lora.a0.norm(2, {1}, false) - lora.b0.norm(2, {0}, false)) < 1e-5);
    CHECK(same_bytes(lora.a, lora.a0));
    const int threads = at::get_num_threads();
    at::set_num_threads(threads == 1 ? 2 : 1);
    CHECK(same_bytes(lora::split_from(kernels::BaseWeight::dense(w), "p", 4, 1.5, init, 1).b0, lora.b0));
    at::set_num_threads(threads);
  }
  const auto olora = lora::split_from(kernels::BaseWeight::dense(w), "p", 4, 1.5, "olora", 1);
  CHECK(largest(olora.b0.t().matmul(olora.b0) - torch::eye(4)) < 1e-5);
  const auto [q, r] = torch::linalg_qr(w);
  CHECK(largest(olora.b0.matmul(olora.a0) - q.narrow(1, 0, 4).matmul(r.narrow(0, 0, 4))) < 1e-5);
  const auto orthogonal = lora::new_matrices("p", 64, 48, 6, "orthogonal", 1);
  CHECK(largest(orthogonal.b.matmul(orthogonal.a)) < 1e-6);
  CHECK(orthogonal.a.detach().std().item<double>() == Approx(0.1 / std::sqrt(2.0)).epsilon(0.15));
  CHECK(orthogonal.b.detach().std().item<double>() == Approx(0.1 / std::sqrt(2.0)).epsilon(0.15));
  CHECK(contains(message_of(ErrorKind::kConfig,
                            [&] { lora::split_from(kernels::BaseWeight::dense(w), "p.q", 17, 1, "pissa", 1); }),
                 "p.q: its weight is [24, 16], so the initialisation 'pissa' has at most rank 16, not 17"));
}

TEST_CASE("the saved form keeps every module's scale, by patterns and with rsLoRA too", "[unit]") {
  for (const bool rslora : {false, true}) {
    lora::LoraConfig config = config_of("pissa");
    config.use_rslora = rslora;
    config.rank_pattern = {{"k_proj", 2}};
    config.alpha_pattern = {{"q_proj", 5}};
    const auto table = tiny_llama();
    const auto adapter = lora::attach(table, config);
    move(adapter);
    lowrank_test::TempDir dir;
    lora::save_peft(adapter, dir.path());
    CHECK(lora::peft_bytes(adapter) == fs::file_size(dir / "adapter_model.safetensors"));
    const auto other = tiny_llama();
    std::vector<std::string> notes;
    const auto back = lora::load_peft(other, dir.path(), &notes);
    CHECK(notes.empty());
    CHECK(back.config().r == 8);
    CHECK(back.config().init_lora_weights == "default");
    REQUIRE(paths(back.slots()) == paths(adapter.slots()));
    for (std::size_t i = 0; i < back.slots().size(); ++i) {
      const auto &before = adapter.slots()[i]->lora(), &after = back.slots()[i]->lora();
      CHECK(after.r == 2 * before.r);
      CHECK(after.scale == Approx(before.scale).epsilon(1e-15));
      CHECK(largest(adapter.slots()[i]->delta_weight() - back.slots()[i]->delta_weight()) < 1e-6);
    }
  }
}

TEST_CASE("DoRA is saved, loaded to the bit, merged into a slot and into files", "[unit]") {
  const auto table = tiny_llama(at::kBFloat16);
  lora::LoraConfig config = config_of("default", true);
  config.target_modules = std::vector<std::string>{"q_proj", "down_proj"};
  auto adapter = lora::attach(table, config);
  CHECK(adapter.parameters().size() == 18);
  CHECK(adapter.parameters()[2].name == "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector");
  move(adapter);
  lowrank_test::TempDir dir;
  fs::create_directories(dir / "a");
  lora::save_peft(adapter, dir / "a");
  CHECK(lora::peft_bytes(adapter) == fs::file_size(dir / "a" / "adapter_model.safetensors"));
  const auto other = tiny_llama(at::kBFloat16);
  auto back = lora::load_peft(other, dir / "a");
  CHECK(back.config().use_dora);
  for (std::size_t i = 0; i < back.parameters().size(); ++i) {
    CHECK(back.parameters()[i].name == adapter.parameters()[i].name);
    CHECK(same_bytes(back.parameters()[i].tensor.detach(), adapter.parameters()[i].tensor.detach()));
  }

  std::vector<formats::TensorToWrite> tensors;
  for (const auto& slot : other.slots)
    tensors.push_back(formats::tensor_to_write(slot->path() + ".weight", weight_of(slot)));
  fs::create_directories(dir / "model");
  formats::write_safetensors(dir / "model" / "model.safetensors", std::move(tensors));
  lora::merge_files(dir / "model", back, dir / "merged");
  CHECK_NOTHROW(lora::verify_merge(dir / "model", back, dir / "merged"));
  const auto merged = formats::WeightFiles::open(dir / "merged");
  back.merge();
  const torch::NoGradGuard no_grad;
  for (const auto& slot : back.slots()) {
    const at::Tensor weight = formats::tensor_view(*merged.find(slot->path() + ".weight"));
    const at::Tensor x = torch::randn({3, slot->base().in_features()}).to(at::kBFloat16);
    CHECK(at::allclose(lora::LinearSlot(slot)->forward(x), x.matmul(weight.t()), 0.02, 0.02));
    CHECK(at::allclose(weight.to(at::kFloat).norm(2, {1}, false), slot->lora().magnitude, 0.01, 0.01));
  }
  const at::Tensor before = weight_of(back.slots()[0]).clone();
  back.unmerge();
  CHECK(same_bytes(weight_of(back.slots()[0]), before));
  back.detach();
  CHECK(other.slots[0]->module()->named_parameters().size() == 1);
}

TEST_CASE("DoRA's norms follow every change of A, B and the weight", "[unit]") {
  const auto table = tiny_llama();
  const auto adapter = lora::attach(table, config_of("default", true));
  auto slot = adapter.slots()[0];
  const torch::NoGradGuard no_grad;
  const at::Tensor x = torch::randn({4, 16});
  const auto expected = [&] { return x.matmul(dense(slot->lora(), weight_of(slot)).t()); };
  CHECK(largest(slot->forward(x) - expected()) < 1e-5);
  slot->lora().b.data_ptr<float>()[5] += 3;  // as the optimiser writes: LibTorch does not see it
  CHECK(largest(slot->forward(x) - expected()) < 1e-5);
  slot->lora().scale *= 2;
  CHECK(largest(slot->forward(x) - expected()) < 1e-5);
  weight_of(slot).copy_(torch::randn({16, 16}));
  slot->rebind();
  CHECK(largest(slot->forward(x) - expected()) < 1e-5);
}

TEST_CASE("files and configs of these methods that cannot be are refused", "[unit]") {
  const auto table = tiny_llama();
  const auto refused = [&](const lora::LoraConfig& config) {
    return message_of(ErrorKind::kConfig, [&] {
      config.validate();
      lora::attach(table, config);
    });
  };
  CHECK(contains(refused(config_of("pissa", true)), "use_dora does not go with the initialisation 'pissa'"));
  CHECK(contains(refused(config_of("pisa")), "did you mean 'pissa'"));
  CHECK(contains(refused(config_of("pissa_niter_x")), "pissa_niter_N"));
  auto odd = config_of("orthogonal");
  odd.r = 5;
  CHECK(contains(refused(odd), "r is 5; the orthogonal initialisation"));
  odd.r = 4;
  odd.rank_pattern = {{"k_proj", 3}};
  CHECK(contains(refused(odd), "rank_pattern['k_proj'] is 3"));
  auto high = config_of("olora");
  high.r = 9;  // k_proj has 8 rows
  CHECK(contains(refused(high), "model.layers.0.self_attn.k_proj: its weight is [8, 16]"));
  for (const auto& slot : table.slots) CHECK_FALSE(slot->adapted());

  const auto adapter = lora::attach(table, config_of("default", true));
  lowrank_test::TempDir dir;
  lora::save_peft(adapter, dir.path());
  const auto file = formats::SafetensorsFile::open(dir / "adapter_model.safetensors");
  std::vector<formats::TensorToWrite> less, narrow;
  for (const auto& info : file->header().tensors) {
    const at::Tensor tensor = formats::tensor_view(file, info).clone();
    const bool first = info.name.find("layers.0.self_attn.q_proj.lora_magnitude_vector") != std::string::npos;
    if (!first) less.push_back(formats::tensor_to_write(info.name, tensor));
    narrow.push_back(formats::tensor_to_write(info.name, first ? tensor.slice(0, 0, 7).contiguous() : tensor));
  }
  const auto message = [&] {
    return message_of(ErrorKind::kModel, [&] { lora::load_peft(tiny_llama(), dir.path()); });
  };
  fs::remove(dir / "adapter_model.safetensors");
  formats::write_safetensors(dir / "adapter_model.safetensors", std::move(less));
  CHECK(contains(message(),
                 "layers.0.self_attn.q_proj.lora_magnitude_vector' is missing, although use_dora asks for it"));
  formats::write_safetensors(dir / "adapter_model.safetensors", std::move(narrow));
  CHECK(contains(message(), "lora_magnitude_vector' has shape [7], expected [16]"));
}
