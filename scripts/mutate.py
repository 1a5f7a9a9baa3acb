#!/usr/bin/env python3
"""Mutation testing: are faults in kernels/, lora/, train/ and the plan of data/ noticed by those folders' tests?

    scripts/mutate.py [--count 300] [--folders kernels lora train data/plan] [--seed 1] [--again] [--report FILE]

One operator, constant or condition is changed at a time, and the folder's tests are run until one fails. All mutants of a folder are
compiled into one test program, each behind a question asked as it runs (`mutant(7) ? a - b : a + b`, answered by $LOWRANK_MUTANT); what
does not compile in that form, as constants that must be known then, is compiled and linked by itself. Every test is first run alone
without a mutant: that tells which mutants it reaches and how long it takes, and a mutant meets the tests that reach it, the quickest
first. One that survives is compiled by itself: where that gives the object file of the unchanged source it is left out, as is one that
does not compile, and another is drawn for it. Each outcome is a line of FILE (JSON); what it has already is not run again, with --again
what survived is. At the end: how many were noticed, and those that were not. Sources are not touched; leave them so while it runs.
"""
import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / "build"
WORK = BUILD / "mutants"
# Sources of a folder, its tests, and what of them is run.
FOLDERS = {"kernels": ("kernels/**/*.cpp", "test_kernels", []), "lora": ("lora/**/*.cpp", "test_lora", []),
           "train": ("train/**/*.cpp", "test_train", ["~[slow]"]), "data/plan": ("data/plan.cpp", "test_data", ["-#", "[#plan]"])}
TOKENS = [  # what is found in code, and what it becomes
    (r" < ", [" <= "]), (r" <= ", [" < "]), (r" > ", [" >= "]), (r" >= ", [" > "]), (r" == ", [" != "]), (r" != ", [" == "]),
    (r" && ", [" || "]), (r" \|\| ", [" && "]), (r" \+ ", [" - "]), (r" - ", [" + "]), (r" \* ", [" + "]), (r" / ", [" * "]),
    (r" \+= ", [" -= "]), (r" -= ", [" += "]), (r"\btrue\b", ["false"]), (r"\bfalse\b", ["true"]), (r"\bstd::min\b", ["std::max"]),
    (r"\bstd::max\b", ["std::min"]), (r"(?<![\w.'\"])\d+(?![\w.'\"])", [None]), (r"(?<![\w.'\"])\d+\.\d+(?![\w'\"])", [None]),
    (r"\bif \((?!const|auto|constexpr)", ["if (!"]),
]
ROOM = 1 << 16  # bytes, one a mutant: more than a folder has
QUESTION = r"""#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <cstdlib>
// Whether this mutant is the one that is asked for; $LOWRANK_REACHED, a byte a mutant, keeps which were asked about, in children too.
inline bool lowrank_mutant(int id) {
  static const int chosen = [] {
    const char* number = std::getenv("LOWRANK_MUTANT");
    return number == nullptr ? -1 : std::atoi(number);
  }();
  static volatile char* const reached = []() -> volatile char* {
    const char* file = std::getenv("LOWRANK_REACHED");
    if (file == nullptr) return nullptr;
    void* const bytes = ::mmap(nullptr, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, ::open(file, O_RDWR), 0);
    if (bytes == MAP_FAILED) std::abort();
    return static_cast<volatile char*>(bytes);
  }();
  if (reached != nullptr) reached[id] = 1;
  return id == chosen;
}
"""
Mutant = collections.namedtuple("Mutant", "file begin end new line old")


def code_only(text):
    """The text with comments, strings, characters and preprocessor lines blanked out: places stay."""
    fills = {"/": " ", "#": ";"}  # a comment parts words, a preprocessor line statements
    blank = lambda m: re.sub(r"[^\n]", fills.get(m.group().lstrip()[0], "~"), m.group())
    return re.sub(r"//[^\n]*|/\*.*?\*/|R\"(\w*)\(.*?\)\1\"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:\\\n|[^\n])*", blank, text,
                  flags=re.S | re.M)


def replaced(found, to):
    if to is not None:
        return to
    return str(int(found) + 1) if "." not in found else repr(float(found) * 1.5 + 0.5)


def closed(code, place):
    """Behind the bracket that closes what was opened before `place`."""
    depth = 1
    while depth > 0 and place < len(code):
        depth += {"(": 1, ")": -1}.get(code[place], 0)
        place += 1
    return place


