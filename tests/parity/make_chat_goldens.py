#!/usr/bin/env python3
"""tests/goldens/data/chat.json: what transformers renders of templates written here, and hashes of what it renders of published ones.

    make_chat_goldens.py --out tests/goldens/data [--assets DIR]

The published templates themselves stay under --assets ($LOWRANK_ASSETS); without it their hashes are kept as they are.
"""
import argparse
import hashlib
import json
import os
import pathlib

import chat_fuzz
import chat_parity

# One line each way that a template is written; the random ones come from chat_fuzz.
TEMPLATES = [
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}",
    "{%- for m in messages %}\n    {%- if m.role == 'user' %}\n    {{- m.content }}\n    {%- endif %}\n{%- endfor %}\n",
    "  {% if yes %}\n  a\n  {% endif %}\n  b {# c #}\n{# d #}\ne\n",
    "a {%- if yes -%} b {%- endif -%} c {{- s -}} d",
    "{%+ if yes %}\n x {%+ endif +%}\n y",
    "{% raw %}{{ x }}{% endraw %}|{%- raw -%} {% y %} {%- endraw -%} z",
    "{% set x %}a{{ s }}b{% endset %}{{ x|length }}{% set y | upper | replace('A', 'z') %}a{{ s }}{% endset %}{{ y }}",
    "{% set ns = namespace(n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% set n = i %}{% endfor %}{{ ns.n }} {{ n }}",
    "{% macro m(a, b='x', c=b ~ '!') %}[{{ a }}{{ b }}{{ c }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, 2, 3, 4, k=5) }}{{ m(b=2) }}{{ m.name }}{{ m.arguments }}",
    "{% macro m(t) %}<{{ t }}>{{ caller('v') }}</{{ t }}>{% endmacro %}{% call(x) m('p') %}{{ x }}{% endcall %}{% macro n() %}{{ caller is defined }}{{ caller() if caller }}{% endmacro %}{{ n() }}",
    "{% for x in nest recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('o', 'e') }}{{ loop.changed(x > 1) }};{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}none{% endfor %}{% for x in el %}{% else %}none{% endfor %}",
    "{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% else %}else{% endfor %}{% for x in l %}{% break %}{% else %}else{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k, (a, b) in [(1, (2, 3))] %}{{ k }}{{ a }}{{ b }}{% endfor %}",
    "{{ s[::-1] }}|{{ s[-3:] }}|{{ s[1:-1:2] }}|{{ l[::-1] }}|{{ messages[::-1][0].role }}|{{ u[2:9] }}|{{ u[::-2] }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 4 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 1e16 }} {{ 1.0 }} {{ 0.1 + 0.2 }} {{ 1 / 3 }} {{ 5e-5 }}",
    "{{ none }} {{ true }} {{ [1, 'a', none, 1.0, {'k': (1,)}] }} {{ \"it's\" }} {{ [\"it's\", 'a\"b', 'x\\n\\u00e9\\x07'] }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' in 'cat' }} {{ 'z' not in l }} {{ 'a' in d }} {{ not 1 == 2 }} {{ 1 == 1.0 }} {{ '1' == 1 }}",
    "{{ missing }}|{{ missing is defined }}|{{ d.zz is defined }}|{{ missing|default('x') }}|{{ ''|default('x', true) }}|{{ (missing or 'y') }}|{{ 'a' if missing }}",
    "{{ missing.x }}", "{{ missing + 1 }}", "{{ d.zz.y }}", "{{ l.append(1) }}", "{{ 'a' + 1 }}", "{{ raise_exception('no system role') }}", "{{ ''.__class__.__mro__ }}",
    "{{ messages|tojson }}|{{ d|tojson(indent=2) }}|{{ u|tojson }}|{{ u|tojson(ensure_ascii=true) }}|{{ h|tojson }}|{{ mix|tojson(separators=(',', ':')) }}|{{ d|tojson(sort_keys=true) if false }}",
    "{% generation %}a{{ u }}{% endgeneration %} b {% for x in l %}{% generation %}{{ x }}{% endgeneration %},{% endfor %}",
    "{% macro m() %}{% generation %}in{% endgeneration %}{% endmacro %}ab{{ m() }}cd{% set x %}{% generation %}set{% endgeneration %}{% endset %}{{ x }}",
    "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%A %-d %B, %H:%M:%S %j %U %W %V %G %u %y %I %p %c %x %X %%') }}",
    "{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join(',') }}|{{ rows|groupby('n')|map(attribute='grouper')|list }}|{{ rows|sort(attribute='k')|map(attribute='k')|join }}",
    "{{ '<x>' + ('<y>'|safe) }}{{ ('<y>'|safe) ~ '<x>' }}{{ ('%s'|safe) % '<' }}{{ h|e }}{{ (h|safe).upper() + '<' }}",
    "{% if messages|selectattr('role', 'equalto', 'nobody') %}generators are true{% endif %}{{ messages|selectattr('role')|list|length }}{{ messages|map(attribute='role')|first }}",
    "{{ u.upper() }}|{{ u.lower() }}|{{ u.title() }}|{{ u|capitalize }}|{{ u|length }}|{{ u.find('\u4e2d') }}|{{ u.center(30, '*') }}",
    "{% filter upper|trim %} x {{ s }} {% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{% print s, n %}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% for x in l %}", "{{ x", "{% if %}", "{{ 'x' }", "{% endif %}", "{# open", "{{ 1 +* 2 }}", "{% break %}", "{{ s|nofilter }}", "{{ s is notest }}",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--assets", type=pathlib.Path, default=os.environ.get("LOWRANK_ASSETS"))
    options = parser.parse_args()
    jobs = [{"template": t, "variables": chat_fuzz.VARIABLES} for t in TEMPLATES]
    jobs += chat_fuzz.jobs(400, 11)
    cases = []
    for job in jobs:
        expected = chat_fuzz.reference(chat_parity.hugging_face, job)
        if not chat_fuzz.comparable(expected):
            continue
        case = {"template": job["template"]}
        case.update({"refused": True} if "error" in expected else {"text": expected["text"]})
        if expected.get("spans"):
            case["spans"] = expected["spans"]
        cases.append(case)
    file = options.out / "chat.json"
    golden = json.loads(file.read_text()) if file.exists() else {"published": {}}
    conversations, settings = list(chat_parity.conversations()), list(chat_parity.settings())
    golden = {"date": chat_parity.DATE, "variables": chat_fuzz.VARIABLES, "cases": cases, "conversations": conversations, "settings": settings,
              "published": golden["published"]}
    if options.assets:
        for path in sorted((options.assets / "chat-templates").glob("*.jinja")):
            source, cells = path.read_text(encoding="utf-8"), []
            for _, messages, extra in chat_parity.grid([(path.stem, source)]):
                text = chat_parity.theirs(source, messages, extra).get("text")
                cells.append(None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16])
            golden["published"][path.name] = cells
    options.out.mkdir(parents=True, exist_ok=True)
    lines = [f" {json.dumps(key)}: " + ("[\n  " + ",\n  ".join(json.dumps(c, ensure_ascii=False) for c in value) + "\n ]" if isinstance(value, list) and key != "date"
             else json.dumps(value, ensure_ascii=False)) for key, value in golden.items()]
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{file}: {len(cases)} templates, {len(golden['published'])} published over {len(conversations) * len(settings)} conversations")


if __name__ == "__main__":
    main()
