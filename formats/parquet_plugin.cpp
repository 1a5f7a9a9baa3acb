// A library of its own (liblowrank_parquet.so), which is loaded when the first Parquet or Arrow file comes: Arrow is large.
#include "lowrank/formats/parquet_plugin.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <parquet/arrow/reader.h>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/json_row.h"
#include "lowrank/core/system.h"
#include "lowrank/core/text.h"

namespace lowrank::formats {
namespace {

using core::Json;

using Input = std::shared_ptr<arrow::io::ReadableFile>;

constexpr std::int64_t kRowsAtOnce = 256;

Json text_of(std::string_view bytes) {
  if (core::find_invalid_utf8(bytes) == std::string_view::npos) return std::string(bytes);
  const std::string what = "bytes that are no UTF-8";
  return Json::binary(std::vector<std::uint8_t>(what.begin(), what.end()));
}

Json value_at(const arrow::Array& array, std::int64_t i);

template <class List>
Json list_at(const arrow::Array& array, std::int64_t i) {
  const auto& list = static_cast<const List&>(array);
  Json values = Json::array();
  for (std::int64_t k = list.value_offset(i); k < list.value_offset(i) + list.value_length(i); ++k) {
    values.push_back(value_at(*list.values(), k));
  }
  return values;
}

Json struct_at(const arrow::StructArray& array, std::int64_t i) {
  Json object = Json::object();
  for (int k = 0; k < array.num_fields(); ++k) {
    const std::string& name = array.struct_type()->field(k)->name();
    object[name] = object.contains(name) ? core::faulty_value("two columns of this name") : value_at(*array.field(k), i);
  }
  return object;
}

/// A map is an object where its keys are texts, as JSON has it, else a list of pairs.
Json map_at(const arrow::MapArray& array, std::int64_t i) {
  const auto keys = array.keys(), items = array.items();
  const bool named = keys->type_id() == arrow::Type::STRING || keys->type_id() == arrow::Type::LARGE_STRING;
  Json result = named ? Json::object() : Json::array();
  for (std::int64_t k = array.value_offset(i); k < array.value_offset(i) + array.value_length(i); ++k) {
    Json key = value_at(*keys, k), item = value_at(*items, k);
    if (named && key.is_string()) {
      result[key.get<std::string>()] = std::move(item);
    } else {
      result.push_back(Json::array({std::move(key), std::move(item)}));
    }
  }
  return result;
}

template <class Array>
Json plain(const arrow::Array& array, std::int64_t i) {
  return static_cast<const Array&>(array).Value(i);
}

template <class Array>
Json text(const arrow::Array& array, std::int64_t i) {
  return text_of(static_cast<const Array&>(array).GetView(i));
}

Json value_at(const arrow::Array& array, std::int64_t i) {
  if (array.IsNull(i)) return nullptr;
  switch (array.type_id()) {
    case arrow::Type::NA:
      return nullptr;
    case arrow::Type::BOOL:
      return static_cast<const arrow::BooleanArray&>(array).Value(i);
    case arrow::Type::INT8:
      return plain<arrow::Int8Array>(array, i);
    case arrow::Type::INT16:
      return plain<arrow::Int16Array>(array, i);
    case arrow::Type::INT32:
      return plain<arrow::Int32Array>(array, i);
    case arrow::Type::INT64:
      return plain<arrow::Int64Array>(array, i);
    case arrow::Type::UINT8:
      return plain<arrow::UInt8Array>(array, i);
    case arrow::Type::UINT16:
      return plain<arrow::UInt16Array>(array, i);
    case arrow::Type::UINT32:
      return plain<arrow::UInt32Array>(array, i);
    case arrow::Type::UINT64:
      return plain<arrow::UInt64Array>(array, i);
    case arrow::Type::FLOAT:
      return static_cast<double>(static_cast<const arrow::FloatArray&>(array).Value(i));
    case arrow::Type::DOUBLE:
      return plain<arrow::DoubleArray>(array, i);
    case arrow::Type::STRING:
      return text<arrow::StringArray>(array, i);
    case arrow::Type::LARGE_STRING:
      return text<arrow::LargeStringArray>(array, i);
    case arrow::Type::STRING_VIEW:
      return text<arrow::StringViewArray>(array, i);
    case arrow::Type::BINARY:
      return text<arrow::BinaryArray>(array, i);
    case arrow::Type::LARGE_BINARY:
      return text<arrow::LargeBinaryArray>(array, i);
    case arrow::Type::LIST:
      return list_at<arrow::ListArray>(array, i);
    case arrow::Type::LARGE_LIST:
      return list_at<arrow::LargeListArray>(array, i);
    case arrow::Type::FIXED_SIZE_LIST:
      return list_at<arrow::FixedSizeListArray>(array, i);
    case arrow::Type::STRUCT:
      return struct_at(static_cast<const arrow::StructArray&>(array), i);
    case arrow::Type::MAP:
      return map_at(static_cast<const arrow::MapArray&>(array), i);
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      return value_at(*dictionary.dictionary(), dictionary.GetValueIndex(i));
    }
    case arrow::Type::EXTENSION:
      return value_at(*static_cast<const arrow::ExtensionArray&>(array).storage(), i);
    default: {  // times, dates, decimals: as Arrow writes them
      const auto scalar = array.GetScalar(i);
      return scalar.ok() ? text_of((*scalar)->ToString()) : Json(nullptr);
    }
  }
}

[[noreturn]] void damaged(const std::string& name, std::string why, const char* kind = "Parquet") {
  why = why.substr(0, why.find('\n'));
  throw DataError(name + ": the " + kind + " file is damaged or was cut off (" + core::printable(why, 200) + ")");
}

void check(const std::string& name, const arrow::Status& status) {
  if (!status.ok()) damaged(name, status.message());
}

template <class T>
T checked(const std::string& name, arrow::Result<T> result) {
  check(name, result.status());
  return std::move(result).ValueUnsafe();
}

/// One thread, and memory of the process's own allocator: LibTorch has the threads, and the command its heap.
std::unique_ptr<parquet::arrow::FileReader> open(const Input& opened, const std::string& name) {
  arrow::MemoryPool* const pool = arrow::system_memory_pool();
  parquet::ReaderProperties reading(pool);
  reading.enable_buffered_stream();
  parquet::ArrowReaderProperties properties;
  properties.set_batch_size(kRowsAtOnce);
  properties.set_use_threads(false);
  properties.set_pre_buffer(false);
  parquet::arrow::FileReaderBuilder builder;
  check(name, builder.Open(opened, reading));
  std::unique_ptr<parquet::arrow::FileReader> reader;
  check(name, builder.memory_pool(pool)->properties(properties)->Build(&reader));
  return reader;
}

void give_rows(const arrow::RecordBatch& batch, const std::function<void(Json)>& row) {
  for (std::int64_t i = 0; i < batch.num_rows(); ++i) {
    Json object = Json::object();
    for (int k = 0; k < batch.num_columns(); ++k) object[batch.column_name(k)] = value_at(*batch.column(k), i);
    row(std::move(object));
  }
}

void read_parquet(const Input& opened, const std::string& name, const ColumnarRow& row) {
  std::unique_ptr<parquet::arrow::FileReader> reader;
  std::shared_ptr<arrow::RecordBatchReader> batches;
  try {
    reader = open(opened, name);
    batches = checked(name, reader->GetRecordBatchReader());
  } catch (const parquet::ParquetException& e) {
    damaged(name, e.what());
  }
  const auto rows = static_cast<double>(reader->parquet_reader()->metadata()->num_rows());
  std::int64_t n = 0;
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    try {
      check(name, batches->ReadNext(&batch));
      if (batch == nullptr) return;
      check(name, batch->Validate());
    } catch (const parquet::ParquetException& e) {
      damaged(name, e.what());
    }
    give_rows(*batch, [&](Json object) { row(std::move(object), static_cast<double>(++n) / rows); });
  }
}

