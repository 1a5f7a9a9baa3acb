// The device itself: it computes what the CPU computes, and its memory is closed to everyone else.
#include "device/device.h"

#include <ATen/Functions.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "catch.h"

namespace {

using test_device::device;

// Numbers between -1 and 1 that repeat only after 997 of them.
at::Tensor numbers(at::IntArrayRef shape, at::ScalarType dtype = at::kFloat) {
  at::Tensor x = at::empty(shape, at::kLong);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.mutable_data_ptr<std::int64_t>()[i] = (i * 571 + 13) % 997 - 498;
  return x.to(at::kDouble).div(498).to(dtype);
}

at::Tensor indices(const std::vector<std::int64_t>& values) { return at::tensor(values, at::kLong); }

void check_equal(const at::Tensor& on_device, const at::Tensor& expected) {
  REQUIRE(on_device.device() == device());
  REQUIRE(on_device.scalar_type() == expected.scalar_type());
  REQUIRE(on_device.sizes() == expected.sizes());
  CHECK(at::equal(on_device.cpu(), expected));
}

// What a child that runs f writes to stderr, and whether it was killed.
template <typename F>
std::pair<std::string, bool> child(const F& f) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDERR_FILENO);
    // Catch2's report of a deadly signal goes to the parent's stdout otherwise.
    dup2(ends[1], STDOUT_FILENO);
    f();
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = read(ends[0], buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  return {text, WIFSIGNALED(status)};
}

}  // namespace

TEST_CASE("test device: what it computes is the CPU's to the bit", "[unit]") {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    INFO(c10::toString(dtype));
    const at::Tensor a = numbers({37, 24}, dtype), b = numbers({24, 19}, dtype), x = a.to(device()), y = b.to(device());
    const at::Tensor ids = at::arange(36, -1, -3);
    check_equal(x, a);
    check_equal(x.mul(2).add(x.sigmoid().exp()).sub(0.5), a.mul(2).add(a.sigmoid().exp()).sub(0.5));
    check_equal(x.mm(y), a.mm(b));
    check_equal(x.t().contiguous(), a.t().contiguous());
    check_equal(x.narrow(0, 3, 8).unsqueeze(1).expand({8, 2, 24}).reshape({16, 24}),
                a.narrow(0, 3, 8).unsqueeze(1).expand({8, 2, 24}).reshape({16, 24}));
    check_equal(x.index_select(0, ids.to(device())), a.index_select(0, ids));
    check_equal(x.index({ids.to(device())}), a.index({ids}));
    check_equal(x.log_softmax(-1), a.log_softmax(-1));
    check_equal(at::cat({x, x}, 1), at::cat({a, a}, 1));
    check_equal(std::get<1>(x.max(1)), std::get<1>(a.max(1)));
    check_equal(x.to(at::kFloat).gt(0).to(at::kLong), a.to(at::kFloat).gt(0).to(at::kLong));
    check_equal(std::get<0>(at::linalg_qr(x.to(at::kFloat))), std::get<0>(at::linalg_qr(a.to(at::kFloat))));
    CHECK(x[2][3].item<double>() == a[2][3].item<double>());
    CHECK(at::equal(x, x.clone()));
  }
}

TEST_CASE("test device: factories, and writes through views, in place, by out and by copies", "[unit]") {
  const auto options = at::TensorOptions(device()).dtype(at::kFloat);
  check_equal(at::zeros({3, 2}, options), at::zeros({3, 2}));
  check_equal(at::full({3}, 1.5, options), at::full({3}, 1.5));
  check_equal(at::arange(5, options), at::arange(5, at::kFloat));
  check_equal(at::eye(4, options), at::eye(4));
  check_equal(at::empty({0}, options), at::empty({0}));

  at::Tensor a = numbers({6, 5}), x = a.to(device());
  x.narrow(1, 2, 2).mul_(3).add_(x.select(1, 0).unsqueeze(1));
  a.narrow(1, 2, 2).mul_(3).add_(a.select(1, 0).unsqueeze(1));
  check_equal(x, a);
  x.select(0, 1).copy_(a[4]);  // from the CPU into a view
  a.select(0, 1).copy_(a[4]);
  check_equal(x, a);
  x.as_strided({4}, {6}, 1).zero_();
  a.as_strided({4}, {6}, 1).zero_();
  check_equal(x, a);
  x.index_add_(0, indices({0, 0, 5}).to(device()), x.narrow(0, 1, 3).clone());
  a.index_add_(0, indices({0, 0, 5}), a.narrow(0, 1, 3).clone());
  check_equal(x, a);

  at::Tensor out = at::empty({0}, options);  // grown by the kernel
  at::mm_out(out, x, x.t());
  check_equal(out, a.mm(a.t()));
  out.resize_({40, 3});
  CHECK(out.storage().nbytes() == 40 * 3 * sizeof(float));
  check_equal(out.flatten().narrow(0, 0, 36).view({6, 6}), a.mm(a.t()));
  at::Tensor other = at::empty({0}, options);
  other.set_(out.storage(), 6, {2, 3}, {6, 1});
  CHECK(other.is_alias_of(out));
  check_equal(other, a.mm(a.t()).narrow(0, 1, 2).narrow(1, 0, 3));
  other.set_(x);
  CHECK(other.is_alias_of(x));
  check_equal(other, a);
}

