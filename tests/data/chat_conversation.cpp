#include <algorithm>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/error.h"
#include "lowrank/data/chat/conversation_text.h"
#include "lowrank/data/chat/token_mask.h"

using namespace lowrank;
using core::Json;
using data::ChatTemplate;
using data::Conversation;
using data::conversation_texts;
using data::MaskFrom;
using lowrank_test::contains;
using lowrank_test::FakeTokenizer;
using lowrank_test::message_of;

namespace {

const std::string kPlain =
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";
const std::string kMarked =
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|end|>{% "
    "endgeneration %}"
    "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}";
// As Qwen3: the thoughts of past turns are dropped, and the last turn has an empty block where it has none.
const std::string kForgetful =
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %}<think>\n{{ "
    "m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

Conversation conversation(const std::string& turns) {
  Conversation c;
  c.turns = Json::parse(turns);
  return c;
}

const char* kTwoAnswers = R"([{"role": "user", "content": "a?"}, {"role": "assistant", "content": "A"},
                              {"role": "user", "content": "b?"}, {"role": "assistant", "content": "B"}])";

/// The text with what is learned in brackets.
std::string shown(const data::ConversationText& t) {
  std::string out;
  std::size_t at = 0;
  for (const data::ChatSpan& s : t.learned) {
    out += t.text.substr(at, s.begin - at) + "[" + t.text.substr(s.begin, s.end - s.begin) + "]";
    at = s.end;
  }
  return out + t.text.substr(at);
}

std::vector<std::string> shown(const data::ConversationTexts& texts) {
  std::vector<std::string> out;
  for (const auto& t : texts.texts) out.push_back(shown(t));
  return out;
}

data::ConversationTexts laid_out(const std::string& source, const Conversation& c,
                                 const data::ChatOptions& options = {}) {
  return conversation_texts(ChatTemplate::compile(source, "t"), {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, c,
                            options);
}

using Shown = std::vector<std::string>;

}  // namespace

TEST_CASE("answers and their ends are learned where beginnings are beginnings", "[unit]") {
  const auto texts = laid_out(kPlain, conversation(kTwoAnswers));
  CHECK(texts.from == MaskFrom::kPrefixes);
  CHECK(shown(texts) ==
        Shown{"<s><|user|>a?<|end|>\n<|assistant|>[A<|end|>\n]<|user|>b?<|end|>\n<|assistant|>[B<|end|>\n]"});
}

TEST_CASE("an end of the text that is written behind whatever turn is last is no rewriting of the past", "[unit]") {
  const auto texts =
      laid_out(kPlain + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}", conversation(kTwoAnswers));
  CHECK(texts.from == MaskFrom::kPrefixes);
  CHECK(shown(texts) ==
        Shown{"<s><|user|>a?<|end|>\n<|assistant|>[A<|end|>\n]<|user|>b?<|end|>\n<|assistant|>[B<|end|>\n</s>]"});
}

TEST_CASE("a template that marks what the model says is taken at its word", "[unit]") {
  const auto texts = laid_out(kMarked, conversation(kTwoAnswers));
  CHECK(texts.from == MaskFrom::kGeneration);
  CHECK(shown(texts) == Shown{"<|user|>a?<|end|><|assistant|>[A<|end|>]<|user|>b?<|end|><|assistant|>[B<|end|>]"});
}

TEST_CASE("muted turns are context, and the loss can be on the last answer or on roles", "[unit]") {
  Conversation c = conversation(kTwoAnswers);
  c.muted = {false, true, false, false};
  data::ChatOptions last;
  last.loss_on = data::LossOn::kLast;
  data::ChatOptions roles;
  roles.loss_on = data::LossOn::kRoles;
  roles.roles = {"user"};
  for (const Shown& all : {shown(laid_out(kMarked, c)), shown(laid_out(kMarked, conversation(kTwoAnswers), last))}) {
    CHECK(all == Shown{"<|user|>a?<|end|><|assistant|>A<|end|><|user|>b?<|end|><|assistant|>[B<|end|>]"});
  }
  for (const Shown& all : {shown(laid_out(kPlain, c)), shown(laid_out(kPlain, conversation(kTwoAnswers), last))}) {
    CHECK(all == Shown{"<s><|user|>a?<|end|>\n<|assistant|>A<|end|>\n<|user|>b?<|end|>\n<|assistant|>[B<|end|>\n]"});
  }
  CHECK(shown(laid_out(kMarked, conversation(kTwoAnswers), roles)) ==
        Shown{"[<|user|>a?<|end|>]<|assistant|>A<|end|>[<|user|>b?<|end|>]<|assistant|>B<|end|>"});
}

TEST_CASE("where the template rewrites the past, each turn is learned as inference would have shown it", "[unit]") {
  const auto texts = laid_out(kForgetful, conversation(R"([{"role": "user", "content": "a?"},
    {"role": "assistant", "content": "A", "reasoning_content": "hm"}, {"role": "user", "content": "b?"}, {"role": "assistant", "content": "B"}])"));
  CHECK(texts.from == MaskFrom::kTurns);
  // The empty block of the second answer is the template's own.
  CHECK(shown(texts) == Shown{"<|user|>a?<|end|>\n<|assistant|>[<think>\nhm\n</think>\n\nA<|end|>\n]",
                              "<|user|>a?<|end|>\n<|assistant|>A<|end|>\n<|user|>b?<|end|>\n<|assistant|><think>\n\n</"
                              "think>\n\n[B<|end|>\n]"});
}

TEST_CASE("an answer that begins with the letters of a prompt that it does not have is learned from its first", "[unit]") {
  const std::string thinks =
      "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>\nHere are my reasoning steps:\n{% endif %}";
  const auto learned = [&](const std::string& answer) {
    return shown(laid_out(thinks, conversation(R"([{"role": "user", "content": "Here are my"}, {"role": "assistant", "content": ")" + answer +
                                               R"("}, {"role": "user", "content": "b?"}, {"role": "assistant", "content": "He"}])")));
  };
  for (const std::string answer : {"Here are my pictures.", "Hello there.", "Yes.", "Here are my"}) {
    CHECK(learned(answer) == Shown{"<|user|>\nHere are my<|end|>\n<|assistant|>\n[" + answer + "<|end|>\n]<|user|>\nb?<|end|>\n<|assistant|>\n[He<|end|>\n]"});
  }
}

