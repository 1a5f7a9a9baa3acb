#!/usr/bin/env python3
"""Several processes train one adapter, started by every launcher that is there.

    ranks.py LOWRANK [--torchrun PATH]

On the example model: 2 and 4 ranks have the losses of one, two runs the same bytes, whoever started them (variables set by hand,
mpirun, torchrun --no-python), for every verb that trains and for evaluate; a signal to any rank stops all with a checkpoint, and
the run goes on to the same bytes, or on another number of ranks; a rank that is killed, frozen, or has other data is named; under
torchrun --max-restarts the job goes on by itself. A launcher that is missing is named and passed over.
"""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

from checks import check

ROOT = pathlib.Path(__file__).resolve().parents[2]
ADAPTER = "adapter_model.safetensors"
AGAIN = 75
LAUNCHED = re.compile("^(RANK|WORLD_SIZE|LOCAL_|MASTER_|OMPI_|PMI|SLURM_|TORCHELASTIC_|PET_)")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Ranks:
    def __init__(self, lowrank, work, torchrun):
        self.lowrank, self.work, self.torchrun = str(lowrank), work, torchrun
        self.base = ROOT / "examples" / "base"
        self.environment = {k: v for k, v in os.environ.items() if not LAUNCHED.match(k)}
        self.environment["OMP_NUM_THREADS"] = "1"
        self.data = work / "data.jsonl"
        with open(self.data, "w", encoding="utf-8") as file:
            for i in range(60):
                file.write(json.dumps({"prompt": f"What is {i} and {i % 7}?", "completion": f" It is {i + i % 7}" + "!" * (i % 5)}) + "\n")

    def arguments(self, out, *options, grad_accum=1, verb=("finetune",), data=None):
        model = [] if verb == ("pretrain",) else [str(self.base)] if "--dtype" in options else [str(self.base), "--dtype", "float32"]
        common = {"--max-steps": "20", "--batch-size": "2", "--grad-accum": str(grad_accum), "--lr": "1e-3", "--seed": "5"}
        own = [str(option) for option in options]
        given = [word for name, value in common.items() if name not in own for word in (name, value)]
        return [*verb, *model, "--data", str(data or self.data), *given, "--out", str(self.work / out), *own]

    def one(self, out, *options, expect=0, **more):
        return self.finish(out, [subprocess.Popen([self.lowrank, *self.arguments(out, *options, **more)], env=self.environment,
                                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)], expect)

    def by_hand(self, arguments, ranks, environments=None):
        """A process for each rank; `environments`: what one of them has of its own."""
        port, started = str(free_port()), []
        for rank in range(ranks):
            more = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **((environments or {}).get(rank, {}))}
            own = arguments(rank) if callable(arguments) else arguments
            started.append(subprocess.Popen([self.lowrank, *own], env={**self.environment, **more}, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, text=True))
        return started

    def by_mpirun(self, arguments, ranks):
        return [subprocess.Popen(["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks),
                                  self.lowrank, *arguments], env=self.environment, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True)]

    def by_torchrun(self, arguments, ranks, restarts=0):
        return [subprocess.Popen([self.torchrun, "--no-python", "--nproc-per-node", str(ranks), "--master-addr", "127.0.0.1",
                                  "--master-port", str(free_port()), "--max-restarts", str(restarts), self.lowrank, *arguments],
                                 env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]

    def finish(self, out, processes, expect=0, seconds=180):
        """(stdout, stderr) of all together; each must end with a code in `expect` (None: any)."""
        texts = []
        for process in processes:
            try:
                texts.append(process.communicate(timeout=seconds))
            except subprocess.TimeoutExpired:
                for other in processes:
                    other.kill()
                sys.exit(f"{out}: not ended after {seconds} s")
        codes = [process.returncode for process in processes]
        if expect is not None and any(code != expect for code in codes):
            sys.exit(f"{out}: exit {codes}, expected {expect}\n" + "\n".join("".join(text) for text in texts))
        return "".join(text[0] for text in texts), "".join(text[1] for text in texts)

    def rows(self, out):
        return [json.loads(line) for line in open(self.work / out / "metrics.jsonl", encoding="utf-8")]

    def losses(self, out):
        return [row["loss"] for row in self.rows(out) if "loss" in row]

    def digest(self, out, file=ADAPTER):
        return hashlib.sha256((self.work / out / file).read_bytes()).hexdigest()


def apart(a, b):
    return max(abs(x - y) / max(abs(x), 1e-6) for x, y in zip(a, b, strict=True))


def launchers(r):
    yield "variables by hand", r.by_hand
    module = pathlib.Path(r.lowrank).parent / "lowrank_mpi.so"
    if shutil.which("mpirun") and module.exists():
        yield "mpirun", r.by_mpirun
    else:
        print("ranks.py: no mpirun or no lowrank_mpi.so (libopenmpi-dev, openmpi-bin): MPI is passed over")
    if r.torchrun:
        yield "torchrun --no-python", r.by_torchrun
    else:
        print("ranks.py: no torchrun: it is passed over")


def same_as_one(r):
    digests = {}
    for ranks in (2, 4):
        r.one(f"one-{ranks}", grad_accum=ranks)
        for name, start in launchers(r):
            out = f"{start.__name__}-{ranks}"
            said, errors = r.finish(out, start(r.arguments(out), ranks))
            worst = apart(r.losses(f"one-{ranks}"), r.losses(out))
            check(f"{ranks} ranks, {name}: 20 losses are one rank's", worst <= 1e-5, f"{worst:.1e}")
            check(f"{ranks} ranks, {name}: rank 0 says who started it", said.count(f"rank 0 of {ranks} over") == 1 and said.count("rank 1") == 0)
            check(f"{ranks} ranks, {name}: threads are shared out and said", "threads: " in said and "OMP_NUM_THREADS 1 is not used" in said)
            digests.setdefault(ranks, []).append(r.digest(out))
        r.finish("again", r.by_hand(r.arguments("again", "--overwrite"), ranks))
        check(f"{ranks} ranks: adapters are byte-equal from run to run and launcher to launcher",
              set(digests[ranks]) == {r.digest("again")})
    traffic = json.load(open(r.work / "by_hand-2" / "run.json"))["result"]["communication"]
    check("run.json has what went between the ranks", traffic["ranks"] == 2 and traffic["bytes_sent_a_step"] > 0, json.dumps(traffic))


def verbs(r):
    pairs = r.work / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"Say {i}.", "chosen": f" {i}, gladly", "rejected": " No" + "o" * (i % 4)}) + "\n" for i in range(40)))
    labels = r.work / "labels.jsonl"
    labels.write_text("".join(json.dumps({"text": f"number {i} is {'even' if i % 2 == 0 else 'odd'}", "label": str(i % 2)}) + "\n" for i in range(40)))
    prompts = r.work / "prompts.txt"
    prompts.write_text("".join(f"Count to {i}\n" for i in range(24)))
    cases = {
        "dpo": (("align", "dpo"), pairs, ()),
        "reward": (("align", "reward"), pairs, ()),
        "ppo": (("align", "ppo"), prompts, ("--reward", "length:8", "--response-length", "8", "--max-steps", "4")),
        "classification": (("finetune",), labels, ("--task", "classification")),
        "full": (("finetune",), r.data, ("--method", "full")),
        "pretrain": (("pretrain",), r.data, ("--config", r.base / "config.json", "--tokenizer", r.base)),
    }
    for name, (verb, data, options) in cases.items():
        r.one(f"{name}-one", *options, grad_accum=2, verb=verb, data=data)
        r.finish(name, r.by_hand(r.arguments(f"{name}-two", *options, verb=verb, data=data), 2))
        worst = apart(r.losses(f"{name}-one"), r.losses(f"{name}-two"))
        check(f"{name}: the losses of two ranks are one's", worst <= 1e-4, f"{worst:.1e}")
    adapter = ["--adapter", str(r.work / "dpo-two")]
    one = r.finish("evaluate", [subprocess.Popen([r.lowrank, "evaluate", str(r.base), *adapter, "--data", str(r.data), "--json"],
                                                 env=r.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)])[0]
    two = r.finish("evaluate", r.by_hand(["evaluate", str(r.base), *adapter, "--data", str(r.data), "--json"], 2))[0]
    check("evaluate: the very numbers of one process", json.loads(one) == json.loads(two))