TEST_CASE("test device: gradients of a small network and a step of AdamW are the CPU's to the bit", "[unit]") {
  const auto train = [](const at::Device& where) {
    std::vector<at::Tensor> weights;
    for (const auto& shape : std::vector<std::vector<std::int64_t>>{{16, 8}, {16}, {5, 16}}) {
      weights.push_back(numbers(shape).to(where).requires_grad_());
    }
    const at::Tensor ids = indices({3, 1, 4, 1, 5, 2}).to(where), labels = indices({0, 4, 1, 1, 3, 2}).to(where);
    const at::Tensor table = numbers({7, 8}).to(where).requires_grad_();
    const at::Tensor hidden = at::silu(at::linear(at::embedding(table, ids), weights[0], weights[1]));
    const at::Tensor normal = at::layer_norm(hidden, {16}, weights[1]);
    const at::Tensor loss = at::cross_entropy_loss(at::linear(normal, weights[2]), labels);
    loss.backward();
    std::vector<at::Tensor> results{loss.detach(), table.grad()};
    std::vector<at::Tensor> gradients, first, second, steps, values;
    for (const at::Tensor& weight : weights) {
      results.push_back(weight.grad());
      gradients.push_back(weight.grad());
      values.push_back(weight.detach());
      first.push_back(at::zeros_like(values.back()));
      second.push_back(at::zeros_like(values.back()));
      steps.push_back(at::ones({}, values.back().options()));
    }
    at::_fused_adamw_(values, gradients, first, second, {}, steps, 0.01, 0.9, 0.999, 0.1, 1e-8, false, false);
    for (const auto& list : {values, first, second}) results.insert(results.end(), list.begin(), list.end());
    return results;
  };
  const std::vector<at::Tensor> here = train(at::kCPU), there = train(device());
  REQUIRE(here.size() == there.size());
  for (std::size_t i = 0; i < here.size(); ++i) {
    INFO(i);
    check_equal(there[i], here[i]);
  }
}

TEST_CASE("test device: a tensor of the CPU beside the device's is refused", "[unit]") {
  const at::Tensor a = numbers({4, 4}), x = a.to(device());
  const auto refusal = [](const auto& f) -> std::string {
    try {
      f();
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return "";
  };
  CHECK(refusal([&] { x.mm(a); }) == "test device: aten::mm was given a tensor of the CPU, of shape [4, 4]");
  CHECK(refusal([&] { x.index_select(0, indices({1, 2})); }).find("aten::index_select") != std::string::npos);
  CHECK(refusal([&] { x.add(a); }) != "");
  check_equal(x.add(a[0][0]), a.add(a[0][0]));  // a number
}

TEST_CASE("test device: the program may not touch its memory", "[unit]") {
  at::Tensor x = numbers({64}).to(device());
  const float* const inside = x.const_data_ptr<float>() + 5;
  const auto touched = [&](const std::pair<std::string, bool>& end) {
    INFO(end.first);
    CHECK(end.second);
    CHECK(end.first.find("host code touched device memory at 0x") != std::string::npos);
    CHECK(end.first.find("aten::copy_") != std::string::npos);
  };
  touched(child([&] { static_cast<void>(*static_cast<const volatile float*>(inside)); }));
  touched(child([&] { x.mutable_data_ptr<float>()[5] = 1; }));
  x = at::Tensor();  // what was freed stays closed
  touched(child([&] { static_cast<void>(*static_cast<const volatile float*>(inside)); }));
  const auto [text, killed] = child([&] { static_cast<void>(numbers({64}).to(device()).mul(2).cpu()); });
  INFO(text);
  CHECK_FALSE(killed);
}
