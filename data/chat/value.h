// Values of a template, with Python's types. They are never changed once made (the sandbox that chat templates run in
// forbids it), but for namespaces, iterators and loops, which the evaluator owns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lowrank/data/chat/budget.h"

namespace lowrank::data::jinja {

enum class Kind : std::uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,       // dict.keys(), .values(), .items()
  kIterator,   // what Python makes of generators and reversed(): read once, true, without a length
  kNamespace,  // from here on: owned by the evaluator or by nobody
  kMacro,
  kLoop,
  kMethod,    // of a value: "x".strip
  kFunction,  // range, dict, namespace, raise_exception, strftime_now
};

class Value;
using Items = std::vector<Value>;
struct Text;
struct Sequence;
struct Dict;
struct Range;
struct View;
struct Iterator;
struct Method;
struct Missing;
struct Namespace;
struct Macro;
struct Loop;

enum class Function { kRange, kDict, kNamespace, kRaiseException, kStrftimeNow };

struct Object {
  virtual ~Object() = default;
};

class Value {
 public:
  Value() = default;  // none
  static Value boolean(bool b) { return Value(Kind::kBool, b ? 1 : 0); }
  static Value integer(std::int64_t i) { return Value(Kind::kInt, i); }
  static Value number(double d);
  static Value function(Function f) { return Value(Kind::kFunction, static_cast<std::int64_t>(f)); }
  /// `why` is the sentence said when the value is used: "'x' is undefined".
  static Value undefined(std::string why);
  /// Not counted in any budget: for constants of the template.
  static Value string(std::string text, bool markup = false);
  static Value string(Budget& budget, std::string text, bool markup = false);
  static Value list(Budget& budget, Items items) { return sequence(budget, Kind::kList, std::move(items)); }
  static Value tuple(Budget& budget, Items items) { return sequence(budget, Kind::kTuple, std::move(items)); }
  /// groupby's pairs: a tuple whose items are also called grouper and list.
  static Value group(Budget& budget, Value grouper, Value items);
  /// Later entries win over earlier ones with the same key, in the earlier one's place. TemplateError: unhashable key.
  static Value dict(Budget& budget, std::vector<std::pair<Value, Value>> entries);
  static Value range(std::int64_t start, std::int64_t stop, std::int64_t step);
  static Value view(const Value& dict, char which);  // 'k', 'v', 'i'
  static Value iterator(Budget& budget, Items items);
  static Value method(Budget& budget, const Value& self, std::string name);
  static Value of(Namespace* n) { return owned(Kind::kNamespace, n); }
  static Value of(Macro* m) { return owned(Kind::kMacro, m); }
  static Value of(Loop* l) { return owned(Kind::kLoop, l); }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }
  bool is_number() const { return is_integral() || kind_ == Kind::kFloat; }

  // Each only where the kind is right.
  bool boolean() const { return integer_ != 0; }
  std::int64_t integer() const { return integer_; }  // of kInt, kBool
  double number() const;                             // of kInt, kBool, kFloat
  Function function() const { return static_cast<Function>(integer_); }
  const std::string& text() const;
  const Text& text_object() const;
  bool is_markup() const;
  const Items& items() const;  // of kList, kTuple
  const Sequence& sequence() const;
  const Dict& dict() const;
  const Range& range() const;
  const View& view() const;
  Iterator& iterator() const;
  const Method& method() const;
  const std::string& why_undefined() const;
  Namespace* name_space() const { return static_cast<Namespace*>(owned_); }
  Macro* macro() const { return static_cast<Macro*>(owned_); }
  Loop* loop() const { return static_cast<Loop*>(owned_); }

  /// Whether both are one object, as Python's `is`.
  bool same_as(const Value& other) const;

 private:
  Value(Kind kind, std::int64_t i) : kind_(kind), integer_(i) {}
  Value(Kind kind, std::shared_ptr<Object> object) : kind_(kind), object_(std::move(object)) {}
  static Value owned(Kind kind, void* object);
  static Value sequence(Budget& budget, Kind kind, Items items);

  Kind kind_ = Kind::kNone;
  union {
    std::int64_t integer_ = 0;
    double number_;
    void* owned_;
  };
  std::shared_ptr<Object> object_;
};

struct Text : Object {
  std::string text;
  std::size_t characters = 0;
  bool markup = false;  // made safe for HTML: what is joined to it is escaped
};

struct Sequence : Object {
  Items items;
  int depth = 1;
  bool group = false;
};

struct Dict : Object {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string_view, std::size_t> index;  // string keys, where there are many
  int depth = 1;

  const Value* find(std::string_view key) const;
  const Value* find(const Value& key) const;  // TemplateError: unhashable
};

struct Range : Object {
  std::int64_t start = 0, stop = 0, step = 1, size = 0;
  Value at(std::int64_t i) const { return Value::integer(start + i * step); }
};

struct View : Object {
  Value dict;
  char which = 'k';
};

struct Iterator : Object {
  Items items;
  std::size_t next = 0;
};

struct Method : Object {
  Value self;
  std::string name;
};

struct Missing : Object {
  std::string why;
};

struct Namespace {
  std::vector<std::pair<std::string, Value>> attributes;
  const Value* find(std::string_view name) const;
};

}  // namespace lowrank::data::jinja
