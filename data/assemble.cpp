#include "lowrank/data/assemble.h"

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/chat_layout.h"

namespace lowrank::data {

Assembler::Assembler(const Tokenizer& tokenizer, const DataOptions& options) : encoder_(tokenizer, options), judged_(options.judged) {
  if (options.chat == nullptr || options.chat->options().loss_on != LossOn::kRoles) return;
  for (const std::string& role : options.chat->options().roles) roles_ += (roles_.empty() ? "" : ", ") + role;
}

void Assembler::add(Encoded encoded, const std::string& where) {
  ReadReport& report = dataset_.report;
  if (encoded.blank) {
    ++report.empty;
    return;
  }
  const bool duplicate = !seen_.add(encoded.content);
  report.duplicates += duplicate ? 1 : 0;
  ++report.documents;
  last_ = Place::like(last_, where);
  const Document document = {last_, duplicate, source_, encoded.margin};
  if (sink_ != nullptr) {
    sink_->add(document);
  } else {
    dataset_.documents.push_back(document);
  }
  report.truncated += encoded.truncated;
  report.truncated_tokens += encoded.truncated_tokens;
  report.all_masked += encoded.all_masked;
  lone_tokens_ += encoded.lone_tokens;
  rows_ += encoded.rows;
  longest_row_ = std::max(longest_row_, encoded.longest);
  for (Encoded::One& one : encoded.examples) {
    if (encoded.rows > 0) {
      ++rows_kept_;
      rows_ended_ += one.ended ? 1 : 0;
    }
    one.example.document = static_cast<std::uint32_t>(report.documents - 1);
    report.tokens += static_cast<std::int64_t>(one.example.ids.size());
    report.learned_tokens += one.counted;
    ++report.examples;
    if (sink_ != nullptr) {
      sink_->add(std::move(one.example));
    } else {
      dataset_.examples.push_back(std::move(one.example));
    }
  }
}

void Assembler::check_rows(const std::string& where) const {
  if (rows_ == 0) return;
  const std::string cut = core::format_count(dataset_.report.truncated) + " of " + core::format_count(rows_) +
                          " rows are longer than `seq-len` " + std::to_string(encoder_.seq_len());
  const std::string raise = "raise `seq-len` (the longest row has " + core::format_count(longest_row_) +
                            " tokens), as far as the model has positions,";
  if (rows_kept_ == 0 && dataset_.report.truncated > 0) {
    throw DataError(where + "nothing is left to learn: every answer is masked or cut away, since " + cut + "; " +
                    raise + " or shorten the prompts");
  }
  if (rows_kept_ == 0) {
    if (!roles_.empty())
      throw DataError(where + "nothing is left to learn: no turn is of a role that `loss-on` names (" + roles_ +
                      "); name roles that the conversations have, such as assistant, user or tool");
    throw DataError(where + "nothing is left to learn: no row has an answer; give answers, or pass `train-on-prompt`");
  }
  if (!judged_ && (encoder_.tokenizer().eos() || dataset_.report.chat_template) && rows_ended_ == 0) {
    throw DataError(where + "no answer reaches its end token, so the model would not learn to stop: " + cut + "; " +
                    raise + " or give shorter rows");
  }
}

Dataset Assembler::finish(const std::vector<std::filesystem::path>& paths) {
  ReadReport& report = dataset_.report;
  std::string where;
  if (!paths.empty()) {
    where = paths.front().string() + (paths.size() > 1 ? " and " + std::to_string(paths.size() - 1) + " more: " : ": ");
  }
  if (report.documents == 0) {
    throw DataError(where + "there is no text: " +
                    (report.empty == 0   ? std::string("no documents were read")
                     : report.empty == 1 ? std::string("its one document is blank")
                                         : "all " + core::format_count(report.empty) + " documents are blank"));
  }
  check_rows(where);
  if (report.examples == 0) {
    throw DataError(where + "no document has two tokens, and the first is never predicted");
  }
  if (!encoder_.tokenizer().eos() && !report.chat_template) {
    report.notes.push_back("the tokenizer has no end token: documents and answers are not ended");
  }
  if (report.all_masked > 0) {
    report.notes.push_back((report.all_masked == 1
                                ? "1 example is left out: it has"
                                : core::format_count(report.all_masked) + " examples are left out: they have") +
                           std::string(" no answer, or none within `seq-len` ") + std::to_string(encoder_.seq_len()));
  }
  if (lone_tokens_ > 0) {
    report.notes.push_back(core::format_count(lone_tokens_) +
                           " last pieces of a single token left off (a first token is not predicted)");
  }
  return std::move(dataset_);
}

}  // namespace lowrank::data
