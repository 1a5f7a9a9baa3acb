#include "lowrank/lora/inject.h"

#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/embedding.h>
#include <torch/optim/adam.h>

#include <functional>

#include "fixture.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/lora_conv.h"
#include "lowrank/lora/lora_linear.h"

using namespace lora_test;

namespace {

// A user's network, a CNN with attention; its twin is in tests/parity/make_conv_goldens.py.
struct NetworkImpl : torch::nn::Module {
  NetworkImpl() {
    stem = register_module("stem", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 8, 3).padding(1)));
    deep = register_module("deep", torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 8, 3).padding(1).groups(2)));
    mix = register_module("mix", torch::nn::Conv1d(torch::nn::Conv1dOptions(8, 8, 3).padding(1)));
    place = register_module("place", torch::nn::Embedding(16, 8));
    attention = register_module("attention", torch::nn::MultiheadAttention(8, 2));
    head = register_module("head", torch::nn::Linear(8, 3));
  }
  at::Tensor forward(const at::Tensor& x) {
    at::Tensor h = torch::relu(deep->forward(torch::relu(stem->forward(x))));
    h = mix->forward(torch::max_pool2d(h, 2).flatten(2)).permute({2, 0, 1});
    h = h + place->forward(torch::arange(16)).unsqueeze(1);
    return head->forward((h + std::get<0>(attention->forward(h, h, h))).mean(0));
  }
  torch::nn::Conv2d stem{nullptr}, deep{nullptr};
  torch::nn::Conv1d mix{nullptr};
  torch::nn::Embedding place{nullptr};
  torch::nn::MultiheadAttention attention{nullptr};
  torch::nn::Linear head{nullptr};
};
TORCH_MODULE(Network);

std::shared_ptr<const formats::SafetensorsFile> network_file() {
  return formats::SafetensorsFile::open(lowrank_test::golden_dir() / "lora" / "conv-network" / "base.safetensors");
}
at::Tensor tensor(const std::shared_ptr<const formats::SafetensorsFile>& file, const std::string& name) {
  const auto* info = file->find(name);
  REQUIRE(info != nullptr);
  return formats::tensor_view(file, *info).clone();
}

Network network() {
  Network net;
  const auto file = network_file();
  const torch::NoGradGuard no_grad;
  for (auto& item : net->named_parameters()) item.value().copy_(tensor(file, "base." + item.key()));
  return net;
}

lora::LoraConfig config(std::vector<std::string> targets = {"stem", "deep", "mix", "place", "attention"}) {
  lora::LoraConfig c;
  c.r = 4;
  c.lora_alpha = 6;
  c.target_modules = std::move(targets);
  return c;
}

// Every tensor that the network reads, as bytes to compare.
std::vector<at::Tensor> snapshot(const Network& net) {
  std::vector<at::Tensor> result = {net->stem->weight,
                                    net->deep->weight,
                                    net->mix->weight,
                                    net->place->weight,
                                    net->attention->in_proj_weight,
                                    net->attention->out_proj->weight,
                                    net->head->weight};
  for (const auto& item : net->named_parameters()) result.push_back(item.value());
  for (at::Tensor& t : result) t = t.detach().clone();
  return result;
}
bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = same_bytes(a[i], b[i]);
  return same;
}
void randomise(const lora::Injected& injected) {
  const torch::NoGradGuard no_grad;
  torch::manual_seed(31);
  for (const auto& p : injected.named_parameters()) at::Tensor(p.tensor).normal_(0, 0.3);
}

double train(const std::function<at::Tensor()>& forward, const std::vector<at::Tensor>& parameters, const at::Tensor& y,
             int steps, double* first = nullptr) {
  torch::optim::Adam optimizer(parameters, torch::optim::AdamOptions(1e-2));
  double loss = 0;
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    const at::Tensor l = torch::nn::functional::cross_entropy(forward(), y);
    l.backward();
    optimizer.step();
    loss = l.item<double>();
    if (step == 0 && first != nullptr) *first = loss;
  }
  return loss;
}

}  // namespace

TEST_CASE("An adapter that PEFT wrote for a CNN with attention gives PEFT's logits and gradients", "[parity]") {
  Network net = network();
  const auto file = network_file();
  lora::Injected injected = lora::load_injected(*net, lowrank_test::golden_dir() / "lora" / "conv-network");
  CHECK(injected.modules() == std::vector<std::string>{"stem", "deep", "mix", "place", "attention"});
  const at::Tensor y = net->forward(tensor(file, "x"));
  CHECK(far(y, tensor(file, "y")) < 1e-5);
  y.backward(tensor(file, "upstream"));
  for (const auto& parameter : injected.named_parameters()) {
    INFO(parameter.name);
    CHECK(far(parameter.tensor.grad(), tensor(file, "grad." + parameter.name)) < 1e-4);
  }
  const lowrank_test::TempDir scratch;
  const std::filesystem::path folder = scratch / "new" / "adapter";  // made by saving
  lora::save_injected(injected, folder);
  CHECK(lowrank_test::read_text(folder / "adapter_model.safetensors") ==
        lowrank_test::read_text(lowrank_test::golden_dir() / "lora" / "conv-network" / "adapter_model.safetensors"));
  Network other = network();
  const lora::Injected again = lora::load_injected(*other, folder);
  CHECK(same_bytes(other->forward(tensor(file, "x")).detach(), y.detach()));
}