TEST_CASE("a template that always writes its prompt has none of it learned", "[unit]") {
  const std::string always =  // as Command R7B
      "{% for m in messages %}<|turn|><|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}<|turn|><|assistant|><|think|>";
  const Conversation c = conversation(R"([{"role": "user", "content": "a?"}, {"role": "assistant", "content": "A"},
                                          {"role": "user", "content": "b?"}, {"role": "assistant", "content": "B"}])");
  for (const std::string& text : shown(laid_out(always, c))) {
    INFO(text);
    CHECK(contains(text, "B</s>]"));
    CHECK_FALSE(contains(text, "</s><|turn|>]"));
    CHECK_FALSE(contains(text, "<|think|>]"));
  }
  const std::string bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}";
  CHECK(shown(laid_out(bare, conversation(kTwoAnswers))) ==
        Shown{"user: a?</s>\n[assistant: A</s>\n]user: b?</s>\n[assistant: B</s>\n]"});
}

TEST_CASE("an answer is found where blanks before its prompt are written otherwise with it", "[unit]") {
  // As Hermes: a result of a tool is followed by a line's end only where a turn comes after it.
  const std::string hermes =
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'tool' %}</result>{% if not loop.last %}{{ '\\n' }}{% endif %}{% endif %}<|end|>{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const Conversation c = conversation(R"([{"role": "user", "content": "21?"}, {"role": "assistant", "content": "call"},
                                          {"role": "tool", "content": "21"}, {"role": "assistant", "content": "Yes it is."}])");
  const std::string last = "<|user|>21?<|end|><|assistant|>call<|end|><|tool|>21</result><|end|><|assistant|>[Yes it is.<|end|>]";
  CHECK(shown(laid_out(hermes, c)) == Shown{"<|user|>21?<|end|><|assistant|>[call<|end|>]", last});
  data::ChatOptions options;
  options.loss_on = data::LossOn::kLast;
  CHECK(shown(laid_out(hermes, c, options)) == Shown{last});
}

