// For tokenizer_parity.py: JSON strings on standard input, one a line; JSON arrays of ids on standard output.
//   tokenize_lines FOLDER [--special]           texts to ids
//   tokenize_lines FOLDER --decode [--keep]     arrays of ids to texts, whole and streamed (which must agree)
#include <cstdio>
#include <iostream>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace {

std::string decoded(const lowrank::data::Tokenizer& tokenizer, const lowrank::core::Json& line, bool skip) {
  const auto ids = line.get<std::vector<lowrank::data::TokenId>>();
  std::string text = tokenizer.decode(ids, skip);
  lowrank::data::StreamDecoder stream(tokenizer, skip);
  std::string pieces;
  for (const auto id : ids) pieces += stream.push(id);
  pieces += stream.flush();
  if (pieces != text) text = "STREAMED DIFFERENTLY: " + pieces;
  return lowrank::core::Json(text).dump();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw std::runtime_error("usage: tokenize_lines FOLDER [--special | --decode [--keep]]");
    bool special = false, decode = false, keep = false;
    for (int i = 2; i < argc; ++i) {
      const std::string option = argv[i];
      special = special || option == "--special";
      decode = decode || option == "--decode";
      keep = keep || option == "--keep";
    }
    const auto tokenizer = lowrank::data::Tokenizer::load(argv[1]);
    std::ios::sync_with_stdio(false);
    for (std::string line; std::getline(std::cin, line);) {
      const auto json = lowrank::core::Json::parse(line);
      if (decode) {
        std::cout << decoded(*tokenizer, json, !keep) << '\n';
      } else {
        std::cout << lowrank::core::Json(tokenizer->encode(json.get<std::string>(), special)).dump() << '\n';
      }
    }
  } catch (const std::exception& error) {
    std::cerr << "tokenize_lines: " << error.what() << '\n';
    return 1;
  }
}
