#include "lowrank/eval/text_scores.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::eval {
namespace {

constexpr std::size_t kBleuOrders = 4, kChrfOrders = 6;

/// str.isspace() of Python.
bool is_space(char32_t c) { return data::is_white_space(c) || (c >= 0x1c && c <= 0x1f); }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

bool digit(char c) { return c >= '0' && c <= '9'; }
bool point(char c) { return c == '.' || c == ','; }

/// ASCII punctuation that always stands alone: all but ' , - . and what is no punctuation.
bool stands_alone(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') || (c >= '(' && c <= '+') ||
         (c >= ':' && c <= '@') || c == '/';
}

/// Replaces pairs of neighbours, left to right and none overlapping another, as re.sub does.
template <typename Matches, typename Written>
std::string replace_pairs(const std::string& text, Matches matches, Written written) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && matches(text[i], text[i + 1])) {
      out += written(text[i], text[i + 1]);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> found;
  std::string word;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!is_space(data::next_character(text, at))) {
      word += text.substr(begin, at - begin);
    } else if (!word.empty()) {
      found.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) found.push_back(std::move(word));
  return found;
}

using Counts = std::unordered_map<std::string, double>;

/// The n-grams of `parts`, each made one key with a separator that is no UTF-8.
Counts count_ngrams(const std::vector<std::string>& parts, std::size_t n) {
  Counts counts;
  for (std::size_t i = 0; i + n <= parts.size(); ++i) {
    std::string key;
    for (std::size_t k = 0; k < n; ++k) key += parts[i + k] + '\xff';
    ++counts[key];
  }
  return counts;
}

double ngrams(std::size_t length, std::size_t n) { return length < n ? 0 : static_cast<double>(length - n + 1); }

double matches(const Counts& left, const Counts& right) {
  double sum = 0;
  for (const auto& [key, count] : left) {
    const auto it = right.find(key);
    if (it != right.end()) sum += std::min(count, it->second);
  }
  return sum;
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (!is_space(data::next_character(text, at))) found.emplace_back(text.substr(begin, at - begin));
  }
  return found;
}

std::vector<std::string> rouge_words(std::string_view raw) {
  const std::string text = data::lowercase(core::replace_invalid_utf8(raw));
  std::vector<std::string> found(1);
  for (const char c : text) {
    if (digit(c) || (c >= 'a' && c <= 'z')) {
      found.back() += c;
    } else if (!found.back().empty()) {
      found.emplace_back();
    }
  }
  if (found.back().empty()) found.pop_back();
  return found;
}

}  // namespace

std::vector<std::string> tokenize_13a(std::string_view raw) {
  std::string line = core::replace_invalid_utf8(raw);
  while (!line.empty()) {  // rstrip()
    std::size_t last = line.size() - 1;
    while (last > 0 && (static_cast<unsigned char>(line[last]) & 0xC0) == 0x80) --last;
    std::size_t at = last;
    if (!is_space(data::next_character(line, at))) break;
    line.resize(last);
  }
  replace_all(line, "<skipped>", "");
  replace_all(line, "-\n", "");
  replace_all(line, "\n", " ");
  replace_all(line, "&quot;", "\"");
  replace_all(line, "&amp;", "&");
  replace_all(line, "&lt;", "<");
  replace_all(line, "&gt;", ">");
  std::string spaced = " ";
  for (const char c : line) {
    if (stands_alone(c)) {
      spaced += {' ', c, ' '};
    } else {
      spaced += c;
    }
  }
  spaced += ' ';
  const auto parted = [](char a, char b) { return std::string{a, ' ', b, ' '}; };
  spaced = replace_pairs(
      spaced, [](char a, char b) { return !digit(a) && point(b); }, parted);
  spaced = replace_pairs(
      spaced, [](char a, char b) { return point(a) && !digit(b); },
      [](char a, char b) {
        return std::string{' ', a, ' ', b};
      });
  spaced = replace_pairs(
      spaced, [](char a, char b) { return digit(a) && b == '-'; }, parted);
  return words(spaced);
}

Statistics bleu_statistics(std::string_view hypothesis, std::string_view reference) {
  const std::vector<std::string> ours = tokenize_13a(hypothesis), theirs = tokenize_13a(reference);
  Statistics sums = {static_cast<double>(ours.size()), static_cast<double>(theirs.size())};
  for (std::size_t n = 1; n <= kBleuOrders; ++n)
    sums.push_back(matches(count_ngrams(ours, n), count_ngrams(theirs, n)));
  for (std::size_t n = 1; n <= kBleuOrders; ++n) sums.push_back(ngrams(ours.size(), n));
  return sums;
}

double bleu(const Statistics& sums) {
  const double length = sums[0], reference = sums[1];
  const double* correct = sums.data() + 2;
  const double* total = correct + kBleuOrders;
  if (std::all_of(correct, correct + kBleuOrders, [](double n) { return n == 0; })) return 0;
  double brevity = 1;
  if (length < reference) brevity = length > 0 ? std::exp(1 - reference / length) : 0;
  double smoothing = 1, logarithms = 0;
  for (std::size_t n = 0; n < kBleuOrders; ++n) {
    if (total[n] == 0) return 0;  // a corpus of texts shorter than four words: log 0
    double precision = correct[n] / total[n];
    if (correct[n] == 0) precision = 1 / ((smoothing *= 2) * total[n]);
    logarithms += std::log(100 * precision);
  }
  return brevity * std::exp(logarithms / static_cast<double>(kBleuOrders));
}

Statistics chrf_statistics(std::string_view hypothesis, std::string_view reference) {
  const std::vector<std::string> ours = characters(core::replace_invalid_utf8(hypothesis));
  const std::vector<std::string> theirs = characters(core::replace_invalid_utf8(reference));
  Statistics sums;
  for (std::size_t n = 1; n <= kChrfOrders; ++n) {
    const double in_reference = ngrams(theirs.size(), n);
    sums.push_back(in_reference > 0 ? ngrams(ours.size(), n) : 0);  // nothing could have matched
    sums.push_back(in_reference);
    sums.push_back(matches(count_ngrams(ours, n), count_ngrams(theirs, n)));
  }
  return sums;
}

double chrf(const Statistics& sums) {
  constexpr double kBetaSquared = 4;
  double precision = 0, recall = 0, orders = 0;
  for (std::size_t n = 0; n < kChrfOrders; ++n) {
    const double ours = sums[3 * n], theirs = sums[3 * n + 1], matched = sums[3 * n + 2];
    if (ours == 0 || theirs == 0) continue;
    precision += matched / ours;
    recall += matched / theirs;
    ++orders;
  }
  if (orders == 0 || precision + recall == 0) return 0;
  precision /= orders;
  recall /= orders;
  return 100 * (1 + kBetaSquared) * precision * recall / (kBetaSquared * precision + recall);
}

double rouge_l(std::string_view hypothesis, std::string_view reference) {
  const std::vector<std::string> ours = rouge_words(hypothesis), theirs = rouge_words(reference);
  if (ours.empty() || theirs.empty()) return 0;
  std::vector<std::size_t> row(theirs.size() + 1, 0);  // LCS of ours[0, i) and theirs[0, j)
  for (const std::string& word : ours) {
    std::size_t diagonal = 0;
    for (std::size_t j = 1; j <= theirs.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = word == theirs[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
      diagonal = above;
    }
  }
  const double common = static_cast<double>(row.back());
  const double precision = common / static_cast<double>(ours.size()),
               recall = common / static_cast<double>(theirs.size());
  return common == 0 ? 0 : 2 * precision * recall / (precision + recall);
}

}  // namespace lowrank::eval
