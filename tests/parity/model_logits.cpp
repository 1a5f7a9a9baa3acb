// model_logits MODEL ADAPTER|- [packed|cache|gradients] : reads one JSON array of ids a line; for parity.
// Prints the logits [T][V] of each as JSON a line: of each alone, of all in one packed batch, or token by token through
// the cache; or the gradients of the mean loss over all predicted tokens in the adapter, {"name": [values]}.
#include <cstdio>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/kernels/host.h"
#include "lowrank/lowrank.h"
#include "lowrank/models/next_logits.h"

namespace {

using namespace lowrank;
using Ids = std::vector<std::int64_t>;

std::vector<Ids> read_lines() {
  std::vector<Ids> all;
  for (std::string line; std::getline(std::cin, line);) all.push_back(core::parse_json(line, "stdin").get<Ids>());
  return all;
}

void print_logits(const at::Tensor& tensor) {
  const at::Tensor logits = tensor.contiguous();
  core::Json rows = core::Json::array();
  for (std::int64_t t = 0; t < logits.size(0); ++t) {
    const float* row = logits.const_data_ptr<float>() + t * logits.size(1);
    rows.push_back(std::vector<float>(row, row + logits.size(1)));
  }
  std::printf("%s\n", rows.dump().c_str());
}

// All in one batch: their ids, their segments.
std::pair<at::Tensor, kernels::Segments> packed(const std::vector<Ids>& all) {
  Ids stream, lengths;
  for (const Ids& ids : all) {
    stream.insert(stream.end(), ids.begin(), ids.end());
    lengths.push_back(static_cast<std::int64_t>(ids.size()));
  }
  return {at::tensor(stream, at::kLong), kernels::Segments::of_lengths(lengths)};
}

void print_packed(models::DecoderImpl& decoder, const std::vector<Ids>& all) {
  const auto [ids, segments] = packed(all);
  const at::Tensor logits = decoder.logits(decoder.hidden(ids, segments));
  for (std::size_t s = 0; s < all.size(); ++s) print_logits(logits.slice(0, segments.q_offsets[s], segments.q_offsets[s + 1]));
}

void print_cached(models::DecoderImpl& decoder, const Ids& ids) {
  const std::vector<data::TokenId> tokens(ids.begin(), ids.end());
  models::KvCache cache;
  std::vector<at::Tensor> rows;
  for (std::size_t done = 1; done <= tokens.size(); ++done) {
    rows.push_back(models::next_logits(decoder, cache, {std::span(tokens).first(done)}).clone());
  }
  print_logits(at::cat(rows));
}

void print_gradients(models::DecoderImpl& decoder, const lora::Adapter& adapter, const std::vector<Ids>& all) {
  const auto [ids, segments] = packed(all);
  at::Tensor labels = at::full({segments.tokens()}, -100, at::kLong);
  std::int64_t counted = 0;
  for (std::size_t s = 0; s < all.size(); ++s) {
    const std::int64_t begin = segments.q_offsets[s], end = segments.q_offsets[s + 1];
    labels.slice(0, begin, end - 1).copy_(ids.slice(0, begin + 1, end));
    counted += end - begin - 1;
  }
  (decoder.token_losses(decoder.hidden(ids, segments), labels).sum() / static_cast<double>(counted)).backward();
  core::Json gradients = core::Json::object();
  for (const auto& parameter : adapter.parameters()) {
    const at::Tensor flat = parameter.tensor.grad().contiguous().view({-1});
    gradients[parameter.name] =
        std::vector<float>(flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
  }
  std::printf("%s\n", gradients.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string how = argc > 3 ? argv[3] : "alone";
  if (argc < 3 || argc > 4 || (how != "alone" && how != "packed" && how != "cache" && how != "gradients")) {
    return std::fprintf(stderr, "usage: model_logits MODEL ADAPTER|- [packed|cache|gradients]\n"), 2;
  }
  models::LoadOptions options;
  options.dtype = models::DTypeChoice::kFloat32;
  if (std::string(argv[2]) != "-") options.adapter = argv[2];
  auto model = models::load(argv[1], options);
  lora::Adapter adapter;
  if (std::string(argv[2]) != "-") adapter = lora::load_peft(model.decoder->slot_table(), argv[2]);
  const std::vector<Ids> all = read_lines();
  if (how == "gradients") {
    print_gradients(*model.decoder, adapter, all);
    return 0;
  }
  const at::NoGradGuard no_grad;
  if (how == "packed") {
    print_packed(*model.decoder, all);
    return 0;
  }
  for (const Ids& ids : all) {
    how == "cache" ? print_cached(*model.decoder, ids) : print_packed(*model.decoder, {ids});
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "model_logits: %s\n", error.what()), 1;
}
