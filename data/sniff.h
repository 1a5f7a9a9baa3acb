// The first bytes of a file tell what it is.
#pragma once

#include <string>
#include <string_view>

namespace lowrank::data {

/// Throws DataError naming `where` when the first bytes are those of an archive, a table of another program, a picture
/// or a document of a word processor.
void refuse_foreign_bytes(std::string_view head, const std::string& where);

/// Whether a text begins as rows of JSON do: an object with a key, or an array of such. A text may well begin with "["
/// or "{", so no less than that.
bool begins_as_rows(std::string_view head);

}  // namespace lowrank::data
