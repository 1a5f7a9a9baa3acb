// A program of someone else's that needs one folder of lowrank only: its tokenizers, without LibTorch's code in the
// build. With a Parquet file: its rows, by the plugin of the installation.
#include <cstdio>

#include "lowrank/core/error.h"
#include "lowrank/data/tokenizer/tokenizer.h"
#include "lowrank/formats/parquet_rows.h"

int main(int argc, char** argv) {
  try {
    if (argc > 1) {
      int rows = 0;
      lowrank::formats::for_each_columnar_row(argv[1], argv[1], [&](const auto&, auto) { ++rows; });
      std::printf("consumer: %d rows\n", rows);
      return rows > 0 ? 0 : 1;
    }
    lowrank::data::Tokenizer::load("/nowhere/at/all");
  } catch (const lowrank::MissingError& error) {
    std::printf("consumer: %s\n", error.what());
    return 0;
  } catch (const lowrank::DataError& error) {
    std::printf("consumer: %s\n", error.what());
  }
  return 1;
}