TEST_CASE("where the past before an answer is rewritten with it, the turns between are not learned", "[unit]") {
  // As gpt-oss: thoughts beside a call are shown until the answer comes, and dropped then.
  const std::string harmony =
      "{% for m in messages %}<|{{ m.role }}|>{% if m.tool_calls and messages[-1].role != 'assistant' %}({{ m.reasoning_content }}){% endif %}"
      "{% for c in m.tool_calls or [] %}call {{ c.function.name }}{% endfor %}{{ m.content }}<|end|>\n{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const Conversation calls = conversation(R"([{"role": "user", "content": "rain?"},
    {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [{"function": {"name": "f"}}]},
    {"role": "tool", "content": "no"}, {"role": "assistant", "content": "No."}])");
  CHECK(shown(laid_out(harmony, calls)) == Shown{"<|user|>rain?<|end|>\n<|assistant|>[call f<|end|>\n]",
                                                 "<|user|>rain?<|end|>\n<|assistant|>(hm)call f<|end|>\n<|tool|>no<|end|>\n<|assistant|>[No.<|end|>\n]"});
  data::ChatOptions user;
  user.loss_on = data::LossOn::kRoles;
  user.roles = {"user"};
  const Conversation two = conversation(R"([{"role": "user", "content": "a?"}, {"role": "assistant", "content": "A", "reasoning_content": "hm"},
                                            {"role": "user", "content": "b?"}])");
  CHECK(shown(laid_out(kForgetful, two, user)) ==
        Shown{"[<|user|>a?<|end|>\n]", "<|user|>a?<|end|>\n<|assistant|><think>\nhm\n</think>\n\nA<|end|>\n[<|user|>b?<|end|>\n]"});
  // What stood before is nowhere in what is written behind it.
  const std::string other = "{% for m in messages %}{% if loop.last %}{{ m.content }}{% else %}{{ loop.index }}{% endif %}{% endfor %}"
                            "{% if add_generation_prompt %}>{% endif %}";
  CHECK(contains(message_of<DataError>([&] { laid_out(other, conversation(kTwoAnswers)); }), "where turn 2"));
}

TEST_CASE("a call that a template writes only beside no text is kept, or refused beside a text", "[unit]") {
  // As DeepSeek-R1's.
  const std::string either =
      "{% for m in messages %}<|{{ m.role }}|>{% if m.content is none %}{% for c in m.tool_calls %}call {{ c.function.name }}{% endfor %}"
      "{% else %}{{ m.content }}{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const auto calls = [](const char* content) {
    return conversation(std::string(R"([{"role": "user", "content": "rain?"}, {"role": "assistant", )") + content +
                        R"( "tool_calls": [{"function": {"name": "f"}}]}])");
  };
  for (const char* content : {R"("content": null,)", R"("content": "",)", R"("content": " \n",)", ""}) {
    INFO(content);
    CHECK(shown(laid_out(either, calls(content))) == Shown{"<|user|>rain?<|end|><|assistant|>[call f<|end|>]"});
  }
  const std::string refused = message_of<DataError>([&] { laid_out(either, calls(R"("content": "let me see",)")); });
  CHECK(contains(refused, "turn 2 calls a tool"));
  CHECK(contains(refused, "leaves the call out beside the turn's text"));
}

TEST_CASE("a conversation that begins with the assistant, and a prompt that history does not have", "[unit]") {
  const std::string needs_first = "{% if messages[0].role == 'system' %}{% endif %}" + kPlain;
  const std::string turns =
      R"([{"role": "assistant", "content": "Hi, I am here."}, {"role": "user", "content": "a?"}])";
  CHECK(shown(laid_out(needs_first, conversation(turns))) ==
        Shown{"<s><|assistant|>[Hi, I am here.<|end|>\n]<|user|>a?<|end|>\n"});
  // DeepSeek-R1's prompt goes on with <think>, which its history has not.
  const std::string thinks = kPlain + "{% if add_generation_prompt %}<think>\n{% endif %}";
  CHECK(shown(laid_out(
            thinks, conversation(R"([{"role": "user", "content": "a?"}, {"role": "assistant", "content": "A"}])"))) ==
        Shown{"<s><|user|>a?<|end|>\n<|assistant|>[A<|end|>\n]"});
  CHECK(contains(
      message_of<DataError>([&] { laid_out(needs_first, conversation(R"([{"role": "assistant", "content": ""}])")); }),
      "where turn 1 of the conversation begins cannot be told"));
}

