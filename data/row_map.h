// Rows whose columns have names of their own, made into rows of a known kind.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::data {

class RowMap {
 public:
  /// `columns`: "prompt=question,completion=answers.best": what a reader asks for, and the path where it stands (a dot
  /// goes into an object, or into a list by a number from 0; a column whose own name has dots is found first).
  /// `layout`: a text in which {PATH} is the column's value; what stands between [[ and ]], at its end, is learned, what
  /// stands before is the prompt: "{question}\n[[{answer}]]". Without [[ ]] all of it is a text to learn. \n and \t are a
  /// line end and a tab, {{ and }} are braces. Both empty: nullptr. ConfigError for what is neither, naming the field.
  static std::shared_ptr<const RowMap> parse(const std::string& columns, const std::string& layout);

  /// The names that an entry of LLaMA-Factory's dataset_info.json gives to columns, turns' keys and roles, where they are
  /// not its own defaults; nullptr where none are. Columns that it does not name stay as they are. DataError for pictures
  /// and other columns that nothing here reads.
  static std::shared_ptr<const RowMap> of_llama_factory(const core::JsonView& entry);

  /// The row that is read instead: the columns under the names that were asked for, or {"prompt", "completion"} or
  /// {"text"} of the layout. In a layout numbers and truth values stand as JSON writes them. `unread`: the row's keys
  /// that were not used. DataError: a column that is not there, with the nearest; in a layout, null or a list.
  core::Json apply(const core::JsonView& row, std::set<std::string>& unread) const;

  /// What it does, for comparing.
  const std::string& text() const { return text_; }

 private:
  /// A stretch of a layout: literal text, or a column.
  struct Piece {
    bool column = false, learned = false;
    std::string text;
  };
  core::Json renamed(const core::JsonView& row) const;
  core::Json turns_of(const core::Json& turns) const;
  void parse_columns(const std::string& columns);
  void parse_layout(const std::string& layout);
  core::Json laid_out(const core::JsonView& row) const;

  std::vector<std::pair<std::string, std::string>> columns_;  // asked for, path
  std::vector<Piece> pieces_;
  std::vector<std::pair<std::string, std::string>> renamed_;  // of_llama_factory: what is read, the column
  std::string turns_, role_tag_, content_tag_;                // the column of turns, and their keys
  std::vector<std::pair<std::string, std::string>> roles_;    // a role's name here, the file's
  bool marked_ = false;  // the layout says what is learned
  std::string text_;
};

/// A row with the columns that were asked for beside its own, for who writes rows out again; `map` may be null.
core::Json with_columns(const RowMap* map, const core::JsonView& row);

}  // namespace lowrank::data