def mutants_of(pattern):
    """Every change that could be made."""
    all_of_them = []
    for file in sorted(ROOT.glob(pattern)):
        text = file.read_text()
        code = code_only(text)
        for expression, becomes in TOKENS:
            for match in re.finditer(expression, code):
                for to in becomes:
                    new = replaced(match.group(), to)
                    begin, end = match.span()
                    if match.group().startswith("if ("):  # the whole condition
                        end = closed(code, end)
                        if ";" in code[match.end():end]:
                            continue  # with a declaration
                        new = "if (!(" + text[match.end():end - 1] + "))"
                    all_of_them.append(Mutant(str(file.relative_to(ROOT)), begin, end, new, text.count("\n", 0, begin) + 1, text[begin:end].strip()))
    return all_of_them


def expression_around(code, begin, end):
    """Of the operator there: the whole expression between brackets, commas, colons and semicolons. A guess: the compiler has the last word."""
    left, depth = begin, 0
    while left > 0:
        c, before, after = code[left - 1], code[left - 2:left - 1], code[left:left + 1]
        if depth == 0 and (c in "([{;,?" or c == "}" and re.match(r" *\n", code[left:]) or c == ":" and ":" not in (before, after)
                           or c == "=" and after != "=" and before not in "=!<>"):
            break
        depth += {")": 1, "]": 1, "}": 1, "(": -1, "[": -1, "{": -1}.get(c, 0)
        left -= 1
    while starts := re.match(r"\s*(?:(?:return|throw|else|do)\b|(?:if|for|while) \(|\s)", code[left:begin]):
        left += starts.end()
        if code[left - 1] == "(":
            left = closed(code, left)
    right, depth = end, 0
    while right < len(code):
        c, before, after = code[right], code[right - 1], code[right + 1:right + 2]
        if depth == 0 and (c in ")]};,?" or c == ":" and ":" not in (before, after)):
            break
        depth += {")": -1, "]": -1, "}": -1, "(": 1, "[": 1, "{": 1}.get(c, 0)
        right += 1
    return left, right


def as_question(text, code, mutant):
    """The part of the text that becomes a question, and the question around `{}`, that part."""
    begin, end = mutant.begin, mutant.end
    if mutant.old.startswith("if ("):
        begin, end = begin + len("if ("), end - 1
        return begin, end, lambda number, inner: f"static_cast<bool>({inner}) != lowrank_mutant({number})"
    if mutant.old.startswith("std::"):
        end = closed(code, code.index("(", end) + 1)
    elif not mutant.old[0].isalnum():
        begin, end = expression_around(code, begin, end)
    changed = text[begin:mutant.begin] + mutant.new + text[mutant.end:end]
    return begin, end, lambda number, inner: f"(lowrank_mutant({number}) ? ({changed}) : ({inner}))"


def with_questions(text, numbered):
    """The text with all of these mutants (number, mutant) as questions."""
    code = code_only(text)
    questions = sorted(((*as_question(text, code, mutant), number) for number, mutant in numbered), key=lambda q: (q[0], -q[1], q[3]))

    def rendered(begin, end, questions):
        out, place = "", begin
        while questions:
            (first, last, ask, number), *questions = questions
            inner = [q for q in questions if q[0] < last]
            questions = questions[len(inner):]
            out += text[place:first] + ask(number, rendered(first, last, inner))
            place = last
        return out + text[place:end]
    return rendered(0, len(text), questions)


def run(command, cwd=ROOT, timeout=None, log=None, **variables):
    """The exit status; "time" where it took too long. A process group of its own, ended whole."""
    with open(log or os.devnull, "w") as out:
        process = subprocess.Popen([str(word) for word in command], cwd=cwd, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   start_new_session=True, env=dict(os.environ, OMP_WAIT_POLICY="passive", **variables))
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return "time"


@functools.cache
def compile_commands():
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        at = words.index("-o")
        found[os.path.relpath(entry["file"], ROOT)] = words[:at]
    return found


def compiled(file, text, name, *more):
    """The object file, or None where it does not compile. The text stands in for the file's."""
    source = WORK / name / pathlib.Path(file).name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(re.sub(r'(#define HWY_TARGET_INCLUDE) ".*"', rf'\1 "{source}"', text))  # it includes itself
    object_file = source.with_suffix(".o")
    command = [*compile_commands()[file], "-w", "-Wno-narrowing", "-iquote", (ROOT / file).parent, *more, "-o", object_file, "-c", source]
    return object_file if run(command, BUILD, log=source.with_suffix(".log")) == 0 else None


