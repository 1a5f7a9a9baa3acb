#include "lowrank/data/parts.h"

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

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
  constexpr std::size_t kNone = ~std::size_t{0};
  std::vector<std::size_t> places(all.documents.size(), kNone);
  for (const Example& example : all.examples) places.at(example.document) = 0;
  std::size_t n = 0;
  for (std::size_t& place : places) {
    if (place != kNone) place = n++;
  }
  const std::vector<std::uint32_t> order =
      core::RandomStream(seed, stream).permutation(static_cast<std::uint32_t>(n), 0);
  std::vector<std::size_t> rank(n);
  for (std::size_t i = 0; i < n; ++i) rank[order[i]] = i;
  std::vector<std::size_t> result;
  result.reserve(all.examples.size());
  for (const Example& example : all.examples) result.push_back(rank[places.at(example.document)]);
  return {std::move(result), n};
}

void recount(Dataset& part) {
  std::vector<bool> taken(part.documents.size(), false);
  ReadReport& report = part.report;
  report.tokens = report.learned_tokens = report.truncated = report.truncated_tokens = report.duplicates = 0;
  for (const Example& example : part.examples) {
    taken[example.document] = true;
    report.tokens += static_cast<std::int64_t>(example.ids.size());
    report.learned_tokens += example.counted();
    report.truncated += example.cut > 0 ? 1 : 0;
    report.truncated_tokens += example.cut;
  }
  report.documents = 0;
  for (std::size_t document = 0; document < taken.size(); ++document) {
    if (!taken[document]) continue;
    ++report.documents;
    report.duplicates += part.documents[document].duplicate ? 1 : 0;
  }
  report.examples = static_cast<std::int64_t>(part.examples.size());
}

/// Of a part that is measured: what was said once of the whole, notes and dropped documents, stays with the other.
void say_less(ReadReport& report) {
  report.notes.clear();
  report.empty = report.all_masked = 0;
}

}  // namespace

Dataset part_of(const Dataset& all, const std::vector<bool>& chosen) {
  Dataset part;
  part.documents = all.documents;
  part.weights = all.weights;
  part.storage = all.storage;
  part.report = all.report;
  for (std::size_t i = 0; i < all.examples.size(); ++i) {
    if (chosen[i]) part.examples.push_back(all.examples[i]);
  }
  recount(part);
  return part;
}

Dataset take_out(Dataset& all, const std::vector<bool>& held) {
  Dataset out;
  out.weights = all.weights;
  out.storage = all.storage;
  out.report = all.report;
  std::size_t left = 0;
  std::optional<std::uint32_t> last;  // document of what is taken
  for (std::size_t i = 0; i < all.examples.size(); ++i) {
    Example& example = all.examples[i];
    if (!held[i]) {
      if (left != i) all.examples[left] = std::move(example);
      ++left;
      continue;
    }
    if (last != example.document) out.documents.push_back(all.documents[example.document]);
    last = example.document;
    out.examples.push_back(std::move(example));
    out.examples.back().document = static_cast<std::uint32_t>(out.documents.size() - 1);
  }
  all.examples.resize(left);
  recount(out);
  recount(all);
  say_less(out.report);
  return out;
}

void hold_out(const Dataset& all, std::vector<bool> held, Split& split) {
  split.validation = part_of(all, held);
  say_less(split.validation.report);
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
