#include <torch/types.h>
#include <torch/utils.h>

#include "core/expect_error.h"
#include "formats/raw_safetensors.h"
#include "lowrank/formats/safetensors_torch.h"

using namespace lowrank::formats;

TEST_CASE("every dtype goes to torch and back", "[unit]") {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    CHECK(from_torch(to_torch(dtype)) == dtype);
    CHECK(c10::elementSize(to_torch(dtype)) == static_cast<std::size_t>(dtype_bytes(dtype)));
  }
  CHECK_ERROR(from_torch(at::kComplexFloat), kInternal, "ComplexFloat");
}

TEST_CASE("tensors survive a write and a read bit for bit", "[unit]") {
  const lowrank_test::TempDir dir;
  const at::Tensor a = torch::randn({3, 5}), b = torch::randn({4, 6}).to(at::kBFloat16).t(), c = torch::empty({0, 3});
  const at::Tensor d = torch::tensor({true, false, true}), e = torch::scalar_tensor(2.5);
  write_safetensors(dir / "f", {tensor_to_write("a", a), tensor_to_write("b", b), tensor_to_write("c", c),
                                tensor_to_write("d", d), tensor_to_write("e", e)});
  const auto file = SafetensorsFile::open(dir / "f");
  for (const auto& [name, tensor] :
       std::vector<std::pair<std::string, at::Tensor>>{{"a", a}, {"b", b}, {"c", c}, {"d", d}, {"e", e}}) {
    INFO(name);
    const at::Tensor view = tensor_view(file, *file->find(name));
    CHECK(view.dtype() == tensor.dtype());
    CHECK(view.sizes() == tensor.sizes());
    CHECK(view.is_contiguous());
    CHECK(torch::equal(view, tensor));
  }
}

TEST_CASE("a view is the mapping itself and keeps it alive", "[unit]") {
  const lowrank_test::TempDir dir;
  write_safetensors(dir / "f", {tensor_to_write("a", torch::arange(6, torch::kFloat).reshape({2, 3}))});
  at::Tensor view;
  std::weak_ptr<const SafetensorsFile> watched;
  {
    const auto file = SafetensorsFile::open(dir / "f");
    watched = file;
    view = tensor_view(file, *file->find("a"));
    CHECK(view.const_data_ptr() == file->bytes(*file->find("a")).data());
  }
  CHECK_FALSE(watched.expired());
  const at::Tensor row = view[1];
  view.reset();
  CHECK(row[2].item<float>() == 5);
  CHECK_FALSE(watched.expired());
}

TEST_CASE("the mapping goes with the last view", "[unit]") {
  const lowrank_test::TempDir dir;
  write_safetensors(dir / "f", {tensor_to_write("a", torch::ones({2}))});
  auto file = SafetensorsFile::open(dir / "f");
  const std::weak_ptr<const SafetensorsFile> watched = file;
  at::Tensor view = tensor_view(file, *file->find("a"));
  file.reset();
  CHECK_FALSE(watched.expired());
  view.reset();
  CHECK(watched.expired());
}

TEST_CASE("data that is not aligned to its type is copied, not refused", "[unit]") {
  const lowrank_test::TempDir dir;
  // A header of odd length, and a byte ahead of the floats.
  std::string header =
      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"f":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  for (int pad = 0; pad < 4; ++pad) {
    lowrank_test::write_text(dir / "f",
                             lowrank_test::raw_safetensors(header, 1) + std::string("\0\0\x80\x3f\0\0\0\xc0", 8));
    const auto file = SafetensorsFile::open(dir / "f");
    const at::Tensor view = tensor_view(file, *file->find("f"));
    CHECK(view[0].item<float>() == 1.0f);
    CHECK(view[1].item<float>() == -2.0f);
    header += ' ';
  }
}

TEST_CASE("an entry of a model's weights is a tensor", "[unit]") {
  const lowrank_test::TempDir dir;
  write_safetensors(dir / "model.safetensors", {tensor_to_write("w", torch::full({2, 2}, 3.0))});
  const auto weights = WeightFiles::open(dir.path());
  CHECK(torch::equal(tensor_view(*weights.find("w")), torch::full({2, 2}, 3.0)));
}
