// Values of tensors on their way into a GGUF file and out of one.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "lowrank/core/error.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/lora/delta.h"
#include "lowrank/lora/merged_values.h"
#include "lowrank/models/gguf_tensors.h"

namespace lowrank::models {

namespace {

using formats::GgmlType;

std::int64_t columns_of(const GgufSource& source) { return source.shape.size() == 1 ? 1 : source.shape.back(); }

/// Rows at a time: a few megabytes, and whole heads where those are turned.
std::int64_t step_of(const GgufSource& source, std::int64_t rows) {
  const std::int64_t unit = source.heads == 0 ? 1 : rows / source.heads;
  return std::max<std::int64_t>(lora::rows_per_block(columns_of(source)) / unit, 1) * unit;
}

/// Rows [heads, 2, half] as [heads, half, 2], of so many heads as there are; or back.
at::Tensor turned(const at::Tensor& rows, std::int64_t head_rows, bool back) {
  const std::int64_t half = head_rows / 2, columns = rows.dim() == 1 ? 1 : rows.size(1);
  const std::vector<std::int64_t> shape =
      back ? std::vector<std::int64_t>{-1, half, 2, columns} : std::vector<std::int64_t>{-1, 2, half, columns};
  return rows.reshape(shape).transpose(1, 2).reshape(rows.sizes()).contiguous();
}

std::int64_t rows_of(const GgufSource& source) {
  std::int64_t rows = 0;
  for (const GgufPart& part : source.parts) rows += part.rows;
  return rows;
}

/// The largest number that a type's scales or values hold.
float limit_of(GgmlType type) {
  constexpr float kHalf = 65504;
  switch (type) {
    case GgmlType::kF16:
      return kHalf;
    case GgmlType::kQ8_0:
      return kHalf * 127;
    case GgmlType::kQ4_0:
      return kHalf * 8;
    default:
      return 3.38e38F;
  }
}

/// Where rows of a tensor of the files stand in the GGUF file.
struct Place {
  const GgufSource* source;
  std::int64_t row = 0;  // of the source, where `part` begins
  const GgufPart* part = nullptr;
};

/// Rows [begin, end) of a source, as the model's files have them.
at::Tensor values_of(const GgufSource& source, const formats::GgufFile& file, std::int64_t begin, std::int64_t end) {
  const formats::GgufTensorInfo* info = file.find(source.name);
  if (info == nullptr || info->type != static_cast<std::uint32_t>(source.type) || info->shape != source.shape)
    throw ModelError(fmt::format("the GGUF file does not hold the tensor {} that was written to it", source.name));
  const std::int64_t columns = columns_of(source), rows = rows_of(source);
  const auto bytes = file.bytes(*info);
  const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(rows);
  std::vector<float> values(static_cast<std::size_t>((end - begin) * columns));
  formats::decode_values(
      source.type,
      bytes.subspan(static_cast<std::size_t>(begin) * row_bytes, static_cast<std::size_t>(end - begin) * row_bytes),
      values);
  at::Tensor tensor =
      kernels::from_host<float>(values, source.shape.size() == 1 ? std::vector<std::int64_t>{end - begin}
                                                                 : std::vector<std::int64_t>{end - begin, columns});
  if (source.heads != 0) tensor = turned(tensor, rows / source.heads, /*back=*/true);
  return source.added == 0 ? tensor : tensor.sub(source.added);
}

/// Rows of a tensor of the files, with its change in them.
class RowsOf {
 public:
  RowsOf(const GgufPart& part, const lora::MergePlan& plan)
      : source_(plan.source(part.stored)), change_(plan.change(part.stored)) {
    // DoRA's magnitudes on an embedding are those of its columns: its change is one of rows of the transposed tensor.
    if (!change_.parts.empty() && change_.transposed != part.transposed)
      whole_ = lora::merged_values(source_, change_, 0, lora::value_rows(source_, change_)).t();
    change_.transposed = part.transposed;
  }
  at::Tensor operator()(std::int64_t begin, std::int64_t end) const {
    if (whole_.defined()) return whole_.slice(0, begin, end).contiguous();
    return lora::merged_values(source_, change_, begin, end);
  }

