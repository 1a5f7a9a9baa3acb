"""Random small templates for chat_parity.py: every construct, operator, filter, test and method of Jinja that lowrank has."""
import copy
import random
import re

VARIABLES = {
    "s": "Hello, World", "t": "  padded\tx \n", "u": "na\u00efve \u00df \U0001f642 \u4e2d\u6587 \u01c6 \u03a3\u039f\u03a3", "e": "", "h": "<b>&\"'</b>", "w": "aXbXXc", "n": 7, "m": -3, "z": 0,
    "f": 2.5, "g": -0.1, "big": 1e20, "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "el": [], "ls": ["b", "a", "C", "a"],
    "mix": [1, "x", None, True, 2.0, [1, 2], {"k": 1}], "d": {"b": 2, "a": 1, "C": {"x": [1, 2]}}, "ed": {},
    "rows": [{"n": 2, "k": "x", "o": {"p": 1}}, {"n": 1, "k": "Y"}, {"n": 2, "k": "x", "o": {"p": 5}}], "nest": [[1, [2]], [3]],
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "tool_calls": [{"x": 1}]}],
}
NAMES = [*VARIABLES, "missing"]
STRINGS = ["''", "'a'", "'X'", "' '", "'l'", "'<&>'", "'%s|%5.2f'", "'{}-{:>4}'", "'\\n'", "'\\u00e9'", "\"it's\"", "'12'", "'-3.5'", "'0x1f'", "'k'", "'n'", "'o.p'"]
NUMBERS = ["0", "1", "2", "3", "-1", "-2", "10", "1.5", "0.1", "1e3", "100", "7", "0x10", "1_000"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "~", "and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]
TESTS = ["odd", "even", "divisibleby(2)", "divisibleby 3", "defined", "undefined", "none", "boolean", "false", "true", "integer", "float", "lower",
         "upper", "string", "mapping", "number", "sequence", "iterable", "sameas(none)", "sameas true", "escaped", "in([1, 'a', none])",
         "in 'abc'", "==(1)", "eq 2", "equalto('a')", "ne 1", "gt 1", "ge(2)", "lt 2", "le 1", "greaterthan(0)", "lessthan 9", "callable", "filter", "test"]
FILTERS = ["abs", "attr('zz')", "batch(2)|list", "batch(2, 'f')|list", "capitalize", "center(11)", "count", "default('d')", "default('d', true)", "d(1)",
           "dictsort", "dictsort(true)", "dictsort(false, 'value')", "dictsort(reverse=true)", "e", "escape", "forceescape", "filesizeformat", "filesizeformat(true)",
           "first", "float", "float(1.5)", "format(1, 'x')", "groupby('n')", "groupby('k')", "groupby('o.p', default=0)", "indent", "indent(2, true)", "indent('>', first=true, blank=true)",
           "int", "int(5)", "int(0, 16)", "items|list", "join", "join(', ')", "join('-', 'n')", "join(', ', attribute='k')", "last", "length", "list", "lower",
           "map('upper')|list", "map(attribute='n')|list", "map(attribute='o.p', default='-')|list", "map('default', 'x')|list", "map('int')|list", "max", "min", "max(attribute='n')",
           "min(true)", "reject('odd')|list", "reject|list", "rejectattr('o')|list", "rejectattr('n', 'eq', 2)|list", "replace('l', 'L')", "replace('', '.', 2)",
           "reverse|list", "string|reverse", "round", "round(1)", "round(1, 'floor')", "round(0, 'ceil')", "safe", "select('string')|list", "select|list", "selectattr('o')|list",
           "selectattr('n', '>', 1)|list", "selectattr('k', 'in', ['x'])|list", "slice(2)|list", "slice(3, 'f')|list", "sort", "sort(true)", "sort(attribute='n')",
           "sort(reverse=true, attribute='k,n')", "sort(case_sensitive=true)", "string", "sum", "sum('n')", "sum(start=1)", "title", "trim", "trim('Hd ')", "truncate(5)",
           "truncate(8, true, '~', 0)", "truncate(5, false, '..', 1)", "unique|list", "unique(true)|list", "unique(attribute='n')|list", "upper", "urlencode", "wordcount",
           "tojson", "tojson(indent=2)", "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "tojson(ensure_ascii=true)", "tojson(indent='\t')"]
TEXT_METHODS = ["capitalize()", "casefold()", "center(15)", "center(14, '*')", "count('l')", "count('')", "endswith('d')", "endswith(('x', 'd'))", "expandtabs()", "expandtabs(4)", "find('o')",
                "find('o', 5)", "find('zz')", "index('l')", "index('zz')", "isalnum()", "isalpha()", "isascii()", "isdecimal()", "isdigit()", "isidentifier()", "islower()",
                "isnumeric()", "isprintable()", "isspace()", "istitle()", "isupper()", "join(['a', 'b'])", "join(ls)", "ljust(15)", "ljust(9, '.')", "lower()", "lstrip()", "lstrip('H ')",
                "partition(',')", "partition('X')", "removeprefix('He')", "removesuffix('ld')", "replace('l', 'L')", "replace('l', 'L', 1)", "replace('X', '')", "replace('', '-')",
                "rfind('o')", "rindex('l')", "rjust(15)", "rpartition('X')", "rsplit()", "rsplit('X', 1)", "rsplit(none, 1)", "rstrip()", "rstrip('ld')", "split()", "split('X')", "split('X', 1)",
                "split(none, 1)", "split(', ')[-1]", "split('')", "splitlines()", "splitlines(true)", "startswith('He')", "startswith('l', 2)", "startswith(1)", "strip()", "strip('Hd')",
                "swapcase()", "title()", "upper()", "zfill(15)", "zfill(1)", "format(1, 2)", "nothing()", "nothing"]
DICT_METHODS = ["get('a')", "get('zz')", "get('zz', 5)", "get(1)", "items()", "items()|list", "keys()|list", "values()|list", "copy()", "a", "C.x", "C['x'][0]", "zz", "zz is defined", "keys()|length",
                "pop('a')", "update({})", "['zz']", "get(['x'])"]
LIST_METHODS = ["index(1)", "count(1)", "count('a')", "index('zz')", "copy()", "append(1)", "[0]", "[-1]", "[99]", "['x']", "0", "first"]
FORMATS = ["'%s' % s", "'%d items' % n", "'%5.2f|' % f", "'%-8s|' % s", "'%08.3f' % g", "'%x' % 255", "'%+d' % n", "'%e' % 12345.678", "'%g' % 0.00001", "'%r' % s", "'%s %s' % (s, n)",
           "'%(a)s' % d", "'%%' % ()", "'%c' % 'x'", "'%5s|%-5s|' % ('a', 'b')", "'%s' % l", "'%s' % (l,)", "'%s %s' % s", "'x' % s", "'%d' % 2.9", "'%i' % yes", "'%o' % 8", "'%#x' % 255", "'%.3s' % s",
           "'{} {}'.format(s, n)", "'{0} {1} {0}'.format(1, 2)", "'{a}'.format(a=s)", "'{:>10}|'.format(s)", "'{:<15}|'.format(s)", "'{:^15}|'.format(s)", "'{:*^9}'.format(n)", "'{:05d}'.format(n)",
           "'{:.2f}'.format(f)", "'{:,}'.format(1234567)", "'{:e}'.format(f)", "'{!r}'.format(s)", "'{0[a]} {0[C]}'.format(d)", "'{{}}'.format(1)", "'{:%}'.format(f)", "'{:x}'.format(255)", "'{:#b}'.format(5)",
           "'{:+}'.format(n)", "'{:10.3f}|'.format(f)", "'{:>{}}'.format(s, 15)", "'{'.format(1)", "'{} {0}'.format(1)", "'{:d}'.format(f)", "'{:s}'.format(n)", "'{:.3}'.format(s)", "'{}'.format(nil)", "'{:g}'.format(big)"]
LOOPS = ["index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem", "depth", "depth0", "cycle('a', 'b')", "changed(x)", "nothing"]


class Maker:
    def __init__(self, rng):
        self.rng = rng
        self.names = list(NAMES)

    def pick(self, items):
        return self.rng.choice(items)

    def atom(self):
        kind = self.rng.random()
        if kind < 0.55:
            return self.pick(self.names)
        if kind < 0.7:
            return self.pick(STRINGS)
        if kind < 0.85:
            return self.pick(NUMBERS)
        return self.pick(["true", "none", "[]", "{}", "()", "(1,)", "[1, 'a']", "{'a': 1, 2: none}", "range(3)", "range(4, 0, -2)", "1 + 1", "dict(a=1)", "namespace(a=1).a", "[s, n]", "(n, s)"])

    def bound(self):
        return self.pick(["", "", "0", "1", "2", "-1", "-2", "9", "-9", "n"])

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        kind = self.rng.random()
        inner = lambda: self.expression(depth - 1)
        if kind < 0.2:
            return f"({inner()} {self.pick(BINARY)} {inner()})"
        if kind < 0.24:
            return f"{self.atom()} {self.pick(BINARY)} {self.atom()} {self.pick(BINARY)} {self.atom()}"
        if kind < 0.44:
            return f"({inner()})|{self.pick(FILTERS)}"
        if kind < 0.54:
            return f"({inner()}) is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind < 0.66:
            return f"{self.pick(['s', 't', 'u', 'w', 'e', 'h', 'h|safe', inner()]).join('()')}.{self.pick(TEXT_METHODS)}"
        if kind < 0.7:
            method = self.pick(DICT_METHODS)
            return f"{self.pick(['d', 'd', 'ed', 'rows[0]', 'messages[1]'])}{'' if method[0] == '[' else '.'}{method}"
        if kind < 0.74:
            method = self.pick(LIST_METHODS)
            return f"{self.pick(['l', 'ls', 'mix', 'nest', '(1, 2)', 'range(3)'])}{'' if method[0] == '[' else '.'}{method}"
        if kind < 0.82:
            # Jinja folds a slice of a constant, and makes what Python refuses undefined there: names only.
            return f"({self.pick(self.names)}{self.pick(['', '|list', '|string'])})[{self.bound()}:{self.bound()}{self.pick(['', ':', ':-1', ':2', ':-2', ':0'])}]"
        if kind < 0.86:
            return f"({inner()})[{self.atom()}]"
        if kind < 0.89:
            return self.pick([f"{inner()} if {inner()} else {inner()}", f"{inner()} if {inner()}"]).join("()")
        if kind < 0.91:
            return f"not {inner()}"
        if kind < 0.93:
            return self.pick(["-", "+"]) + self.atom()
        if kind < 0.94:
            return f"{self.pick(['2', 'n', '1.5', 'm'])} ** {self.pick(['2', '3', '-1', '0'])}"
        return self.pick(FORMATS)

    def space(self):
        return self.pick(["", "", "", "-", "+"])

    def text(self):
        return self.pick(["", "", "x", " ", "\n", " \n ", "a b", "\n\n", "  ", "<p>", "\t", "{", "}", "% }", "#"])

    def tag(self, body):
        return f"{{%{self.space()} {body} {self.space()}%}}"

    def output(self, depth=2):
        end = self.pick(["", "", "-"])
        return f"{{{{{self.pick(['', '', '-'])} {self.expression(depth)} {end}}}}}"

    def statements(self, depth):
        return "".join(self.text() + self.statement(depth) for _ in range(self.rng.randrange(1, 4))) + self.text()

    def statement(self, depth):
        if depth <= 0:
            return self.output(1)
        kind = self.rng.randrange(16)
        if kind < 3:
            return self.output()
        if kind == 3:
            return self.tag(f"if {self.expression(2)}") + self.statements(depth - 1) + self.tag(f"elif {self.expression(1)}") + self.statements(depth - 1) + \
                self.tag("else") + self.statements(depth - 1) + self.tag("endif")
        if kind < 7:
            over = self.pick(["l", "ls", "d", "d.items()", "rows", "range(5)", "u", "[]", "nest", "mix|select", "messages", "l|reverse", self.expression(1)])
            target = self.pick(["x", "x", "x, y", "(x, y)"])
            test = self.pick(["", "", f" if x {self.pick(['is odd', '!= 1', 'is string', '> 1'])}", f" if {self.expression(1)}"])
            before, self.names = self.names, self.names + ["x", "x", "y"]
            loop = "".join(f"{{{{ loop.{self.pick(LOOPS)} }}}}," for _ in range(self.rng.randrange(3)))
            control = self.pick(["", "", self.tag("if loop.index == 2") + self.tag(self.pick(["break", "continue"])) + self.tag("endif")])
            body = loop + control + self.statements(depth - 1)
            self.names = before
            other = self.tag("else") + self.statements(0) if self.rng.random() < 0.3 else ""
            return self.tag(f"for {target} in {over}{test}") + body + other + self.tag("endfor")
        if kind == 7:
            self.names.append("v")
            return self.tag(f"set v = {self.expression(2)}") + self.output(0)
        if kind == 8:
            self.names.append("v")
            return self.tag(self.pick(["set v", "set v | upper", "set v|trim|replace('a', 'b')"])) + self.statements(depth - 1) + self.tag("endset") + "{{ v }}"
        if kind == 9:
            name = self.pick(["mac", "mad"])
            before, self.names = self.names, self.names + ["p", "q", "p", "varargs", "kwargs"]
            body = self.statements(depth - 1) + self.pick(["", "", "{{ caller() }}", "{{ caller(1) if caller }}"])
            self.names = before
            call = self.pick([f"{{{{ {name}({self.atom()}) }}}}", f"{{{{ {name}(q={self.atom()}, p=1) }}}}", f"{{{{ {name}(1, 2, 3) }}}}", f"{{{{ {name}() }}}}", f"{{{{ {name}(k=1) }}}}",
                              self.tag(f"call{self.pick(['', '(c)', '(c, k=2)'])} {name}(1)") + "{{ c }}" + self.statements(0) + self.tag("endcall")])
            return self.tag(f"macro {name}(p, q={self.atom()})") + body + self.tag("endmacro") + call
        if kind == 10:
            return self.tag("set ns = namespace(a=0, b='')") + self.tag("for x in range(3)") + self.tag("set ns.a = ns.a + x") + \
                self.tag(f"set ns.b = ns.b ~ {self.atom()}") + self.tag("endfor") + "{{ ns.a }}{{ ns.b }}{{ ns.c }}"
        if kind == 11:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'indent(2)', 'replace(1, 2)', 'length', 'title|e'])}") + self.statements(depth - 1) + self.tag("endfilter")
        if kind == 12:
            before, self.names = self.names, self.names + ["x"]
            body = self.statements(depth - 1)
            self.names = before
            return self.tag(f"with x = {self.expression(1)}, k = {self.atom()}") + body + self.tag("endwith")
        if kind == 13:
            return self.tag("for x in nest recursive") + "[{{ x if x is not iterable else loop(x) }}{{ loop.depth }}]" + self.tag("endfor")
        if kind == 14:
            return self.tag("generation") + self.statements(depth - 1) + self.tag("endgeneration")
        return self.pick([f"{{#{self.space()} note {self.space()}#}}", "{%" + self.space() + " raw %}{{ x }} {% if %}\n{% endraw " + self.space() + "%}", self.tag(f"print {self.atom()}"), self.tag(f"set x, y = {self.atom()}, 1"),
                          "{{ strftime_now('%Y-%m-%d %B %b %A %H:%M %j %-d %I %p %y') }}", "{{ raise_exception('no') }}", "{{ 'a' 'b' }}", "{{ loop.index }}"])


