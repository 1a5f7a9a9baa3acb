#include "lowrank/train/reward_reply.h"

#include <fmt/format.h>

#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::train {

double score_of_reply(std::string_view line, std::int64_t asked) {
  const core::Json reply = core::parse_json(line, "its reply");
  const core::JsonView view(reply, "its reply");
  const double score = view.at("score").as_double();
  if (view.has("id") && view.at("id").raw() != core::Json(asked)) {
    view.fail(fmt::format("answered id {} where {} was asked", core::printable(core::json_text(view.at("id").raw()), 40), asked));
  }
  return score;
}

}  // namespace lowrank::train
