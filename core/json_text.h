// The one place that writes JSON: nlohmann's own dump() throws at a string that is not UTF-8, and names of files, answers of models and
// words of a command line may be none.
#pragma once

#include <string>

#include "lowrank/core/json.h"

namespace lowrank::core {

/// A value in one line, or in lines of `indent` spaces a level. What is not UTF-8 in it is written as U+FFFD, so the text is always JSON;
/// what must read as it was is asked for with check_utf8() first.
std::string json_text(const Json& value, int indent = -1);
/// The same in ASCII: all else as \uNNNN.
std::string json_ascii(const Json& value, int indent = -1);

/// Of options {name: value} that are kept so that a later run is held to them: ConfigError for the first that has a text which is not
/// UTF-8, for it would read otherwise.
void check_utf8(const Json& options);

}  // namespace lowrank::core
