#include "lowrank/models/admission.h"

#include <fmt/format.h>

namespace lowrank::models {

std::vector<Answer> begin_answers(const DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                  const std::vector<BatchPrompt>& prompts, const GenerateOptions& options) {
  std::vector<Answer> answers;
  answers.reserve(prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const std::string name = prompts.size() == 1 ? "the prompt" : fmt::format("prompt {} of {}", i + 1, prompts.size());
    answers.emplace_back(tokenizer, decoder.config(), options, prompts[i].ids, name);
  }
  return answers;
}

std::size_t admit(const std::vector<BatchPrompt>& prompts, std::size_t next, std::size_t growing, std::int64_t size) {
  constexpr std::size_t kPromptTokens = 4096;
  std::size_t read = 0;
  for (; next < prompts.size() && (size <= 0 || growing < static_cast<std::size_t>(size)); ++next, ++growing) {
    read += prompts[next].ids.size();
    if (read > kPromptTokens && read > prompts[next].ids.size()) break;
  }
  return next;
}

}  // namespace lowrank::models
