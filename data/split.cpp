#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "lowrank/core/beside.h"
#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/random.h"
#include "lowrank/core/text.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/parts.h"

namespace lowrank::data {
namespace {

constexpr std::size_t kDocumentsToSplitBy = 20;

/// ⌈fraction · n⌉ that forgives the rounding of fractions such as 0.05 · 20.
std::size_t share(double fraction, std::size_t n) {
  return static_cast<std::size_t>(std::ceil(fraction * static_cast<double>(n) - 1e-9));
}

/// For each example whether it goes to validation.
std::vector<bool> held_out_documents(const Dataset& all, const std::vector<std::uint32_t>& documents, double fraction,
                                     std::uint64_t seed, int threads) {
  const auto n = static_cast<std::uint32_t>(documents.size());
  const std::size_t count = std::clamp<std::size_t>(share(fraction, n), 1, n - 1);
  const std::vector<std::uint32_t> order = core::RandomStream(seed, "split").permutation(n, 0, threads);
  std::vector<bool> chosen(documents.back() + std::size_t{1}, false);
  for (std::size_t i = 0; i < count; ++i) chosen[documents[order[i]]] = true;
  std::vector<bool> held(all.examples.size());
  core::in_halves(threads, held.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) held[i] = chosen[all.examples.document(i)];
  });
  return held;
}

std::vector<bool> held_out_tails(const Dataset& all, double fraction) {
  std::vector<std::uint32_t> pieces(all.documents.size(), 0);  // of each document
  for (std::size_t i = 0; i < all.examples.size(); ++i) {
    const std::uint32_t document = all.examples.document(i);
    if (document >= pieces.size()) pieces.resize(document + std::size_t{1}, 0);
    ++pieces[document];
  }
  std::vector<std::uint32_t> seen(pieces.size(), 0);
  std::vector<bool> held(all.examples.size());
  for (std::size_t i = 0; i < held.size(); ++i) {
    const std::uint32_t document = all.examples.document(i);
    const std::size_t n = pieces.at(document);
    const std::size_t tail = std::min(share(fraction, n), n - 1);
    held[i] = seen[document]++ >= n - tail;
  }
  return held;
}

/// What is held out, and how it was chosen.
struct Choice {
  std::vector<bool> held;  // of each example
  bool by_document = false;
  std::int64_t documents = 0, pieces = 0;  // that there are
};

Choice choose(const Dataset& all, double fraction, std::uint64_t seed, int threads = 1) {
  if (!(fraction >= 0 && fraction < 1)) {
    throw ConfigError("`val-split` must be at least 0 and less than 1, found " + std::to_string(fraction));
  }
  const std::vector<std::uint32_t> documents = documents_of(all, threads);
  Choice choice;
  choice.by_document = documents.size() >= kDocumentsToSplitBy;
  choice.documents = static_cast<std::int64_t>(documents.size());
  choice.pieces = static_cast<std::int64_t>(all.examples.size());
  if (fraction == 0) {
    choice.held.assign(all.examples.size(), false);
  } else if (choice.by_document) {
    choice.held = held_out_documents(all, documents, fraction, seed, threads);
  } else {
    choice.held = held_out_tails(all, fraction);
  }
  return choice;
}

std::string how_of(const Choice& choice, double fraction, const ReadReport& validation) {
  const auto n = validation.examples;
  if (fraction == 0) return "no validation (split of 0)";
  if (n == 0) {
    return (choice.documents == 1 ? "no validation: the one document is a single piece; "
                                  : "no validation: each of the " + core::format_count(choice.documents) +
                                        " documents is a single piece, and fewer than 20 are not split by document; ") +
           std::string("give `val-data`, or a smaller `seq-len`");
  }
  if (choice.by_document) {
    return core::format_count(validation.documents) + " of " + core::counted(choice.documents, "document") +
           " held out, chosen by the seed";
  }
  return "the last " + core::format_count(n) + " of " + core::counted(choice.pieces, "piece") +
         " held out, from the end of each document (fewer than 20 documents)";
}

}  // namespace

Split split(const Dataset& all, double fraction, std::uint64_t seed) {
  const Choice choice = choose(all, fraction, seed);
  Split result;
  hold_out(all, choice.held, result);
  result.how = how_of(choice, fraction, result.validation.report);
  return result;
}

Dataset take_validation(Dataset& all, double fraction, std::uint64_t seed, std::string& how, int threads) {
  const Choice choice = choose(all, fraction, seed, threads);
  Dataset validation;
  if (std::find(choice.held.begin(), choice.held.end(), true) != choice.held.end()) {
    validation = take_out(all, choice.held, threads);
  }
  how = how_of(choice, fraction, validation.report);
  return validation;
}

}  // namespace lowrank::data
