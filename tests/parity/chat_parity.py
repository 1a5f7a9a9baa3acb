#!/usr/bin/env python3
"""Chat templates against transformers and jinja2 themselves, live.

    chat_parity.py --tool build/tests/render_chat [--assets DIR] [--count 20000] [--mutations 100000] [--seed 1]

1. Every template that PyPI trl ships and every one under --assets ($LOWRANK_ASSETS), over a grid of conversations: the same text
   as transformers' apply_chat_template, the same stretches of {% generation %}; where transformers refuses, so do we.
2. Masks of stock templates, which mark nothing, against the marks of trl's training twins: equal wherever the texts are, but for what a
   twin marks in front of an answer and the model is given (an empty think block, the generation prompt), and for TWINS_DIFFER, where the
   stock template's own prompts show that the twin learns what is given, or does not learn what must be said.
3. Random small templates of every construct, filter, test and method: the same text as jinja2 in transformers' environment.
4. Mutations of all templates end in a rendering or in one sentence.
"""
import argparse
import datetime
import importlib.util
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import warnings

from transformers.utils import chat_template_utils as hugging_face

import chat_fuzz

DATE = [2026, 3, 7, 9, 5, 2]


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(*DATE)


hugging_face.datetime = Clock

TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather now: <cold> & \"wet\" \u2603", "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "The city"},
        "days": {"type": "integer", "enum": [1, 3, 7], "default": 1},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": ["number", "null"]}}, "required": ["lat"]},
        "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["city"]},
    "return": {"type": "string", "description": "A sentence"}}}
SECOND = {"type": "function", "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def call(arguments, name="get_weather", number=1):
    return {"id": f"call{number:05d}", "type": "function", "function": {"name": name, "arguments": arguments}}


def user(text="Hi"):
    return {"role": "user", "content": text}


def assistant(text="Hello.", **more):
    return {"role": "assistant", "content": text, **more}


def conversations():
    system = {"role": "system", "content": "Be kind.\nBe short."}
    answer = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "{\"degrees\": 21.5}"}
    yield [user()]
    yield [user(), assistant()]
    yield [system, user()]
    yield [system, user(), assistant()]
    yield [user("  spaces and lines \n\n"), assistant("\n\n answer \n"), user("?"), assistant("Yes.")]
    yield [system, user("one"), assistant("1"), user("two"), assistant("2"), user("three"), assistant("3")]
    yield [user("\U0001f469\u200d\U0001f680 \u4e2d\u6587 \u0639\u0631\u0628\u064a \u05e2\u05d1\u05e8\u05d9\u05ea na\u00efve \u00df \u0130"), assistant("\U0001f642\U0001f642 \u0939\u093f\u0928\u094d\u0926\u0940"), user("\u65e5\u672c\u8a9e")]
    yield [user("<|im_end|> </s> {{ x }} {% if %} <b>&amp;</b> 'q' \"d\" \\n"), assistant("<think>no</think> {# #}")]
    yield [user("2+2?"), assistant("4", reasoning_content="Two and two.")]
    yield [user("2+2?"), assistant("<think>\nTwo and two.\n</think>\n\n4"), user("3+3?"), assistant("<think>\n\n</think>\n\n6")]
    yield [user("2+2?"), assistant("4", thinking="Two and two."), user("sure?"), assistant("Yes.", thinking="Check.")]
    yield [user("rain?"), assistant("", tool_calls=[call({"city": "Lisbon", "days": 3})]), answer, assistant("21.5 degrees.")]
    yield [user("rain?"), assistant(None, tool_calls=[call({"city": "Lisbon", "where": {"lat": 1.5, "lon": None}, "tags": ["a", "\u00e9"], "ok": True})]), answer, assistant("Yes.")]
    yield [system, user("rain?"), assistant("Let me see.", tool_calls=[call({"city": "A"}), call({}, "now", 2)]), answer,
           {"role": "tool", "tool_call_id": "call00002", "name": "now", "content": "12:00"}, assistant("Dry."), user("Thanks"), assistant("Bye.")]
    yield [user("rain?"), assistant(None, tool_calls=[call("{\"city\": \"Lisbon\"}")]), answer]
    yield [user("rain?"), assistant(None, reasoning_content="Call it.", tool_calls=[call({"city": "Lisbon"})]), answer, assistant("Done.", reasoning_content="So.")]
    yield [{"role": "user", "content": [{"type": "text", "text": "parts "}, {"type": "text", "text": "of text"}]}, {"role": "assistant", "content": [{"type": "text", "text": "fine"}]}]
    yield [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}, assistant("a cat")]
    yield [{"role": "developer", "content": "Obey."}, user(), assistant()]
    yield [assistant("I begin."), user(), assistant()]
    yield [user("a"), user("b"), assistant("c"), assistant("d")]
    yield [{"role": "critic", "content": "x"}, user()]
    yield [{"role": "user"}, assistant(None)]
    yield [user(""), assistant("")]
    yield [system]


