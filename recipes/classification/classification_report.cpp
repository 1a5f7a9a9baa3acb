#include "lowrank/recipes/classification/classification_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/plural.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/eval/proportion.h"

namespace lowrank::recipes {

namespace {

constexpr std::size_t kCounted = 12;

std::int64_t hits_of(const eval::Classification& scores) {
  std::int64_t hits = 0;
  for (std::size_t k = 0; k < scores.confusion.size(); ++k) hits += scores.confusion[k][k];
  return hits;
}

}  // namespace

std::string class_counts(const std::vector<std::string>& labels, const std::vector<std::int64_t>& counts) {
  std::vector<std::size_t> order(labels.size());
  std::int64_t all = 0;
  for (std::size_t k = 0; k < order.size(); ++k) {
    order[k] = k;
    all += counts[k];
  }
  if (order.size() > kCounted) {
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return counts[a] > counts[b]; });
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(kCounted, order.size()); ++i) {
    const std::size_t k = order[i];
    text += fmt::format("{}{} {} ({:.1f} %)", i > 0 ? ", " : "", core::printable(labels[k], 40),
                        core::format_count(counts[k]),
                        all > 0 ? 100.0 * static_cast<double>(counts[k]) / static_cast<double>(all) : 0.0);
  }
  if (order.size() > kCounted) text += fmt::format(" and {} more", order.size() - kCounted);
  return text;
}

double accuracy_of_one(const std::vector<std::int64_t>& counts, std::size_t said) {
  std::int64_t all = 0;
  for (const std::int64_t count : counts) all += count;
  return static_cast<double>(counts[said]) / static_cast<double>(all);
}

core::Json to_json(const eval::Classified& found, const std::vector<std::string>& labels) {
  const eval::Classification& scores = found.scores;
  const eval::Proportion right = eval::proportion(hits_of(scores), scores.examples);
  core::Json json = {{"texts", scores.examples},
                     {"nll", found.nll},
                     {"accuracy", scores.accuracy},
                     {"accuracy_ci", {right.low, right.high}},
                     {"macro_f1", scores.macro_f1},
                     {"matthews", scores.matthews},
                     {"labels", labels},
                     {"confusion", scores.confusion},
                     {"classes", core::Json::object()}};
  for (std::size_t k = 0; k < labels.size(); ++k) {
    const eval::ClassScore& one = scores.classes[k];
    json["classes"][labels[k]] = {
        {"precision", one.precision}, {"recall", one.recall}, {"f1", one.f1}, {"support", one.support}};
  }
  return json;
}

eval::ReportTable confusion_table(const eval::Classified& found, const std::vector<std::string>& labels) {
  const std::size_t shown = std::min(kShownLabels, labels.size());
  eval::ReportTable table;
  table.title = "Confusion matrix";
  table.note = "Rows are the true labels, columns what was predicted.";
  if (shown < labels.size())
    table.note += fmt::format(" The first {} of {} labels; all are in run.json.", shown, labels.size());
  table.header = {"true label"};
  for (std::size_t k = 0; k < shown; ++k) table.header.push_back(core::printable(labels[k], 16));
  table.header.insert(table.header.end(), {"precision", "recall", "F1"});
  for (std::size_t k = 0; k < shown; ++k) {
    const eval::ClassScore& one = found.scores.classes[k];
    std::vector<std::string> row = {core::printable(labels[k], 40)};
    for (std::size_t j = 0; j < shown; ++j) row.push_back(core::format_count(found.scores.confusion[k][j]));
    for (const double value : {one.precision, one.recall, one.f1}) row.push_back(fmt::format("{:.3f}", value));
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string confusion_text(const eval::Classified& found, const std::vector<std::string>& labels) {
  const eval::ReportTable confusion = confusion_table(found, labels);
  return fmt::format("confusion matrix of {}: {}\n{}", core::counted(found.scores.examples, "text"), confusion.note,
                     core::table(confusion.header, confusion.rows));
}

}  // namespace lowrank::recipes
