// GGUF files: values, tensors and their bytes.
#include "fuzz.h"
#include "lowrank/formats/gguf_read.h"

using namespace lowrank::formats;

LOWRANK_FUZZ_TARGET(gguf) {
  const GgufFile file = GgufFile::open(lowrank_fuzz::file_with("x.gguf", input));
  for (const GgufTensorInfo& tensor : file.tensors()) {
    if (file.find(tensor.name) == nullptr) lowrank_fuzz::broken("a tensor that is not found");
    std::span<const std::byte> bytes;
    if (!lowrank_fuzz::succeeds([&] { bytes = file.bytes(tensor); })) continue;  // of a type that is none of ours
    const auto type = static_cast<GgmlType>(tensor.type);
    if (bytes.size() != ggml_bytes(type, tensor.shape)) lowrank_fuzz::broken("a tensor of other bytes than its shape's");
    std::uint64_t sum = 0;
    for (const std::byte byte : bytes) sum += static_cast<std::uint64_t>(byte);  // all of it is there
    volatile std::uint64_t kept = sum;
    (void)kept;
  }
}
