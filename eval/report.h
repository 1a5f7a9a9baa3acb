// One page that tells a run or a comparison: report.html, with everything in it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lowrank/eval/chart.h"

namespace lowrank::eval {

struct ReportTable {
  std::string title, note;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// A prompt and how models went on from it.
struct Sample {
  std::string prompt;
  std::vector<std::pair<std::string, std::string>> answers;  // name of the model, text
};

/// An example as training sees it: pieces of text, each learned or only read.
struct MaskedText {
  std::string where;
  std::vector<std::pair<std::string, bool>> pieces;  // text of a token, learned
};

struct Report {
  std::string title, subtitle;
  std::vector<std::pair<std::string, std::string>> verdict;  // before everything else
  std::vector<std::pair<std::string, std::string>> facts;
  std::vector<ReportTable> tables;
  std::vector<Chart> charts;
  std::vector<ParallelChart> parallels;
  std::vector<Sample> samples;
  std::vector<MaskedText> masks;
  std::vector<std::pair<std::string, std::string>> options;  // at the end, folded
};

/// A whole HTML page: inline style and SVG, no script, nothing fetched (its own content security policy forbids both),
/// readable on a phone, light or dark as the reader's system is. Everything in `report` is text and is escaped.
std::string report_html(const Report& report);

}  // namespace lowrank::eval
