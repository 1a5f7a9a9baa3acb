#include "lowrank/models/generate_batch.h"

#include <ATen/core/grad_mode.h>

#include <span>
#include <utility>

#include "lowrank/kernels/rows.h"
#include "lowrank/models/admission.h"
#include "lowrank/models/answer.h"
#include "lowrank/models/next_logits.h"

namespace lowrank::models {
namespace {

// An answer that grows; its cache is the sequence at the same place.
struct Growing {
  std::size_t prompt;
  Answer answer;
};

class Batch {
 public:
  Batch(DecoderImpl& decoder, const std::vector<BatchPrompt>& prompts, const GenerateOptions& options,
        const BatchOptions& batch)
      : decoder_(decoder), prompts_(prompts), options_(options), batch_(batch), cache_(0, options.cache), results_(prompts.size()) {}

  std::vector<Generated> run(std::vector<Answer> answers) {
    for (std::size_t next = 0; next < answers.size() || !growing_.empty();) {
      for (const std::size_t end = admit(prompts_, next, growing_.size(), batch_.size); next < end; ++next) {
        begin(next, std::move(answers[next]));
      }
      if (!growing_.empty()) step();
    }
    return std::move(results_);
  }

 private:
  void begin(std::size_t prompt, Answer answer) {
    if (answer.ended()) return end(prompt, answer);
    cache_.add();
    growing_.push_back({prompt, std::move(answer)});
  }

  void end(std::size_t prompt, Answer& answer) {
    results_[prompt] = std::move(answer.result());
    if (batch_.on_answer) batch_.on_answer(prompt, results_[prompt]);
  }

  // One token more for each.
  void step() {
    std::vector<std::span<const data::TokenId>> sequences;
    for (const Growing& one : growing_) sequences.emplace_back(one.answer.sequence());
    const at::Tensor logits = next_logits(decoder_, cache_, sequences);
    std::vector<data::TokenId> next(growing_.size());
    kernels::for_row_chunks(logits.size(0), 1, [&](std::int64_t row, std::int64_t) {
      next[static_cast<std::size_t>(row)] = draw(growing_[static_cast<std::size_t>(row)], logits.select(0, row));
    });

    const auto drawn = static_cast<std::int64_t>(growing_.size());
    std::vector<std::int64_t> kept;
    std::vector<Growing> going_on;
    for (std::size_t i = 0; i < growing_.size(); ++i) {
      Growing& one = growing_[i];
      one.answer.push(next[i]);
      if (one.answer.ended()) {
        end(one.prompt, one.answer);
      } else {
        kept.push_back(static_cast<std::int64_t>(i));
        going_on.push_back(std::move(one));
      }
    }
    if (going_on.size() < growing_.size()) cache_.select(kept);
    growing_ = std::move(going_on);
    if (batch_.on_step) batch_.on_step(drawn);
  }

  data::TokenId draw(Growing& one, const at::Tensor& logits) const {
    Generated& result = one.answer.result();
    const data::TokenId id =
        sample(logits, options_, one.answer.sequence(), result.ids.size(), prompts_[one.prompt].number);
    if (options_.log_probs) result.log_probs.push_back(log_probability(logits, options_.temperature, id));
    return id;
  }

  DecoderImpl& decoder_;
  const std::vector<BatchPrompt>& prompts_;
  const GenerateOptions& options_;
  const BatchOptions& batch_;
  KvCache cache_;
  std::vector<Growing> growing_;
  std::vector<Generated> results_;
};

}  // namespace

std::vector<Generated> generate_batch(DecoderImpl& decoder, const data::Tokenizer& tokenizer,
                                      const std::vector<BatchPrompt>& prompts, const GenerateOptions& options,
                                      const BatchOptions& batch) {
  check(options);
  const at::NoGradGuard no_grad;
  return Batch(decoder, prompts, options, batch).run(begin_answers(decoder, tokenizer, prompts, options));
}

}  // namespace lowrank::models
