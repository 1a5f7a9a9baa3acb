// Methods of Python's strings, lists, dicts and numbers.
#pragma once

#include <string_view>

#include "lowrank/data/chat/run.h"

namespace lowrank::data::jinja {

bool has_method(const Value& self, std::string_view name);
/// A method that would change the value: the sandbox has it, but as something that cannot be used.
bool is_forbidden_method(const Value& self, std::string_view name);
Value call_method(Run& run, const Method& method, Call& call);

bool has_text_method(std::string_view name);
Value call_text_method(Run& run, const Value& self, std::string_view name, Call& call);
/// "{} {name!r:>10}".format(...)
Value brace_format(Run& run, const Value& self, const Call& call);

/// `text` with every `old` replaced by `replacement`, at most `most` times where that is not negative.
std::string replaced(Budget& budget, std::string_view text, std::string_view old, std::string_view replacement,
                     std::int64_t most);

}  // namespace lowrank::data::jinja
