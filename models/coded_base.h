// The weights of a frozen base in fewer bytes (kernels/base_form.h): made once, kept beside the Hugging Face cache, and
// mapped from there afterwards.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/kernels/base_form.h"
#include "lowrank/models/weight_source.h"

namespace lowrank::models {

class CodedBase {
 public:
  /// Codes of these weights: of the cache's file, which is made where it is missing, damaged (its hashes do not fit) or
  /// of another form; in memory where nothing can be written. `sha256`: of the model's weight files. ModelError where a
  /// weight has values that are not finite.
  static std::shared_ptr<const CodedBase> open(kernels::BaseForm form, const formats::WeightFiles& files,
                                               const std::string& sha256, const std::vector<CodedWeight>& weights,
                                               core::ProgressObserver* progress);

  /// W of a weight that was among them, with the original at hand.
  std::shared_ptr<const kernels::BaseStorage> storage(const CodedWeight& weight, const at::Tensor& original,
                                                      at::Device device) const;

  kernels::BaseForm form() const { return form_; }
  /// Of all codes, and of the same weights in the model's files.
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t stored_bytes() const { return stored_bytes_; }
  /// The file that they are mapped from; empty where they are in memory.
  const std::filesystem::path& file() const { return file_; }
  /// What was done, in words: "nf4 (61.3 MB, from the cache: PATH)".
  const std::string& words() const { return words_; }

 private:
  kernels::BaseForm form_ = kernels::BaseForm::kAsStored;
  std::map<std::string, at::Tensor> codes_;  // by key
  std::uint64_t bytes_ = 0, stored_bytes_ = 0;
  std::filesystem::path file_;
  std::string words_;
};

/// The folder of such files: lowrank/base beside the hub's cache; empty where there is no home folder.
std::filesystem::path coded_cache();

}  // namespace lowrank::models
