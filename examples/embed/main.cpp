// lowrank inside a program: load a model, attach adapters, train on strings in memory, save, generate.
//   lowrank-embed MODEL OUT
#include <cstdio>
#include <exception>

#include "lowrank/lowrank.h"

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: lowrank-embed MODEL OUT\n"), 2;
  lowrank::core::keep_heap();

  // The base stays frozen and mapped; only the adapters' matrices are trained.
  auto model = lowrank::models::load(argv[1]);
  lowrank::lora::LoraConfig config;
  config.r = 8;
  config.lora_alpha = 16;
  auto adapter = lowrank::lora::attach(model.decoder->slot_table(), config);

  lowrank::train::CausalLm::Parts parts;
  parts.decoder = model.decoder;
  parts.adapter = &adapter;
  parts.train = lowrank::data::from_texts(
      {"The fresco was painted on wet plaster.", "The panel was painted in tempera on poplar.",
       "The canvas was painted in oil over a dark ground."},
      *model.tokenizer, {.seq_len = 128});
  parts.plan.batch_size = 3;
  parts.plan.epochs = 20;
  lowrank::train::CausalLm objective(std::move(parts));

  lowrank::train::TrainOptions options;
  options.lr = 2e-3;
  auto lock = lowrank::train::open_run_folder(argv[2], /*resume=*/false, /*overwrite=*/true, {argv[1]});
  lowrank::train::TrainObserver quiet;
  const auto result = lowrank::train::Trainer(objective, options, argv[2], {}).run(quiet);
  std::printf("%lld steps, last loss %.3f, %lld trainable parameters\n", static_cast<long long>(result.steps),
              result.last_loss, static_cast<long long>(adapter.parameter_count()));

  // argv[2] is a PEFT adapter now. The same model generates with it, and without it.
  const auto prompt = model.tokenizer->encode("The panel");
  lowrank::models::GenerateOptions generation;
  generation.max_new_tokens = 12;
  for (const bool enabled : {false, true}) {
    adapter.set_enabled(enabled);
    const auto answer = lowrank::models::generate(*model.decoder, *model.tokenizer, prompt, generation);
    std::printf("%s: The panel%s\n", enabled ? "adapter" : "base", answer.text.c_str());
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "lowrank-embed: %s\n", error.what()), 1;
}