template <class T>
T of_arrow(const std::string& name, arrow::Result<T> result) {
  if (!result.ok()) damaged(name, result.status().message(), "Arrow");
  return std::move(result).ValueUnsafe();
}

/// What a batch says of its own lengths and offsets is checked before anything of it is read.
void give_batch(const std::string& name, const arrow::RecordBatch& batch, double share, const ColumnarRow& row) {
  if (const arrow::Status sound = batch.ValidateFull(); !sound.ok()) damaged(name, sound.message(), "Arrow");
  give_rows(batch, [&](Json object) { row(std::move(object), share); });
}

arrow::ipc::IpcReadOptions reading_arrow() {
  arrow::ipc::IpcReadOptions options;
  options.memory_pool = arrow::system_memory_pool();
  options.use_threads = false;
  return options;
}

void read_arrow_file(const Input& opened, const std::string& name, const ColumnarRow& row) {
  const auto reader = of_arrow(name, arrow::ipc::RecordBatchFileReader::Open(opened, reading_arrow()));
  const int count = reader->num_record_batches();
  for (int i = 0; i < count; ++i) {
    const auto batch = of_arrow(name, reader->ReadRecordBatch(i));
    give_batch(name, *batch, static_cast<double>(i + 1) / count, row);
  }
}

void read_arrow_stream(const Input& opened, const std::string& name, const ColumnarRow& row) {
  const auto size = static_cast<double>(of_arrow(name, opened->GetSize()));
  const auto reader = of_arrow(name, arrow::ipc::RecordBatchStreamReader::Open(opened, reading_arrow()));
  while (true) {
    std::shared_ptr<arrow::RecordBatch> batch;
    if (const arrow::Status read = reader->ReadNext(&batch); !read.ok()) damaged(name, read.message(), "Arrow");
    if (batch == nullptr) break;
    give_batch(name, *batch, static_cast<double>(of_arrow(name, opened->Tell())) / size, row);
  }
  // A writer ends a stream with an empty message; without one, rows may be missing.
  if (of_arrow(name, opened->Tell()) < static_cast<std::int64_t>(size)) return;
  std::array<char, 8> end{};
  const auto n = std::min<std::int64_t>(static_cast<std::int64_t>(size), end.size());
  of_arrow(name, opened->ReadAt(static_cast<std::int64_t>(size) - n, n, end.data()));
  constexpr std::array<char, 8> kEnd = {'\xff', '\xff', '\xff', '\xff', 0, 0, 0, 0};
  if (end != kEnd) damaged(name, "its end is missing", "Arrow");
}

void read_rows(const core::FileRef& file, const std::string& name, const ColumnarRow& row) {
  const Input opened = checked(name, arrow::io::ReadableFile::Open(core::open_regular(file), arrow::system_memory_pool()));
  std::array<char, 4> magic{};
  checked(name, opened->Read(magic.size(), magic.data()));
  check(name, opened->Seek(0));
  const std::string_view begin(magic.data(), magic.size());
  if (begin == "ARRO") return read_arrow_file(opened, name, row);
  if (begin == "\xff\xff\xff\xff") return read_arrow_stream(opened, name, row);
  read_parquet(opened, name, row);
}

}  // namespace
}  // namespace lowrank::formats

extern "C" {
__attribute__((visibility("default"))) lowrank::formats::ParquetPlugin lowrank_parquet_plugin_2{
    lowrank::formats::read_rows};
}
