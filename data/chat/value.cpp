#include "lowrank/data/chat/value.h"

#include <algorithm>

#include "lowrank/data/chat/operators.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

constexpr std::size_t kIndexedFrom = 9;  // entries from which a dict has an index

int depth_of(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple:
      return value.sequence().depth;
    case Kind::kDict:
      return value.dict().depth;
    case Kind::kView:
      return value.view().dict.dict().depth + 1;
    case Kind::kIterator: {
      int depth = 0;
      for (const Value& item : value.iterator().items) depth = std::max(depth, depth_of(item));
      return depth + 1;
    }
    case Kind::kMethod:
      return depth_of(value.method().self) + 1;
    default:
      return 0;
  }
}

int checked_depth(int inner) {
  if (inner >= kMaxValueDepth) {
    throw TemplateError("a value is nested more than " + std::to_string(kMaxValueDepth) + " levels deep");
  }
  return inner + 1;
}

int depth_around(const Items& items) {
  int inner = 0;
  for (const Value& item : items) inner = std::max(inner, depth_of(item));
  return checked_depth(inner);
}

}  // namespace

Value Value::number(double d) {
  Value value(Kind::kFloat, 0);
  value.number_ = d;
  return value;
}

Value Value::owned(Kind kind, void* object) {
  Value value(kind, 0);
  value.owned_ = object;
  return value;
}

Value Value::undefined(std::string why) {
  auto missing = std::make_shared<Missing>();
  missing->why = std::move(why);
  return Value(Kind::kUndefined, std::move(missing));
}

Value Value::string(std::string text, bool markup) {
  auto object = std::make_shared<Text>();
  object->characters = count_characters(text);
  object->text = std::move(text);
  object->markup = markup;
  return Value(Kind::kString, std::move(object));
}

Value Value::string(Budget& budget, std::string text, bool markup) {
  budget.bytes(text.size() + 16);
  return string(std::move(text), markup);
}

Value Value::sequence(Budget& budget, Kind kind, Items items) {
  budget.bytes(items.size() * sizeof(Value) + 32);
  auto object = std::make_shared<Sequence>();
  object->depth = depth_around(items);
  object->items = std::move(items);
  return Value(kind, std::move(object));
}

Value Value::group(Budget& budget, Value grouper, Value items) {
  Value pair = tuple(budget, {std::move(grouper), std::move(items)});
  static_cast<Sequence&>(*pair.object_).group = true;
  return pair;
}

Value Value::dict(Budget& budget, std::vector<std::pair<Value, Value>> entries) {
  budget.bytes(entries.size() * 2 * sizeof(Value) + 32);
  auto object = std::make_shared<Dict>();
  object->entries.reserve(entries.size());
  int inner = 0;
  for (auto& [key, value] : entries) {
    inner = std::max({inner, depth_of(key), depth_of(value)});
    budget.step(object->index.empty() ? 1 : object->entries.size() / 64);
    if (const Value* place = object->find(key)) {
      *const_cast<Value*>(place) = std::move(value);  // of the dict that is being made
      continue;
    }
    object->entries.emplace_back(std::move(key), std::move(value));
    if (object->entries.size() == kIndexedFrom) {
      for (std::size_t i = 0; i < object->entries.size(); ++i) {
        const Value& k = object->entries[i].first;
        if (k.is_string()) object->index.emplace(k.text(), i);
      }
    } else if (object->entries.size() > kIndexedFrom && object->entries.back().first.is_string()) {
      object->index.emplace(object->entries.back().first.text(), object->entries.size() - 1);
    }
  }
  object->depth = checked_depth(inner);
  return Value(Kind::kDict, std::move(object));
}

Value Value::range(std::int64_t start, std::int64_t stop, std::int64_t step) {
  auto object = std::make_shared<Range>();
  object->start = start;
  object->stop = stop;
  object->step = step;
  // In unsigned arithmetic: stop - start may not fit.
  const auto span = step > 0 ? static_cast<std::uint64_t>(stop) - static_cast<std::uint64_t>(start)
                             : static_cast<std::uint64_t>(start) - static_cast<std::uint64_t>(stop);
  const std::uint64_t width = step > 0 ? static_cast<std::uint64_t>(step) : 0 - static_cast<std::uint64_t>(step);
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const std::uint64_t size = empty ? 0 : (span - 1) / width + 1;
  if (size > 100000) throw TemplateError("a range of more than 100000 items");  // the bound of Jinja's sandbox
  object->size = static_cast<std::int64_t>(size);
  return Value(Kind::kRange, std::move(object));
}

Value Value::view(const Value& dict, char which) {
  auto object = std::make_shared<View>();
  object->dict = dict;
  object->which = which;
  return Value(Kind::kView, std::move(object));
}

Value Value::iterator(Budget& budget, Items items) {
  budget.bytes(items.size() * sizeof(Value) + 32);
  depth_around(items);
  auto object = std::make_shared<Iterator>();
  object->items = std::move(items);
  return Value(Kind::kIterator, std::move(object));
}

Value Value::method(Budget& budget, const Value& self, std::string name) {
  budget.bytes(64);
  checked_depth(depth_of(self));
  auto object = std::make_shared<Method>();
  object->self = self;
  object->name = std::move(name);
  return Value(Kind::kMethod, std::move(object));
}

double Value::number() const { return kind_ == Kind::kFloat ? number_ : static_cast<double>(integer_); }
const Text& Value::text_object() const { return static_cast<const Text&>(*object_); }
const std::string& Value::text() const { return text_object().text; }
bool Value::is_markup() const { return is_string() && text_object().markup; }
const Sequence& Value::sequence() const { return static_cast<const Sequence&>(*object_); }
const Items& Value::items() const { return sequence().items; }
const Dict& Value::dict() const { return static_cast<const Dict&>(*object_); }
const Range& Value::range() const { return static_cast<const Range&>(*object_); }
const View& Value::view() const { return static_cast<const View&>(*object_); }
Iterator& Value::iterator() const { return static_cast<Iterator&>(*object_); }
const Method& Value::method() const { return static_cast<const Method&>(*object_); }
const std::string& Value::why_undefined() const { return static_cast<const Missing&>(*object_).why; }

bool Value::same_as(const Value& other) const {
  if (kind_ != other.kind_) return false;
  if (object_ || other.object_) return object_ == other.object_;
  return integer_ == other.integer_;
}

const Value* Dict::find(std::string_view key) const {
  if (!index.empty()) {
    const auto it = index.find(key);
    return it == index.end() ? nullptr : &entries[it->second].second;
  }
  for (const auto& [k, v] : entries) {
    if (k.is_string() && k.text() == key) return &v;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(key.text()));
  check_hashable(key);
  for (const auto& [k, v] : entries) {
    if (!k.is_string() && equal(k, key)) return &v;
  }
  return nullptr;
}

const Value* Namespace::find(std::string_view name) const {
  for (const auto& [key, value] : attributes) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace lowrank::data::jinja
