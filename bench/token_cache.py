#!/usr/bin/env python3
"""Data larger than memory: a generated JSONL of instruction rows through the token cache.

    python bench/token_cache.py --assets <assets> [--megabytes 1000] [--lowrank build/bin/lowrank] [--work DIR] [--kill-after S] [--steps 20]

Some steps on stories260K, three times: the first makes the tokens and is killed after S seconds, the second goes on from what was kept, the third
reads them. Wall time, time to the first step, peak memory (the kernel's, mapped files included, and the peaks of its own and of mapped files
apart) and tokens a second of each; and the adapter of the third equals that of the second.
"""
import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench_common import model_of


def generate(path: Path, megabytes: int) -> None:
    """Rows of some hundred bytes, no two the same."""
    words = random.Random(1)
    vocabulary = ["".join(words.choice("aeioubcdfglmnprst") for _ in range(words.randint(2, 9))) for _ in range(5000)]
    sentences = [" ".join(words.choice(vocabulary) for _ in range(words.randint(5, 14))).capitalize() + "." for _ in range(20000)]
    written, row = 0, 0
    with path.open("w", encoding="ascii") as file:
        while written < megabytes * 1_000_000:
            lines = []
            for _ in range(1000):
                said = " ".join(words.choices(sentences, k=5))
                lines.append(f'{{"prompt": "Row {row}. {words.choice(sentences)}", "completion": " {said}"}}\n')
                row += 1
            text = "".join(lines)
            file.write(text)
            written += len(text)
    print(f"{row:,} rows, {written / 1e6:.0f} MB")


class Watch(threading.Thread):
    """The peaks of a process's own memory and of the files that it maps, and when its first step was done, from outside."""

    def __init__(self, pid: int, metrics: Path):
        super().__init__(daemon=True)
        self.status, self.metrics, self.first_step = Path(f"/proc/{pid}/status"), metrics, None
        self.stat, self.first_step_cpu = Path(f"/proc/{pid}/stat"), None
        self.peaks = {"RssAnon": 0, "RssFile": 0}
        self.start()

    def run(self) -> None:
        while True:
            try:
                lines = dict(line.split(":", 1) for line in self.status.read_text().splitlines() if ":" in line)
            except OSError:
                return
            if "RssAnon" not in lines:
                return
            for name in self.peaks:
                self.peaks[name] = max(self.peaks[name], int(lines[name].split()[0]) * 1024)
            if self.first_step is None and self.metrics.exists() and '"loss":' in self.metrics.read_text():
                self.first_step = time.time()
                times = self.stat.read_text().rsplit(")", 1)[1].split()[11:13]
                self.first_step_cpu = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
            time.sleep(0.03)


def run(options, data: Path, work: Path, name: str, kill_after: float = 0) -> dict:
    out = work / name
    command = [options.lowrank, "finetune", model_of(options.assets), "--data", data, "--token-cache", work / "tokens", "--out", out,
               "--max-steps", options.steps, "--rank", 4]
    begin = time.time()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watch = Watch(process.pid, out / "metrics.jsonl")
    if kill_after:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    result = {"seconds": time.time() - begin, "memory": usage.ru_maxrss * 1024, "cpu": usage.ru_utime + usage.ru_stime, "exit": process.returncode}
    if process.returncode == 0:
        result["first_step"], result["first_step_cpu"] = watch.first_step - begin, watch.first_step_cpu
        result["tokens"] = json.loads((out / "run.json").read_text())["data"]["train"]["tokens"]
        result["adapter"] = (out / "adapter_model.safetensors").read_bytes()
    elif not kill_after:
        print(said)
    result["notes"] = [line.strip() for line in said.splitlines() if "token" in line and ("going on" in line or "kept in" in line or "read from" in line)]
    print(f"{name}: exit {result['exit']}, {result['seconds']:.1f} s ({result['cpu']:.1f} s of processors), peak memory {result['memory'] / 1e9:.2f} GB "
          f"({watch.peaks['RssAnon'] / 1e9:.2f} its own, {watch.peaks['RssFile'] / 1e9:.2f} mapped)"
          + (f", first step within {result['first_step']:.1f} s ({result['first_step_cpu']:.1f} of processors)" if "first_step" in result else ""),
          flush=True)
    for note in result["notes"]:
        print("   ", note)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", required=True, type=Path)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--kill-after", type=float, default=20)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        generate(work / "rows.jsonl", options.megabytes)
        run(options, work / "rows.jsonl", work, "killed", options.kill_after)
        made = run(options, work / "rows.jsonl", work, "made")
        read = run(options, work / "rows.jsonl", work, "read")
        print(f"{made['tokens']:,} tokens; made at {made['tokens'] / made['seconds'] / 1e6:.2f} million a second; "
              f"{'the same adapter' if made['adapter'] == read['adapter'] else 'ANOTHER ADAPTER'}")


if __name__ == "__main__":
    main()
