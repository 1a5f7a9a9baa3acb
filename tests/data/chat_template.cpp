#include "lowrank/data/chat/chat_template.h"

#include <random>

#include "catch.h"
#include "errors.h"
#include "lowrank/core/error.h"
#include "lowrank/data/chat/messages.h"

using namespace lowrank;
using core::Json;
using data::ChatLimits;
using data::ChatTemplate;
using lowrank_test::contains;
using lowrank_test::message_of;

namespace {

std::string rendered(const std::string& source, const Json& variables = Json::object(), const ChatLimits& limits = {}) {
  return ChatTemplate::compile(source, "chat_template.jinja").render(variables, {}, limits).text;
}

std::string syntax_error(const std::string& source) {
  return message_of<FormatError>([&] { ChatTemplate::compile(source, "chat_template.jinja"); });
}

std::string fault(const std::string& source, const Json& variables = Json::object(), const ChatLimits& limits = {}) {
  return message_of<DataError>([&] { rendered(source, variables, limits); });
}

}  // namespace

TEST_CASE("a fault names the template, its line and what is wrong", "[unit]") {
  CHECK(syntax_error("a\n{% if x %}\nb") ==
        "chat_template.jinja line 3: the template ends where {% endif %} was expected");
  CHECK(contains(syntax_error("a\n\n{{ 1 +* 2 }}"), "line 3: unexpected '*'"));
  CHECK(contains(syntax_error("{% fro x in y %}"), "unknown tag 'fro', did you mean 'for'?"));
  CHECK(contains(syntax_error("{% include 'x' %}"), "{% include %} asks for another template"));
  CHECK(contains(syntax_error("\n{% break %}"), "line 2: {% break %} outside of a loop"));
  CHECK(contains(syntax_error("{{ \"x }}"), "a string without its closing quote"));
  CHECK(contains(syntax_error("\xff"), "not UTF-8"));
  CHECK(fault("\n\n{{ x.y }}") == "chat_template.jinja line 3: 'x' is undefined");
  CHECK(contains(fault("{{ m.y.z }}", {{"m", Json::object()}}), "'dict object' has no attribute 'y'"));
  CHECK(contains(fault("{{ 'a'|uper }}"), "no filter named 'uper', did you mean 'upper'?"));
  CHECK(contains(fault("{{ 1 is odder }}"), "no test named 'odder'"));
  CHECK(contains(fault("\n{{ raise_exception('roles must\nalternate') }}"),
                 "line 2: the template refuses this conversation: roles must\\nalternate"));
  CHECK(contains(fault("{{ strftime_now('%Y') }}"), "asks for today's date"));
  CHECK(contains(fault("{{ [].append(1) }}"), "unsafe"));
  CHECK(contains(fault("{{ x }}", {{"x", 18446744073709551615ULL}}), "does not fit into 64 bits"));
  CHECK(contains(fault("{{ [1]|random }}"), "the filter 'random' of Jinja is not supported"));
}

TEST_CASE("the date is the one that was given", "[unit]") {
  const ChatTemplate t = ChatTemplate::compile("{{ strftime_now('%d %b %Y') }}", "t");
  CHECK(t.render(Json::object(), data::ChatDate{2024, 7, 26}).text == "26 Jul 2024");
  CHECK(contains(message_of<DataError>([&] { t.render(Json::object(), data::ChatDate{2023, 2, 29}); }),
                 "no date of the calendar"));
}

TEST_CASE("keys keep the order that they have in the row", "[unit]") {
  CHECK(rendered("{{ m|tojson }}", {{"m", {{"z", 1}, {"a", {{"y", nullptr}, {"b", 1.5}}}}}}) ==
        R"({"z": 1, "a": {"y": null, "b": 1.5}})");
}

TEST_CASE("turns reach the template as transformers hands them over", "[unit]") {
  const Json turns = Json::parse(
      R"([{"role": "assistant", "content": null, "tool_calls": [null]}, {"role": "a", "thinking": "t", "content": "c"}, 1])");
  CHECK(
      data::chat_messages(turns).dump() ==
      R"([{"role":"assistant","tool_calls":[null]},{"thinking":"t","role":"a","content":"c","reasoning_content":"t"},1])");
}

