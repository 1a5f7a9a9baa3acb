#include "lowrank/data/parts.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "lowrank/core/beside.h"
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
  // By their own documents, not by all of them: of a large data set a part may have a few.
  const std::vector<std::uint32_t> documents = documents_of(all);
  const std::size_t n = documents.size();
  const std::vector<std::uint32_t> order =
      core::RandomStream(seed, stream).permutation(static_cast<std::uint32_t>(n), 0);
  std::vector<std::size_t> rank(n);
  for (std::size_t i = 0; i < n; ++i) rank[order[i]] = i;
  std::vector<std::size_t> result(all.examples.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::uint32_t document = all.examples.document(i);
    if (documents[at] != document && at + 1 < n) ++at;  // examples mostly lie in the order of their documents
    if (documents[at] != document) {
      at = static_cast<std::size_t>(std::lower_bound(documents.begin(), documents.end(), document) - documents.begin());
    }
    result[i] = rank[at];
  }
  return {std::move(result), n};
}

/// `part` has the report of what it is a part of.
void recount(Dataset& part, int threads = 1) {
  const Examples& examples = part.examples;
  std::array<ReadReport, 2> halves;
  std::array<std::vector<std::uint64_t>, 2> taken;  // documents, a bit each
  core::in_halves(threads, examples.size(), [&](std::size_t begin, std::size_t end) {
    ReadReport report;
    std::vector<std::uint64_t> bits(part.documents.size() / 64 + 1, 0);
    for (std::size_t i = begin; i < end; ++i) {
      report.tokens += static_cast<std::int64_t>(examples.length(i));
      report.learned_tokens += examples.counted(i);
      report.truncated += examples.cut(i) > 0 ? 1 : 0;
      report.truncated_tokens += examples.cut(i);
      const std::uint32_t document = examples.document(i);
      bits[document / 64] |= std::uint64_t{1} << document % 64;
    }
    halves[begin > 0] = std::move(report);
    taken[begin > 0] = std::move(bits);
  });
  ReadReport& report = part.report;
  report.tokens = halves[0].tokens + halves[1].tokens;
  report.learned_tokens = halves[0].learned_tokens + halves[1].learned_tokens;
  report.truncated = halves[0].truncated + halves[1].truncated;
  report.truncated_tokens = halves[0].truncated_tokens + halves[1].truncated_tokens;
  const bool duplicates = report.duplicates > 0;  // else no document needs to be read
  report.documents = report.duplicates = 0;
  for (std::size_t word = 0; word < taken[0].size(); ++word) {
    std::uint64_t bits = taken[0][word] | (taken[1].empty() ? 0 : taken[1][word]);
    report.documents += std::popcount(bits);
    for (; duplicates && bits != 0; bits &= bits - 1) {
      report.duplicates += part.documents.duplicate(64 * word + static_cast<std::size_t>(std::countr_zero(bits))) ? 1 : 0;
    }
  }
  report.examples = static_cast<std::int64_t>(examples.size());
}

/// Of a part that is measured: what was said once of the whole, notes and dropped documents, stays with the other.
void say_less(ReadReport& report) {
  report.notes.clear();
  report.empty = report.all_masked = 0;
}

}  // namespace

std::vector<std::uint32_t> documents_of(const Dataset& all, int threads) {
  std::vector<std::uint32_t> documents(all.examples.size());
  core::in_halves(threads, documents.size(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) documents[i] = all.examples.document(i);
  });
  if (!std::is_sorted(documents.begin(), documents.end())) std::sort(documents.begin(), documents.end());
  documents.erase(std::unique(documents.begin(), documents.end()), documents.end());
  return documents;
}

Dataset part_of(const Dataset& all, const std::vector<bool>& chosen, int threads) {
  Dataset part;
  part.documents = all.documents;
  part.weights = all.weights;
  part.storage = all.storage;
  part.report = all.report;
  part.examples = all.examples.part(chosen);
  recount(part, threads);
  return part;
}

Dataset take_out(Dataset& all, const std::vector<bool>& held, int threads) {
  if (!all.examples.in_memory()) {
    Split split;
    hold_out(all, held, split, threads);
    all = std::move(split.train);
    return std::move(split.validation);
  }
  Dataset out;
  out.weights = all.weights;
  out.report = all.report;
  std::vector<Example>& examples = all.examples.own();
  std::size_t left = 0;
  std::optional<std::uint32_t> last;  // document of what is taken
  for (std::size_t i = 0; i < examples.size(); ++i) {
    Example& example = examples[i];
    if (!held[i]) {
      if (left != i) examples[left] = std::move(example);
      ++left;
      continue;
    }
    if (last != example.document) out.documents.push_back(all.documents[example.document]);
    last = example.document;
    example.document = static_cast<std::uint32_t>(out.documents.size() - 1);
    out.examples.push_back(std::move(example));
  }
  examples.resize(left);
  recount(out);
  recount(all);
  say_less(out.report);
  return out;
}

void hold_out(const Dataset& all, const std::vector<bool>& held, Split& split, int threads) {
  core::Beside validation(all.examples.size() >= core::kMillions ? threads : 1, [&] { split.validation = part_of(all, held); });
  std::vector<bool> others = held;
  others.flip();
  split.train = part_of(all, others, threads);
  validation.wait();
  say_less(split.validation.report);
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
  hold_out(all, held, result);
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