def write_picture(file, kind, number):
    """16 x 16 gray: stripes across, or upright, under noise."""
    draw = random.Random(f"{kind} {number}")
    lines = [bytes([0]) + bytes(((y if kind == 0 else x) // 4) % 2 * 180 + draw.randrange(40) for x in range(16)) for y in range(16)]
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b"")]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts))


def pictures(r):
    for kind, name in enumerate(("cat", "dog")):
        for i in range(12):
            write_picture(r.work / "pictures" / name / f"{i}.png", kind, i)
    model = r.work / "resnet"
    model.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(ROOT / "tests" / "goldens" / "models" / "resnet-basic" / file, model)
    (model / "preprocessor_config.json").write_text(json.dumps(
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "image_mean": 0.4, "image_std": 0.3}))

    def arguments(out, grad_accum):
        return ["finetune", str(model), "--task", "image-classification", "--data", str(r.work / "pictures"), "--val-split", "0.25", "--out",
                str(r.work / out), "--max-steps", "12", "--batch-size", "3", "--grad-accum", str(grad_accum), "--lr", "1e-3"]

    r.finish("pictures-one", r.by_hand(arguments("pictures-one", 2), 1))
    r.finish("pictures-two", r.by_hand(arguments("pictures-two", 1), 2))
    worst = apart(r.losses("pictures-one"), r.losses("pictures-two"))
    check("pictures: the losses of two ranks are one's", worst <= 1e-4, f"{worst:.1e}")
    judged = ["evaluate", str(model), "--adapter", str(r.work / "pictures-two"), "--task", "image-classification", "--data",
              str(r.work / "pictures"), "--json"]
    one, two = (json.loads(r.finish("pictures", r.by_hand(judged, ranks))[0]) for ranks in (1, 2))
    check("evaluate of pictures: the very numbers of one process", one == two)