TEST_CASE("a template that loops or grows without end stops within its bounds", "[unit]") {
  for (const char* source :
       {"{{ 'x' * 10**9 }}",
        "{{ ('x' * 1000000) * 1000000 }}",
        "{{ [0] * 10**12 }}",
        "{{ range(10**9)|list }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
        "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
        "{% macro m(x) %}{{ m(x ~ x) }}{{ m(x ~ x) }}{% endmacro %}{{ m('ab') }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'x'.center(10**10) }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
        "{{ ('b' * 100000).join('a' * 100000) }}",
        "{{ 'a'|indent(10**10) }}",
        "{{ [[1]]|tojson(indent=10**10) }}",
        "{{ '\t'.expandtabs(10**11) }}",
        "{{ [1]|batch(10**10, 'x')|list }}",
        "{{ [1]|slice(10**10)|list }}",
        "{{ 10 ** 100 }}",
        "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
        "{{ ('a' * 10000000)|list }}",
        "{% set ns = namespace(n=0) %}{% for i in range(100000) %}{% set ns.n = namespace(n=ns.n) %}{% for j in "
        "range(1000) %}{% endfor %}{% endfor %}"}) {
    CAPTURE(source);
    ChatLimits limits;
    limits.steps = 2'000'000;
    limits.value_bytes = 100'000'000;
    limits.output_bytes = 5'000'000;
    const std::string said = fault(source, Json::object(), limits);
    CHECK(contains(said, "chat_template.jinja line 1: "));
  }
  const std::size_t many = 100000;
  CHECK(contains(syntax_error("{{ " + std::string(many, '(') + "x" + std::string(many, ')') + " }}"),
                 "nested more than"));
  std::string chain = "{{ x";
  for (int i = 0; i < 100000; ++i) chain += "|e";
  CHECK(contains(syntax_error(chain + " }}"), "an expression of more than 500 levels"));
  std::string ifs;
  for (int i = 0; i < 100000; ++i) ifs += "{% if x %}";
  CHECK(contains(syntax_error(ifs), "nested more than"));
}

TEST_CASE("what templates may use ends with the rendering", "[unit]") {
  // The sum of all renderings would be far beyond the bounds of one.
  const ChatTemplate t = ChatTemplate::compile("{% for i in range(1000) %}{{ 'x' * 1000 }}{% endfor %}", "t");
  ChatLimits limits;
  limits.value_bytes = 3'000'000;
  for (int i = 0; i < 5; ++i) CHECK(t.render(Json::object(), {}, limits).text.size() == 1'000'000);
}

TEST_CASE("mutations of templates end in a rendering or in one sentence", "[unit]") {
  const std::vector<std::string> sources = {
      "{%- for m in messages %}{% if loop.first and m.role == 'system' %}{{ m.content|trim }}{% elif m['role'] in "
      "['user', 'tool'] %}\n"
      "<|u|>{{ m.content | default('', true) }}{% else %}{% generation %}{{ m.content ~ eos_token }}{% endgeneration "
      "%}{% endif %}{% endfor %}",
      "{% macro show(x, n=2) %}{% if x is mapping %}{{ '{' }}{% for k, v in x|dictsort %}{{ k }}: {{ show(v, n - 1) "
      "}}, {% endfor %}{{ '}' }}"
      "{% elif x is string %}{{ x[::-1] }}{% else %}{{ x|tojson(indent=n) }}{% endif %}{% endmacro %}{{ show({'a': [1, "
      "2.5, none], 'b': messages[0]}) }}",
      "{% set ns = namespace(i=0, s='') %}{% for m in messages[::-1] if m.content %}{% set ns.i = ns.i + loop.index * "
      "7 // 2 %}"
      "{% set ns.s = '%s|%05.1f' % (m.role.upper(), ns.i) ~ ns.s %}{% else %}{% break %}{% endfor %}{{ "
      "ns.s.split('|')|map('int')|list|sort }}"};
  const Json variables = {
      {"messages",
       {{{"role", "user"}, {"content", "Hi \xF0\x9F\x99\x82"}}, {{"role", "assistant"}, {"content", "Yes"}}}},
      {"eos_token", "</s>"}};
  ChatLimits limits;
  limits.steps = 100'000;
  limits.value_bytes = 10'000'000;
  std::mt19937_64 random(3);
  int renderings = 0, sentences = 0;
  for (int i = 0; i < 6000; ++i) {
    std::string source = sources[random() % sources.size()];
    for (std::uint64_t n = 1 + random() % 3; n > 0; --n) {
      const std::size_t at = random() % source.size(), size = random() % 20;
      switch (random() % 4) {
        case 0:
          source.erase(at, size);
          break;
        case 1:
          source.insert(at, source.substr(random() % source.size(), size));
          break;
        case 2:
          source.insert(at, 1, "{}%#-()[]|.,~'\"*/0x"[random() % 19]);
          break;
        default:
          source[at] = static_cast<char>(random() % 128);
      }
      if (source.empty()) source = "x";
    }
    try {
      ChatTemplate::compile(source, "t").render(variables, {}, limits);
      ++renderings;
    } catch (const Error& error) {
      ++sentences;
      const std::string said = error.what();
      if (!said.starts_with("t") || contains(said, "\n") || said.size() > 1000) FAIL(source << "\n" << said);
    }
  }
  CHECK(renderings > 100);
  CHECK(sentences > 1000);
}