def jobs(count, seed):
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        maker = Maker(rng)
        source = maker.output(3) if rng.random() < 0.5 else maker.statements(3)
        made.append({"template": source, "variables": VARIABLES, "date": [2026, 3, 7, 9, 5, 2]})
    return made


def reference(hugging_face, job):
    try:
        compiled = hugging_face._cached_compile_jinja_template(job["template"])
        variables = copy.deepcopy(job["variables"])  # the filter indent changes a list in place
        variables["messages"] = hugging_face._alias_reasoning_fields(hugging_face._normalize_chat_messages(variables["messages"]))
        text, spans = hugging_face._render_with_assistant_indices(
            compiled, variables.pop("messages"), None, None, False, **variables)
        text.encode()
        return {"text": text, "spans": [[len(text[:at].encode()) for at in span] for span in spans]}
    except RecursionError:
        return {"error": "recursion", "other": True}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


ONE = r"(?:'[^'{}:]*'|-?\d+(?:\.\d+)?|None|True|False)"
A_SET = re.compile(rf"set\(\)|\{{{ONE}(?:, {ONE})*\}}")


def comparable(expected):
    """Not where Python prints the address of an object, a complex number, or a set (of a dict's keys or items, by an operator), which
    stands in the order of that process's hash seed and which our engine has not."""
    text = expected.get("text", "")
    return not A_SET.search(text) and not any(mark in text for mark in (" at 0x", "<built-in", "<bound method", "<class ", "<function", "j)")) and "other" not in expected