TEST_CASE("what a template writes before none of the turns is not learned with a first answer", "[unit]") {
  // As Llama 3: BOS comes with the first turn, so that the prompt of no turns is no beginning of the text.
  const std::string late =
      "{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% "
      "endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
  const std::string turns = R"([{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "a?"}])";
  CHECK(shown(laid_out(late, conversation(turns))) == Shown{"<s><|assistant|>[Hi<|end|>\n]<|user|>a?<|end|>\n"});
}

TEST_CASE("a turn's end is the one of a history where that is another than behind the last turn", "[unit]") {
  // As gpt-oss.
  const std::string returns =
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% if m.role == 'assistant' and loop.last and not "
      "add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}"
      "<|assistant|>{% endif %}";
  CHECK(shown(laid_out(returns, conversation(kTwoAnswers))) ==
        Shown{"<|user|>a?<|end|><|assistant|>[A<|end|>]<|user|>b?<|end|><|assistant|>[B<|return|>]"});
}

TEST_CASE("tools, documents and further variables reach the template", "[unit]") {
  Conversation c = conversation(R"([{"role": "user", "content": "a?"}])");
  c.tools = Json::parse(R"([{"name": "f"}])");
  data::ChatOptions options;
  options.arguments = {{"enable_thinking", false}};
  CHECK(laid_out("{{ tools[0].name }} {{ documents }} {{ enable_thinking }} {{ messages|length }}", c, options)
            .texts[0]
            .text == "f None False 1");
}

TEST_CASE("the tokens of a text are learned where they have part in what is learned", "[unit]") {
  const FakeTokenizer tokenizer({.words = {"<|user|>", "<|assistant|>", "<|end|>\n", "B<"}});
  const auto texts = laid_out(kPlain, conversation(kTwoAnswers));
  const data::Example example = data::encode_conversation(tokenizer, texts.texts[0]);
  std::string learned;
  for (std::size_t i = 0; i < example.ids.size(); ++i) {
    if (example.learned[i] != 0) learned += tokenizer.id_to_token(example.ids[i]);
  }
  CHECK(learned == "A<|end|>\nB<|end|>\n");
  CHECK(std::count(example.ids.begin(), example.ids.end(), 1) == 1);  // BOS, as the template wrote it
  // A token that reaches over a border is learned, as transformers' masks have it.
  const data::ConversationText over{"abB<c", {{0, 3}}};
  CHECK(data::encode_conversation(tokenizer, over).learned == std::vector<std::uint8_t>{1, 1, 1, 0});
}

namespace {

/// Its tokens do not spell the text.
class Folding : public FakeTokenizer {
 public:
  Folding() : FakeTokenizer({.bos = false}) {}
  std::vector<lowrank_test::TokenId> encode(std::string_view text, bool add_special_tokens) const override {
    std::string small(text);
    std::transform(small.begin(), small.end(), small.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return FakeTokenizer::encode(small, add_special_tokens);
  }
};

}  // namespace

TEST_CASE("where tokens do not spell the text, the borders are found by encoding its beginnings", "[unit]") {
  const Folding tokenizer;
  const std::string text = "USER: hi BOT: Yes";
  const std::vector<lowrank_test::TokenId> ids = tokenizer.encode(text, false);
  CHECK_FALSE(data::token_ends(tokenizer, text, ids));
  const std::vector<std::uint8_t> mask = data::token_mask(tokenizer, text, ids, {{0, 2}, {13, text.size()}});
  CHECK(mask == std::vector<std::uint8_t>{1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1});
}
