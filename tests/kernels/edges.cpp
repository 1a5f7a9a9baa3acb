// Nothing is read behind the last number of an operand: the page behind it may not be touched.
#include <sys/mman.h>

#include <cstring>

#include "lowrank/kernels/lora_linear.h"
#include "lowrank/kernels/ops.h"
#include "support.h"

namespace k = lowrank::kernels;
using namespace kernel_test;

namespace {

/// The same numbers, which end where memory does.
class AtTheEnd {
 public:
  explicit AtTheEnd(const at::Tensor& from) : bytes_((from.nbytes() + kPage - 1) / kPage * kPage) {
    void* const begin = ::mmap(nullptr, bytes_ + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(begin != MAP_FAILED);
    begin_ = static_cast<std::byte*>(begin);
    REQUIRE(::mprotect(begin_ + bytes_, kPage, PROT_NONE) == 0);
    void* const place = begin_ + bytes_ - from.nbytes();
    std::memcpy(place, from.const_data_ptr(), from.nbytes());
    tensor = at::from_blob(place, from.sizes(), from.options());
  }
  AtTheEnd(const AtTheEnd&) = delete;
  AtTheEnd& operator=(const AtTheEnd&) = delete;
  ~AtTheEnd() { ::munmap(begin_, bytes_ + kPage); }

  at::Tensor tensor;

 private:
  static constexpr std::size_t kPage = 65536;  // a multiple of any
  std::size_t bytes_;
  std::byte* begin_ = nullptr;
};

}  // namespace

TEST_CASE("attention over few queries or many reads nothing behind its keys and values", "[unit]") {
  torch::manual_seed(9);
  for (const std::int64_t queries : {1, 3, 40}) {
    for (const std::int64_t width : {1, 5, 8, 12, 16, 20, 24, 40, 64}) {
      CAPTURE(queries, width);
      const std::int64_t keys = 40;
      const at::Tensor q = random({queries, 1, width}, at::kFloat), key = random({keys, 1, width}, at::kFloat),
                       value = random({keys, 1, width}, at::kFloat);
      const AtTheEnd q_there(q), key_there(key), value_there(value);
      k::Segments segments = k::Segments::of_lengths({keys});
      segments.q_offsets = {0, queries};
      const k::AttentionOptions options{.scale = 0.3};
      const at::Tensor expected = k::attention(q, key, value, segments, options);
      CHECK(at::equal(k::attention(q_there.tensor, key_there.tensor, value_there.tensor, segments, options), expected));
    }
  }
}

TEST_CASE("a layer of few rows or many reads nothing behind its operands, forwards and back", "[unit]") {
  torch::manual_seed(10);
  const auto run = [](const at::Tensor& x, const at::Tensor& w, const at::Tensor& a, const at::Tensor& b) {
    const at::Tensor leaf = x.detach().requires_grad_(), down = a.detach().requires_grad_(), up = b.detach().requires_grad_();
    const k::LoraOperand lora{down, up, 2};
    const at::Tensor y = k::lora_linear(leaf, k::BaseWeight::dense(w), {&lora, 1}, nullptr);
    y.square().sum().backward();
    return Tensors{y.detach(), leaf.grad(), down.grad(), up.grad()};
  };
  for (const std::int64_t rows : {1, 2, 7, 50}) {
    for (const std::int64_t inner : {3, 16, 33, 70}) {
      for (const std::int64_t columns : {1, 5, 8, 16, 19, 40}) {
        for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
          CAPTURE(rows, inner, columns, dtype);
          const at::Tensor x = random({rows, inner}), a = random({4, inner}), b = random({columns, 4}), w = random({columns, inner}, dtype);
          const AtTheEnd x_there(x), a_there(a), b_there(b), w_there(w);
          const Tensors expected = run(x, w, a, b), there = run(x_there.tensor, w_there.tensor, a_there.tensor, b_there.tensor);
          for (std::size_t i = 0; i < expected.size(); ++i) CHECK(at::equal(there[i], expected[i]));
        }
      }
    }
  }
}