def settings():
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    yield {**special}
    yield {**special, "add_generation_prompt": True}
    yield {**special, "tools": [TOOL, SECOND]}
    yield {**special, "tools": [TOOL], "add_generation_prompt": True, "enable_thinking": False}
    yield {**special, "enable_thinking": False}
    yield {**special, "enable_thinking": True, "add_generation_prompt": True, "preserve_thinking": True, "reasoning_effort": "high"}
    yield {**special, "documents": [{"title": "T", "text": "Body \u00e9"}], "date_string": "1 Jan 2020", "model_identity": "You are X."}


def to_bytes(text, span):
    return [len(text[:at].encode()) for at in span]


def theirs(source, messages, extra):
    """What transformers gives: text and spans in bytes, or an error."""
    extra = dict(extra)
    try:
        normal = hugging_face._normalize_chat_messages(messages)
        text, spans = hugging_face.render_jinja_template(
            [normal], tools=extra.pop("tools", None), documents=extra.pop("documents", None), chat_template=source,
            add_generation_prompt=extra.pop("add_generation_prompt", False), return_assistant_tokens_mask=True, **extra)
        text[0].encode()
        return {"text": text[0], "spans": [to_bytes(text[0], span) for span in spans[0]]}
    except Exception as error:  # whatever Python raises in a template
        return {"error": f"{type(error).__name__}: {error}"}


