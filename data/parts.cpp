#include "lowrank/data/parts.h"

#include <cmath>
#include <map>
#include <set>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

constexpr std::size_t kDocumentsToShareBy = 8;

/// For each example the place of its document, in the seed's order of the documents that have examples; and their
/// number.
std::pair<std::vector<std::size_t>, std::size_t> document_places(const Dataset& all, std::uint64_t seed,
                                                                 const std::string& stream) {
  std::map<std::uint32_t, std::size_t> places;
  for (const Example& example : all.examples) places.emplace(example.document, places.size());
  std::size_t n = 0;
  for (auto& [document, place] : places) place = n++;
  const std::vector<std::uint32_t> order =
      core::RandomStream(seed, stream).permutation(static_cast<std::uint32_t>(n), 0);
  std::vector<std::size_t> rank(n);
  for (std::size_t i = 0; i < n; ++i) rank[order[i]] = i;
  std::vector<std::size_t> result;
  result.reserve(all.examples.size());
  for (const Example& example : all.examples) result.push_back(rank[places.at(example.document)]);
  return {std::move(result), n};
}

}  // namespace

Dataset part_of(const Dataset& all, const std::vector<bool>& chosen) {
  Dataset part;
  part.documents = all.documents;
  part.report = all.report;
  std::set<std::uint32_t> documents;
  ReadReport& report = part.report;
  report.tokens = report.learned_tokens = report.truncated = report.truncated_tokens = report.duplicates = 0;
  for (std::size_t i = 0; i < all.examples.size(); ++i) {
    if (!chosen[i]) continue;
    const Example& example = all.examples[i];
    documents.insert(example.document);
    report.tokens += static_cast<std::int64_t>(example.ids.size());
    report.learned_tokens += example.counted();
    report.truncated += example.cut > 0 ? 1 : 0;
    report.truncated_tokens += example.cut;
    part.examples.push_back(example);
  }
  for (const std::uint32_t document : documents) report.duplicates += all.documents[document].duplicate ? 1 : 0;
  report.documents = static_cast<std::int64_t>(documents.size());
  report.examples = static_cast<std::int64_t>(part.examples.size());
  return part;
}

void hold_out(const Dataset& all, std::vector<bool> held, Split& split) {
  split.validation = part_of(all, held);
  ReadReport& report = split.validation.report;
  report.notes.clear();
  report.empty = report.all_masked = 0;
  held.flip();
  split.train = part_of(all, held);
}

Split fold(const Dataset& all, int index, int folds, std::uint64_t seed) {
  if (folds < 2 || index < 1 || index > folds) throw InternalError("fold: a fold that does not exist");
  const auto [places, documents] = document_places(all, seed, "folds");
  if (documents < static_cast<std::size_t>(folds)) {
    throw ConfigError("cross-validation with " + std::to_string(folds) +
                      " folds needs as many documents, and the data has " +
                      core::format_count(static_cast<std::int64_t>(documents)) +
                      ": ask for fewer folds, or part the text by lines of <|endoftext|>");
  }
  std::vector<bool> held(all.examples.size());
  for (std::size_t i = 0; i < held.size(); ++i)
    held[i] = places[i] % static_cast<std::size_t>(folds) + 1 == static_cast<std::size_t>(index);
  Split result;
  hold_out(all, std::move(held), result);
  result.how = "fold " + std::to_string(index) + " of " + std::to_string(folds) + ": " +
               core::format_count(result.validation.report.documents) + " of " +
               core::format_count(static_cast<std::int64_t>(documents)) + " documents held out";
  return result;
}

Dataset share_of(const Dataset& all, double share, std::uint64_t seed) {
  if (!(share > 0 && share <= 1)) throw InternalError("share_of: a share that is none");
  auto [places, n] = document_places(all, seed, "share");
  if (n < kDocumentsToShareBy) {
    n = all.examples.size();
    const std::vector<std::uint32_t> order =
        core::RandomStream(seed, "share").permutation(static_cast<std::uint32_t>(n), 0);
    for (std::size_t i = 0; i < n; ++i) places[order[i]] = i;
  }
  const auto count = static_cast<std::size_t>(std::ceil(share * static_cast<double>(n) - 1e-9));
  std::vector<bool> chosen(all.examples.size());
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = places[i] < count;
  return part_of(all, chosen);
}

}  // namespace lowrank::data
