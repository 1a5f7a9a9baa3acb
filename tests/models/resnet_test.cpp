#include "lowrank/models/resnet/resnet.h"

#include <ATen/Parallel.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/module.h>
#include <torch/optim/adam.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstring>

#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/inject.h"

using namespace lowrank;
using models::ResNet;

namespace {

namespace fs = std::filesystem;

fs::path folder(const std::string& name) { return lowrank_test::golden_dir() / "models" / ("resnet-" + name); }

at::Tensor expected(const std::string& name, const std::string& tensor) {
  const auto file = formats::SafetensorsFile::open(folder(name) / "expected.safetensors");
  return formats::tensor_view(file, *file->find(tensor)).clone();
}

double far(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a - b).abs().max().item<double>();
}

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

template <typename F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  FAIL("nothing was thrown");
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) == std::string::npos) UNSCOPED_INFO("'" << part << "' is not in: " << text);
  return text.find(part) != std::string::npos;
}

lora::LoraConfig convolutions() {
  lora::LoraConfig config;
  config.r = 2;
  config.lora_alpha = 4;
  config.target_modules = std::vector<std::string>{"convolution"};
  config.modules_to_save = {"classifier"};
  return config;
}

}  // namespace

TEST_CASE("ResNet gives transformers' logits, plain and with PEFT's adapter on every convolution", "[parity]") {
  for (const std::string name : {"basic", "bottleneck"}) {
    INFO(name);
    const at::NoGradGuard no_grad;
    ResNet model = ResNet::load(folder(name));
    const at::Tensor pixels = expected(name, "pixels");
    CHECK(far(model.logits(pixels), expected(name, "logits")) < 1e-4);
    CHECK(model.config().labels.front() == (name == "basic" ? "cat" : "no"));
    {
      const lora::Injected adapter = lora::load_injected(model.network(), folder(name) / "adapter");
      CHECK(far(model.logits(pixels), expected(name, "adapted")) < 1e-4);
      CHECK(far(expected(name, "logits"), expected(name, "adapted")) > 1e-2);
    }
    const lowrank_test::TempDir out;  // its classifier is the adapter's by now
    model.save(out.path());
    ResNet again = ResNet::load(out.path());
    CHECK(same_bytes(again.logits(pixels), model.logits(pixels)));
  }
}

TEST_CASE("An adapter trains on a frozen ResNet, with the same bytes for any number of threads", "[unit]") {
  const int threads = at::get_num_threads();
  torch::manual_seed(1);
  const at::Tensor pixels = torch::randn({20, 1, 24, 24}), labels = torch::randint(0, 3, {20});
  std::vector<at::Tensor> results;
  for (const int n : {1, 2}) {
    at::set_num_threads(n);
    ResNet model = ResNet::load(folder("basic"));
    const auto running = model.network().named_buffers();
    std::vector<at::Tensor> before;
    for (const auto& item : running) before.push_back(item.value().clone());
    lora::Injected adapter = lora::inject(model.network(), convolutions(), 7);
    CHECK(adapter.modules().size() == 9);
    torch::optim::Adam optimizer(adapter.parameters(), torch::optim::AdamOptions(2e-2));
    double first = 0, last = 0;
    for (int step = 0; step < 25; ++step) {
      optimizer.zero_grad();
      adapter.compose();
      const at::Tensor loss = torch::nn::functional::cross_entropy(model.logits(pixels), labels);
      loss.backward();
      optimizer.step();
      last = loss.item<double>();
      if (step == 0) first = last;
    }
    CHECK(last < 0.9 * first);
    for (std::size_t i = 0; i < before.size(); ++i) CHECK(same_bytes(before[i], running[i].value()));
    const at::NoGradGuard no_grad;
    adapter.compose();
    results.push_back(model.logits(pixels));
  }
  at::set_num_threads(threads);
  CHECK(same_bytes(results[0], results[1]));
}

TEST_CASE("ResNet trains whole, and tracks the statistics of its batches then", "[unit]") {
  models::ResNetConfig config;
  config.num_channels = 1;
  config.embedding_size = 4;
  config.hidden_sizes = {6, 8};
  config.depths = {1, 1};
  config.bottleneck = false;
  config.labels = {"even", "odd"};
  ResNet model = ResNet::random(config, 3), twin = ResNet::random(config, 3), other = ResNet::random(config, 4);
  torch::manual_seed(2);
  const at::Tensor pixels = torch::randn({16, 1, 16, 16}), labels = torch::randint(0, 2, {16});
  CHECK(same_bytes(model.logits(pixels).detach(), twin.logits(pixels).detach()));
  CHECK_FALSE(same_bytes(model.logits(pixels).detach(), other.logits(pixels).detach()));
  const auto mean = [&] {
    return model.network().named_buffers()["resnet.embedder.embedder.normalization.running_mean"];
  };
  CHECK(mean().abs().max().item<double>() == 0);
  model.network().train();
  torch::optim::Adam optimizer(model.network().parameters(), torch::optim::AdamOptions(1e-2));
  double first = 0, last = 0;
  for (int step = 0; step < 30; ++step) {
    optimizer.zero_grad();
    const at::Tensor loss = torch::nn::functional::cross_entropy(model.logits(pixels), labels);
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  CHECK(last < 0.5 * first);
  CHECK(mean().abs().max().item<double>() > 0);
  CHECK(model.network()
            .named_buffers()["resnet.embedder.embedder.normalization.num_batches_tracked"]
            .item<std::int64_t>() == 30);
}

TEST_CASE("A ResNet folder that does not fit is refused in a sentence", "[unit]") {
  const lowrank_test::TempDir out;
  const auto with = [&](const std::string& from, const std::string& to) {
    fs::copy_file(folder("basic") / "model.safetensors", out / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    std::string text = lowrank_test::read_text(folder("basic") / "config.json");
    REQUIRE(text.find(from) != std::string::npos);
    text.replace(text.find(from), from.size(), to);
    lowrank_test::write_text(out / "config.json", text);
    return message_of([&] { ResNet::load(out.path()); });
  };
  CHECK(contains(with("\"relu\"", "\"gelu\""), "hidden_act is 'gelu'"));
  CHECK(contains(with("\"resnet\"", "\"vit\""), "model_type is 'vit'"));
  CHECK(contains(with("\"basic\"", "\"simple\""), "'simple'"));
  CHECK(contains(with("\"embedding_size\": 4", "\"embedding_size\": 5"), "expected [5, 1, 7, 7]"));
  CHECK(contains(with("\"layer_type\": \"basic\"", "\"layer_type\": \"bottleneck\""), "config.json"));
  ResNet model = ResNet::load(folder("basic"));
  CHECK(contains(message_of([&] { model.logits(torch::zeros({1, 3, 16, 16})); }), "[N, 1, height, width]"));
}
