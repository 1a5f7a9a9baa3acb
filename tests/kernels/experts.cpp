// A mixture of experts: the router, the products by rows of experts, their sum, gpt-oss's gate, MXFP4.
#include "lowrank/kernels/experts.h"

#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/kernels/mxfp4.h"
#include "lowrank/kernels/router_balance.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

Op routing(std::int64_t per_token, k::Router router) {
  return [=](const Tensors& t) { return k::route(t[0], per_token, router).weights; };
}
constexpr std::array kRouters = {k::Router::kSoftmax, k::Router::kRenormalised, k::Router::kSoftmaxOfTop};

k::SharedRows rows_of(std::int64_t tokens, std::int64_t per_token, std::int64_t experts) {
  const k::Routed routed = k::route(random({tokens, experts}), per_token, k::Router::kSoftmax);
  return std::make_shared<const k::ExpertRows>(k::sort_by_expert(routed.experts, experts));
}

// How the weights of the experts lie.
enum class Form { kParts, kStacked, kTransposed };

// Inputs: x, W [E, out, in] (of parts: cut in two), bias, A, B, A', B'.
Op product(const k::SharedRows& rows, bool by_token, Form form, std::size_t adapters, bool biased) {
  return [=](const Tensors& t) {
    const at::Tensor bias = biased ? t[2] : at::Tensor();
    k::ExpertsWeight weight;
    if (form == Form::kStacked) weight = k::ExpertsWeight::stacked(t[1], false, bias);
    if (form == Form::kTransposed) weight = k::ExpertsWeight::stacked(t[1].transpose(1, 2), true, bias);
    if (form == Form::kParts) {
      std::vector<std::vector<at::Tensor>> parts;
      for (const at::Tensor& w : t[1].unbind(0)) parts.push_back({w.slice(0, 0, 5), w.slice(0, 5)});
      weight = k::ExpertsWeight::of_parts(parts, bias);
    }
    std::vector<k::ExpertsLora> lora;
    for (std::size_t i = 0; i < adapters; ++i)
      lora.push_back({t[3 + 2 * i], t[4 + 2 * i], 0.5 + static_cast<double>(i)});
    return k::experts_linear(t[0], rows, by_token, weight, lora);
  };
}

Tensors inputs(std::int64_t rows, std::int64_t experts, std::int64_t in, std::int64_t out,
               at::ScalarType dtype = at::kDouble) {
  return to({random({rows, in}, at::kDouble), random({experts, out, in}, at::kDouble, 0.3),
             random({experts, out}, at::kDouble), random({experts, 3, in}, at::kDouble, 0.3),
             random({experts, out, 3}, at::kDouble, 0.3), random({experts, 2, in}, at::kDouble, 0.3),
             random({experts, out, 2}, at::kDouble, 0.3)},
            dtype);
}

}  // namespace

TEST_CASE("rows that do not fit the experts are refused", "[unit]") {
  const k::SharedRows rows = rows_of(5, 2, 4);
  const auto weight = k::ExpertsWeight::stacked(random({4, 7, 6}), false);
  CHECK_NOTHROW(k::experts_linear(random({5, 6}), rows, true, weight, {}));
  for (const auto& shape : {std::vector<std::int64_t>{5, 7}, std::vector<std::int64_t>{10, 6}, std::vector<std::int64_t>{5, 6, 1}})
    CHECK_THROWS_AS(k::experts_linear(random(shape), rows, true, weight, {}), lowrank::InternalError);
  CHECK_THROWS_AS(k::experts_linear(random({5, 6}), rows, false, weight, {}), lowrank::InternalError);
  CHECK_THROWS_AS(k::experts_linear(random({5, 6}), rows_of(5, 2, 3), true, weight, {}), lowrank::InternalError);
}