def linked(test, objects, name):
    """The folder's test program with these objects in the place of the library's, beside the real one: it looks around itself for files."""
    words = shlex.split(subprocess.run(["ninja", "-C", str(BUILD), "-t", "commands", "-s", f"tests/{test}"], check=True, capture_output=True,
                                       text=True).stdout.split("&&")[1])
    at = words.index("-o") + 2
    program = BUILD / "tests" / name
    gold = ["-fuse-ld=gold"] if shutil.which("ld.gold") else []
    if run([*words[:at - 1], program, *objects, *words[at:], *gold], BUILD, log=WORK / f"{name}.log") != 0:
        sys.exit(f"mutate.py: {name} does not link: {WORK / name}.log")
    return program


@functools.cache
def unchanged(file):
    return hashlib.sha256(compiled(file, (ROOT / file).read_text(), f"unchanged/{file}").read_bytes()).hexdigest()


def alone(mutant, name):
    """(object, None), or (None, why it is no mutant)."""
    text = (ROOT / mutant.file).read_text()
    object_file = compiled(mutant.file, text[:mutant.begin] + mutant.new + text[mutant.end:], name)
    if object_file is None:
        return None, "does not compile"
    if hashlib.sha256(object_file.read_bytes()).hexdigest() == unchanged(mutant.file):
        return None, "same code"
    return object_file, None


def write_names(file, tests):
    file.write_text("".join(re.sub(r'([\\,\[\]"])', r"\\\1", test) + "\n" for test in tests))
    return file


def first_failure(program, tests, times, number, name):
    """(status, name) of the first of these tests to fail, or (0, None). Few at once first: most fail soon, and each process starts LibTorch."""
    tests = sorted(tests, key=times.get)
    for begin, end in ((0, 4), (4, 20), (20, None)):
        if some := tests[begin:end]:
            names, log = write_names(WORK / f"{name}.names", some), WORK / f"{name}.tests.log"
            status = run([program, "--abort", "-f", names], timeout=20 + 3 * sum(times[t] for t in some), log=log, LOWRANK_MUTANT=str(number))
            if status != 0:
                found = re.search(r"^-{79}\n(.+)", log.read_text(errors="replace"), re.M)
                return status, found.group(1).strip() if found else None
    return 0, None


def alone_without_mutants(program, words, pool):
    """Of each test: the mutants it reaches, and its time."""
    names = subprocess.run([program, "--list-test-names-only", *words], capture_output=True, text=True, cwd=ROOT).stdout.splitlines()

    def one(index_and_name):
        index, name = index_and_name
        reached, log = WORK / f"reached.{index}", WORK / f"reached.{index}.log"
        reached.write_bytes(bytes(ROOM))
        began = time.monotonic()
        status = run([program, "-f", write_names(WORK / f"reached.{index}.name", [name])], timeout=900, log=log, LOWRANK_REACHED=str(reached))
        if "No test cases matched" in log.read_text(errors="replace"):
            sys.exit(f"mutate.py: no test is found by the name {name}")
        return name, status, time.monotonic() - began, {number for number, byte in enumerate(reached.read_bytes()) if byte}
    times, reaches = {}, {}
    for name, status, took, reached in pool.map(one, enumerate(names)):
        if status != 0:
            print(f"mutate.py: left out, fails without a mutant: {name}", flush=True)
        else:
            times[name], reaches[name] = took, reached
    return times, reaches


