#!/usr/bin/env python3
"""What someone does on the first day, each judged by what the command prints.

    newcomer.py LOWRANK ASSETS

README's commands exist with the options that it shows; then twelve jobs on a small model: text, GSM8K, Alpaca, conversations, a table,
the files of four other tools, comparing, a sweep, compressing, DPO, classification, the C++ example.
"""
import csv
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUICK = ["--max-steps", "4", "--rank", "4", "--seq-len", "512", "--batch-size", "2"]


class Job:
    """Runs the command and asks for what must stand in its output."""

    def __init__(self, lowrank, assets, work):
        self.lowrank, self.assets, self.work = str(lowrank), assets, work
        self.model = assets / "models" / "stories260K-hf"

    def run(self, *words, expect=0, says=(), stdin="", env=None):
        words = [str(word) for word in words]
        done = subprocess.run([self.lowrank, *words], capture_output=True, text=True, input=stdin, cwd=self.work,
                              env={**os.environ, **(env or {})}, check=False)
        text = done.stdout + done.stderr
        shown = f"$ lowrank {shlex.join(words)}\n{text}"
        if done.returncode != expect:
            sys.exit(f"exit {done.returncode}, expected {expect}\n{shown}")
        for pattern in says:
            if not re.search(pattern, text, re.MULTILINE):
                sys.exit(f"nothing printed matches {pattern!r}\n{shown}")
        return done.stdout

    def rows(self, name, rows):
        (self.work / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return name

    def llamafactory(self, name):
        return self.assets / "instruct" / "llamafactory" / name

    def verdict(self, out):
        run = json.loads((self.work / out / "run.json").read_text(encoding="utf-8"))
        if not isinstance(run["learned"], bool) or not run["verdict"]:
            sys.exit(f"{out}/run.json has no verdict")
        for file in ("adapter_model.safetensors", "adapter_config.json", "README.md", "report.html"):
            if not (self.work / out / file).exists():
                sys.exit(f"{out}/{file} is missing")


def readme_commands(job):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    seen = 0
    for line in re.findall(r"^    lowrank ([a-z].*)$", text, re.MULTILINE):
        words = shlex.split(line.split(" #")[0])
        verb = words[:2] if words[0] == "align" else words[:1]
        offered = job.run(*verb, "--help", "all")
        for option in (word for word in words if word.startswith("--")):
            if not re.search(rf"(^|\s|,){re.escape(option)}\b", offered):
                sys.exit(f"README shows `lowrank {line}`, and {' '.join(verb)} has no {option}")
        seen += 1
    if seen < 8:
        sys.exit(f"README shows only {seen} commands")


def text(job):
    job.run("finetune", job.model, "--data", ROOT / "examples/art-history/train", "--out", "art", "--max-steps", 12, "--rank", 8,
            "--seq-len", 128, "--lr", "5e-3", "--general-data", ROOT / "examples/general.txt",
            says=[r"^learned\s", r"^forgotten\s", r"^next\s.*lowrank", r"^adapter\s+LoRA r = 8", r"perplexity"])
    job.verdict("art")
    job.run("evaluate", job.model, "--adapter", "art", "--data", ROOT / "examples/art-history/heldout.txt", says=[r"perplexity"])
    job.run("generate", job.model, "--adapter", "art", "--prompt", "The painting", "--max-new-tokens", 8, says=[r"\w"])
    job.run("merge", job.model, "--adapter", "art", "--out", "art-merged")
    job.run("generate", "art-merged", "--prompt", "The painting", "--max-new-tokens", 4, says=[r"\w"])
    job.run("runs", says=[r"\bart\b"])


def gsm8k(job):
    started = time.monotonic()
    job.run("finetune", job.model, "--data", job.assets / "instruct/gsm8k/train.jsonl", "--out", "gsm8k", "--max-steps", 10, "--rank", 8,
            "--seq-len", 512, says=[r"question|prompt", r"^learned\s|^verdict\s", r"^next\s"])
    whole = time.monotonic() - started
    job.verdict("gsm8k")
    run = json.loads((job.work / "gsm8k/run.json").read_text(encoding="utf-8"))
    print(f"     ten steps on GSM8K: {whole:.1f} s with everything around them")
    return run


def alpaca(job):
    job.run("finetune", job.model, "--data", job.llamafactory("alpaca_en_demo.json"), "--out", "alpaca", *QUICK,
            says=[r"alpaca", r"^next\s"])
    job.verdict("alpaca")


def conversations(job):
    template = "turns.jinja"
    (job.work / template).write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n"
                                     "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}", encoding="utf-8")
    rows = [{"messages": [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"It is {i}."}]} for i in range(40)]
    job.rows("chat.jsonl", rows)
    job.run("finetune", job.model, "--data", "chat.jsonl", "--chat-template", template, "--out", "chat", *QUICK, says=[r"template", r"^next\s"])
    job.verdict("chat")
    job.run("chat", job.model, "--adapter", "chat", "--max-new-tokens", 4, stdin="What is 3?\n")
    job.run("doctor", job.model, "--data", "chat.jsonl", "--chat-template", template, says=[r"learned"])
    # The tags of another model's template are many tokens here: the model would not learn to stop.
    other = job.assets / "chat-templates/Qwen-Qwen2.5-7B-Instruct.jinja"
    job.run("doctor", job.model, "--data", "chat.jsonl", "--chat-template", other, expect=65, says=[r"fault end-of-turn"])


