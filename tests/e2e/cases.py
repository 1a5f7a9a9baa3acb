#!/usr/bin/env python3
"""What real files and users broke: every folder of the assets' neighbour cases/, by what its expected.txt calls right.

    cases.py LOWRANK ASSETS [--cases DIR] [--python PYTHON]

`--cases`: ASSETS/../cases where none is given; without it there is nothing to check. Case 07 is made by PEFT, so by `--python`, a Python that
has it, and is left out without one.
"""
import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

NLL, TOKENS = 0.970775, 51  # of text.txt under the plain base, as transformers has it
failures = []


def check(what, holds, detail=""):
    print(f"{'ok  ' if holds else 'FAIL'} {what}" + (f": {detail}" if detail and not holds else ""), flush=True)
    if not holds:
        failures.append(what)


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stdout + done.stderr


class Cases:
    def __init__(self, options, work):
        self.lowrank, self.folder, self.python, self.work = options.lowrank, options.cases, options.python, work
        self.base = options.assets / "models" / "stories260K-hf"

    def at(self, number):
        return next(self.folder.glob(f"{number:02}-*"))

    def files(self, number):
        return sorted(file for file in self.at(number).iterdir() if file.suffix in (".json", ".jsonl"))

    def learns(self, data, *more):
        """The examples that are learned of a file, ids and mask, or what is said instead; and all that was said."""
        code, out, said = run(self.lowrank, "inspect", self.base, "--data", data, "--examples", 100, "--json", *more)
        if code != 0:
            return None, said
        return [(one["ids"], one["learned"]) for one in json.loads(out)["examples"]], said

    def notes(self, data):
        return " ".join(json.loads(run(self.lowrank, "inspect", self.base, "--data", data, "--json")[1])["report"]["notes"])

    def nll(self, model, *more):
        code, out, said = run(self.lowrank, "evaluate", model, "--data", self.folder / "text.txt", "--json", *more)
        if code != 0:
            return None, None, said
        found = json.loads(out)
        return found["nll"], found["tokens"], said

    def finetune(self, name, *more):
        return run(self.lowrank, "finetune", self.base, "--out", self.work / name, "--seq-len", 64, "--plain", *more)


def pad_token(c):
    code, _, said = run(sys.executable, c.at(1) / "make.py", c.base, c.work / "padded")
    check("01 the model is made", code == 0, said)
    nll, tokens, said = c.nll(c.work / "padded")
    check("01 a pad token beyond the embedding changes nothing", nll is not None and abs(nll - NLL) < 1e-5 and tokens == TOKENS, said)


def role_content(c):
    right, said = c.learns(c.at(3) / "same-as-messages.jsonl")
    check("03 messages are read", right is not None and len(right) == 2, said)
    for name, expected in (("train.jsonl", right), ("messages-from-value.jsonl", right[:1]), ("list-of-lists.json", right[:1])):
        found, said = c.learns(c.at(3) / name)
        check(f"03 {name} is read as the same", found == expected, said)


def tool_calls(c):
    for file in c.files(5):
        found, said = c.learns(file)
        check(f"05 {file.name}: a call without a template is refused by its name", found is None and "tool_calls" in said, said)


def weight_zero(c):
    for file in c.files(6):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        found, said = c.learns(file)
        check(f"06 {file.name} is read", found is not None and len(found) == len(rows), said)
        muted = [[turn for turn in row.get("messages", row.get("conversations")) if turn.get("weight", 1) == 0 or turn.get("train") is False]
                 for row in rows]
        whole = c.work / file.name
        for row in rows:
            for turn in row.get("messages", row.get("conversations")):
                turn.pop("weight", None)
                turn.pop("train", None)
        whole.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        unmuted, _ = c.learns(whole)
        same_ids = [ids for ids, _ in found] == [ids for ids, _ in unmuted]
        fewer = all(sum(some) < sum(all_) for (_, some), (_, all_), turns in zip(found, unmuted, muted) if turns)
        check(f"06 {file.name}: an answer of weight 0 is context", same_ids and fewer and any(muted))


def resized(c):
    if c.python is None:
        return print("skip 07: no --python with PEFT")
    code, out, said = run(c.python, c.at(7) / "make.py", c.base, c.work / "resized", c.folder / "text.txt")
    check("07 the adapters are made", code == 0, said)
    for line in out.splitlines():
        if "PEFT: rows" not in line:
            continue
        name, rows, expected = line.split()[0], int(line.split()[3]), float(line.split()[-1])
        adapter = c.work / "resized" / name
        nll, _, said = c.nll(c.base, "--adapter", adapter)
        check(f"07 {name}: PEFT's figure", nll is not None and abs(nll - expected) < 1e-4, said)
        code, _, said = run(c.lowrank, "merge", c.base, "--adapter", adapter, "--out", c.work / f"merged-{name}")
        config = c.work / f"merged-{name}" / "config.json"
        check(f"07 {name}: merged with its rows", code == 0 and json.loads(config.read_text())["vocab_size"] == rows, said)
        nll, _, said = c.nll(c.work / f"merged-{name}")
        check(f"07 {name}: merged, PEFT's figure", nll is not None and abs(nll - expected) < 1e-4, said)


def arrays(c):
    for file in c.files(9):
        text, rows = file.read_text(encoding="utf-8"), []
        while text.strip():  # an array, an object of them, or one value after another
            value, end = json.JSONDecoder().raw_decode(text.lstrip())
            text = text.lstrip()[end:]
            rows += value if isinstance(value, list) else value.get("data", [value])
        lines = c.work / (file.stem + "-lines.jsonl")
        lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found, said = c.learns(file)
        check(f"09 {file.name} is read as its rows on lines are", found is not None and len(found) == len(rows) and found == c.learns(lines)[0], said)


