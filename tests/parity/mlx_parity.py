#!/usr/bin/env python3
"""mlx-lm itself, on the CPU, as the oracle for its adapters: random models that both read.

    mlx_parity.py --build build --assets DIR --mlx .deps/mlx/bin/python [--only FAMILY ...]

1. Logits of the base in mlx-lm are ours: how far apart they are is the noise.
2. An adapter that `lowrank finetune` trains (rsLoRA, a rank pattern; DoRA), exported by `lowrank export --format mlx`, is read by mlx-lm's
   load_adapters and gives our logits within NOISE times that; with the scale doubled in the file it does not.
3. An adapter that `mlx_lm.lora` trains (LoRA, DoRA, the embedding, experts) gives mlx-lm's logits here, and in PEFT once exported.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

NOISE = 4.0    # of the base's, that results may be off
LEAST = 2e-5   # noise that is counted where the base shows less: of a few roundings in fp32
LEFT_OUT = {"llama-3", "qwen2_moe"}  # of llama_cpp_parity's families: another tokenizer, another layout of experts


def logits():
    """logits MODEL ADAPTER|-: in mlx-lm's Python; ids from stdin, a list a line."""
    import mlx.core as mx
    from mlx_lm.utils import load_adapters, load_model
    mx.set_default_device(mx.cpu)
    model, _ = load_model(pathlib.Path(sys.argv[2]))
    if sys.argv[3] != "-":
        model = load_adapters(model, sys.argv[3])
    model.eval()
    for line in sys.stdin:
        print(json.dumps(model(mx.array([json.loads(line)]))[0].astype(mx.float32).tolist()))


if sys.argv[1:2] == ["logits"]:
    sys.exit(logits())

import torch  # noqa: E402: what follows needs the reference implementations' Python
from peft import PeftModel  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import adapter_forms_parity  # noqa: E402
import family_parity  # noqa: E402
import live  # noqa: E402
import llama_cpp_parity  # noqa: E402


class Mlx(adapter_forms_parity.Work):
    def __init__(self, mlx, *rest):
        super().__init__(*rest)
        self.mlx = mlx

    def model(self, family):
        """mlx-lm looks for what transformers 5 puts elsewhere where version 4 wrote it."""
        if family not in self.made:
            config_class, keys, _, _ = llama_cpp_parity.families()[family]
            folder = self.made[family] = self.folder / f"base-{family}"
            llama_cpp_parity.make_model(config_class, keys, "llama", self.assets, folder)
            config = json.loads((folder / "config.json").read_text())
            rope = config.get("rope_parameters") or {}
            config.setdefault("rope_theta", rope.get("full_attention", rope).get("rope_theta", 10000.0))
            config.update({key: value for key, value in keys.items() if key not in ("rope_parameters", "sliding_window")})
            (folder / "config.json").write_text(json.dumps(config))
            if family == "gpt2":  # as it was released
                weights = load_file(folder / "model.safetensors")
                bare = {name.removeprefix("transformer."): value for name, value in weights.items()}
                save_file(bare, folder / "model.safetensors", {"format": "pt"})
        return self.made[family]

    def run(self, *words, **options):
        done = subprocess.run([self.mlx, *map(str, words)], capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}, **options)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-1500:])
        return done.stdout

    def in_mlx(self, model, adapter="-"):
        text = "\n".join(map(json.dumps, adapter_forms_parity.SEQUENCES)) + "\n"
        return [torch.tensor(json.loads(line)) for line in self.run(__file__, "logits", model, adapter, input=text).splitlines()]


    def trained_here(self, base, name, *options):
        out, exported = self.folder / name, self.folder / f"{name}-mlx"
        self.lowrank("finetune", base, "--data", self.text, "--out", out, "--seq-len", 32, "--max-steps", 8, "--lr", 2e-2, "--rank", 4, "--alpha", 8,
                     "--val-split", 0, "--samples", 0, "--quiet", *options)
        self.lowrank("export", out, "--model", base, "--format", "mlx", "--out", exported, stdout=subprocess.DEVNULL)
        return out, exported

    def trained_there(self, base, name, kind, keys):
        """By mlx_lm.lora, a few steps at a high rate."""
        settings, out = self.folder / f"{name}.yaml", self.folder / name
        settings.write_text("lora_parameters: " + json.dumps({"rank": 3, "scale": 4.0, "dropout": 0.0, "keys": keys}) + "\n")
        self.run("-m", "mlx_lm", "lora", "--model", base, "--train", "--data", self.data, "--fine-tune-type", kind, "--num-layers", 2, "--iters", 8,
                 "--batch-size", 1, "--learning-rate", 2e-2, "--val-batches", 1, "--max-seq-length", 64, "--adapter-path", out, "-c", settings,
                 "--seed", 3)
        return out