TEST_CASE("the router's weights and their gradient equal the twin's", "[unit]") {
  torch::manual_seed(11);
  for (const k::Router router : kRouters) {
    for (const std::int64_t per_token : {1, 3, 7}) {
      const Tensors logits{random({37, 7}, at::kDouble, 2)};
      if (per_token == 1 && router != k::Router::kSoftmax) {  // the weight is 1, whatever the logits
        const Tensors found = run(routing(1, router), logits, {true});
        CHECK(found[0].equal(torch::ones({37, 1}, at::kDouble)));
        CHECK(found[1].abs().max().item<double>() == 0);
        continue;
      }
      require_twins(routing(per_token, router), logits, {true}, 1e-11);
      require_twins(routing(per_token, router), to(logits, at::kFloat), {true}, 1e-5);
      require_finite_differences(routing(per_token, router), {random({5, 7}, at::kDouble, 2)}, {true});
      const k::Routed routed = k::route(logits[0], per_token, router);
      CHECK(equal_bytes(routed.experts, std::get<1>(logits[0].topk(per_token, 1))));
    }
    require_thread_independence(routing(2, router), {random({137, 31})}, {true});
  }
  CHECK_THROWS_AS(k::route(random({3, 4}), 5, k::Router::kSoftmax), lowrank::InternalError);
}

TEST_CASE("of experts with equal logits a token takes the first, in the twin too", "[unit]") {
  const at::Tensor logits = torch::tensor({{1.0, 2.0, 2.0, 2.0}, {0.0, 0.0, 0.0, 0.0}});
  const at::Tensor expected = torch::tensor({{std::int64_t{1}, std::int64_t{2}}, {std::int64_t{0}, std::int64_t{1}}});
  CHECK(torch::equal(k::route(logits, 2, k::Router::kSoftmaxOfTop).experts, expected));
  CHECK(torch::equal(k::composite::route(logits, 2, k::Router::kSoftmaxOfTop).experts, expected));
  CHECK(k::route(torch::full({1, 3}, NAN), 2, k::Router::kSoftmax).experts.size(1) == 2);
}

TEST_CASE("rows are sorted by expert, then by token", "[unit]") {
  const at::Tensor chosen = torch::tensor({{std::int64_t{2}, std::int64_t{0}}, {std::int64_t{0}, std::int64_t{3}}});
  const k::ExpertRows rows = k::sort_by_expert(chosen, 4);
  CHECK(rows.offsets == std::vector<std::int64_t>{0, 2, 2, 3, 4});
  CHECK(rows.token == std::vector<std::int64_t>{0, 1, 0, 1});
  CHECK(rows.row == std::vector<std::int64_t>{2, 0, 1, 3});
  CHECK_THROWS_AS(k::sort_by_expert(chosen, 3), lowrank::InternalError);
}

TEST_CASE("products with experts equal their twin: parts, stacked, transposed, adapters, bias, trained", "[unit]") {
  torch::manual_seed(12);
  for (const Form form : {Form::kParts, Form::kStacked, Form::kTransposed}) {
    for (const bool by_token : {true, false}) {
      for (const bool base : {false, true}) {
        const auto rows = rows_of(41, 3, 6);
        const Tensors in = inputs(by_token ? 41 : 123, 6, 19, 13);
        const std::vector<bool> trains{true, base, base, true, true, true, false};
        for (const std::size_t adapters : {0, 2}) {
          INFO(static_cast<int>(form) << by_token << base << adapters);
          const Op op = product(rows, by_token, form, adapters, true);
          require_twins(op, in, trains, 1e-11);
          require_twins(op, to(in, at::kFloat), trains, 1e-5);
        }
        require_twins(product(rows, by_token, form, 1, false), in, trains, 1e-11);
      }
      const auto few = rows_of(5, 2, 4);
      require_finite_differences(product(few, by_token, form, 2, true), inputs(by_token ? 5 : 10, 4, 6, 7),
                                 {true, true, true, true, true, true, true});
    }
  }
  const auto rows = rows_of(41, 3, 6);
  require_twins(product(rows, true, Form::kParts, 2, true), inputs(41, 6, 19, 13, at::kBFloat16),
                {true, false, false, true, true, true, true}, 0.03);
}

