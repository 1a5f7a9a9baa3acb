#!/usr/bin/env python3
"""Everything that writes, killed, starved and cut off from power at every call that changes a file.

    faults.py LOWRANK SHIM [--thin] [--only CASE,...] [--actions kill,ENOSPC,...] [--stride N] [--minutes M]

SHIM: libfault_shim.so (tests/faults), which counts the calls of the command beneath the folder of outputs and acts at the n-th: kill
(SIGKILL), ENOSPC, EDQUOT and EIO (that call and all later writes), EINTR, short (half of a write), power (what was not synced is gone),
bytes (names without their bytes) and mixed (a part of the names). After each: one sentence and exit 74 where the command lived, every
output as it was before or as it is at the end, and never anything else; then the same command again ends as one that nothing happened to,
to the byte, and leaves nothing half-made behind.

--thin: a few points of each kind of output, for `make test`. --stride: every N-th point. --minutes: points spread evenly over what that
allows.
"""
import argparse
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "examples" / "base"
ADAPTER = "adapter_model.safetensors"
ACTIONS = ["kill", "ENOSPC", "EDQUOT", "EIO", "EINTR", "short", "power", "bytes", "mixed"]
ENDS = {"kill", "power", "bytes", "mixed"}  # the process
CHANGES = {"tokens_per_second", "peak_rss_bytes", "seconds", "created", "date"}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder):
    """The files of a folder by name; none where there is no folder."""
    return {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}


def rows_without_times(path):
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        rows.append({k: v for k, v in json.loads(line).items() if k not in CHANGES})
    return rows


class Case:
    """One command with outputs under `out`; see the functions below for each."""

    def __init__(self, name, arguments, results, whole=(), again=None, environment=None, slow=False):
        self.name, self.arguments, self.results = name, arguments, results
        self.whole = whole  # outputs that are old or new as they lie, before anything is done again
        self.again = again or (lambda out: arguments(out))
        self.environment = environment or (lambda out: {})
        self.slow = slow


