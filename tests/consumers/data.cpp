// A program of someone else's that needs one folder of lowrank only: its tokenizers, without LibTorch's code in the
// build.
#include <cstdio>

#include "lowrank/core/error.h"
#include "lowrank/data/tokenizer/tokenizer.h"

int main() {
  try {
    lowrank::data::Tokenizer::load("/nowhere/at/all");
  } catch (const lowrank::MissingError& error) {
    std::printf("consumer: %s\n", error.what());
    return 0;
  }
  return 1;
}
