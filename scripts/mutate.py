#!/usr/bin/env python3
"""Mutation testing: are faults in kernels/, lora/, train/ and the plan of data/ noticed by those folders' tests?

    scripts/mutate.py [--count 300] [--folders kernels lora train data/plan] [--seed 1] [--place FOLDER] [--report FILE]

HEAD is cloned into FOLDER (kept: the next call goes on there) and built. Then one operator, constant or condition is changed at a
time, the folder's tests are built and run, and the change is taken back. A mutant that does not compile is replaced by another; one
that compiles into the same object file changes nothing and is left out too. Each outcome is a line of FILE (JSON); what it has already
is not run again. At the end: how many were noticed, and those that were not. A mutant takes from half a minute to three on two cores.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
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


def code_only(text):
    """The text with comments, strings, characters and preprocessor lines blanked out: places stay."""
    blank = lambda m: re.sub(r"[^\n]", "~", m.group())
    return re.sub(r"//[^\n]*|/\*.*?\*/|R\"(\w*)\(.*?\)\1\"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:\\\n|[^\n])*", blank, text,
                  flags=re.S | re.M)


def replaced(found, to):
    if to is not None:
        return to
    return str(int(found) + 1) if "." not in found else repr(float(found) * 1.5 + 0.5)


def mutants_of(root, pattern):
    """(file, place, length, new text, line, what) of every change that could be made."""
    all_of_them = []
    for file in sorted(root.glob(pattern)):
        text = file.read_text()
        code = code_only(text)
        for expression, becomes in TOKENS:
            for match in re.finditer(expression, code):
                for to in becomes:
                    new = replaced(match.group(), to)
                    begin, end = match.span()
                    if match.group().startswith("if ("):  # the whole condition
                        depth, end = 1, match.end()
                        while depth > 0 and end < len(code):
                            depth += {"(": 1, ")": -1}.get(code[end], 0)
                            end += 1
                        if ";" in code[match.end():end]:
                            continue  # with a declaration
                        new = "if (!(" + text[match.end():end - 1] + "))"
                    line = text.count("\n", 0, begin) + 1
                    all_of_them.append((str(file.relative_to(root)), begin, end, new, line, text[begin:end].strip()))
    return all_of_them


def run(command, cwd, timeout=None, log=None):
    """The exit status; "time" where it took too long. A process group of its own, ended whole."""
    with open(log, "w") if log else open(os.devnull, "w") as out:
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return "time"


def object_of(place, file):
    found = list((place / "build").glob(f"CMakeFiles/*/{file}.o"))
    return hashlib.sha256(found[0].read_bytes()).hexdigest() if found else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--folders", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=pathlib.Path, default=ROOT / "build-mutants" / "lowrank")
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "build-mutants" / "report.jsonl")
    options = parser.parse_args()
    place = options.place.resolve()
    options.report.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        subprocess.run(["git", "-c", "advice.detachedHead=false", "clone", "--quiet", str(ROOT), str(place)], check=True)
        (place / ".deps").symlink_to((ROOT / ".deps").resolve())
    subprocess.run(["git", "checkout", "--quiet", "--force", "HEAD"], cwd=place, check=True)  # what an interrupted call left
    jobs = str(len(os.sched_getaffinity(0)))
    tests = sorted({FOLDERS[folder][1] for folder in options.folders})
    print("mutate.py: building", ", ".join(tests), flush=True)
    if run(["cmake", "--preset", "release"], place) != 0 or run(["cmake", "--build", "build", "-j", jobs, "--target", *tests], place) != 0:
        sys.exit(f"mutate.py: HEAD does not build in {place}")
    limits = {}
    for folder in options.folders:
        _, test, words = FOLDERS[folder]
        began = time.monotonic()
        if run([f"build/tests/{test}", *words], place) != 0:
            sys.exit(f"mutate.py: {test} fails without any change")
        limits[folder] = 3 * (time.monotonic() - began) + 20

    done = {}
    if options.report.exists():
        for line in options.report.read_text().splitlines():
            record = json.loads(line)
            done[record["id"]] = record
    chosen = random.Random(options.seed)
    queues = {}
    for folder in options.folders:
        queues[folder] = mutants_of(place, FOLDERS[folder][0])
        chosen.shuffle(queues[folder])
    outcomes = []
    while len(outcomes) < options.count and any(queues.values()):
        folder = chosen.choices(options.folders, [len(queues[f]) for f in options.folders])[0]  # every change as likely
        file, begin, end, new, line, old = queues[folder].pop()
        identity = f"{file}:{line}:{begin}:{new.strip()}"
        record = done.get(identity)
        if record is None:
            record = {"id": identity, "folder": folder, "file": file, "line": line, "old": old, "new": new.strip()}
            path, (_, test, words) = place / file, FOLDERS[folder]
            text = path.read_text()
            before = object_of(place, file)
            try:
                path.write_text(text[:begin] + new + text[end:])
                built = run(["cmake", "--build", "build", "-j", jobs, "--target", test], place)
                if built != 0:
                    record["outcome"] = "does not compile"
                elif before is not None and object_of(place, file) == before:
                    record["outcome"] = "same code"
                else:
                    status = run([f"build/tests/{test}", "--abort", *words], place, limits[folder])
                    record["outcome"] = "survived" if status == 0 else "noticed"
                    record["status"] = status
            finally:
                path.write_text(text)
            with options.report.open("a") as report:
                report.write(json.dumps(record) + "\n")
        if record["outcome"] in ("noticed", "survived"):
            outcomes.append(record)
            print(f"{len(outcomes):4} {record['outcome']:9} {file}:{line}: {old} -> {record['new']}", flush=True)
    noticed = sum(r["outcome"] == "noticed" for r in outcomes)
    print(f"mutate.py: {noticed} of {len(outcomes)} noticed ({100 * noticed / max(1, len(outcomes)):.1f} %)")
    for record in outcomes:
        if record["outcome"] == "survived":
            print(f"  survived: {record['file']}:{record['line']}: {record['old']} -> {record['new']}")


if __name__ == "__main__":
    main()
