#!/usr/bin/env python3
"""Runs in surroundings that are not what one is used to.

    environment.py LOWRANK SHIM

SHIM: libfault_shim.so (tests/faults), for a clock that jumps back. Locales (German, Turkish, C, one that there is not), no home, no
temporary folder, a clock that goes backwards, read-only and full disks, a control group too small, names with spaces, newlines, quotes
and as long as names can be, and every number of descriptors from few to enough: a run ends in the bytes of an ordinary one, or in one
sentence and the exit code of the user's surroundings. What this machine cannot make (mounts, control groups, locales) is said and passed over.
"""
import hashlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "examples" / "base"
ADAPTER = "adapter_model.safetensors"


failures = []


def check(what, holds, detail=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what} {detail}", flush=True)
    if not holds:
        failures.append(what)


class Surroundings:
    def __init__(self, lowrank, shim, work):
        self.lowrank, self.shim, self.work = str(lowrank), str(shim), work
        self.data = work / "rows.jsonl"
        self.data.write_text("".join(json.dumps({"prompt": f"What is {i}?", "completion": f" It is {i * 7}."}) + "\n" for i in range(12)))

    def train(self, out, base=BASE, data=None, *more):
        return ["finetune", base, "--data", data or self.data, "--max-steps", "2", "--batch-size", "1", "--rank", "1", "--targets", "q_proj",
                "--seq-len", "64", "--lr", "1e-3", "--dtype", "float32", "--val-split", "0", "--quiet", "--out", out, *more]

    def run(self, arguments, environment=None, input=None, prefix=(), **more):
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        for name, value in (environment or {}).items():
            env.pop(name, None)
            if value is not None:
                env[name] = value
        return subprocess.run([*prefix, self.lowrank, *[os.fsencode(a) for a in arguments]], capture_output=True, env=env, input=input,
                              timeout=300, **more)

    def digest(self, out):
        return hashlib.sha256((out / ADAPTER).read_bytes()).hexdigest()


def one_sentence(done, code=74):
    lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("lowrank: error:")]
    return done.returncode == code and len(lines) == 1


def said(done):
    return f"exit {done.returncode}: {done.stderr.decode(errors='replace')[-200:]}"


def locales(s, expected):
    folder = s.work / "locales"
    folder.mkdir()
    made = ["C", "POSIX", "xx_XX.UTF-8"]
    for name in ("de_DE", "tr_TR"):
        if shutil.which("localedef") and subprocess.run(["localedef", "-i", name, "-f", "UTF-8", str(folder / f"{name}.UTF-8")],
                                                        capture_output=True).returncode in (0, 1) and (folder / f"{name}.UTF-8").exists():
            made.append(f"{name}.UTF-8")
    for name in made:
        out = s.work / f"locale-{name}"
        done = s.run(s.train(out), {"LC_ALL": name, "LANG": name, "LOCPATH": str(folder) if "_" in name else None})
        check(f"locale {name}: the same bytes", done.returncode == 0 and s.digest(out) == expected, "" if done.returncode == 0 else said(done))
    if len(made) == 3:
        print("environment.py: no localedef or no sources of locales (apt-get install locales): German and Turkish are passed over")