TEST_CASE("Injected adapters train while the base keeps its bytes", "[unit]") {
  Network net = network();
  const auto before = snapshot(net);
  torch::manual_seed(9);
  const at::Tensor x = torch::randn({12, 1, 8, 8}), y = torch::randint(0, 3, {12});
  const at::Tensor plain = net->forward(x).detach();
  {
    lora::Injected injected = lora::inject(*net, config());
    CHECK(far(net->forward(x).detach(), plain) < 1e-5);  // begins as the network it is in
    double first = 0;
    const double last = train(
        [&] {
          injected.compose();
          return net->forward(x);
        },
        injected.parameters(), y, 60, &first);
    CHECK(last < 0.5 * first);
    for (const auto& item : net->named_parameters()) CHECK_FALSE(item.value().grad().defined());

    const torch::NoGradGuard no_grad;
    injected.compose();
    const at::Tensor adapted = net->forward(x);
    CHECK_FALSE(at::allclose(adapted, plain));
    injected.set_enabled(false);
    CHECK(same_bytes(net->forward(x), plain));
    injected.set_enabled(true);
    CHECK(same_bytes(net->forward(x), adapted));
    injected.merge();
    CHECK(same_bytes(net->forward(x), adapted));
    CHECK(same_bytes(net->named_parameters()["mix.weight"], net->mix->weight));
    {
      const at::AutoGradMode with_grad(true);
      CHECK(contains(message_of(ErrorKind::kConfig, [&] { injected.compose(); }), "unmerge()"));
    }
    injected.unmerge();
    CHECK(same_bytes(net->forward(x), adapted));
  }  // detaches
  CHECK(equal(snapshot(net), before));
  CHECK(net->deep->options.groups() == 2);
  CHECK(net->stem->weight.requires_grad());
  CHECK(same_bytes(net->forward(x).detach(), plain));
}

TEST_CASE("merge_and_detach leaves a plain network with the sums", "[unit]") {
  Network net = network();
  lora::Injected injected = lora::inject(*net, config());
  randomise(injected);
  const torch::NoGradGuard no_grad;
  const at::Tensor x = torch::randn({2, 1, 8, 8});
  injected.compose();
  const at::Tensor adapted = net->forward(x);
  injected.merge_and_detach();
  injected.detach();
  CHECK(far(net->forward(x), adapted) < 1e-5);  // LibTorch's matmul takes another path where weights require gradients
  CHECK(net->deep->weight.sizes() == at::IntArrayRef({8, 8, 3, 3}));
  CHECK(same_bytes(net->named_parameters()["deep.weight"], net->deep->weight));
}

TEST_CASE("Injection equals the explicit network of LoraConv and LoraLinear, step for step", "[unit]") {
  struct PlainImpl : torch::nn::Module {
    PlainImpl() {
      torch::manual_seed(6);
      conv = register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 4, 3).stride(2).padding(1)));
      line = register_module("line", torch::nn::Conv1d(torch::nn::Conv1dOptions(4, 6, 3).groups(2)));
      fc = register_module("fc", torch::nn::Linear(6, 3));
      this->to(at::kDouble);
    }
    torch::nn::Conv2d conv{nullptr};
    torch::nn::Conv1d line{nullptr};
    torch::nn::Linear fc{nullptr};
  };
  PlainImpl plain, wrapped;
  const auto options = [](const char* name) {
    lora::LoraConvOptions o;
    o.r = 4;
    o.alpha = 6;
    o.name = name;
    return o;
  };
  lora::Injected injected = lora::inject(plain, config({"conv", "line", "fc"}), 42);
  lora::LoraConv2d conv(wrapped.conv, options("conv"));
  lora::LoraConv1d line(wrapped.line, options("line"));
  lora::LoraLinear fc(wrapped.fc, options("fc"));
  std::vector<at::Tensor> ours = injected.parameters(),
                          theirs = {conv->slot()->lora().a, conv->slot()->lora().b, line->slot()->lora().a,
                                    line->slot()->lora().b, fc->slot()->lora().a,   fc->slot()->lora().b};
  for (std::size_t i = 0; i < ours.size(); ++i) CHECK(same_bytes(ours[i].detach(), theirs[i].detach()));
  torch::manual_seed(7);
  const at::Tensor x = torch::randn({10, 1, 8, 8}, at::kDouble), y = torch::randint(0, 3, {10});
  const double one = train(
      [&] {
        injected.compose();
        return plain.fc->forward(plain.line->forward(plain.conv->forward(x).relu().flatten(2)).mean(-1));
      },
      ours, y, 20);
  const double two =
      train([&] { return fc->forward(line->forward(conv->forward(x).relu().flatten(2)).mean(-1)); }, theirs, y, 20);
  CHECK(one == Approx(two).epsilon(1e-9));
  for (std::size_t i = 0; i < ours.size(); ++i) CHECK(far(ours[i].detach(), theirs[i].detach()) < 1e-6);
}

