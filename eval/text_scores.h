// Scores of generated text against a reference: BLEU, chrF2, ROUGE-L, as the reference implementations count them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lowrank/eval/bootstrap.h"

namespace lowrank::eval {

/// mteval-v13a's tokens of a line, as sacrebleu's tokenizer "13a".
std::vector<std::string> tokenize_13a(std::string_view line);

/// {length, reference length, matches of orders 1 to 4, n-grams of orders 1 to 4}; they add up over a corpus.
Statistics bleu_statistics(std::string_view hypothesis, std::string_view reference);
/// Corpus BLEU (Papineni et al. 2002) with exponential smoothing, 0 to 100: sacrebleu's default. Of 10 sums.
double bleu(const Statistics& sums);

/// {n-grams, of the reference, matches} of the orders 1 to 6, over characters without white space; they add up.
Statistics chrf_statistics(std::string_view hypothesis, std::string_view reference);
/// Corpus chrF2 (Popović 2015, beta = 2), 0 to 100: sacrebleu's default. Of 18 sums.
double chrf(const Statistics& sums);

/// F1 of the longest common subsequence of words (Lin 2004), 0 to 1: rouge-score's rougeL without stemming. Words are
/// runs of a-z and 0-9 after lower-casing, as there; so a text in another script scores 0.
double rouge_l(std::string_view hypothesis, std::string_view reference);

}  // namespace lowrank::eval