def without_home(s, expected):
    bare = {name: None for name in ("HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    out = s.work / "homeless"
    done = s.run(s.train(out), bare)
    check("no home: a run", done.returncode == 0 and s.digest(out) == expected, said(done) if done.returncode else "")
    done = s.run(["generate", BASE, "--base-dtype", "nf4", "--prompt", "Once", "--max-new-tokens", "2"], bare)
    check("no home: a base in nf4 is made in memory", done.returncode == 0, said(done) if done.returncode else "")
    done = s.run(["runs", s.work], bare)
    check("no home: runs", done.returncode == 0, said(done) if done.returncode else "")
    done = s.run(["finetune", "org/name", "--data", s.data, "--out", s.work / "none"], bare)
    check("no home: a name that is nowhere", one_sentence(done, 66), said(done))


def without_temporary_folder(s, expected):
    for place in ("/nonexistent/tmp", "/dev/null"):
        out = s.work / ("tmp-" + place.replace("/", "-"))
        done = s.run(s.train(out), {"TMPDIR": place})
        check(f"TMPDIR={place}: a run that needs none", done.returncode == 0 and s.digest(out) == expected, said(done) if done.returncode else "")
        piped = s.work / (out.name + "-piped")
        done = s.run(s.train(piped, BASE, "-"), {"TMPDIR": place}, input=s.data.read_bytes())
        check(f"TMPDIR={place}: data from stdin, by /tmp", done.returncode == 0 and s.digest(piped) == expected, said(done) if done.returncode else "")


def clock_backwards(s, expected):
    out = s.work / "clock"
    done = s.run(s.train(out, BASE, None, "--save-every", "1"), {"LD_PRELOAD": s.shim, "LOWRANK_CLOCK_BACK": "3600"})
    check("a clock that goes back an hour at every look: the same bytes", done.returncode == 0 and s.digest(out) == expected, said(done) if done.returncode else "")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    check("... and no figure of time is negative", all(v >= 0 for row in rows for k, v in row.items() if k in ("seconds", "tokens_per_second")))
    done = s.run(s.train(out, BASE, None, "--save-every", "1", "--resume"), {"LD_PRELOAD": s.shim, "LOWRANK_CLOCK_BACK": "3600"})
    check("... and it resumes", done.returncode == 0, said(done) if done.returncode else "")


def disks(s, expected):
    disk = s.work / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode != 0:
        print("environment.py: nothing can be mounted: full and read-only disks are passed over")
        return
    adapter = s.work / "plain"
    try:
        verbs = {"finetune": s.train(disk / "run"), "merge": ["merge", BASE, "--adapter", adapter, "--out", disk / "merged"],
                 "export": ["export", adapter, "--model", BASE, "--format", "gguf", "--out", disk / "a.gguf"],
                 "tokenizer": ["tokenizer", "train", "--data", s.data, "--vocab-size", "300", "--out", disk / "tok"]}
        (disk / "filler").write_bytes(bytes(60 << 10))
        for name, arguments in verbs.items():
            done = s.run(arguments)
            check(f"a full disk: {name}", one_sentence(done), said(done))
        left = [p.name for p in disk.iterdir() if ".tmp-" in p.name]
        check("a full disk: nothing half-made is left", not left, str(left))
        (disk / "filler").unlink()
        shutil.copytree(BASE, s.work / "model")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name, arguments in verbs.items():
            done = s.run(arguments)
            check(f"a read-only disk: {name}", one_sentence(done), said(done))
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def control_group(s):
    root = pathlib.Path("/sys/fs/cgroup")
    second = (root / "cgroup.controllers").exists()
    group = (root if second else root / "memory") / "lowrank-environment-test"
    try:
        group.mkdir()
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text("200000000")
    except OSError as error:
        print(f"environment.py: no control group can be made ({error}): it is passed over")
        if group.exists():
            group.rmdir()
        return
    try:
        done = s.run(s.train(s.work / "grouped"), prefix=["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$0" "$@"'])
        check("a control group of 200 MB: a run, or one sentence", done.returncode == 0 or one_sentence(done), said(done) if done.returncode else "")
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(pid)
        group.rmdir()


NAMES = [b"two words", b"a\nline", b"quo'te\"d", "höhe-\u4f60-\u202e".encode(), b"-dash", b"$(touch x);`y`&*?", b"c" * 255, b"d" * 240]


def names(s, expected):
    for name in NAMES:
        shown = repr(name if len(name) < 40 else name[:3] + b"...")
        folder = os.fsencode(s.work) + b"/" + name
        os.mkdir(folder)
        place = pathlib.Path(os.fsdecode(folder))
        shutil.copytree(BASE, place / "model")
        data = pathlib.Path(os.fsdecode(folder + b"/" + name[:240] + b".jsonl"))
        data.write_bytes(s.data.read_bytes())
        out = pathlib.Path(os.fsdecode(folder + b"/" + (b"./" if name.startswith(b"-") else b"") + name))
        done = s.run(s.train(out, place / "model", data))
        check(f"names {shown}: a run", done.returncode == 0 and s.digest(out) == expected, said(done) if done.returncode else "")
        done = s.run(s.train(out, place / "model", data, "--resume"))
        check(f"names {shown}: resumed", done.returncode == 0, said(done) if done.returncode else "")
        merged = pathlib.Path(os.fsdecode(folder + b"/" + name[:-1] + b"M"))
        done = s.run(["merge", place / "model", "--adapter", out, "--out", merged])
        check(f"names {shown}: merged", done.returncode == 0, said(done) if done.returncode else "")
        for verb in (["inspect", out], ["runs", place], ["generate", merged, "--prompt", "Once", "--max-new-tokens", "2"]):
            done = s.run(verb)
            check(f"names {shown}: {verb[0]}", done.returncode == 0, said(done) if done.returncode else "")
        shutil.rmtree(folder)
    done = s.run(s.train(pathlib.Path(os.fsdecode(os.fsencode(s.work) + b"/latin-\xe9"))))
    check("a name that is no UTF-8 is refused in a sentence", one_sentence(done, 2), said(done))
    done = s.run(s.train(s.work / ("e" * 256)))
    check("a name longer than names can be", one_sentence(done, 2), said(done))


def descriptors(s):
    """From so few that the libraries cannot be loaded to enough: a sentence, or a run."""
    outcomes = {}
    for limit in range(3, 24):
        out = s.work / f"few-{limit}"
        done = s.run(s.train(out), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        loader = b"error while loading shared libraries" in done.stderr
        fine = done.returncode == 0 or (done.returncode == 127 and loader) or one_sentence(done)
        if not fine:
            check(f"{limit} descriptors", False, said(done))
        outcomes[limit] = done.returncode
        shutil.rmtree(out, ignore_errors=True)
    check("3 to 23 descriptors: a run, or one sentence", 0 in outcomes.values() and 74 in outcomes.values(),
          " ".join(f"{n}:{code}" for n, code in outcomes.items()))


def main():
    lowrank, shim = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="lowrank-surroundings-") as folder:
        s = Surroundings(lowrank, shim, pathlib.Path(folder))
        plain = s.work / "plain"
        done = s.run(s.train(plain))
        check("a run as it usually is", done.returncode == 0, said(done) if done.returncode else "")
        expected = s.digest(plain)
        locales(s, expected)
        without_home(s, expected)
        without_temporary_folder(s, expected)
        clock_backwards(s, expected)
        names(s, expected)
        disks(s, expected)
        control_group(s)
        descriptors(s)
    print(f"{len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
