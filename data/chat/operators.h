// What Python's operators do with values. Faults are TemplateErrors in words like Python's own.
#pragma once

#include <optional>
#include <string>

#include "lowrank/data/chat/ast.h"
#include "lowrank/data/chat/value.h"

namespace lowrank::data::jinja {

/// The type's name in messages: "str", "dict", "NoneType".
std::string type_name(const Value& value);

bool truth(const Value& value);
bool equal(const Value& a, const Value& b);
void check_hashable(const Value& key);
/// -1, 0 or 1; 2 where a NaN is among them. TemplateError for types that have no order among them; `op` is named there.
int compare(const Value& a, const Value& b, const char* op = "<");
/// `needle in haystack`. An iterator is read up to the needle.
bool contains(Budget& budget, const Value& haystack, const Value& needle);
Value binary(Budget& budget, Op op, const Value& a, const Value& b);
Value negated(const Value& value);

/// Python's str() and repr().
std::string to_text(Budget& budget, const Value& value);
std::string to_repr(Budget& budget, const Value& value);
void write_text(Writer& out, const Value& value);
void write_repr(Writer& out, const Value& value);

/// len(), where the type has one.
std::optional<std::int64_t> length(const Value& value);
bool is_iterable(const Value& value);
/// Everything that iterating gives; an iterator is read to its end. TemplateError: not iterable.
Items to_items(Budget& budget, const Value& value);

/// value[start:stop:step]; nothing where the type has no slices. TemplateError: a step of 0, an index that is no
/// integer.
std::optional<Value> slice(Budget& budget, const Value& value, const Value& start, const Value& stop,
                           const Value& step);

/// An argument that must be an integer (or a bool).
std::int64_t as_integer(const Value& value);
/// An index counted from the end where it is negative, and kept inside [0, size], as Python's slices do.
std::int64_t clamp_index(std::int64_t index, std::int64_t size);

}  // namespace lowrank::data::jinja