 private:
  const formats::WeightFiles::Entry& source_;
  lora::Change change_;
  at::Tensor whole_;
};

}  // namespace

formats::GgufTensor gguf_tensor(const GgufSource& source, const lora::MergePlan& plan,
                                const std::function<void(std::int64_t)>& wrote) {
  formats::GgufTensor tensor{source.name, source.shape, source.type, {}};
  tensor.produce = [source, &plan, wrote](const auto& sink) {
    const std::int64_t all = rows_of(source), step = step_of(source, all);
    for (const GgufPart& part : source.parts) {
      const RowsOf rows_of_part(part, plan);
      for (std::int64_t begin = 0; begin < part.rows; begin += step) {
        const std::int64_t end = std::min(begin + step, part.rows);
        at::Tensor rows = rows_of_part(part.begin + begin, part.begin + end);
        if (source.heads != 0) rows = turned(rows, all / source.heads, /*back=*/false);
        if (source.added != 0) rows = rows.add(source.added);
        if (rows.abs().max().item<float>() > limit_of(source.type))
          throw ModelError(fmt::format("{} has values that {} cannot hold; give another `dtype`, bfloat16 or float32",
                                       source.name, formats::ggml_name(source.type)));
        const std::vector<float> values = kernels::to_host<float>(rows);
        std::vector<std::byte> bytes(formats::ggml_bytes(source.type, {end - begin, columns_of(source)}));
        formats::encode_values(source.type, values, bytes);
        sink(std::span<const std::byte>(bytes));
        wrote(rows.numel());
      }
    }
  };
  return tensor;
}

void write_back(const GgufTensors& tensors, const formats::GgufFile& file, const lora::MergePlan& plan,
                const std::filesystem::path& out, core::ProgressObserver* progress) {
  std::map<std::string, std::vector<Place>> places;  // by tensor of the model's files
  std::int64_t total = 0, done = 0;
  for (const GgufSource& source : tensors.sources) {
    std::int64_t row = 0;
    for (const GgufPart& part : source.parts) {
      places[part.stored].push_back({&source, row, &part});
      row += part.rows;
    }
    total += row * columns_of(source);
  }
  if (progress != nullptr) progress->begin("reading back", total, "values");
  std::vector<formats::TensorToWrite> stored;
  for (auto& [name, parts] : places) {
    std::sort(parts.begin(), parts.end(), [](const Place& a, const Place& b) { return a.part->begin < b.part->begin; });
    const std::vector<std::int64_t>& shape = plan.source(name).info->shape;
    const bool transposed = parts.front().part->transposed;
    formats::TensorToWrite tensor{name, formats::DType::kF32, shape, {}};
    tensor.produce = [&file, parts, transposed, &done, progress](const auto& sink) {
      std::vector<at::Tensor> whole;
      for (const Place& place : parts) {
        const std::int64_t step = step_of(*place.source, rows_of(*place.source));
        for (std::int64_t begin = 0; begin < place.part->rows; begin += step) {
          const std::int64_t end = std::min(begin + step, place.part->rows);
          const at::Tensor rows = values_of(*place.source, file, place.row + begin, place.row + end);
          if (transposed) {
            whole.push_back(rows);
          } else {
            sink(formats::tensor_bytes(rows.contiguous()));
          }
          done += rows.numel();
          if (progress != nullptr) progress->advance(done);
        }
      }
      if (transposed) sink(formats::tensor_bytes(kernels::aten::cat(whole).t().contiguous()));
    };
    stored.push_back(std::move(tensor));
  }
  formats::write_safetensors(out, std::move(stored));
  if (progress != nullptr) progress->end();
}

}  // namespace lowrank::models
