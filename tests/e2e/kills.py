#!/usr/bin/env python3
"""Runs that are killed with SIGKILL at random moments, again and again, end as ones that were not: to the byte.

    kills.py LOWRANK [--kills 200] [--minutes 20] [--seed 1] [--only GROUP,...]

Groups: finetune, dpo, ppo, sweep, generate, and ranks (two processes, one of which or both are killed). Each run is started, killed after
a time drawn evenly from what a whole run takes, gone on with by --resume, killed again, a few times over, then left to end; adapters,
optimiser state, logs (but for times) and answers are compared with the uninterrupted run's. The number of kills is shared out evenly.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from ranks import LAUNCHED, Ranks  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "examples" / "base"
CHANGES = {"tokens_per_second", "peak_rss_bytes", "seconds", "created", "communication"}
A_RUN = 5  # kills of one run


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in CHANGES}
    return [plain(v) for v in value] if isinstance(value, list) else value


def rows(path):
    return [plain(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_run(folder):
    newest = max((p for p in (folder / "checkpoints").iterdir() if p.name.startswith("checkpoint-")), key=lambda p: int(p.name.split("-")[1]))
    tensors = {p.relative_to(folder).as_posix(): digest(p) for p in [*folder.glob("*.safetensors"), *newest.glob("*.safetensors")]}
    return {"tensors": tensors, "log": rows(folder / "metrics.jsonl"), "left": [p.name for p in folder.rglob("*") if ".tmp-" in p.name]}


def of_sweep(folder):
    return {"trials": rows(folder / "trials.jsonl"),
            "adapters": {p.relative_to(folder).as_posix(): digest(p) for p in folder.glob("trials/*/adapter_model.safetensors")},
            "left": [p.name for p in folder.rglob("*") if ".tmp-" in p.name]}


def of_file(path):
    return {"answers": digest(path), "left": [p.name for p in path.parent.glob(f".{path.name}.tmp-*")]}


class Group:
    def __init__(self, name, arguments, results, ranks=1):
        self.name, self.arguments, self.results, self.ranks = name, arguments, results, ranks


class Kills:
    def __init__(self, lowrank, work, seed):
        self.lowrank, self.work, self.random = str(lowrank), work, random.Random(seed)
        self.environment = {**{k: v for k, v in os.environ.items() if not LAUNCHED.match(k)}, "OMP_NUM_THREADS": "1"}
        os.environ["LOWRANK_MEET_WITHIN"] = "20"  # a rank that is killed before it comes is waited for this long, and 300 s without
        self.ranks = Ranks(lowrank, work, None)
        data = work / "rows.jsonl"
        data.write_text("".join(json.dumps({"prompt": f"What is {i} and {i % 7}?", "completion": f" It is {i + i % 7}" + "!" * (i % 5)}) + "\n"
                                for i in range(80)))
        pairs = work / "pairs.jsonl"
        pairs.write_text("".join(json.dumps({"prompt": f"Say {i}.", "chosen": f" {i}, gladly", "rejected": " No" + "o" * (i % 4)}) + "\n"
                                 for i in range(60)))
        prompts = work / "prompts.txt"
        prompts.write_text("".join(f"Count to {i}\n" for i in range(40)))
        space = work / "space.yaml"
        space.write_text("rank: {choice: [1, 2, 4]}\ndropout: {choice: [0, 0.1]}\n")
        common = ["--dtype", "float32", "--batch-size", "2", "--lr", "1e-3", "--seed", "5", "--quiet"]
        train = [str(BASE), *common, "--save-every", "3"]
        self.groups = [
            Group("finetune", lambda out: ["finetune", *train, "--data", str(data), "--max-steps", "40", "--dropout", "0.1", "--eval-every", "10",
                                           "--ema", "0.9", "--out", str(out)], of_run),
            Group("dpo", lambda out: ["align", "dpo", *train, "--data", str(pairs), "--max-steps", "24", "--out", str(out)], of_run),
            Group("ppo", lambda out: ["align", "ppo", str(BASE), *common, "--data", str(prompts), "--reward", "length:8", "--response-length",
                                      "8", "--max-steps", "8", "--save-every", "1", "--out", str(out)], of_run),
            Group("sweep", lambda out: ["sweep", str(space), str(BASE), *common, "--data", str(data), "--max-steps", "6", "--trials", "5",
                                        "--val-split", "0.2", "--save-every", "2", "--out", str(out)], of_sweep),
            Group("generate", lambda out: ["generate", str(BASE), "--input", str(prompts), "--output", f"{out}.jsonl", "--max-new-tokens", "24",
                                           "--temperature", "0.8", "--seed", "3", "--batch-size", "4", "--dtype", "float32"],
                  lambda out: of_file(out.with_suffix(".jsonl"))),
            Group("ranks", lambda out: ["finetune", *train, "--data", str(data), "--max-steps", "30", "--rank-timeout", "20", "--out", str(out)],
                  of_run, ranks=2),
        ]

    def start(self, group, out, resume):
        arguments = [*group.arguments(out), *(["--resume"] if resume else [])]
        if group.ranks > 1:
            return self.ranks.by_hand(arguments, group.ranks)
        return [subprocess.Popen([self.lowrank, *arguments], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)]

    def finish(self, group, processes):
        said = [p.communicate(timeout=300)[1] for p in processes]
        if any(p.returncode != 0 for p in processes):
            raise AssertionError(f"exit {[p.returncode for p in processes]}: {said}")

    def begun(self, group, out):
        return out.with_suffix(".jsonl").exists() if group.name == "generate" else out.exists()

    def run(self, group, kills, until):
        whole = self.work / f"{group.name}-whole"
        began = time.monotonic()
        self.finish(group, self.start(group, whole, False))
        takes = time.monotonic() - began
        expected = group.results(whole)
        killed = runs = 0
        while killed < kills and time.monotonic() < until:
            out = self.work / f"{group.name}-{runs}"
            for _ in range(min(A_RUN, kills - killed)):
                processes = self.start(group, out, self.begun(group, out))
                time.sleep(self.random.uniform(0.15 * takes, takes))
                victims = processes if group.ranks == 1 or self.random.random() < 0.3 else [self.random.choice(processes)]
                alive = [p for p in victims if p.poll() is None]
                for process in alive:
                    process.kill()
                for process in processes:
                    said = process.communicate(timeout=300)[1] or ""
                    if process.returncode not in (0, -9) and group.ranks == 1:
                        raise AssertionError(f"{group.name}: exit {process.returncode}: {said[-300:]}")
                killed += 1 if alive else 0
                if not alive:
                    break  # it had ended
            self.finish(group, self.start(group, out, self.begun(group, out)))
            found = group.results(out)
            runs += 1
            if found != expected:
                differ = [key for key in expected if found.get(key) != expected[key]]
                print(f"FAIL {group.name}, run {runs}: {differ} are others than the uninterrupted run's", flush=True)
                return killed, runs, False
            shutil.rmtree(out, ignore_errors=True)
            for file in self.work.glob(f"{group.name}-{runs - 1}*"):
                file.unlink() if file.is_file() else shutil.rmtree(file)
        print(f"ok   {group.name}: {killed} kills over {runs} runs of {takes:.1f} s; every end is the uninterrupted one's", flush=True)
        return killed, runs, True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowrank-kills-") as folder:
        kills = Kills(given.lowrank.resolve(), pathlib.Path(folder), given.seed)
        groups = [g for g in kills.groups if not given.only or g.name in given.only.split(",")]
        end = time.monotonic() + 60 * given.minutes
        total = runs = failed = 0
        for i, group in enumerate(groups):
            left = len(groups) - i
            killed, ended, well = kills.run(group, -(-(given.kills - total) // left), time.monotonic() + (end - time.monotonic()) / left)
            total, runs, failed = total + killed, runs + ended, failed + (not well)
        print(f"{total} kills, {runs} runs ended, {failed} groups failed")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
