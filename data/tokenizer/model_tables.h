// A model's "vocab" and "merges", taken from tokenizer.json while it is read: as JSON values they would need ten times
// the file's size.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/json_stream.h"
#include "lowrank/data/tokenizer/vocabulary.h"

namespace lowrank::data {

class ModelTables : public core::JsonSink {
 public:
  /// Messages name the file as `where`.
  explicit ModelTables(std::string where) : where_(std::move(where)) {}

  bool wants(std::string_view path) override { return path == "model.vocab" || path == "model.merges"; }
  /// FormatError: no id, an id or a token that is there twice, no merge.
  void member(std::string_view path, std::string& key, core::Json& value) override;
  /// The same from a document that was read without this.
  void read(const core::JsonView& model);

  Vocabulary vocabulary;
  std::vector<double> scores;  // by id, of a vocabulary that is a list of tokens and scores (Unigram's)

  std::size_t merge_count() const { return merge_count_; }
  /// Calls visit(left, right, problem) for each merge in order; problem(text) throws FormatError naming the merge.
  using Problem = std::function<void(const std::string&)>;
  void visit_merges(
      const std::function<void(std::string_view left, std::string_view right, const Problem& problem)>& visit) const;

 private:
  [[noreturn]] void fail(const std::string& place, const std::string& problem) const;
  void add_token(const std::string& token, const core::Json& id);
  void add_scored(core::Json& value);
  void add_merge(core::Json& value);
  void keep_merge(std::string_view left, std::string_view right);

  std::string where_;
  std::size_t merges_seen_ = 0, merge_count_ = 0;
  std::vector<std::string> blocks_;  // of merges: two lengths of four bytes, two texts
};

}  // namespace lowrank::data