class Faults:
    def __init__(self, lowrank, shim, work):
        self.lowrank, self.shim, self.work = str(lowrank), str(shim), work
        self.fail = 0
        self.points = 0
        self.data = work / "data.jsonl"
        self.data.write_text("".join(json.dumps({"prompt": f"What is {i}?", "completion": f" It is {i * 7}."}) + "\n" for i in range(24)))
        self.text = work / "text.txt"
        self.text.write_text("The cat sat on the mat and looked at the old painting. " * 30)
        self.prompts = work / "prompts.jsonl"
        self.prompts.write_text("".join(json.dumps({"prompt": f"Once {i}"}) + "\n" for i in range(3)))
        self.space = work / "space.yaml"
        self.space.write_text("dropout: {choice: [0, 0.1]}\n")
        self.adapter = work / "adapter"
        self.command([*self.train(), "--out", str(self.adapter)], {})
        self.hub = Hub()
        self.cases = self.make_cases()

    def train(self):
        return ["finetune", str(BASE), "--data", str(self.data), "--max-steps", "2", "--save-every", "1", "--batch-size", "1", "--rank", "1",
                "--targets", "q_proj", "--seq-len", "64", "--lr", "1e-3", "--dtype", "float32", "--val-split", "0", "--quiet"]

    def make_cases(self):
        def run(out):
            folder = out / "run"
            return {ADAPTER: digest(folder / ADAPTER), "config": digest(folder / "adapter_config.json"),
                    "metrics": rows_without_times(folder / "metrics.jsonl")}

        def folder(name, besides=()):
            # Reports and cards have times in them: they are there, whole, but not the same bytes.
            return lambda out: {n: digest(p) if not any(n.endswith(b) for b in besides) else p.stat().st_size > 0
                                for n, p in tree(out / name).items() if not n.endswith(".lock")}

        def file(name):
            return lambda out: {name: digest(out / name)}

        def unless_there(name, arguments):
            return lambda out: None if (out / name).exists() else arguments(out)

        def sweep(out):
            trials = [json.loads(line) for line in (out / "sweep" / "trials.jsonl").read_text().splitlines()]
            return {"trials": [{k: v for k, v in t.items() if k not in CHANGES} for t in trials],
                    "adapters": [digest(p) for p in sorted((out / "sweep").rglob(ADAPTER)) if "checkpoints" not in p.parts]}

        train = self.train()
        adapter = str(self.adapter)
        merge = lambda out: ["merge", str(BASE), "--adapter", adapter, "--out", str(out / "merged")]
        gguf = lambda out: ["export", adapter, "--model", str(BASE), "--format", "gguf", "--out", str(out / "a.gguf")]
        whole_gguf = lambda out: ["merge", str(BASE), "--adapter", adapter, "--into", "gguf", "--out", str(out / "gguf")]
        compress = lambda out: ["compress", adapter, "--model", str(BASE), "--rank", "1", "--data", str(self.text), "--seq-len", "64",
                                "--out", str(out / "small")]
        answers = lambda out: ["generate", str(BASE), "--input", str(self.prompts), "--output", str(out / "answers.jsonl"),
                               "--max-new-tokens", "3", "--temperature", "0", "--dtype", "float32"]
        report = lambda out: ["evaluate", str(BASE), "--compare", f"a={adapter}", "--data", f"x={self.text}", "--seq-len", "64", "--out",
                              str(out / "report")]
        sweeps = lambda out: ["sweep", str(self.space), *[w if w != "0" else "0.5" for w in train[1:]], "--trials", "2", "--sampler", "grid", "--out",
                              str(out / "sweep")]
        cached = lambda out: [*train, "--token-cache", str(out / "tokens"), "--overwrite", "--out", str(self.work / "beside" / "run")]
        coded = lambda out: ["generate", str(BASE), "--base-dtype", "nf4", "--prompt", "Once", "--max-new-tokens", "3", "--temperature", "0"]
        pull = lambda out: ["pull", "org/tiny"]
        tokens = lambda out: ["tokenizer", "train", "--data", str(ROOT / "examples" / "general.txt"), "--vocab-size", "320", "--out", str(out / "tokenizer")]

        def beside(out):
            return {ADAPTER: digest(self.work / "beside" / "run" / ADAPTER)}

        def pulled(out):
            shots = [p for p in out.rglob("snapshots/*/*")]
            return {p.name: digest(p) for p in shots}

        return [
            Case("finetune", lambda out: [*train, "--tensorboard", "--out", str(out / "run")], run,
                 again=lambda out: [*train, "--tensorboard", "--resume", "--out", str(out / "run")]),
            Case("merge", merge, folder("merged", ("README.md", "merge_report.json")), whole=["merged"], again=unless_there("merged", merge)),
            Case("merge_gguf", whole_gguf, folder("gguf", ("README.md", "merge_report.json")), whole=["gguf"],
                 again=unless_there("gguf", whole_gguf), slow=True),
            Case("export", gguf, file("a.gguf"), whole=["a.gguf"], again=unless_there("a.gguf", gguf)),
            Case("compress", compress, folder("small", ("README.md", "compression.json", ".html")), whole=["small"],
                 again=unless_there("small", compress)),
            Case("generate", answers, file("answers.jsonl"), again=lambda out: [*answers(out), "--resume"]),
            Case("report", report, lambda out: {n: True for n in tree(out / "report") if not n.endswith(".lock")}),
            Case("sweep", sweeps, sweep, again=lambda out: [*sweeps(out), "--resume"], slow=True),
            Case("token_cache", cached, beside),
            Case("quantised", coded, lambda out: {}, environment=lambda out: {"HF_HOME": str(out / "home"), "HF_HUB_CACHE": ""}),
            Case("pull", pull, pulled, environment=lambda out: {"HF_HUB_CACHE": str(out / "hub"), "HF_ENDPOINT": self.hub.url, "HF_TOKEN": "",
                                                                "HF_HUB_OFFLINE": ""}),
            Case("tokenizer", tokens, folder("tokenizer"), whole=["tokenizer"], again=unless_there("tokenizer", tokens)),
        ]

    def command(self, arguments, environment, expect=0):
        env = {k: v for k, v in {**os.environ, "OMP_NUM_THREADS": "1", **environment}.items() if v != ""}
        done = subprocess.run([self.lowrank, *arguments], capture_output=True, text=True, env=env, timeout=300, errors="replace")
        if expect is not None and done.returncode != expect:
            raise AssertionError(f"exit {done.returncode}, expected {expect}: {done.stderr[-400:]}")
        return done

    def fresh(self):
        out = self.work / "out"
        for path in (out, self.work / "out.removed"):
            shutil.rmtree(path, ignore_errors=True)
        out.mkdir()
        return out

    def reference(self, case):
        """Results, stdout where it is the result, and the number of calls."""
        out = self.fresh()
        count = self.work / "count"
        done = self.command(case.arguments(out), {**case.environment(out), "LD_PRELOAD": self.shim, "LOWRANK_FAULT_UNDER": str(out),
                                                  "LOWRANK_FAULT_COUNT": str(count)})
        whole = {name: self.state(out / name) for name in case.whole}
        return case.results(out), done.stdout, int(count.read_text()), whole

    @staticmethod
    def state(path):
        if path.is_dir():
            return sorted(n for n in tree(path))
        return digest(path) if path.is_file() else None

    def strike(self, case, reference, action, n):
        results, said, _, whole = reference
        out = self.fresh()
        environment = case.environment(out)
        done = self.command(case.arguments(out), {**environment, "LD_PRELOAD": self.shim, "LOWRANK_FAULT_UNDER": str(out),
                                                  "LOWRANK_FAULT": f"{action}:{n}"}, expect=None)
        errors = [line for line in done.stderr.splitlines() if line.startswith("lowrank: error:")]
        if action in ENDS:
            # A point that the command no longer comes to (times differ by a call) ends well.
            assert done.returncode in (-9, 0), f"exit {done.returncode}: {done.stderr[-300:]}"
        elif action in ("EINTR", "short"):
            assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-300:]}"
        else:
            assert done.returncode in (0, 74), f"exit {done.returncode}: {done.stderr[-300:]}"
            assert (len(errors) == 1) == (done.returncode == 74), f"not one sentence: {done.stderr[-300:]}"
        for name, new in whole.items():
            state = self.state(out / name)
            assert state in (None, new), f"{name} is neither absent nor whole: {state}"
        if done.returncode == 0 and action not in ENDS:
            assert case.results(out) == results, "the results are others"
        # What is half-written in a cache, which no lock guards, is swept when it is a day old.
        for path in [p for cache in ("hub", "tokens/files") for p in (out / cache).rglob(".*.tmp-*")]:
            os.utime(path, (time.time() - 2 * 86400,) * 2, follow_symlinks=False)
        again = case.again(out)
        if again is not None:
            more = self.command(again, environment)
            if not results:
                assert more.stdout == said, f"says otherwise afterwards: {more.stdout[-200:]}"
        assert case.results(out) == results, "the results afterwards are others"
        left = [p for p in out.rglob("*") if re.search(r"\.tmp-|\.removing$", p.name)]
        assert not left, f"left behind: {left[:3]}"

    def run(self, case, actions, stride, offset, deadline):
        reference = self.reference(case)
        calls = reference[2]
        begun, tried = time.time(), 0
        for i, action in enumerate(actions):
            for n in range(1 + (offset + i) % stride, calls + 1, stride):
                if time.time() > deadline:
                    break
                tried += 1
                try:
                    self.strike(case, reference, action, n)
                except (AssertionError, subprocess.TimeoutExpired, OSError, ValueError) as error:
                    self.fail += 1
                    print(f"FAIL {case.name}: {action} at call {n} of {calls}: {error}", flush=True)
                    shutil.rmtree(self.work / f"failed-{case.name}-{action}-{n}", ignore_errors=True)
                    shutil.copytree(self.work / "out", self.work / f"failed-{case.name}-{action}-{n}", symlinks=True)
        self.points += tried
        print(f"ok   {case.name}: {calls} calls, {tried} faults in {time.time() - begun:.0f} s", flush=True)


