// model_logits MODEL ADAPTER|- : reads one JSON array of ids a line, prints its logits [T][V] as JSON a line. For
// parity.
#include <cstdio>
#include <iostream>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/lowrank.h"

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: model_logits MODEL ADAPTER|-\n"), 2;
  auto model = lowrank::models::load(argv[1], {.dtype = lowrank::models::DTypeChoice::kFloat32});
  if (std::string(argv[2]) != "-") lowrank::lora::load_peft(model.decoder->slot_table(), argv[2]);
  const at::NoGradGuard no_grad;
  for (std::string line; std::getline(std::cin, line);) {
    const auto ids = lowrank::core::parse_json(line, "stdin").get<std::vector<std::int64_t>>();
    const auto length = static_cast<std::int64_t>(ids.size());
    const at::Tensor hidden =
        model.decoder->hidden(at::tensor(ids, at::kLong), lowrank::kernels::Segments::of_lengths({length}));
    const at::Tensor logits = model.decoder->logits(hidden).contiguous();
    lowrank::core::Json rows = lowrank::core::Json::array();
    for (std::int64_t t = 0; t < length; ++t) {
      const float* row = logits.const_data_ptr<float>() + t * logits.size(1);
      rows.push_back(std::vector<float>(row, row + logits.size(1)));
    }
    std::printf("%s\n", rows.dump().c_str());
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "model_logits: %s\n", error.what()), 1;
}
