#!/usr/bin/env python3
"""Folders that mean harm: of a model, an adapter, a run, data. Nothing outside of them is opened, says the kernel; every verb ends in time,
in a result or one sentence, and what it says moves no terminal.

    hostile.py LOWRANK [--only CASE,...]

Needs strace. Outside of every folder lies one that is named by links, paths ("../", absolute), names of shards, pictures, checkpoints
and pages; each of its files is a valid one of its kind, so whoever opens one finds what it looked for.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE = ROOT / "examples" / "base"
SECONDS = 60  # under strace, beside other work
EVIL = "x\x1b[2J\r\nlowrank: error: forged\u202e\u200b\x9b31m<script>alert(1)</script>"
OPENS = re.compile(r"\b(?:open|openat|openat2|creat|execve)\(")


def png(width=1, height=1, says=None):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + b"\x80\x80\x80" * width for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *(says or (width, height)), 8, 2, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Hostile:
    def __init__(self, lowrank, work):
        self.lowrank, self.work = str(lowrank), work
        self.outside = work / "outside"
        self.failed = self.done = 0
        self.slowest = 0.0
        shutil.copytree(BASE, self.outside / "model")
        (self.outside / "secret.json").write_text('{"token": 1}')
        (self.outside / "secret.jinja").write_text("{{ 'secret' }}")
        (self.outside / "secret.txt").write_text("a secret line\n" * 20)
        (self.outside / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 20)
        (self.outside / "secret.png").write_bytes(png())
        self.rows = work / "rows.jsonl"
        self.rows.write_text('{"prompt": "Once", "completion": " upon a time"}\n' * 20)
        self.adapter = work / "adapter"
        self.must(["finetune", str(BASE), "--data", str(self.rows), "--max-steps", "2", "--save-every", "1", "--rank", "2", "--batch-size", "2",
                   "--quiet", "--out", str(self.adapter)])

    def must(self, words):
        subprocess.run([self.lowrank, *words], check=True, capture_output=True, timeout=SECONDS)

    def fresh(self, name, of):
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(of, folder)
        return folder

    def check(self, case, words, done_within=SECONDS):
        trace = self.work / "trace"
        words = [str(word) for word in words]
        begun = time.monotonic()
        try:
            done = subprocess.run(["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-s", "4096", "-e", "trace=%file", "-o", str(trace), self.lowrank, *words],
                                  capture_output=True, timeout=done_within, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return self.say(case, words, f"still runs after {done_within} s")
        self.slowest = max(self.slowest, time.monotonic() - begun)
        problems = []
        for line in trace.read_text(errors="replace").splitlines():
            # A file that was opened stands behind "= fd", so links are seen through.
            if OPENS.search(line) and str(self.outside) in line and "ENOENT" not in line and not line.split("(", 1)[1].startswith(f'"{self.lowrank}"'):
                problems.append("opens what lies outside: " + line.strip()[:200])
        if done.returncode not in (0, 2, 65, 66, 74):
            problems.append(f"exit {done.returncode}")
        said = done.stderr.decode(errors="surrogateescape")
        errors = sum(line.startswith("lowrank: error: ") for line in said.splitlines())
        if errors != (done.returncode != 0) and words[0] != "doctor":  # whose findings are a result, whatever it ends with
            problems.append(f"says {errors} errors")
        shown = said + done.stdout.decode(errors="surrogateescape")
        if any(ord(c) < 32 and c not in "\n\t" or c in "\x7f\u202e\u200b" or 0x80 <= ord(c) < 0xA0 for c in shown) or "\nlowrank: error: forged" in shown:
            problems.append("moves the terminal, or forges a line")
        for problem in problems[:2]:
            self.say(case, words, problem + ": " + ascii(said[-300:]))
        self.done += 1

    def say(self, case, words, problem):
        self.failed += 1
        print(f"FAIL {case}: {' '.join(words)[:160]}: {problem}", flush=True)

    def verbs_of_model(self, case, model):
        out = self.work / "out"
        for words in (["inspect", model], ["tokenize", model, "--text", "Once upon"], ["generate", model, "--prompt", "Once", "--max-new-tokens", "2"],
                      ["merge", model, "--adapter", self.adapter, "--out", out],
                      ["finetune", model, "--data", self.rows, "--max-steps", "1", "--batch-size", "2", "--rank", "2", "--quiet", "--out", out]):
            shutil.rmtree(out, ignore_errors=True)
            self.check(case, words)

    def verbs_of_adapter(self, case, adapter):
        out = self.work / "out"
        for words in (["inspect", adapter], ["generate", BASE, "--adapter", adapter, "--prompt", "Once", "--max-new-tokens", "2"],
                      ["merge", BASE, "--adapter", adapter, "--out", out],
                      ["finetune", BASE, "--adapter", adapter, "--data", self.rows, "--max-steps", "1", "--batch-size", "2", "--quiet", "--out", out]):
            shutil.rmtree(out, ignore_errors=True)
            self.check(case, words)

    def verbs_of_run(self, case, run):
        checkpoint = run / "checkpoints" / "checkpoint-2"
        self.check(case, ["runs", run])
        self.check(case, ["inspect", run])
        if not checkpoint.is_symlink():  # a link that the user names is followed
            self.check(case, ["inspect", checkpoint])
        self.check(case, ["finetune", BASE, "--data", self.rows, "--max-steps", "2", "--save-every", "1", "--rank", "2", "--batch-size", "2",
                          "--quiet", "--out", run, "--resume"])

    def verbs_of_data(self, case, data):
        out = self.work / "out"
        for words in (["doctor", BASE, "--data", data], ["evaluate", BASE, "--data", data],
                      ["finetune", BASE, "--data", data, "--max-steps", "1", "--batch-size", "2", "--rank", "2", "--quiet", "--out", out]):
            shutil.rmtree(out, ignore_errors=True)
            self.check(case, words)

    # What is done to a model's folder: {name: function of the folder}.
    def of_models(self):
        outside = self.outside

        def put(name, text):
            return lambda m: (m / name).write_text(text if isinstance(text, str) else json.dumps(text))

        def change(name, **members):
            return lambda m: (m / name).write_text(json.dumps({**json.loads((m / name).read_text()), **members}))

        def shard(name):
            def make(m):
                tensors = json.loads((m / "model.safetensors").read_bytes()[8:8 + struct.unpack("<Q", (m / "model.safetensors").read_bytes()[:8])[0]])
                (m / "model.safetensors").unlink()
                (m / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {k: name for k in tensors if k != "__metadata__"}}))
            return make

        def link(name, to):
            def make(m):
                (m / name).unlink(missing_ok=True)
                (m / name).symlink_to(to)
            return make

        def special(name, make_it):
            def make(m):
                (m / name).unlink(missing_ok=True)
                make_it(str(m / name))
            return make

        def tokenizer(**changes):
            return lambda m: (m / "tokenizer.json").write_text(json.dumps({**json.loads((m / "tokenizer.json").read_text()), **changes}))

        grows = {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 400}] * 4}
        cases = {f"a shard named {name}": shard(name) for name in
                 ("../outside/model/model.safetensors", str(outside / "model" / "model.safetensors"), "x/../../outside/model/model.safetensors",
                  "../outside/model/model.safetensors\0x", "..", "", "/dev/zero", EVIL)}
        for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            cases[f"a link {name}"] = link(name, outside / "model" / name)
            cases[f"a link to a folder that is none, {name}"] = link(name, "../outside/model/../model/" + name)
        for name in ("chat_template.jinja", "NOTICE", "LICENSE", "added_tokens.json", "preprocessor_config.json", "README.md", "vocab.json", "merges.txt"):
            cases[f"a link {name}"] = link(name, outside / ("secret.jinja" if name.endswith("jinja") else "secret.json"))
        for name in ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"):
            cases[f"a pipe {name}"] = special(name, os.mkfifo)
            cases[f"a folder {name}"] = special(name, os.mkdir)
            cases[f"a device {name}"] = link(name, "/dev/zero")
        for tag in ("include", "import", "extends"):
            cases[f"a template that {tag}s"] = put("chat_template.jinja", f"{{% {tag} '{outside}/secret.jinja' %}}{{{{ messages }}}}")
        cases.update({
            "a template without end": put("chat_template.jinja", "{% for a in range(100000) %}{% for b in range(100000) %}{{ a * b }}{% endfor %}{% endfor %}"),
            "a template of text without end": put("chat_template.jinja", "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}"),
            "a template of templates": change("tokenizer_config.json", chat_template=[{"name": "default", "template": "{" * 100000}]),
            "files named in settings": change("tokenizer_config.json", tokenizer_file=str(outside / "model/tokenizer.json"),
                                              vocab_file="../outside/model/tokenizer.model", auto_map={"AutoTokenizer": ["../outside/x.py", None]}),
            "code named in settings": change("config.json", auto_map={"AutoModelForCausalLM": f"{outside}/code.py--Evil"}, _name_or_path=str(outside / "model")),
            "JSON a million deep": put("config.json", "[" * 1000000),
            "JSON of a huge number": put("config.json", '{"vocab_size": 1' + "0" * 1000000 + "}"),
            "settings of a huge model": change("config.json", vocab_size=2**31 - 1, hidden_size=2**31 - 1, num_hidden_layers=2**31 - 1),
            "a normalizer that grows": tokenizer(normalizer=grows),
            "a regular expression that explodes": tokenizer(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}),
            "merges of what is not there": lambda m: (m / "tokenizer.json").write_text(json.dumps(
                {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"] * 100000}})),
            "evil names in settings": change("config.json", model_type=EVIL, architectures=[EVIL]),
            "evil tokens": tokenizer(added_tokens=[{"id": 5000000, "content": EVIL, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}]),
            "a header that says more than there is": lambda m: (m / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}"),
            "a GGUF model that says more than there is": lambda m: (m / "model.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60)),
        })
        return cases

    def of_adapters(self):
        def change(**members):
            return lambda a: (a / "adapter_config.json").write_text(json.dumps({**json.loads((a / "adapter_config.json").read_text()), **members}))

        def link(name, to):
            def make(a):
                (a / name).unlink(missing_ok=True)
                (a / name).symlink_to(to)
            return make
        return {
            "targets that explode": change(target_modules="(.*a)*(.*b)*(.*c)*$"),
            "evil targets": change(target_modules=[EVIL]),
            "an evil base": change(base_model_name_or_path=EVIL),
            "a base that is a path upwards": change(base_model_name_or_path="../../../../../../.." + str(self.outside / "secret.json")),
            "a rank beyond all": change(r=2**40, lora_alpha=1e308),
            "a config that is a link": link("adapter_config.json", self.outside / "secret.json"),
            "a tokenizer that is a link": link("tokenizer.json", self.outside / "model" / "tokenizer.json"),
            "a template that is a link": link("chat_template.jinja", self.outside / "secret.jinja"),
            "a config that is a device": link("adapter_config.json", "/dev/zero"),
            "an mlx adapter whose file is missing": lambda a: ((a / "adapter_config.json").write_text(json.dumps(
                {"fine_tune_type": "lora", "model": str(self.outside / "model"), "lora_parameters": {"scale": 1, "rank": 8}})),
                (a / "adapter_model.safetensors").unlink()),
        }

    def of_runs(self):
        outside = self.outside
        newest = pathlib.Path("checkpoints") / "checkpoint-2"

        def link(name, to):
            def make(r):
                (r / name).unlink(missing_ok=True)
                (r / name).symlink_to(to)
            return make

        def manifest(name):
            def make(r):
                file = r / newest / "manifest.json"
                json_of = json.loads(file.read_text())
                json_of["files"][name] = {"size": 12, "sha256": "0" * 64}
                file.write_text(json.dumps(json_of, indent=2) + "\n")
            return make

        def folder(name):
            def make(r):
                shutil.rmtree(r / name)
                (r / name).symlink_to(outside / "model")
            return make
        cases = {f"a link {name}": link(name, outside / "secret.json") for name in
                 ("run.json", "metrics.jsonl", "adapter_config.json", newest / "manifest.json", newest / "trainer_state.json", newest / "adapter_config.json")}
        cases.update({f"a manifest that names {name}": manifest(name) for name in ("../../../outside/secret.json", str(outside / "secret.json"), EVIL)})
        cases["checkpoints that are a link"] = folder("checkpoints")
        cases["a checkpoint that is a link"] = folder(newest)
        cases["a lock that is a link"] = link(".lowrank.lock", outside / "secret.json")
        return cases

    def of_data(self):
        outside = self.outside

        def card(files):
            return lambda d: (d / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {json.dumps(files)}\n---\n")

        def put(name, what):
            return lambda d: (d / name).write_bytes(what if isinstance(what, bytes) else what.encode())

        def link(name, to):
            return lambda d: (d / name).symlink_to(to)

        def zipped(name, data):
            def make(d):
                import gzip
                (d / name).write_bytes(gzip.compress(data))
            return make
        cases = {f"a card that names {name}": card(name) for name in
                 ("../outside/rows.jsonl", str(outside / "rows.jsonl"), "x/../../outside/*.jsonl", "**/../../outside/rows.jsonl", "../**", EVIL,
                  ["rows.jsonl", "../outside/rows.jsonl"])}
        cases.update({
            "a link of rows": link("more.jsonl", outside / "rows.jsonl"),
            "a link to a folder": link("more", outside),
            "a link of text": link("more.txt", outside / "secret.txt"),
            "a pipe": lambda d: os.mkfifo(d / "more.jsonl"),
            "a device": link("more.jsonl", "/dev/zero"),
            "rows that name files": put("more.jsonl", json.dumps({"prompt": "a", "completion": "b", "image": str(outside / "secret.png"),
                                                                  "file_name": "../outside/secret.png"}) + "\n"),
            "evil rows": put("more.jsonl", json.dumps({"prompt": EVIL, "completion": EVIL, EVIL: EVIL}) + "\n"),
            "a row that is no JSON": put("more.jsonl", '{"prompt": ' + "[" * 200000 + "\n"),
            "a zipped line of zeros": zipped("more.jsonl.gz", b"0" * (1 << 28)),
            "a table of nothing": put("more.parquet", "PAR1" + "\xff" * 40 + "PAR1"),
            "a settings file of templates": put("dataset_info.json", json.dumps({"x": {"file_name": str(outside / "rows.jsonl")}})),
        })
        return cases

    def of_pictures(self):
        def labelled(name):
            def make(d):
                (d / "metadata.jsonl").write_text(json.dumps({"file_name": name, "label": "a"}) + "\n")
            return make
        cases = {f"pictures named {name}": labelled(name) for name in ("../../outside/secret.png", str(self.outside / "secret.png"), EVIL)}
        cases["a picture of 2^31 pixels a side"] = lambda d: (d / "a" / "huge.png").write_bytes(png(says=(2**31 - 1, 2**31 - 1)))
        cases["a picture that is a link"] = lambda d: (d / "a" / "more.png").symlink_to(self.outside / "secret.png")
        return cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if shutil.which("strace") is None or subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        print("hostile.py: strace does not run here: passed over")
        return 0
    with tempfile.TemporaryDirectory(prefix="lowrank-hostile-") as work:
        h = Hostile(given.lowrank.resolve(), pathlib.Path(work).resolve())
        cases = 0

        def each(kind, made, of, name, verbs):
            nonlocal cases
            for case, harm in made.items():
                shown = f"{kind}: {ascii(case)[1:60]}"
                if given.only and not any(part in shown for part in given.only.split(",")):
                    continue
                shutil.rmtree(h.work / "out", ignore_errors=True)
                folder = h.fresh(name, of)
                harm(folder)
                verbs(shown, folder)
                cases += 1
        each("model", h.of_models(), BASE, "model", h.verbs_of_model)
        each("adapter", h.of_adapters(), h.adapter, "hostile-adapter", h.verbs_of_adapter)
        each("run", h.of_runs(), h.adapter, "run", h.verbs_of_run)
        data = h.work / "good-data"
        data.mkdir()
        shutil.copy(h.rows, data / "rows.jsonl")
        each("data", h.of_data(), data, "data", h.verbs_of_data)
        pictures = h.work / "good-pictures"
        for label in "ab":
            (pictures / label).mkdir(parents=True)
            (pictures / label / "1.png").write_bytes(png(8, 8))
        each("pictures", h.of_pictures(), pictures, "pictures", h.verbs_of_data)
        print(f"hostile.py: {cases} folders, {h.done} commands, {h.failed} failures; the slowest took {h.slowest:.0f} s")
        return 1 if h.failed else 0


if __name__ == "__main__":
    sys.exit(main())