def hh_rlhf(c):
    pairs = c.at(11) / "pairs.jsonl"
    begun = c.work / "explicit.jsonl"
    with begun.open("w", encoding="utf-8") as file:
        for row in map(json.loads, pairs.read_text(encoding="utf-8").splitlines()):
            chosen, rejected = row["chosen"], row["rejected"]
            n = next((i for i, (a, b) in enumerate(zip(chosen, rejected)) if a != b), min(len(chosen), len(rejected)))
            n = n - 1 if n > 0 and chosen[n - 1] == " " else n  # as TRL: the space belongs to the answers
            file.write(json.dumps({"prompt": chosen[:n], "chosen": chosen[n:], "rejected": rejected[n:]}) + "\n")
    losses = []
    for name, data in (("strings", pairs), ("explicit", begun)):
        code, _, said = run(c.lowrank, "align", "dpo", c.base, "--data", data, "--out", c.work / name, "--max-steps", 2, "--val-split", 0, "--plain")
        check(f"11 {name}: preference training reads them", code == 0, said)
        rows = (c.work / name / "metrics.jsonl").read_text().splitlines() if code == 0 else []
        losses.append([json.loads(row).get("logps/chosen") for row in rows])
    check("11 two strings are a prompt, their common beginning, and two answers", losses[0] == losses[1] != [], str(losses))


def unread_columns(c):
    plain, _ = c.learns(c.at(12) / "nan.jsonl")
    check("12 NaN in a column that is not read", plain is not None)
    found, said = c.learns(c.at(12) / "surrogate-unread.jsonl")
    check("12 half a surrogate in a column that is not read", found is not None, said)
    found, said = c.learns(c.at(12) / "surrogate-read.jsonl")
    if found is not None:
        said = c.notes(c.at(12) / "surrogate-read.jsonl")
    check("12 half a surrogate in a column that is read is said, or refused with its line", "surrogate" in said, said)


def more_epochs(c):
    data = ["--data", c.folder / "text.txt", "--val-split", 0]
    code, _, said = c.finetune("epochs", *data, "--epochs", 1)
    check("16 an epoch", code == 0, said)
    code, _, said = c.finetune("epochs", *data, "--epochs", 3, "--resume")
    check("16 more epochs of a finished run are refused, and how to go on is said",
          code != 0 and "--adapter" in said and "--out" in said, said)


def with_tensors(source, to, names, extra):
    """The base with its tensors under other names, and more of them."""
    to.mkdir()
    for file in source.iterdir():
        if file.name != "model.safetensors":
            (to / file.name).write_bytes(file.read_bytes())
    bytes_ = (source / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", bytes_[:8])[0]
    header, body = json.loads(bytes_[8:8 + length]), bytes_[8 + length:]
    header = {name if name == "__metadata__" else names + name: value for name, value in header.items()}
    for name, shape in extra.items():
        count = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + count]}
        body += bytes(count)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (to / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return to


def extra_tensors(c):
    model = with_tensors(c.base, c.work / "v_head", "", {"v_head.summary.weight": [1, 64], "v_head.summary.bias": [1]})
    nll, _, said = c.nll(model)
    check("24 a value head beside the decoder changes nothing, and is named", nll is not None and abs(nll - NLL) < 1e-5 and "v_head" in said, said)
    nll, _, said = c.nll(with_tensors(c.base, c.work / "compiled", "_orig_mod.", {}))
    check("24 the prefix of torch.compile is read, or named", "_orig_mod" in said if nll is None else abs(nll - NLL) < 1e-5, said)


def trainer_folders(c):
    folder = c.work / "mlx"
    folder.mkdir()
    for file in c.files(31):
        (folder / file.name).write_bytes(file.read_bytes())
    code, _, said = c.finetune("mlx-run", "--data", folder, "--max-steps", 2)
    rows = len((folder / "train.jsonl").read_text().splitlines())
    data = json.loads((c.work / "mlx-run" / "run.json").read_text())["data"] if code == 0 else {}
    check("31 the training part trains, the validation part validates, the test part is left alone",
          code == 0 and data["train"]["documents"] == rows and "validation" in data
          and "train.jsonl is read, the training part; valid.jsonl is its validation part; test.jsonl is left alone" in said, said)


def nothing_learned(c):
    text = c.folder / "text.txt"
    code, _, said = c.finetune("worse", "--data", text, "--lr", 1, "--max-steps", 20, "--val-data", text)
    words = "nothing: every step was worse than the start"
    check("32 a run that learned nothing says so on the console, and what may learn", code == 0 and words in said and "--lr 0.001" in said, said)
    for name in ("run.json", "README.md", "report.html"):
        check(f"32 and in {name}", words in (c.work / "worse" / name).read_text(encoding="utf-8"))
    code, out, said = c.finetune("again", "--data", text, "--lr", 1, "--max-steps", 20, "--val-data", text, "--json")
    check("32 and in --json", code == 0 and json.loads(out)["learned"] is False, said)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("assets", type=pathlib.Path)
    parser.add_argument("--cases", type=pathlib.Path)
    parser.add_argument("--python")
    options = parser.parse_args()
    options.cases = options.cases or options.assets.parent / "cases"
    if not options.cases.is_dir():
        return print("skipped: there are no cases beside the assets")
    with tempfile.TemporaryDirectory() as folder:
        cases = Cases(options, pathlib.Path(folder))
        for one in (pad_token, role_content, tool_calls, weight_zero, resized, arrays, hh_rlhf, unread_columns, more_epochs, extra_tensors,
                    trainer_folders, nothing_learned):
            one(cases)
    return f"{len(failures)} failed" if failures else print("every case is right")


if __name__ == "__main__":
    sys.exit(main())
