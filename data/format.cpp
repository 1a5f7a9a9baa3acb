#include <array>
#include <string>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {
namespace {

struct Name {
  Format format;
  const char* name;
};
constexpr std::array<Name, 6> kNames = {{{Format::kAuto, "auto"},
                                         {Format::kText, "text"},
                                         {Format::kCompletion, "completion"},
                                         {Format::kAlpaca, "alpaca"},
                                         {Format::kMessages, "messages"},
                                         {Format::kShareGpt, "sharegpt"}}};

}  // namespace

Format parse_format(const std::string& name) {
  std::vector<std::string> known;
  std::string list;
  for (const Name& n : kNames) {
    if (name == n.name) return n.format;
    known.emplace_back(n.name);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  throw ConfigError("unknown data format '" + core::printable(name) + "'" + core::did_you_mean(name, known) +
                    " (known: " + list + ")");
}

std::string format_name(Format format) {
  for (const Name& n : kNames) {
    if (n.format == format) return n.name;
  }
  throw InternalError("format_name: no such format");
}

}  // namespace lowrank::data
