// The parser of statements.
#include "lowrank/data/chat/parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "lowrank/core/text.h"
#include "lowrank/data/chat/parser_expression.h"

namespace lowrank::data::jinja {
namespace {

using StatementPtr = std::unique_ptr<Statement>;

class Parser : private ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {}

  ParsedTemplate run() {
    ParsedTemplate out;
    out.body = body({});
    out.names = std::move(names_);
    out.has_generation = has_generation_;
    return out;
  }

 private:
  using Ends = std::initializer_list<std::string_view>;

  /// How many loops are around, within the macro around: where break and continue can stand.
  class Loops {
   public:
    Loops(int& count, int value) : count_(count), before_(count) { count = value; }
    ~Loops() { count_ = before_; }
    Loops(const Loops&) = delete;
    Loops& operator=(const Loops&) = delete;

   private:
    int& count_;
    int before_;
  };

  static StatementPtr made(Tag tag, int line) {
    auto s = std::make_unique<Statement>();
    s->tag = tag;
    s->line = line;
    return s;
  }

  // Up to a tag with one of the names, which stays the next token; without names up to the end.
  Body body(Ends ends) {
    const Nest nest(*this);
    Body out;
    for (;;) {
      const Token& token = now();
      if (token.type == TokenType::kEnd) {
        if (ends.size() > 0) fail("the template ends where {% " + std::string(*(ends.end() - 1)) + " %} was expected");
        return out;
      }
      if (token.type == TokenType::kData) {
        out.push_back(made(Tag::kText, token.line));
        out.back()->text = take().text;
      } else if (token.type == TokenType::kVariableBegin) {
        out.push_back(made(Tag::kOutput, take().line));
        out.back()->value = tuple();
        expect(TokenType::kVariableEnd, "\"}}\"");
      } else {
        take();
        for (const std::string_view end : ends) {
          if (at_name(end)) return out;
        }
        statement(out);
        expect(TokenType::kBlockEnd, "\"%}\"");
      }
    }
  }

  // The body of a tag up to its end tag, which is taken.
  Body block(Ends ends) {
    skip_operator(":");
    expect(TokenType::kBlockEnd, "\"%}\"");
    return body(ends);
  }
  Body whole_block(std::string_view end) {
    Body out = block({end});
    take();
    return out;
  }

  void statement(Body& out) {
    static constexpr std::array<std::string_view, 5> kFiles = {"include", "import", "extends", "from", "block"};
    if (now().type != TokenType::kName) fail_expected("the name of a tag");
    const Token tag = take();
    const std::string& name = tag.text;
    if (name == "set") return out.push_back(set(tag.line));
    if (name == "if") return out.push_back(if_tag(tag.line));
    if (name == "for") return out.push_back(for_tag(tag.line));
    if (name == "macro") return out.push_back(macro(tag.line));
    if (name == "call") return out.push_back(call(tag.line));
    if (name == "filter") return out.push_back(filter(tag.line));
    if (name == "with") return out.push_back(with(tag.line));
    if (name == "generation") return out.push_back(generation(tag.line));
    if (name == "print") return print(out, tag.line);
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail("{% " + name + " %} outside of a loop", tag.line);
      return out.push_back(made(name == "break" ? Tag::kBreak : Tag::kContinue, tag.line));
    }
    if (std::find(kFiles.begin(), kFiles.end(), name) != kFiles.end()) {
      fail("{% " + name + " %} asks for another template, which a chat template cannot have", tag.line);
    }
    if (name == "autoescape") fail("{% autoescape %} is for HTML and is not supported", tag.line);
    fail("unknown tag '" + core::printable(name, 40) + "'" +
             core::did_you_mean(name,
                                {"set",     "if",         "elif",          "else",    "endif",    "for",       "endfor",
                                 "macro",   "endmacro",   "call",          "endcall", "filter",   "endfilter", "with",
                                 "endwith", "generation", "endgeneration", "break",   "continue", "print"}),
         tag.line);
  }

  StatementPtr set(int line) {
    StatementPtr s = made(Tag::kSet, line);
    s->target = target(true);
    forbid_loop_name(*s->target);
    if (skip_operator("=")) {
      s->value = tuple();
      return s;
    }
    s->tag = Tag::kSetBlock;
    s->value = filters(nullptr, false);
    s->body = whole_block("endset");
    return s;
  }

  // Inside a loop, "loop" is the loop's own.
  void forbid_loop_name(const Expression& e) const {
    if (e.op == Op::kName && e.id == kLoopName && fors_ > 0)
      fail("the name \"loop\" cannot be given a value inside a loop", e.line);
    for (const ExpressionPtr& part : e.parts) forbid_loop_name(*part);
  }