TEST_CASE("products with experts: many rows of one expert, none of others, no tokens at all", "[unit]") {
  torch::manual_seed(13);
  // Expert 1 takes everything, so that its rows are cut into tiles.
  const auto all = std::make_shared<const k::ExpertRows>(k::sort_by_expert(torch::ones({700, 1}, at::kLong), 3));
  const Tensors in = inputs(700, 3, 33, 270);
  const std::vector<bool> trains{true, true, true, true, true, true, true};
  require_twins(product(all, true, Form::kStacked, 2, true), in, trains, 1e-11);
  const auto none = std::make_shared<const k::ExpertRows>(k::sort_by_expert(torch::ones({0, 2}, at::kLong), 3));
  // Experts with rows enough for our own kernels beside others that have too few.
  const auto uneven = std::make_shared<const k::ExpertRows>(
      k::sort_by_expert(torch::cat({torch::zeros({90, 1}), torch::ones({9, 1}), torch::full({61, 1}, 3.0)}).to(at::kLong), 4));
  for (const Form form : {Form::kParts, Form::kStacked, Form::kTransposed}) {
    for (const bool by_token : {true, false}) {
      for (const bool base : {false, true}) {
        const Tensors some = inputs(160, 4, 33, 70, at::kFloat);
        const std::vector<bool> wanted{true, base, base, true, true, true, true};
        require_twins(product(uneven, by_token, form, 2, true), some, wanted, 1e-5);
        require_twins(product(uneven, by_token, form, 1, false), to(some, at::kBFloat16), wanted, 0.03);
      }
    }
  }
  CHECK(product(none, true, Form::kStacked, 1, true)(inputs(0, 3, 8, 9)).sizes() == at::IntArrayRef({0, 9}));
}

TEST_CASE("experts keep bf16 and half weights as they lie in an fp32 run", "[unit]") {
  torch::manual_seed(14);
  const auto rows = rows_of(70, 2, 4);
  Tensors in = inputs(70, 4, 24, 12, at::kFloat);
  for (const auto dtype : {at::kBFloat16, at::kHalf}) {
    const at::Tensor stored = in[1].to(dtype);
    const auto with = [&](const at::Tensor& w) {
      return Op([=](const Tensors& t) {
        const k::ExpertsLora lora{t[1], t[2], 2};
        return k::experts_linear(t[0], rows, true, k::ExpertsWeight::stacked(w, false), {&lora, 1});
      });
    };
    const Tensors given{in[0], in[3], in[4]};
    const Tensors found = run(with(stored), given, {true, true, true});
    const Tensors expected = run(with(stored.to(at::kFloat)), given, {true, true, true});
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(distance(found[i], expected[i]) <= 1e-6);
  }
}

TEST_CASE("the sum over a token's experts equals its twin", "[unit]") {
  torch::manual_seed(15);
  const auto rows = rows_of(37, 3, 5);
  const Op op = [&](const Tensors& t) { return k::combine_experts(t[0], t[1], rows); };
  const Tensors in{random({111, 45}, at::kDouble), random({37, 3}, at::kDouble)};
  require_twins(op, in, {true, true}, 1e-11);
  require_twins(op, to(in, at::kFloat), {true, true}, 1e-5);
  require_twins(op, to(in, at::kBFloat16), {true, true}, 0.02);
  require_finite_differences(op, in, {true, true});
  const auto one = std::make_shared<const k::ExpertRows>(k::rows_of_one(7));
  const at::Tensor y = random({7, 4}), w = random({7, 1});
  CHECK(distance(k::combine_experts(y, w, one), y * w) <= 1e-6);
}

TEST_CASE("gpt-oss's clamped gate equals its twin, inside its limits and beyond", "[unit]") {
  torch::manual_seed(16);
  const Op op = [](const Tensors& t) { return k::clamped_swiglu(t[0], 1.702, 1.5); };
  const Tensors in{random({37, 62}, at::kDouble, 2)};
  require_twins(op, in, {true}, 1e-11);
  require_twins(op, to(in, at::kFloat), {true}, 1e-5);
  require_twins(op, to(in, at::kBFloat16), {true}, 0.02);
  require_finite_differences(op, {random({3, 8}, at::kDouble)}, {true});
}

