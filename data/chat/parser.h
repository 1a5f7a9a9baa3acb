// From a template's text to its tree, by Jinja's grammar.
#pragma once

#include <string_view>

#include "lowrank/data/chat/ast.h"
#include "lowrank/data/chat/lexer.h"

namespace lowrank::data::jinja {

/// Throws SyntaxError; also for what chat templates cannot do here: include, import, extends, blocks.
ParsedTemplate parse(std::string_view source);

}  // namespace lowrank::data::jinja
