// The reader of all JSON files: whole, in a stream, and every access to a value.
#include "fuzz.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_stream.h"

using lowrank::core::Json;
using lowrank::core::JsonView;

namespace {

void walk(const JsonView& view) {
  lowrank_fuzz::succeeds([&] { (void)view.as_string(); });
  lowrank_fuzz::succeeds([&] { (void)view.as_bool(); });
  lowrank_fuzz::succeeds([&] { (void)view.as_int(-5, std::int64_t{1} << 40); });
  lowrank_fuzz::succeeds([&] { (void)view.as_double(); });
  lowrank_fuzz::succeeds([&] { (void)view.as_strings(); });
  if (view.is_array()) {
    for (std::size_t i = 0; i < view.size(); ++i) walk(view.at(i));
    lowrank_fuzz::succeeds([&] { (void)view.at(view.size()); });
  } else if (view.is_object()) {
    for (const std::string& key : view.keys()) {
      walk(view.at(key));
      lowrank_fuzz::succeeds([&] { (void)view.get_int(key, 1, 0, 10); });
    }
    lowrank_fuzz::succeeds([&] { (void)view.at("no such key"); });
  }
}

struct Everything : lowrank::core::JsonSink {
  bool wants(std::string_view) override { return true; }
  void member(std::string_view, std::string&, Json&) override { ++members; }
  std::size_t members = 0;
};
struct Nothing : lowrank::core::JsonSink {
  bool wants(std::string_view) override { return false; }
  void member(std::string_view, std::string&, Json&) override { lowrank_fuzz::broken("a member nobody wanted"); }
};

}  // namespace

LOWRANK_FUZZ_TARGET(json) {
  Json whole, streamed;
  const bool read = lowrank_fuzz::succeeds([&] { whole = lowrank::core::parse_json(input, "x.json"); });
  const std::filesystem::path file = lowrank_fuzz::file_with("x.json", input);
  const bool read_in_a_stream = lowrank_fuzz::succeeds([&] {
    Nothing sink;
    streamed = lowrank::core::read_json(file, sink);
  });
  if (read != read_in_a_stream) lowrank_fuzz::broken("the two readers differ on whether it is JSON");
  if (read && whole != streamed) lowrank_fuzz::broken("the two readers give other values");
  if (read) {
    walk(JsonView(whole, "x.json"));
    if (lowrank::core::parse_json(whole.dump(), "again") != whole) lowrank_fuzz::broken("what is written reads otherwise");
  }
  Everything sink;
  (void)lowrank::core::read_json(file, sink);
}