TEST_CASE("Targets of an injection follow PEFT's rules", "[unit]") {
  Network net = network();
  const auto modules = [&](const lora::LoraConfig& c) { return lora::inject(*net, c).modules(); };
  CHECK(modules(config({"all-linear"})) == std::vector<std::string>{"head"});
  lora::LoraConfig regex = config();
  regex.target_modules = std::string("(st|d)e.*|mix");
  CHECK(modules(regex) == std::vector<std::string>{"stem", "deep", "mix"});
  regex.exclude_modules = std::vector<std::string>{"mix"};
  CHECK(modules(regex) == std::vector<std::string>{"stem", "deep"});

  const auto before = snapshot(net);
  const auto refused = [&](const lora::LoraConfig& c, const std::vector<std::string>& whole, const char* part) {
    CHECK(contains(message_of(ErrorKind::kConfig,
                              [&] {
                                lora::LoraConfig with = c;
                                with.modules_to_save = whole;
                                lora::inject(*net, with, 1);
                              }),
                   part));
    CHECK(equal(snapshot(net), before));
    CHECK(net->stem->weight.requires_grad());
  };
  refused(config({"sten"}), {}, "did you mean 'stem'");
  refused(config({"out_proj"}), {}, "out_proj");
  refused(config({"stem"}), {"haed"}, "did you mean 'head'");
  refused(config({"head"}), {"head"}, "saved whole");
  lora::LoraConfig odd = config({"stem", "deep"});
  odd.r = 3;
  refused(odd, {}, "multiple of 2");
  lora::LoraConfig drops = config();
  drops.lora_dropout = 0.1;
  refused(drops, {}, "LoraConv2d");
  net->head->weight = net->head->register_parameter("weight2", net->stem->weight);
  CHECK(contains(message_of(ErrorKind::kConfig, [&] { lora::inject(*net, config({"stem"})); }), "is shared"));
}

TEST_CASE("A PEFT folder that does not fit a network is refused and leaves it alone", "[unit]") {
  Network net = network();
  const auto before = snapshot(net);
  const lowrank_test::TempDir folder;
  {
    lora::LoraConfig with_head = config({"stem", "mix"});
    with_head.modules_to_save = {"head"};
    lora::Injected injected = lora::inject(*net, with_head, 1);
    randomise(injected);
    lora::save_injected(injected, folder.path());
    const auto names = injected.named_parameters();
    CHECK(names.back().name == "base_model.model.head.bias");
    at::Tensor(names[0].tensor).detach()[0][0][0][0] = NAN;
    CHECK_THROWS_AS(lora::save_injected(injected, folder.path()), ModelError);
    const torch::NoGradGuard no_grad;
    for (auto& item : net->head->named_parameters())
      item.value().copy_(tensor(network_file(), "base.head." + item.key()));
  }
  const std::string config_text = lowrank_test::read_text(folder / "adapter_config.json");
  const auto broken = [&](const std::string& from, const std::string& to, const char* part) {
    std::string text = config_text;
    text.replace(text.find(from), from.size(), to);
    lowrank_test::write_text(folder / "adapter_config.json", text);
    CHECK(contains(message_of(ErrorKind::kModel, [&] { lora::load_injected(*net, folder.path()); }), part));
    CHECK(equal(snapshot(net), before));
    CHECK(net->stem->weight.requires_grad());
  };
  broken("\"r\": 4", "\"r\": 2", "expected [2, 1, 3, 3]");
  broken("\"stem\"", "\"deep\"", "unexpected tensor 'base_model.model.stem.lora_A.weight'");
  broken("\"stem\"", "\"stem\", \"place\"", "'base_model.model.place.lora_embedding_A' is missing");
  lowrank_test::write_text(folder / "adapter_config.json", config_text);
  CHECK_NOTHROW(lora::load_injected(*net, folder.path()));
}
