#include "lowrank/data/line_reader.h"

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

LineReader::LineReader(const core::FileRef& file, std::uint64_t max_line_bytes)
    : stream_(file), max_line_bytes_(max_line_bytes) {}

TextFacts LineReader::facts() const {
  TextFacts facts = stream_.facts();
  facts.had_crlf = had_crlf_;
  return facts;
}

bool LineReader::next(std::string_view& line) {
  line_.clear();
  bool any = false, complete = false;
  while (!complete) {
    if (rest_.empty()) rest_ = stream_.next();
    if (rest_.empty()) break;
    any = true;
    const std::size_t lf = rest_.find('\n');
    complete = lf != rest_.npos;
    const std::size_t n = complete ? lf : rest_.size();
    if (line_.size() + n > max_line_bytes_) {
      throw DataError(stream_.name() + " line " + std::to_string(line_number_ + 1) + " is longer than " +
                      core::format_bytes(max_line_bytes_) + "; a row belongs on a line of its own");
    }
    line_.append(rest_.substr(0, n));
    rest_.remove_prefix(n + (complete ? 1 : 0));
  }
  if (!any) return false;
  ++line_number_;
  if (line_.ends_with('\r')) {
    line_.pop_back();
    had_crlf_ = true;
  }
  line = line_;
  return true;
}

}  // namespace lowrank::data
