// "…%s…" % values
#pragma once

#include "lowrank/data/chat/value.h"

namespace lowrank::data::jinja {

/// `values`: a tuple of them, a dict for %(name)s, or one value. TemplateError: as Python's.
Value percent_format(Budget& budget, const Value& format, const Value& values);

}  // namespace lowrank::data::jinja