def outcomes_of(folder, mutants, pool, say):
    """Runs these mutants of the folder; say(mutant, record) as each ends."""
    _, test, words = FOLDERS[folder]
    built = [m for m in mutants if m.file in compile_commands()]
    for mutant in mutants:
        if mutant not in built:
            say(mutant, {"outcome": "not built"})
    numbers = {mutant: number for number, mutant in enumerate(built)}
    by_file = collections.defaultdict(list)
    for mutant in built:
        by_file[mutant.file].append((numbers[mutant], mutant))
    question = WORK / "question.h"
    question.write_text(QUESTION.replace("ROOM", str(ROOM)))

    def questions(file):
        numbered, text, name = by_file[file], (ROOT / file).read_text(), f"questions/{file}"
        for attempt in range(2):
            object_file = numbered and compiled(file, with_questions(text, numbered), name, "-include", question)
            if object_file or attempt == 1:
                break
            numbered = [n for n in numbered if len(numbered) > 1 and
                        compiled(file, with_questions(text, [n]), f"{name}.{n[0]}", "-include", question, "-fsyntax-only")]
        return object_file or None, {m for _, m in numbered} if object_file else set()
    results = list(pool.map(questions, by_file))
    objects = [o for o, _ in results if o]
    asked = set().union(*(m for _, m in results))
    program = linked(test, objects, f"mutants_{test}")
    together = pool.submit(run, [program, *words], log=WORK / f"{test}.log")
    times, reaches = alone_without_mutants(program, words, pool)
    if together.result() != 0:
        sys.exit(f"mutate.py: {test} fails without any change: {WORK / test}.log")
    print(f"mutate.py: {folder}: {len(asked)} of {len(built)} as questions, {len(times)} tests of {sum(times.values()):.0f} s", flush=True)

    def one(mutant):
        number, began = numbers[mutant], time.monotonic()
        name, record = f"alone/{folder}/{number}", {"form": "question" if mutant in asked else "alone"}
        if mutant in asked:
            tests = [t for t in times if number in reaches[t]]
            record["status"], record["test"] = first_failure(program, tests, times, number, f"{test}.{number}")
            record["reached"] = len(tests)
            if record["status"] == 0 and (why := alone(mutant, name)[1]):
                record["outcome"] = why
        else:
            object_file, why = alone(mutant, name)
            if why:
                record["outcome"] = why
            else:
                own = linked(test, [object_file], f"mutants_{test}.{number}")
                mates = {n for n, m in by_file[mutant.file]}
                near = [t for t in times if mates & reaches[t]]
                record["status"], record["test"] = first_failure(own, near, times, -1, f"{test}.{number}")
                if record["status"] == 0:
                    record["status"], record["test"] = first_failure(own, times.keys() - set(near), times, -1, f"{test}.{number}")
                own.unlink()
        record.setdefault("outcome", "noticed" if record.get("status") else "survived")
        say(mutant, record | {"seconds": round(time.monotonic() - began, 1)})
    list(pool.map(one, built))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--folders", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "build-mutants" / "report.jsonl")
    options = parser.parse_args()
    options.report.parent.mkdir(parents=True, exist_ok=True)
    WORK.mkdir(parents=True, exist_ok=True)
    jobs = len(os.sched_getaffinity(0))
    tests = sorted({FOLDERS[folder][1] for folder in options.folders})
    print("mutate.py: building", ", ".join(tests), flush=True)
    if run(["cmake", "--preset", "release"]) != 0 or run(["cmake", "--build", BUILD, "-j", jobs, "--target", *tests]) != 0:
        sys.exit(f"mutate.py: does not build in {BUILD}")

    done = {}
    if options.report.exists():
        for record in map(json.loads, options.report.read_text().splitlines()):
            done[record["id"]] = record  # the last one counts
    if options.again:
        done = {identity: record for identity, record in done.items() if record["outcome"] != "survived"}
    chosen = random.Random(options.seed)
    queues = {}
    for folder in options.folders:
        queues[folder] = mutants_of(FOLDERS[folder][0])
        chosen.shuffle(queues[folder])
    sequence = []
    while any(queues.values()):
        folder = chosen.choices(options.folders, [len(queues[f]) for f in options.folders])[0]  # every change as likely
        sequence.append((folder, queues[folder].pop()))
    identity_of = lambda m: f"{m.file}:{m.line}:{m.begin}:{m.new.strip()}"
    counts = lambda m: done.get(identity_of(m), {"outcome": None})["outcome"] in ("noticed", "survived")
    lock = threading.Lock()

    def say(folder, mutant, record):
        record = {"id": identity_of(mutant), "folder": folder, "file": mutant.file, "line": mutant.line, "old": mutant.old,
                  "new": mutant.new.strip()} | record
        with lock, options.report.open("a") as report:
            done[record["id"]] = record
            report.write(json.dumps(record) + "\n")
            print(f"{record['outcome']:9} {mutant.file}:{mutant.line}: {mutant.old} -> {record['new']}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        while True:
            drawn, valid = [], 0
            for folder, mutant in sequence:
                if valid == options.count:
                    break
                new = identity_of(mutant) not in done
                valid += new or counts(mutant)
                if new:
                    drawn.append((folder, mutant))
            if not drawn:
                break
            for folder, some in sorted(((f, [m for g, m in drawn if g == f]) for f in options.folders), key=lambda of: len(of[1])):
                if some:
                    outcomes_of(folder, some, pool, functools.partial(say, folder))
    outcomes = [done[identity_of(m)] for _, m in sequence if counts(m)][:options.count]
    for folder in [*options.folders, ""]:
        of_it = [r for r in outcomes if r["folder"].startswith(folder)]
        noticed = sum(r["outcome"] == "noticed" for r in of_it)
        print(f"mutate.py: {folder or 'all'}: {noticed} of {len(of_it)} noticed ({100 * noticed / max(1, len(of_it)):.1f} %)")
    for record in outcomes:
        if record["outcome"] == "survived":
            print(f"  survived: {record['file']}:{record['line']}: {record['old']} -> {record['new']}")


if __name__ == "__main__":
    main()
