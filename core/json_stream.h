// JSON whose large arrays and objects are given out as they are read, so that they need not lie in memory as values.
#pragma once

#include "lowrank/core/json.h"

namespace lowrank::core {

class JsonSink {
 public:
  virtual ~JsonSink() = default;
  /// Whether the members of the container at this path ("model.vocab") are wanted; in the document it is empty then.
  virtual bool wants(std::string_view path) = 0;
  /// One of them, in the file's order; the key of an object's member, which may come again. Both may be moved from.
  virtual void member(std::string_view path, std::string& key, Json& value) = 0;
};

/// As read_json, but for what the sink wants.
Json read_json(const FileRef& file, JsonSink& sink, const JsonLimits& limits = {});

}  // namespace lowrank::core