TEST_CASE("the bytes of a mixture of experts do not depend on the number of threads", "[unit]") {
  torch::manual_seed(17);
  const auto rows = rows_of(337, 3, 7);
  const std::vector<bool> trains{true, true, true, true, true, true, true};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    require_thread_independence(product(rows, true, Form::kParts, 2, true), inputs(337, 7, 51, 273, dtype), trains);
    require_thread_independence(product(rows, false, Form::kTransposed, 1, true), inputs(1011, 7, 51, 63, dtype),
                                trains);
    require_thread_independence([&](const Tensors& t) { return k::combine_experts(t[0], t[1], rows); },
                                to({random({1011, 63}), random({337, 3})}, dtype), {true, true});
    require_thread_independence([](const Tensors& t) { return k::clamped_swiglu(t[0], 1.7, 2); },
                                to({random({337, 62})}, dtype), {true});
  }
}

TEST_CASE("the load-balancing loss of several routers, and its gradient, are transformers' formula", "[unit]") {
  torch::manual_seed(19);
  const std::vector<at::Tensor> logits{random({23, 5}, at::kDouble, 2), random({23, 5}, at::kDouble, 2)};
  std::vector<at::Tensor> leaves, theirs;
  for (const at::Tensor& z : logits) {
    leaves.push_back(z.clone().requires_grad_(true));
    theirs.push_back(z.clone().requires_grad_(true));
  }
  const auto balance = std::make_shared<k::RouterBalance>(0.7);
  at::Tensor carried = torch::zeros({}, at::kDouble);
  for (const at::Tensor& z : leaves) carried = carried + k::balanced(z, 2, balance).sum() * 0;
  balance->close();
  k::balanced(leaves[0].detach(), 2, balance);  // a layer that is computed again
  carried.backward();
  const at::Tensor all = torch::cat(theirs).softmax(-1);
  const at::Tensor taken = torch::zeros({46, 5}, at::kDouble).scatter_(1, std::get<1>(all.detach().topk(2, -1)), 1.0);
  const at::Tensor loss = 5 * (taken.mean(0) * all.mean(0)).sum();
  CHECK(balance->loss() == Approx(loss.item<double>()).epsilon(1e-12));
  (0.7 * loss).backward();
  for (std::size_t i = 0; i < leaves.size(); ++i) CHECK(distance(leaves[i].grad(), theirs[i].grad()) <= 1e-12);
}

TEST_CASE("MXFP4 panels are the values of its 4 bits times its powers of two", "[unit]") {
  torch::manual_seed(18);
  const at::Tensor blocks = torch::randint(0, 256, {5, 3, 16}, at::kByte);
  const at::Tensor scales = torch::randint(100, 140, {5, 3}, at::kByte);
  const auto storage = k::mxfp4_storage(blocks, scales);
  CHECK(storage->in_features() == 96);
  const at::Tensor values =
      torch::tensor({0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0});
  const at::Tensor low = values.index({blocks.bitwise_and(15).to(at::kLong)});
  const at::Tensor high = values.index({blocks.to(at::kLong).div(16, "floor")});
  const at::Tensor powers = torch::pow(2.0, scales.to(at::kDouble) - 127).unsqueeze(-1);
  const at::Tensor expected = (torch::stack({low, high}, -1).flatten(2) * powers).flatten(1).to(at::kFloat);
  CHECK(torch::equal(storage->rows(0, 5, at::kFloat), expected));
  CHECK(torch::equal(storage->rows(1, 3, at::kFloat), expected.slice(0, 1, 4)));
  CHECK(torch::equal(storage->columns(13, 50, at::kFloat), expected.slice(1, 13, 63)));
  CHECK(torch::equal(storage->rows(0, 5, at::kBFloat16), expected.to(at::kBFloat16)));
  CHECK_THROWS_AS(k::mxfp4_storage(blocks, scales.to(at::kInt)), lowrank::InternalError);
  // As operand, against the decoded weight.
  const auto rows = rows_of(9, 1, 1);
  const at::Tensor x = random({9, 96});
  const at::Tensor y = k::experts_linear(x, rows, true, k::ExpertsWeight::of_storages({std::vector{storage}}), {});
  CHECK(distance(y, x.matmul(expected.t())) <= 1e-6);
}
