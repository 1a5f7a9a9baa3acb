// lowrank inside a program: fine-tune on strings in memory, hear of every step, then generate with the adapter and
// without it.
//   lowrank-embed MODEL OUT
#include <cstdio>
#include <exception>

#include "lowrank/lowrank.h"

namespace {

struct Progress : lowrank::recipes::Observer {
  void on_step(const lowrank::train::StepMetrics& step) override {
    if (step.step % 5 == 0) std::printf("step %lld, loss %.3f\n", static_cast<long long>(step.step), step.loss);
  }
  void note(const std::string& text) override { std::printf("%s\n", text.c_str()); }
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: lowrank-embed MODEL OUT\n"), 2;
  lowrank::core::keep_heap();
  lowrank::kernels::keep_tensor_memory();

  lowrank::recipes::FinetuneSpec spec;
  spec.model = argv[1];
  spec.data.train_source =
      lowrank::recipes::texts({"The fresco was painted on wet plaster.", "The panel was painted in tempera on poplar.",
                               "The canvas was painted in oil over a dark ground."});
  spec.data.val_split = 0;
  spec.data.seq_len = 128;
  spec.adapter.rank = 8;
  spec.train.batch_size = 3;
  spec.train.epochs = 20;
  spec.train.lr = 2e-3;
  spec.run.out = argv[2];
  spec.run.overwrite = true;
  Progress progress;
  auto run = lowrank::recipes::finetune(spec, progress);
  std::printf("%lld steps, last loss %.3f, %lld trainable parameters\n", static_cast<long long>(run.training->steps),
              run.training->last_loss, static_cast<long long>(run.adapter->parameter_count()));

  // argv[2] is a PEFT adapter now. The model is still here: it generates with the adapter, and without it.
  auto& model = run.base->model();
  const auto prompt = model.tokenizer->encode("The panel");
  lowrank::models::GenerateOptions generation;
  generation.max_new_tokens = 12;
  for (const bool enabled : {false, true}) {
    run.adapter->set_enabled(enabled);
    const auto answer = lowrank::models::generate(*model.decoder, *model.tokenizer, prompt, generation);
    std::printf("%s: The panel%s\n", enabled ? "adapter" : "base", answer.text.c_str());
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "lowrank-embed: %s\n", error.what()), 1;
}