def table(job):
    with open(job.work / "table.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "source"])
        writer.writerows([f"Who painted no. {i}, \"the blue\"?", f"Painter {i}\nof Florence", "here"] for i in range(40))
    job.run("finetune", job.model, "--data", "table.csv", "--columns", "prompt=question,completion=answer", "--out", "table", *QUICK,
            says=[r"source", r"^next\s"])
    job.verdict("table")


CONFIGS = {
    "llama-factory.yaml": "model_name_or_path: {model}\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_rank: 4\nlora_target: all\n"
                          "dataset: chat\ncutoff_len: 128\noutput_dir: out-lf\nlearning_rate: 1.0e-4\nnum_train_epochs: 1.0\n",
    "axolotl.yaml": "base_model: {model}\nadapter: lora\nlora_r: 4\nlora_alpha: 8\nlora_target_linear: true\nsequence_len: 128\n"
                    "datasets:\n  - path: table.jsonl\n    type: alpaca\nmicro_batch_size: 2\noutput_dir: out-axolotl\n",
    "mlx-lm.yaml": "model: {model}\ntrain: true\nfine_tune_type: lora\ndata: data\nbatch_size: 2\niters: 4\nlora_parameters:\n  rank: 4\n"
                   "  scale: 20.0\n  dropout: 0.0\nadapter_path: out-mlx\n",
    "trl.yaml": "model_name_or_path: {model}\ndataset_name: table.jsonl\nper_device_train_batch_size: 2\nuse_peft: true\nlora_r: 4\n"
                "lora_alpha: 8\nmax_length: 128\noutput_dir: out-trl\n",
}


def other_tools(job):
    for name, text_of in CONFIGS.items():
        (job.work / name).write_text(text_of.format(model=job.model), encoding="utf-8")
        ours = job.run("config", name, says=[r"rank: 4", r"^model: "])
        if "lora_r" in re.sub(r"#.*", "", ours):
            sys.exit(f"config {name} leaves a key of the other tool\n{ours}")


def compare(job):
    data = ROOT / "examples/art-history/heldout.txt"
    job.run("finetune", job.model, "--data", ROOT / "examples/art-history/train", "--out", "dora", "--dora", *QUICK)
    job.run("evaluate", job.model, "--compare", "a=art", "b=dora", "--data", f"domain={data}", "--out", "compared", says=[r"\ba\b", r"\bb\b"])
    if not list((job.work / "compared").glob("*.html")):
        sys.exit("evaluate --compare wrote no page")


def sweep(job):
    (job.work / "space.yaml").write_text("lr: {log: [1e-4, 1e-2]}\nrank: {choice: [2, 4]}\n", encoding="utf-8")
    job.run("sweep", "space.yaml", job.model, "--data", ROOT / "examples/art-history/train", "--out", "sweep", "--trials", 3, "--max-steps", 3,
            "--seq-len", 128, says=[r"best"])
    if len((job.work / "sweep/trials.jsonl").read_text(encoding="utf-8").splitlines()) != 3:
        sys.exit("sweep/trials.jsonl has not the three trials")


def compress(job):
    job.run("compress", "art", "--data", ROOT / "examples/art-history/heldout.txt", "--max-kl", 0.05, "--seq-len", 128, "--out", "art-small",
            says=[r"^bytes\s", r"^kl\s"])
    job.run("evaluate", job.model, "--adapter", "art-small", "--data", ROOT / "examples/art-history/heldout.txt")


def preferences(job):
    job.rows("pairs.jsonl", [{"prompt": f"Name {i}:", "chosen": f" a fine answer {i}", "rejected": f" no {i}"} for i in range(40)])
    job.run("align", "dpo", job.model, "--data", "pairs.jsonl", "--val-split", 0.2, "--out", "dpo", "--max-steps", 4, "--batch-size", 2,
            "--seq-len", 128, says=[r"^learned\s|^verdict\s", r"^next\s"])
    job.verdict("dpo")


def classification(job):
    job.rows("labels.jsonl", [{"text": f"{'red' if i % 2 else 'blue'} picture number {i}", "label": "red" if i % 2 else "blue"} for i in range(60)])
    job.run("finetune", job.model, "--task", "classification", "--data", "labels.jsonl", "--val-split", 0.25, "--out", "labels", *QUICK,
            says=[r"majority baseline", r"accuracy", r"^next\s"])
    job.verdict("labels")


def cpp(job):
    example = pathlib.Path(job.lowrank).with_name("lowrank-embed")
    done = subprocess.run([example, ROOT / "examples/base", job.work / "embed"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (job.work / "embed/adapter_model.safetensors").exists():
        sys.exit(f"{example}: exit {done.returncode}\n{done.stdout}{done.stderr}")


JOBS = (readme_commands, text, gsm8k, alpaca, conversations, table, other_tools, compare, sweep, compress, preferences, classification, cpp)


def main():
    lowrank, assets = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(lowrank, assets, pathlib.Path(folder))
        for task in JOBS:
            started = time.monotonic()
            task(job)
            print(f"ok   {task.__name__.replace('_', ' ')} ({time.monotonic() - started:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