# What mlx_lm.lora trains: of a family, how, and which layers.
THERE = {
    "llama": [("lora", ["self_attn.q_proj", "mlp.down_proj"]), ("dora", ["self_attn.q_proj", "mlp.up_proj"]),
              ("lora", ["self_attn.v_proj", "model.embed_tokens"])],  # its head is the embedding
    "mistral": [("lora", ["self_attn.v_proj", "model.embed_tokens", "lm_head"])],
    "gpt2": [("lora", ["attn.c_attn", "mlp.c_proj"])],
    "qwen3_moe": [("lora", ["self_attn.q_proj", "mlp.switch_mlp.gate_proj", "mlp.switch_mlp.up_proj", "mlp.switch_mlp.down_proj"])],
    "mixtral": [("lora", ["block_sparse_moe.switch_mlp.gate_proj", "block_sparse_moe.switch_mlp.up_proj", "block_sparse_moe.switch_mlp.down_proj"])],
}


def compare(build, assets, mlx, folder, check, only=()):
    adapter_forms_parity.SEQUENCES = [[1] + [(7 * i * i + 13 * i + s) % 505 + 3 for i in range(8 + 6 * s)] for s in range(2)]  # within any window
    work = Mlx(mlx, build, assets, folder, check)
    print("mlx-lm", work.run("-c", "import importlib.metadata as m; print(m.version('mlx-lm'), 'on mlx', m.version('mlx'))").strip())
    book = (assets / "corpora" / "art-history" / "pater-renaissance.pg2398.txt").read_text(encoding="utf-8")
    work.text, work.data = folder / "text.txt", folder / "data"
    work.text.write_text(book[20000:40000], encoding="utf-8")
    work.data.mkdir()
    for part in ("train", "valid"):
        (work.data / f"{part}.jsonl").write_text("".join(json.dumps({"text": book[i:i + 60]}) + "\n" for i in range(20000, 22000, 60)))
    for family, (_, _, _, pattern) in llama_cpp_parity.families().items():
        if family not in LEFT_OUT and (not only or family in only):
            compare_family(work, family, pattern)


def compare_family(work, family, pattern):
    check, base = work.check, work.model(family)
    plain = work.ours(base)
    noise = max(family_parity.difference(plain, work.in_mlx(base)), LEAST)
    check(f"{family}: mlx-lm on the base", noise <= 5e-3, noise)
    layers = ["--targets", "q_proj,v_proj,o_proj"] if family in ("qwen3_moe", "mixtral") else []  # experts are not exported
    for number, options in enumerate((["--rslora", "--rank-pattern", pattern, *layers], ["--dora", *layers])):
        out, exported = work.trained_here(base, f"{family}-{number}", *options)
        adapted = work.ours(base, out)
        moved = family_parity.difference(plain, adapted)
        check(f"{family} {options[0]}: it moves the logits", moved >= 0.1, moved)
        error = family_parity.difference(adapted, work.in_mlx(base, exported))
        check(f"{family} {options[0]}: mlx-lm gives the same with the exported adapter, within {NOISE:g} times that", error <= NOISE * noise, error)
        path = exported / "adapter_config.json"
        config = json.loads(path.read_text())
        config["lora_parameters"]["scale"] *= 2
        path.write_text(json.dumps(config))
        error = family_parity.difference(adapted, work.in_mlx(base, exported))
        check(f"{family} {options[0]}: and not with a doubled scale", error > 10 * NOISE * noise, error)
    for number, (kind, keys) in enumerate(THERE.get(family, [])):
        what, adapter = f"{family}, mlx_lm's {kind} of {', '.join(keys)}", work.trained_there(base, f"{family}-there-{number}", kind, keys)
        theirs = work.in_mlx(base, adapter)
        moved = family_parity.difference(plain, theirs)
        check(f"{what}: it moves the logits", moved >= 0.1, moved)
        error = family_parity.difference(work.ours(base, adapter), theirs)
        check(f"{what}: the same here, within {NOISE:g} times that", error <= NOISE * noise, error)
        again = work.folder / f"{family}-there-{number}-peft"
        work.lowrank("export", adapter, "--model", base, "--format", "peft", "--out", again, stdout=subprocess.DEVNULL)
        error = family_parity.difference(work.theirs(PeftModel.from_pretrained(work.load(base), again)), theirs)
        check(f"{what}: and in PEFT, exported", error <= NOISE * noise, error)
    shutil.rmtree(base)


if __name__ == "__main__":
    live.main(__doc__, lambda arguments, work, check: compare(arguments.build, arguments.assets, arguments.mlx, work, check, arguments.only or []),
              mlx=live.REPOSITORY / ".deps" / "mlx" / "bin" / "python")
