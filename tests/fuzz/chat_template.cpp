// A chat template, and behind a byte of zero the variables that it is rendered with.
#include "fuzz.h"
#include "lowrank/core/json.h"
#include "lowrank/data/chat/chat_template.h"

using namespace lowrank::data;

LOWRANK_FUZZ_TARGET(chat_template) {
  const auto [source, rest] = lowrank_fuzz::two_parts(input);
  const ChatTemplate chat = ChatTemplate::compile(source, "chat_template.jinja");
  const lowrank::core::Json variables = lowrank::core::parse_json(
      rest.empty() ? R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
                         "add_generation_prompt": true, "bos_token": "<s>", "tools": null})"
                   : rest,
      "variables");
  // A tenth of what a template may otherwise do, for the same code paths in a tenth of the time.
  ChatLimits limits;
  limits.steps = 1'000'000;
  limits.value_bytes = 16'000'000;
  limits.output_bytes = 4'000'000;
  const Rendering rendering = chat.render(variables, ChatDate{2026, 11, 30}, limits);
  for (const ChatSpan& span : rendering.generated) {
    if (span.begin > span.end || span.end > rendering.text.size()) lowrank_fuzz::broken("a stretch outside of the text");
  }
}
