#include "lowrank/recipes/generation/speaker.h"

#include <algorithm>

#include "lowrank/recipes/run/chat_files.h"

namespace lowrank::recipes {

Speaker speaker_of(const models::LoadedModel& model, const std::optional<std::filesystem::path>& adapter,
                   const ChatSpec& chat) {
  Speaker speaker;
  if (adapter) {
    speaker.tokenizer = models::adapter_tokenizer(*adapter, model.decoder->config());
    speaker.end_ids = models::adapter_end_ids(*adapter);
  }
  if (speaker.tokenizer == nullptr) speaker.tokenizer = model.tokenizer;
  speaker.layout = chat_layout(chat, *speaker.tokenizer, model.path, adapter);
  speaker.turn_ends = speaker.end_ids;
  if (!speaker.layout->has_template()) return speaker;
  if (const auto end = speaker.layout->turn_end(*speaker.tokenizer)) speaker.turn_ends.push_back(*end);
  return speaker;
}

}  // namespace lowrank::recipes