def wait_for_step(r, out, step, processes):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if sum("loss" in row for row in r.rows(out)) >= step:
                return
        except (OSError, ValueError):
            pass
        if any(process.poll() is not None for process in processes):
            sys.exit(f"{out} ended early: " + "".join("".join(p.communicate()) for p in processes if p.poll() is not None))
        time.sleep(0.02)
    sys.exit(f"{out}: step {step} did not come")


LONG = ("--max-steps", 200, "--save-every", 10, "--eval-every", 100)


def undisturbed(r):
    """The name of a long run that nothing happens to."""
    if not (r.work / "long").exists():
        r.finish("long", r.by_hand(r.arguments("long", *LONG), 2))
    return "long"


def signals_and_resume(r):
    whole = undisturbed(r)
    for who in (0, 1):
        out = f"stopped-{who}"
        processes = r.by_hand(r.arguments(out, *LONG), 2)
        wait_for_step(r, out, 25, processes)
        processes[who].send_signal(signal.SIGTERM)
        said, _ = r.finish(out, processes, expect=143)
        check(f"SIGTERM to rank {who} stops both at one step", said.count("stopped by signal 15 after step") == 1)
        r.finish(out, r.by_hand(r.arguments(out, *LONG, "--resume"), 2))
        check("and the run goes on to the same bytes", r.digest(out) == r.digest(whole))
    out = "fewer"
    processes = r.by_hand(r.arguments(out, *LONG), 2)
    wait_for_step(r, out, 25, processes)
    processes[1].send_signal(signal.SIGTERM)
    r.finish(out, processes, expect=143)
    said, _ = r.one(out, *LONG, "--resume")
    check("resumed on one rank, which says that bytes may differ", "resumed on 1 rank after 2" in said and "bytes may differ" in said)
    worst = apart(r.losses(out), r.losses(whole))
    check("with the losses of the two", worst <= 1e-3, f"{worst:.1e}")


