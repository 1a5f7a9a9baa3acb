#include "lowrank/kernels/coded_storage.h"

#include <utility>
#include <vector>

#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::kernels {

CodedStorage::CodedStorage(std::int64_t out, std::int64_t in, at::Tensor original, at::Device device)
    : out_(out), in_(in), original_(std::move(original)), device_(device) {}

// Rows row_of(0), row_of(1) … of the columns [column, column + columns).
template <typename RowOf>
at::Tensor CodedStorage::panel(std::int64_t rows, const RowOf& row_of, std::int64_t column, std::int64_t columns,
                               at::ScalarType dtype) const {
  at::Tensor result = aten::empty({rows, columns}, dtype);
  constexpr std::int64_t kRows = 16;  // a chunk of fp32 stays in the cache until it is rounded
  for_row_chunks(rows, kRows, [&](std::int64_t begin, std::int64_t end) {
    at::Tensor target = result.narrow(0, begin, end - begin);
    const bool direct = dtype == at::kFloat;
    at::Tensor wide = direct ? target : aten::empty({end - begin, columns}, at::kFloat);
    float* const to = wide.mutable_data_ptr<float>();
    for (std::int64_t i = begin; i < end; ++i) decode(row_of(i), column, columns, to + (i - begin) * columns);
    if (!direct) target.copy_(wide);
  });
  return to_device(result, device_);
}

at::Tensor CodedStorage::rows(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const {
  if (!device_.is_cpu()) return decoded_rows(begin, n, in_, dtype, device_, decoded_there());
  return panel(n, [&](std::int64_t i) { return begin + i; }, 0, in_, dtype);
}

at::Tensor CodedStorage::columns(std::int64_t begin, std::int64_t n, at::ScalarType dtype) const {
  if (!device_.is_cpu()) return rows(0, out_, dtype).narrow(1, begin, n);
  return panel(out_, [](std::int64_t i) { return i; }, begin, n, dtype);
}

at::Tensor CodedStorage::rows_at(const at::Tensor& ids) const {
  const std::vector<std::int64_t> id = to_host<std::int64_t>(ids);
  return panel(
      static_cast<std::int64_t>(id.size()), [&](std::int64_t i) { return id[static_cast<std::size_t>(i)]; }, 0, in_,
      dtype());
}

}  // namespace lowrank::kernels
