#include <fmt/format.h>

#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/data/tokenizer/train_sentencepiece.h"
#include "lowrank/train/out_place.h"

namespace lowrank::apps {

namespace {

int tokenizer_train(const Options& options) {
  const Console console(options);
  data::TokenizerTraining training;
  training.files = options.paths("data");
  training.out = options.text("out");
  train::check_place(training.out, training.files);
  training.vocab_size = static_cast<int>(options.integer_in("vocab-size", 300, 1 << 20));
  data::train_sentencepiece(training);
  console.line(
      fmt::format("{}: a SentencePiece BPE tokenizer of {} pieces", training.out.string(), training.vocab_size));
  print_next(console, {"pretrain", "--config", "config.json", "--tokenizer", training.out.string(), "--data",
                       training.files.front().string(), "--out", "base"});
  console.result({{"out", training.out.string()}, {"vocab_size", training.vocab_size}});
  return 0;
}

}  // namespace

Verb tokenizer_train_verb() {
  Verb verb;
  verb.name = "tokenizer train";
  verb.summary = "Train a SentencePiece tokenizer (BPE with byte fallback, Llama's layout)";
  verb.example = "lowrank tokenizer train --data text.txt --vocab-size 2048 --out tok";
  verb.options = {
      {"data", OptionType::kTexts, "FILE...", nullptr, "Data", "UTF-8 text files", {}, true},
      {"vocab-size", OptionType::kInt, "N", 4096, "Model", "Pieces, byte and special tokens included", {}},
      {"out", OptionType::kText, "DIR", nullptr, "Run", "Folder for tokenizer.model and its companions", {}, true},
      option_quiet(),
      option_json(),
  };
  verb.run = tokenizer_train;
  return verb;
}

}  // namespace lowrank::apps