class Hub:
    """A hub on loopback with one model of four small files and a large one."""

    def __init__(self):
        files = {"config.json": b"{}", "tokenizer.json": b"{}", "README.md": b"# tiny\n", "model.safetensors": bytes(range(256)) * 200}
        commit = "0123456789abcdef0123456789abcdef01234567"

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = self.path.split("?")[0]
                if "/revision/" in path:
                    body = json.dumps({"sha": commit, "id": "org/tiny"}).encode()
                elif "/tree/" in path:
                    listed = []
                    for name, data in files.items():
                        entry = {"type": "file", "path": name, "size": len(data),
                                 "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
                        if name.endswith(".safetensors"):
                            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                        listed.append(entry)
                    body = json.dumps(listed).encode()
                elif "/resolve/" in path and path.rsplit("/", 1)[1] in files:
                    body = files[path.rsplit("/", 1)[1]]
                else:
                    body = None
                status = 404 if body is None else 200
                body = body or b""
                wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if wanted and status == 200:
                    begin = int(wanted[1])
                    end = int(wanted[2]) if wanted[2] else len(body) - 1
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {begin}-{min(end, len(body) - 1)}/{len(body)}")
                    body = body[begin:end + 1]
                else:
                    self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("shim", type=pathlib.Path)
    parser.add_argument("--thin", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--actions", default=",".join(ACTIONS))
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--keep", type=pathlib.Path, help="work here, and leave what failed")
    given = parser.parse_args()
    work = given.keep or pathlib.Path(tempfile.mkdtemp(prefix="lowrank-faults-"))
    work.mkdir(exist_ok=True)
    try:
        faults = Faults(given.lowrank.resolve(), given.shim.resolve(), work)
        cases = [c for c in faults.cases if not given.only or c.name in given.only.split(",")]
        actions = given.actions.split(",")
        end = time.time() + 60 * given.minutes
        for i, case in enumerate(cases):
            if given.thin:
                if case.slow:
                    continue
                reference = faults.reference(case)
                # The first calls are the lock's.
                points = [(["kill", "ENOSPC", "power"][i % 3], max(1, reference[2] * (1 + i % 3) // 4)), ("EINTR", 2 + i % 2)]
                for action, n in points:
                    try:
                        faults.strike(case, reference, action, n)
                        print(f"ok   {case.name}: {action} at call {n} of {reference[2]}", flush=True)
                    except AssertionError as error:
                        faults.fail += 1
                        print(f"FAIL {case.name}: {action} at call {n} of {reference[2]}: {error}", flush=True)
                    faults.points += 1
            else:
                faults.run(case, actions, given.stride, i, time.time() + (end - time.time()) / (len(cases) - i))
        print(f"{faults.points} faults, {faults.fail} failures")
        return 1 if faults.fail else 0
    finally:
        if given.keep is None:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
