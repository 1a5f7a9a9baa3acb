#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "lowrank/core/error.h"
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
                                     std::uint64_t seed) {
  const auto n = static_cast<std::uint32_t>(documents.size());
  const std::size_t count = std::clamp<std::size_t>(share(fraction, n), 1, n - 1);
  const std::vector<std::uint32_t> order = core::RandomStream(seed, "split").permutation(n, 0);
  std::set<std::uint32_t> chosen;
  for (std::size_t i = 0; i < count; ++i) chosen.insert(documents[order[i]]);
  std::vector<bool> held(all.examples.size());
  for (std::size_t i = 0; i < held.size(); ++i) held[i] = chosen.contains(all.examples[i].document);
  return held;
}

std::vector<bool> held_out_tails(const Dataset& all, const std::map<std::uint32_t, std::size_t>& pieces,
                                 double fraction) {
  std::map<std::uint32_t, std::size_t> seen;
  std::vector<bool> held(all.examples.size());
  for (std::size_t i = 0; i < held.size(); ++i) {
    const std::uint32_t document = all.examples[i].document;
    const std::size_t n = pieces.at(document);
    const std::size_t tail = std::min(share(fraction, n), n - 1);
    held[i] = seen[document]++ >= n - tail;
  }
  return held;
}

}  // namespace

Split split(const Dataset& all, double fraction, std::uint64_t seed) {
  if (!(fraction >= 0 && fraction < 1)) {
    throw ConfigError("`val-split` must be at least 0 and less than 1, found " + std::to_string(fraction));
  }
  std::map<std::uint32_t, std::size_t> pieces;  // of each document that has any
  for (const Example& example : all.examples) ++pieces[example.document];
  std::vector<std::uint32_t> documents;
  for (const auto& [document, count] : pieces) documents.push_back(document);

  Split result;
  std::vector<bool> held(all.examples.size(), false);
  const bool by_document = documents.size() >= kDocumentsToSplitBy;
  if (fraction > 0 && by_document) held = held_out_documents(all, documents, fraction, seed);
  if (fraction > 0 && !by_document) held = held_out_tails(all, pieces, fraction);

  hold_out(all, std::move(held), result);

  const auto n = result.validation.report.examples;
  if (fraction == 0) {
    result.how = "no validation (split of 0)";
  } else if (n == 0) {
    result.how = "no validation: each of the " + core::format_count(static_cast<std::int64_t>(documents.size())) +
                 " documents is a single piece, and fewer than 20 are not split by document; give `val-data`";
  } else if (by_document) {
    result.how = core::format_count(result.validation.report.documents) + " of " +
                 core::format_count(static_cast<std::int64_t>(documents.size())) +
                 " documents held out, chosen by the seed";
  } else {
    result.how = "the last " + core::format_count(n) + " of " +
                 core::format_count(static_cast<std::int64_t>(all.examples.size())) +
                 " pieces held out, from the end of each document (fewer than 20 documents)";
  }
  return result;
}

}  // namespace lowrank::data