def refusals(r):
    """What all ranks refuse, or one of them, at whatever moment, is said once: by rank 0."""
    for what, options, sentence in (("an option that there is not", ("--nosuch", 3), "has no --nosuch"),
                                    ("a value that is none", ("--rank", "abc"), "--rank expects a whole number"),
                                    ("a value out of range", ("--max-steps", 0), "--max-steps"),
                                    ("options that contradict each other", ("--resume", "--overwrite"), "contradicts"),
                                    ("data that is missing", ("--val-data", "nowhere.txt"), "nowhere.txt")):
        for how, start in (("by hand", r.by_hand), ("mpirun", r.by_mpirun)):
            if how == "mpirun" and not shutil.which("mpirun"):
                continue
            processes = start(r.arguments("refused", *options), 3)
            errors = "".join(process.communicate(timeout=60)[1] for process in processes)
            codes = {process.returncode for process in processes}
            check(f"{what}, {how}: one sentence", errors.count("lowrank: error:") == 1 and sentence in errors and codes <= {2, 66}, errors.split("lowrank: ", 1)[-1].split("\n")[0][:120])
    for words in (["--help"], ["help", "merge"], ["finetune", "--help"], ["--version"]):
        processes = [subprocess.Popen([r.lowrank, *words], stdout=subprocess.PIPE, text=True, env={**r.environment, "RANK": str(rank), "WORLD_SIZE": "3",
                                      "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}) for rank in range(3)]
        said = [process.communicate(timeout=60)[0] for process in processes]
        check(f"{' '.join(words)}: rank 0 tells it, alone", said[0] != "" and said[1:] == ["", ""] and {p.returncode for p in processes} == {0})
    processes = r.by_hand(lambda rank: r.arguments("refused", *(("--rank", "abc") if rank == 1 else ())), 3)
    errors = "".join(process.communicate(timeout=60)[1] for process in processes)
    check("what one rank refuses: one sentence, with its name", errors.count("lowrank: error:") == 1 and "rank 1 (" in errors and "--rank expects" in errors, errors.strip()[-200:])


def faults(r):
    whole = undisturbed(r)
    for name, number, expected in (("killed", signal.SIGKILL, "has ended, or its connection broke"),
                                   ("frozen", signal.SIGSTOP, "has given no sign of life for")):
        out = name
        processes = r.by_hand(r.arguments(out, *LONG, "--rank-timeout", 2), 2)
        wait_for_step(r, out, 35, processes)
        began = time.monotonic()
        processes[1].send_signal(number)
        _, errors = r.finish(out, processes[:1], expect=AGAIN)
        took = time.monotonic() - began
        processes[1].kill()
        processes[1].communicate()
        named = f"rank 1 ({socket.gethostname()}, pid {processes[1].pid}) {expected}"
        check(f"a rank that is {name} is named in one sentence, in time", named in errors and errors.count("error:") == 1 and took < 8, f"{took:.1f} s")
        r.finish(out, r.by_hand(r.arguments(out, *LONG, "--resume"), 2))
        check("and the run goes on to the same bytes", r.digest(out) == r.digest(whole))
    refusals(r)
    text, longer = r.work / "one" / "held.txt", r.work / "two" / "held.txt"
    for path, words in ((text, "Once upon a time. "), (longer, "There was a dog. ")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(words * 60)
    measured = ["evaluate", r.arguments("unused")[1], "--data"]
    for what, own, others, named in (("options", [*measured, str(text), "--seq-len", "64"], [*measured, str(text), "--seq-len", "32"], "--seq-len: 64 on rank 0, 32 on rank 1"),
                                     ("text", [*measured, str(text)], [*measured, str(longer)], "data: "),
                                     ("verb", r.arguments("unused"), [*measured, str(text)], "command: finetune on rank 0, evaluate on rank 1"),
                                     ("base over ranks", r.arguments("unused", "--shard-base", "always"), r.arguments("unused"), "--shard-base: always on rank 0"),
                                     ("kind of run", r.arguments("unused"), r.arguments("unused", "--dry-run"), "--dry-run: false on rank 0")):
        _, errors = r.finish("unused", r.by_hand(lambda rank: others if rank == 1 else own, 2), expect=2)
        check(f"another {what} on a rank is found at the start", "rank 1 (" in errors and named in errors and errors.count("error:") == 1, errors.strip()[-200:])
    other = r.work / "other.jsonl"
    other.write_text(r.data.read_text().replace("What is 3 ", "What is 4 "))
    processes = r.by_hand(lambda rank: r.arguments("differs", data=other if rank == 1 else None), 2)
    _, errors = r.finish("differs", processes, expect=2)
    check("other data on a rank is found at the start", "rank 1 (" in errors and "train data" in errors and errors.count("error:") == 1, errors.strip()[:160])
    if r.torchrun:
        out = "restarted"
        processes = r.by_torchrun(r.arguments(out, *LONG), 2, restarts=2)
        wait_for_step(r, out, 35, processes)
        workers = subprocess.run(["pgrep", "-P", str(processes[0].pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        said, _ = r.finish(out, processes)
        check("torchrun --max-restarts: the job goes on by itself", "going on as with --resume" in said and "resumed from" in said)
        check("to the same bytes", r.digest(out) == r.digest(whole))


def parts(r):
    """--shard-base: ranks that hold the base together leave the bytes of ranks that each have it whole."""
    pairs = r.work / "parts-pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": f"Say {i}.", "chosen": f" {i}, gladly", "rejected": " No" + "o" * (i % 4)}) + "\n" for i in range(40)))
    labels = r.work / "parts-labels.jsonl"
    labels.write_text("".join(json.dumps({"text": f"number {i} is {'even' if i % 2 == 0 else 'odd'}", "label": str(i % 2)}) + "\n" for i in range(40)))
    prompts = r.work / "parts-prompts.txt"
    prompts.write_text("".join(f"Count to {i}\n" for i in range(24)))
    always = ("--shard-base", "always")
    text, evaluated = ("finetune",), ("--eval-every", 5, "--val-split", 0.2)
    cases = {
        "2 ranks": (2, text, r.data, ()),
        "3 ranks, evaluated": (3, text, r.data, evaluated),
        "4 ranks": (4, text, r.data, ()),
        "bf16": (2, text, r.data, ("--dtype", "bfloat16")),
        "recomputation": (2, text, r.data, ("--recompute", "layer")),
        "PiSSA": (2, text, r.data, ("--init", "pissa")),
        "DoRA on all, the head too": (2, text, r.data, ("--dora", "--targets", "q_proj,down_proj,lm_head")),
        "an adapter on the embedding": (2, text, r.data, ("--targets", "q_proj,embed_tokens")),
        "dpo": (2, ("align", "dpo"), pairs, ()),
        "reward": (2, ("align", "reward"), pairs, ()),
        "ppo": (2, ("align", "ppo"), prompts, ("--reward", "length:8", "--response-length", "8", "--max-steps", "4")),
        "classification": (2, text, labels, ("--task", "classification")),
        "folds": (2, text, r.data, ("--folds", 2, "--max-steps", 4)),
    }
    for name, (ranks, verb, data, options) in cases.items():
        outs = f"parts-{name.replace(' ', '-')}-whole", f"parts-{name.replace(' ', '-')}"
        for out, more in zip(outs, ((), always)):
            said, _ = r.finish(out, r.by_hand(r.arguments(out, *options, *more, verb=verb, data=data), ranks))
        files = [str(path.relative_to(r.work / outs[0])) for path in sorted((r.work / outs[0]).rglob(ADAPTER)) if "checkpoint" not in str(path)]
        check(f"shares, {name}: the bytes of ranks that have the base whole",
              len(files) > 0 and all(r.digest(outs[0], file) == r.digest(outs[1], file) for file in files), f"{len(files)} files")
        if name != "folds":
            check(f"shares, {name}: the same losses", r.losses(outs[0]) == r.losses(outs[1]))
            check(f"shares, {name}: said", f"shared out over {ranks} ranks" in said)
    run = json.load(open(r.work / "parts-4-ranks" / "run.json"))
    shares, traffic = run["model"]["shares"], run["result"]["communication"]
    check("run.json has what a rank holds and what came", shares["ranks"] == 4 and traffic["base_bytes_received"] > 0
          and abs(shares["held_bytes"] / shares["total_bytes"] - 0.25) < 0.05, json.dumps({**shares, **traffic}))
    planned = [json.load(open(r.work / out / "run.json"))["memory"]["base"] for out in ("parts-4-ranks", "parts-4-ranks-whole")]
    check("the memory plan counts the share", planned[0] < 0.6 * planned[1], f"{planned}")
    for name, what in {"text": ("--adapter", str(r.work / "parts-2-ranks-whole"), "--data", str(r.data), "--frontier"),
                       "labels": ("--adapter", str(r.work / "parts-classification-whole"), "--data", str(labels), "--task", "classification")}.items():
        measured = ["evaluate", str(r.base), *what]
        alone = r.finish(name, [subprocess.Popen([r.lowrank, *measured, "--json"], env=r.environment, stdout=subprocess.PIPE,
                                                 stderr=subprocess.PIPE, text=True)])[0]
        for ranks in (2, 3):
            shared = r.finish(name, r.by_hand([*measured, *always, "--json"], ranks))[0]
            check(f"evaluate of {name}, a base shared out over {ranks} ranks: the very numbers of one process", json.loads(shared) == json.loads(alone))
        said = r.finish(name, r.by_hand([*measured, *always], 2))[0]
        check(f"evaluate of {name} says how it is shared out", said.count("shared out over 2 ranks") == 1)
    measured = ["evaluate", str(r.base), "--data", str(r.data), *always]
    for name, (ranks, more) in {"one process": (1, ()), "codes": (2, ("--base-dtype", "int8"))}.items():
        _, errors = r.finish(name, r.by_hand([*measured, *more], ranks), expect=2)
        said = {line for line in errors.splitlines() if "error:" in line}
        check(f"evaluate with shares of {name} is refused in one sentence", "--shard-base: " in errors and len(said) == 1, errors.strip()[:160])
    out = "parts-auto"
    said, _ = r.finish(out, r.by_hand(r.arguments(out, "--shard-base", "auto"), 2))
    check("auto on one machine: the mapped files are shared, and that is said",
          "not shared out: the 2 ranks stand on one machine" in said and "shares" not in json.load(open(r.work / out / "run.json"))["model"])
    out = "parts-mpi"
    if pathlib.Path(r.lowrank).parent.joinpath("lowrank_mpi.so").exists() and shutil.which("mpirun"):
        r.finish(out, r.by_mpirun(r.arguments(out, *always), 4))
        check("shares under mpirun: the same bytes", r.digest(out) == r.digest("parts-4-ranks"))

    refusals = {
        "one process": ((1,), (), "--shard-base: shares a base out over several processes"),
        "--method full": ((2,), ("--method", "full"), "--shard-base: is for a frozen base"),
        "--base-dtype nf4": ((2,), ("--base-dtype", "nf4"), "--shard-base: is for a base as its files have it"),
        "--kernels composite": ((2,), ("--kernels", "composite"), "--shard-base: saves nothing with --kernels composite"),
        "--pack keep": ((2,), ("--pack", "keep"), "--shard-base: contradicts --pack keep"),
        "a whole copy": ((2,), ("--modules-to-save", "lm_head"), "shared out over ranks, of which no whole copy can be trained"),
    }
    for name, ((ranks,), options, expected) in refusals.items():
        _, errors = r.finish(name, r.by_hand(r.arguments("parts-refused", *always, *options), ranks), expect=2)
        # A rank that comes to the same after rank 0 has said it and ended says it itself.
        said = {line for line in errors.splitlines() if "error:" in line}
        check(f"shares with {name} are refused in one sentence", expected in errors and len(said) == 1, errors.strip()[:160])

    whole, out = undisturbed(r), "parts-killed"
    processes = r.by_hand(r.arguments(out, *LONG, *always, "--rank-timeout", 2), 2)
    wait_for_step(r, out, 35, processes)
    began = time.monotonic()
    processes[1].send_signal(signal.SIGKILL)
    _, errors = r.finish(out, processes[:1], expect=AGAIN)
    processes[1].communicate()
    named = f"rank 1 ({socket.gethostname()}, pid {processes[1].pid}) has ended, or its connection broke"
    check("a rank that is killed with its share is named in one sentence, in time",
          named in errors and errors.count("error:") == 1 and time.monotonic() - began < 8, errors.strip()[:160])
    r.finish(out, r.by_hand(r.arguments(out, *LONG, *always, "--resume"), 2))
    check("and the run goes on to the same bytes", r.digest(out) == r.digest(whole))


def main():
    lowrank = pathlib.Path(sys.argv[1]).resolve()
    torchrun = sys.argv[sys.argv.index("--torchrun") + 1] if "--torchrun" in sys.argv else shutil.which("torchrun")
    all_parts = (same_as_one, verbs, pictures, signals_and_resume, faults, parts)
    asked = [part for part in all_parts if part.__name__ in sys.argv] or all_parts
    with tempfile.TemporaryDirectory() as work:
        r = Ranks(lowrank, pathlib.Path(work), torchrun)
        for part in asked:
            part(r)


if __name__ == "__main__":
    main()