def ours(tool, jobs):
    text = "".join(json.dumps(job) + "\n" for job in jobs)
    done = subprocess.run([tool], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{tool} failed: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def differ(expected, got):
    if "error" in expected or "error" in got:
        return ("error" in expected) != ("error" in got)
    return expected != got


def report(what, jobs, expected, got, shown):
    wrong = [i for i in range(len(jobs)) if differ(expected[i], got[i])]
    refused = sum("error" in e for e in expected)
    print(f"{what}: {len(jobs) - len(wrong)} of {len(jobs)} equal ({refused} refused by both or one)", flush=True)
    for i in wrong[:shown]:
        print(f"  {jobs[i]['name'] if 'name' in jobs[i] else jobs[i]['template']!r}\n    expected {json.dumps(expected[i])[:900]}\n    got      {json.dumps(got[i])[:900]}")
    return len(wrong)


def templates(assets):
    folder = pathlib.Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"
    files = sorted(folder.glob("*.jinja"))
    if assets:
        files += sorted((pathlib.Path(assets) / "chat-templates").glob("*.jinja"))
    return [(f.stem, f.read_text(encoding="utf-8")) for f in files]


def grid(all_templates):
    for (name, source), (number, messages), (setting, extra) in itertools.product(
            all_templates, enumerate(conversations()), enumerate(settings())):
        variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": False, **extra}
        yield {"name": f"{name}, conversation {number}, setting {setting}", "template": source, "variables": variables, "date": DATE}, messages, extra


EMPTY_THOUGHTS = re.compile(rb"\s*(<think>\s*</think>\s*|<\|START_THINKING\|><\|END_THINKING\|>|<\|channel>thought\s*<channel\|>)?")


def merged(spans):
    """Spans that touch as one, without empty ones."""
    out = []
    for begin, end in spans:
        if out and begin <= out[-1][1]:
            out[-1][1] = max(out[-1][1], end)
        elif begin < end:
            out.append([begin, end])
    return out


def generation_prompts(source, messages, special):
    """What the template puts before each of the answers."""
    prompts = []
    for i in range(len(messages)):
        before, after = (theirs(source, messages[:i], {**special, "add_generation_prompt": add}) for add in (False, True))
        if messages[i]["role"] == "assistant" and "error" not in before and "error" not in after:
            prompts.append(after["text"][len(os.path.commonprefix([before["text"], after["text"]])):])
    return prompts


def without(spans, others):
    """The parts of spans that no other span covers."""
    left = []
    for begin, end in spans:
        for a, b in others:
            if a < end and begin < b:
                if begin < a:
                    left.append([begin, a])
                begin = max(begin, b)
        if begin < end:
            left.append([begin, end])
    return left


def same_masks(text, mine, twin, prompts):
    """What a twin learns beside ours can only be what the model is given: white space, an empty think block, a piece of the
    generation prompt ("<Assistant>", "<think>")."""
    text, mine, twin = text.encode(), merged(mine), merged(twin)

    def given(part):
        return EMPTY_THOUGHTS.fullmatch(part) or any(part.strip() in prompt.encode() for prompt in prompts)

    return not without(mine, twin) and all(given(text[a:b]) for a, b in without(twin, mine))


SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
# Where a twin learns something else than the model has to say; proved() shows it of each, by the stock template's own prompts.
TWINS_DIFFER = {
    **{("diffusion_gemma", n): "the twin leaves out what ends a call (<|tool_response>, at which generation stops) and the \"<|turn>model\" that "
       "its generation prompt does not write after a tool's answer, so that the model has to" for n in (11, 12, 15)},
    ("llava_next", 16): "the twin leaves out the space that ends the last turn",
    **{("deepseek_r1_distill", n): "the twin learns <|tool outputs end|>, which the prompt has before the next answer begins" for n in (11, 13)},
}


def answers(source, messages, text):
    """Of each answer, in bytes of the text: where what the model is given for it ends, and where the answer ends."""
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        given = theirs(source, messages[:i], {**SPECIAL, "add_generation_prompt": True})
        said = theirs(source, messages[:i + 1], SPECIAL)
        if "error" not in given and "error" not in said:
            yield tuple(len(os.path.commonprefix([one["text"], text]).encode()) for one in (given, said))


def proved(source, messages, text, mine, twin, prompts):
    """Whether all that we alone learn lies behind what the model is given and within its answer, and all that the twin alone learns
    lies within what the model is given."""
    borders = list(answers(source, messages, text))
    starts = [0] + [end for _, end in borders]
    encoded, mine, twin = text.encode(), merged(mine), merged(twin)
    ours_alone = all(any(given <= a and b <= end for given, end in borders) for a, b in without(mine, twin))
    twins_alone = all(EMPTY_THOUGHTS.fullmatch(encoded[a:b]) or any(encoded[a:b].strip() in prompt.encode() for prompt in prompts)
                      or any(start <= a and b <= given for start, (given, _) in zip(starts, borders, strict=False))
                      for a, b in without(twin, mine))
    return ours_alone and twins_alone


def masks(tool, all_templates, shown):
    """Stock templates against their training twins."""
    sources = dict(all_templates)
    jobs, cells, twins, prompts, conversation_of = [], [], [], [], {}
    for name, source in all_templates:
        if f"{name}_training" not in sources:
            continue
        for number, messages in enumerate(conversations()):
            if messages[-1]["role"] != "assistant":
                continue
            variables = {"messages": messages, **SPECIAL}
            jobs.append({"name": f"{name}, conversation {number}", "template": source, "variables": variables, "date": DATE, "masks": True})
            cells.append((name, number))
            conversation_of[name, number] = messages
            twins.append(theirs(sources[f"{name}_training"], messages, SPECIAL))
            prompts.append(generation_prompts(source, messages, SPECIAL))
    compared, by_turns, other_text, refused, differing, wrong = 0, 0, 0, 0, set(), []
    for job, cell, twin, prompt, mine in zip(jobs, cells, twins, prompts, ours(tool, jobs), strict=True):
        if "error" in twin or "error" in mine:
            refused += 1
        elif mine["from"] == "turns":
            by_turns += 1
        elif mine["texts"][0]["text"] != twin["text"]:
            other_text += 1
        else:
            compared += 1
            if not same_masks(twin["text"], mine["texts"][0]["spans"], twin["spans"], prompt):
                differing.add(cell)
                if cell not in TWINS_DIFFER or not proved(sources[cell[0]], conversation_of[cell], twin["text"],
                                                          mine["texts"][0]["spans"], twin["spans"], prompt):
                    wrong.append((job["name"], twin, mine["texts"][0]["spans"]))
    print(f"masks of stock templates: {compared - len(differing)} of {compared} equal their training twins', {len(differing) - len(wrong)} "
          f"differ where the twin is shown to be the one that does ({by_turns} where the stock template rewrites the past, {other_text} where the twin's text is another, {refused} refused)", flush=True)
    for name, twin, spans in wrong[:shown]:
        print(f"  {name}: {twin['text']!r}\n    twin {twin['spans']}\n    ours {spans}")
    mended = {cell for cell in TWINS_DIFFER if cell in cells} - differing
    for name, number in sorted(mended):
        print(f"  {name}, conversation {number} is equal now: take it off the list of twins that differ")
    for name, number in sorted(differing & TWINS_DIFFER.keys()):
        print(f"  {name}, conversation {number}: {TWINS_DIFFER[name, number]}")
    return len(wrong) + len(mended)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="the built render_chat")
    parser.add_argument("--assets", default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--count", type=int, default=20000, help="random templates")
    parser.add_argument("--mutations", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shown", type=int, default=10, help="differences shown of each part")
    parser.add_argument("--only", help="templates whose name contains this; nothing else")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    all_templates = [t for t in templates(options.assets) if not options.only or options.only in t[0]]
    cells = list(grid(all_templates))
    jobs = [c[0] for c in cells]
    expected = [theirs(job["template"], messages, extra) for job, messages, extra in cells]
    wrong = report(f"{len(all_templates)} templates over the grid", jobs, expected, ours(options.tool, jobs), options.shown)
    marked = sum(bool(e.get("spans")) for e in expected)
    print(f"{marked} of the renderings have marked stretches")
    wrong += masks(options.tool, all_templates, options.shown)
    if not options.only and options.count:
        jobs = chat_fuzz.jobs(options.count, options.seed)
        expected = [chat_fuzz.reference(hugging_face, job) for job in jobs]
        pairs = [(j, e, g) for j, e, g in zip(jobs, expected, ours(options.tool, jobs), strict=True) if chat_fuzz.comparable(e)]
        wrong += report("random templates", *[list(x) for x in zip(*pairs)], options.shown)
    if not options.only and options.mutations:
        some = {name: {"template": source, "variables": {**c[0]["variables"]}, "date": DATE} for (name, source) in all_templates
                for c in cells[13 * 7:13 * 7 + 3]}
        done = subprocess.run([options.tool, "--mutate", str(options.mutations), str(options.seed)], text=True, capture_output=True,
                              input="".join(json.dumps(job) + "\n" for job in some.values()), check=False)
        print(f"{options.mutations} mutations: {done.stdout.strip() or done.stderr.strip() or done.returncode}")
        wrong += done.returncode != 0
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
