#include "lowrank/models/coded_base.h"

#include <ATen/Version.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/mapped_pages.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/settings.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/rows.h"

namespace lowrank::models {

namespace fs = std::filesystem;
using kernels::BaseForm;

namespace {

constexpr const char* kMade = "1";         // how codes are made and laid out: another number makes them anew
constexpr const char* kSeal = "~sha256";  // behind all weights by its name, so that it is written last

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What a file of codes is made from. The CPU's capability too: it decides in which order LibTorch forms NF4's mean.
std::string key_of(BaseForm form, const std::string& sha256, const std::vector<CodedWeight>& weights) {
  std::string all = fmt::format("{}\n{}\n{}\n{}\n", kMade, kernels::form_name(form), sha256, at::get_cpu_capability());
  for (const CodedWeight& weight : weights)
    all += fmt::format("{} {} {} {}\n", weight.key(), weight.transposed, weight.out, weight.in);
  return core::sha256(all);
}

at::Tensor original_of(const formats::WeightFiles& files, const CodedWeight& weight) {
  at::Tensor w = formats::tensor_view(*files.find(weight.tensor));
  if (weight.expert >= 0) w = w.select(0, weight.expert);
  return weight.transposed ? w.t() : w;
}

// One weight's codes; the pages of the file that were read for it are let go.
at::Tensor made(BaseForm form, const formats::WeightFiles& files, const CodedWeight& weight) {
  try {
    at::Tensor codes = kernels::encoded(form, original_of(files, weight));
    const bool last = weight.expert < 0;
    if (last) core::release_pages(files.find(weight.tensor)->bytes());
    return codes;
  } catch (const ModelError& error) {
    throw ModelError(fmt::format("tensor '{}': {}", weight.tensor, error.what()));
  }
}

// Of the tensors' own hashes, in the file's order.
std::string seal_of(const std::vector<std::string>& hashes) {
  std::string all;
  for (const std::string& hash : hashes) all += hash + "\n";
  return core::sha256(all);
}

void write(const fs::path& file, BaseForm form, const formats::WeightFiles& files,
           const std::vector<CodedWeight>& weights, core::ProgressObserver* progress) {
  std::vector<CodedWeight> sorted = weights;
  std::sort(sorted.begin(), sorted.end(),
            [](const CodedWeight& a, const CodedWeight& b) { return a.key() < b.key(); });
  const auto hashes = std::make_shared<std::vector<std::string>>();
  std::vector<formats::TensorToWrite> tensors;
  using Sink = std::function<void(std::span<const std::byte>)>;
  for (const CodedWeight& weight : sorted) {
    const auto produce = [&files, form, weight, hashes, progress](const Sink& sink) {
      const at::Tensor codes = made(form, files, weight);
      const auto bytes = formats::tensor_bytes(codes);
      hashes->push_back(core::sha256(text_of(bytes)));
      sink(bytes);
      if (progress != nullptr) progress->advance(static_cast<std::int64_t>(hashes->size()));
    };
    tensors.push_back({weight.key(), formats::DType::kU8, {kernels::form_bytes(form, weight.out, weight.in)}, produce});
  }
  tensors.push_back({kSeal, formats::DType::kU8, {64}, [hashes](const Sink& sink) {
                       const std::string seal = seal_of(*hashes);
                       sink({reinterpret_cast<const std::byte*>(seal.data()), seal.size()});
                     }});
  formats::write_safetensors(file, std::move(tensors),
                             {{"form", std::string(kernels::form_name(form))}, {"made by", "lowrank"}});
}

// Takes away what a killed process left of this file, gigabytes perhaps, unless another process is making it just now.
std::unique_ptr<core::OutputLock> sweeping(const fs::path& file) {
  try {
    return std::make_unique<core::OutputLock>(file);
  } catch (const IoError&) {  // held, or the folder cannot be written, which writing will say
    return nullptr;
  }
}

// The codes by key; nothing where the file is not what was written.
std::optional<std::map<std::string, at::Tensor>> read(const fs::path& file, BaseForm form,
                                                      const std::vector<CodedWeight>& weights) {
  try {
    const auto opened = formats::SafetensorsFile::open(file);
    const auto& tensors = opened->header().tensors;
    if (tensors.size() != weights.size() + 1) return std::nullopt;
    const formats::TensorInfo* const seal = opened->find(kSeal);
    if (seal == nullptr) return std::nullopt;
    std::vector<std::string> hashes(tensors.size());
    kernels::for_row_chunks(static_cast<std::int64_t>(tensors.size()), 1, [&](std::int64_t i, std::int64_t) {
      const formats::TensorInfo& one = tensors[static_cast<std::size_t>(i)];
      if (&one != seal) hashes[static_cast<std::size_t>(i)] = core::sha256(text_of(opened->bytes(one)));
    });
    std::erase(hashes, "");
    if (seal_of(hashes) != text_of(opened->bytes(*seal))) return std::nullopt;
    std::map<std::string, at::Tensor> codes;
    for (const CodedWeight& weight : weights) {
      const formats::TensorInfo* const info = opened->find(weight.key());
      const std::vector<std::int64_t> shape = {kernels::form_bytes(form, weight.out, weight.in)};
      if (info == nullptr || info->dtype != formats::DType::kU8 || info->shape != shape) return std::nullopt;
      codes[weight.key()] = formats::tensor_view(opened, *info);
    }
    return codes;
  } catch (const FormatError&) {
    return std::nullopt;
  } catch (const IoError&) {
    return std::nullopt;
  }
}

}  // namespace

fs::path coded_cache() {
  const fs::path hub = data::hub::cache_from_environment();
  if (hub.is_relative() && *hub.begin() == ".cache") return {};  // neither a home nor a place for the cache is known
  return hub.parent_path() / "lowrank" / "base";
}

std::shared_ptr<const CodedBase> CodedBase::open(BaseForm form, const formats::WeightFiles& files,
                                                 const std::string& sha256, const std::vector<CodedWeight>& weights,
                                                 core::ProgressObserver* progress) {
  auto result = std::make_shared<CodedBase>();
  result->form_ = form;
  for (const CodedWeight& weight : weights) {
    result->bytes_ += static_cast<std::uint64_t>(kernels::form_bytes(form, weight.out, weight.in));
    const std::size_t stored = files.find(weight.tensor)->bytes().size();
    result->stored_bytes_ += weight.expert < 0 ? stored : stored / static_cast<std::size_t>(weight.experts);
  }
  const fs::path file = coded_cache() / fmt::format("{}-{}.safetensors", kernels::form_name(form),
                                                    key_of(form, sha256, weights));
  const std::string what = fmt::format("{}: {} linear layers in {}", kernels::form_name(form),
                                       core::format_count(static_cast<std::int64_t>(weights.size())),
                                       core::format_bytes(result->bytes_));
  std::string how = "from the cache, ";
  std::optional<std::map<std::string, at::Tensor>> codes;
  std::error_code unseen;
  const bool there = fs::exists(file, unseen);
  if (there) codes = read(file, form, weights);
  const core::ProgressScope working(codes ? nullptr : progress, fmt::format("making {} codes", kernels::form_name(form)),
                                    static_cast<std::int64_t>(weights.size()), "weights");
  if (!codes) {
    try {
      if (file.is_relative() && coded_cache().empty()) throw IoError("there is no home folder");
      core::make_folder(file.parent_path());
      const auto swept = sweeping(file);
      write(file, form, files, weights, progress);
      codes = read(file, form, weights);
      how = there ? "made anew, the cache's file was damaged; kept in " : "made now, kept in ";
      if (!codes) throw IoError(file.string() + " does not hold what was written into it");
    } catch (const IoError& error) {
      how = fmt::format("made now and held in memory, the cache cannot be written: {}", error.what());
      codes.emplace();
      for (const CodedWeight& weight : weights) (*codes)[weight.key()] = made(form, files, weight);
    }
  }
  const bool mapped = how.find("in memory") == std::string::npos;
  if (mapped) result->file_ = file;
  result->codes_ = std::move(*codes);
  result->words_ = fmt::format("{} ({}{})", what, how, mapped ? file.string() : "");
  return result;
}

std::shared_ptr<const kernels::BaseStorage> CodedBase::storage(const CodedWeight& weight, const at::Tensor& original,
                                                               at::Device device) const {
  const auto found = codes_.find(weight.key());
  if (found == codes_.end()) throw InternalError(fmt::format("there are no codes of {}", weight.key()));
  return kernels::coded_storage(form_, found->second, weight.out, weight.in, original, device);
}

}  // namespace lowrank::models