  StatementPtr if_tag(int line) {
    StatementPtr s = made(Tag::kIf, line);
    for (;;) {
      ExpressionPtr test = tuple(false);
      Body then = block({"elif", "else", "endif"});
      s->branches.emplace_back(std::move(test), std::move(then));
      if (skip_name("elif")) continue;
      if (skip_name("else")) {
        s->branches.emplace_back(nullptr, whole_block("endif"));
      } else {
        take();
      }
      return s;
    }
  }

  StatementPtr for_tag(int line) {
    StatementPtr s = made(Tag::kFor, line);
    s->target = target(false, "in");
    if (!skip_name("in")) fail_expected("'in'");
    s->value = tuple(false, "recursive");
    if (skip_name("if")) s->test = expression();
    s->recursive = skip_name("recursive");
    ++fors_;
    forbid_loop_name(*s->target);
    {
      const Loops inside(loops_, s->recursive ? 1 : loops_ + 1);
      s->body = block({"endfor", "else"});
    }
    if (!skip_name("else")) {
      take();
    } else {
      const Loops outside(loops_, s->recursive ? 0 : loops_);
      s->other = whole_block("endfor");
    }
    --fors_;
    return s;
  }

  void signature(MacroNode& node) {
    expect_operator("(");
    while (!at_operator(")")) {
      if (!node.parameters.empty()) expect_operator(",");
      const std::string name = expect_name();
      for (const auto& [other, id] : node.parameters) {
        if (other == name) fail("the parameter '" + name + "' twice");
      }
      node.parameters.emplace_back(name, id_of(name));
      if (skip_operator("=")) {
        node.defaults.push_back(expression());
      } else if (!node.defaults.empty()) {
        fail("a parameter without a default behind one with a default");
      }
    }
    expect_operator(")");
  }

  // `end`: the tag that ends the body.
  void macro_body(MacroNode& node, std::string_view end) {
    for (const auto& [name, id] : node.parameters) note_store(id);
    macros_.emplace_back();
    const Loops none(loops_, 0);
    node.body = whole_block(end);
    const SpecialUse use = macros_.back();
    macros_.pop_back();
    node.uses_caller = use.used[kCallerName];
    const auto is_parameter = [&](int id) {
      return std::any_of(node.parameters.begin(), node.parameters.end(), [&](const auto& p) { return p.second == id; });
    };
    node.uses_varargs = use.used[kVarargsName] && !is_parameter(kVarargsName);
    node.uses_kwargs = use.used[kKwargsName] && !is_parameter(kKwargsName);
    if (node.uses_caller && is_parameter(kCallerName)) {
      const std::size_t without = node.parameters.size() - node.defaults.size();
      for (std::size_t i = 0; i < without; ++i) {
        if (node.parameters[i].second == kCallerName) fail("the parameter 'caller' of a macro needs a default");
      }
    }
  }

  StatementPtr macro(int line) {
    StatementPtr s = made(Tag::kMacro, line);
    s->macro = std::make_unique<MacroNode>();
    s->macro->name = expect_name();
    s->macro->id = id_of(s->macro->name);
    note_store(s->macro->id);
    signature(*s->macro);
    macro_body(*s->macro, "endmacro");
    return s;
  }

  StatementPtr call(int line) {
    StatementPtr s = made(Tag::kCall, line);
    s->macro = std::make_unique<MacroNode>();
    if (at_operator("(")) signature(*s->macro);
    s->value = expression();
    if (s->value->op != Op::kCall) fail("{% call %} needs the call of a macro", line);
    macro_body(*s->macro, "endcall");
    return s;
  }

  StatementPtr generation(int line) {
    StatementPtr s = made(Tag::kGeneration, line);
    has_generation_ = true;
    s->macro = std::make_unique<MacroNode>();
    macro_body(*s->macro, "endgeneration");
    return s;
  }

  StatementPtr filter(int line) {
    StatementPtr s = made(Tag::kFilter, line);
    s->value = filters(nullptr, true);
    s->body = whole_block("endfilter");
    return s;
  }

  StatementPtr with(int line) {
    StatementPtr s = made(Tag::kWith, line);
    while (now().type != TokenType::kBlockEnd) {
      if (!s->assignments.empty()) expect_operator(",");
      ExpressionPtr to = target(false);
      expect_operator("=");
      s->assignments.emplace_back(std::move(to), expression());
    }
    s->body = whole_block("endwith");
    return s;
  }

  void print(Body& out, int line) {
    bool first = true;
    while (now().type != TokenType::kBlockEnd) {
      if (!first) expect_operator(",");
      first = false;
      out.push_back(made(Tag::kOutput, line));
      out.back()->value = expression();
    }
  }

  int loops_ = 0, fors_ = 0;
  bool has_generation_ = false;
};

}  // namespace

ParsedTemplate parse(std::string_view source) { return Parser(source).run(); }

}  // namespace lowrank::data::jinja
