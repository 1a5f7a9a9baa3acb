// Perturbed copies of texts: how well does a model hold on writing that is less tidy than what it was trained on?
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

struct Perturbation {
  enum class Kind {
    kTypos,  // of letters: swapped with the next, left out, doubled, or the neighbour on an English keyboard
    kCase,   // of words: all in capitals, or, where one stands in them, all in small letters
    kOcr,    // of letters and digits: what a scanner takes them for (l and 1, O and 0, rn and m, e and c)
  };
  Kind kind = Kind::kTypos;
  double rate = 0.05;  // share of the places where it can act
  std::string name;    // as given: "typos:0.05"
};

/// "typos", "typos:0.05", "case", "ocr:0.1". ConfigError with the nearest name, or for a rate outside (0, 1].
Perturbation parse_perturbation(const std::string& text);

/// The text perturbed by counters: the same for (seed, document), whatever else is perturbed. Valid UTF-8 in, valid
/// out.
std::string perturb(std::string_view text, const Perturbation& perturbation, std::uint64_t seed,
                    std::uint64_t document);

/// As load(), with every document, and of rows every span that is not learned, perturbed before it is tokenized.
Dataset load_perturbed(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer,
                       const DataOptions& options, const Perturbation& perturbation, std::uint64_t seed,
                       core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::data
