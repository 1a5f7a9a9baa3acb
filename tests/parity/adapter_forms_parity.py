#!/usr/bin/env python3
"""Everything that PEFT writes for LoRA, live: random models of a few families, an adapter of each form that PEFT makes and
saves, the same logits here, and what `lowrank merge` makes of it in transformers; an activated LoRA trained on; bases that were
resized; tokens that `lowrank finetune --add-tokens` adds; adapters as mlx-lm lays them out; several adapters combined as
add_weighted_adapter does.

    adapter_forms_parity.py --build build --assets DIR [--only NAME ...]
"""
import json
import shutil
import subprocess
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import family_parity
import live

TOLERANCE = 1e-4
SEQUENCES = [[1] + [(7 * i * i + 13 * i + s) % 505 + 3 for i in range(14 + 9 * s)] for s in range(2)]
Q = ["q_proj", "down_proj"]
MOE = dict(target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])

# (family of make_goldens.CASES, keyword arguments of LoraConfig, whether it can be merged)
FORMS = {
    "list": ("llama", dict(target_modules=Q), True),
    "regex": ("llama", dict(target_modules=r".*\.\d+\.(self_attn\.(q|o)_proj|mlp\.up_proj)"), True),
    "all-linear": ("llama", dict(target_modules="all-linear"), True),
    "exclude_modules": ("llama", dict(target_modules=Q, exclude_modules=["model.layers.0.self_attn.q_proj"]), True),
    "rank and alpha patterns": ("llama", dict(target_modules=Q, rank_pattern={"q_proj": 5}, alpha_pattern={r".*\.0\..*": 9}), True),
    "layers": ("llama", dict(target_modules=Q, layers_to_transform=[1], layers_pattern="layers"), True),
    "use_rslora": ("llama", dict(target_modules=Q, use_rslora=True), True),
    "use_dora": ("llama", dict(target_modules=Q, use_dora=True), True),
    "use_dora on the embedding": ("llama", dict(target_modules=["q_proj", "embed_tokens"], use_dora=True), True),
    "fan_in_fan_out": ("gpt2", dict(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True), True),
    "bias all": ("qwen2", dict(target_modules=Q, bias="all"), True),
    "bias lora_only": ("qwen2", dict(target_modules=Q, bias="lora_only"), True),
    "lora_bias": ("qwen2", dict(target_modules=["q_proj", "v_proj"], lora_bias=True), True),
    "lora_bias without a bias": ("llama", dict(target_modules=Q, lora_bias=True), False),
    "modules_to_save": ("llama", dict(target_modules=Q, modules_to_save=["embed_tokens", "lm_head", "model.norm"]), True),
    "modules_to_save, tied": ("qwen2", dict(target_modules=Q, modules_to_save=["embed_tokens"]), True),
    "trainable_token_indices": ("llama", dict(target_modules=Q, trainable_token_indices=[40, 5, 7]), True),
    "trainable_token_indices of both": ("llama", dict(target_modules=Q, trainable_token_indices={"embed_tokens": [40, 5], "lm_head": [7]}), True),
    "trainable_token_indices, tied": ("qwen2", dict(target_modules=Q, trainable_token_indices=[40, 5, 7]), True),
    "trainable_token_indices, parted": ("qwen2", dict(target_modules=Q, trainable_token_indices={"embed_tokens": [40, 5], "lm_head": [7]}), True),
    "target_parameters": ("qwen3-moe", MOE, True),
    "ensure_weight_tying of copies": ("qwen2", dict(target_modules=Q, modules_to_save=["lm_head"], ensure_weight_tying=True), True),
    "ensure_weight_tying of matrices": ("qwen2", dict(target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True), True),
    "ensure_weight_tying of rows": ("qwen2", dict(target_modules=Q, trainable_token_indices=[5, 9], ensure_weight_tying=True), True),
    "ensure_weight_tying, untied": ("llama", dict(target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True), True),
    "alora_invocation_tokens": ("llama", dict(target_modules=Q, alora_invocation_tokens=SEQUENCES[0][5:7]), False),
    "embedding and head": ("llama", dict(target_modules=["q_proj", "embed_tokens", "lm_head"]), True),
    "inert flags": ("llama", dict(target_modules=Q, init_lora_weights="eva", lora_dropout=0.1, megatron_core="x"), True),
}
# A base that was resized before: what is saved, and whether the family ties its head.
RESIZED = {
    "auto": dict(target_modules=Q),
    "modules_to_save": dict(target_modules=Q, modules_to_save=["embed_tokens", "lm_head"]),
    "trainable_token_indices": dict(target_modules=Q, trainable_token_indices=[512, 513]),
    "an old token's row": dict(target_modules=Q, trainable_token_indices=[5]),
}
COMBINED = {
    "cat": {}, "svd": {}, "linear": {}, "ties": dict(density=0.4), "dare_linear": dict(density=0.6), "dare_ties": dict(density=0.6),
    "magnitude_prune": dict(density=0.4), "ties_svd": dict(density=0.4), "dare_linear_svd": dict(density=0.6),
    "dare_ties_svd": dict(density=0.6), "magnitude_prune_svd": dict(density=0.4),
}


class Work:
    def __init__(self, build, assets, folder, check):
        self.build, self.assets, self.folder, self.check = build, assets, folder, check
        self.tokenizer = assets / "models" / "stories260K-hf"
        self.made = {}

    def model(self, family):
        """A random model of the family with the assets' tokenizer, made once."""
        if family not in self.made:
            self.made[family] = self.folder / f"base-{family}"
            family_parity.make_model(family, 512, self.tokenizer, self.made[family])
        return self.made[family]

    def load(self, folder):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

    def theirs(self, model):
        with torch.no_grad():
            return [model.eval()(torch.tensor([ids])).logits[0].float() for ids in SEQUENCES]

    def ours(self, model, adapter="-"):
        return family_parity.run_model(self.build, model, adapter, SEQUENCES)

    def lowrank(self, *words, **options):
        return subprocess.run([str(self.build / "bin" / "lowrank"), *map(str, words)], check=True, **options)

    def merge(self, model, adapter, name):
        out = self.folder / f"merged-{name}"
        self.lowrank("merge", model, "--adapter", adapter, "--out", out, "--quiet")
        return out

    def same(self, what, left, right, tolerance=TOLERANCE):
        error = family_parity.difference(left, right)
        self.check(what, error <= tolerance, error)


def randomise(model, seed):
    """Every trained tensor moved; magnitudes by a share of themselves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if not parameter.requires_grad:
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            if "magnitude" in name:
                parameter.mul_(1 + 0.15 * noise)
            elif "lora_" in name:
                parameter.copy_(0.15 * noise)
            else:
                parameter.add_(0.1 * noise)


def make(base, folder, seed, **arguments):
    model = get_peft_model(base, LoraConfig(**{"task_type": "CAUSAL_LM", "r": 3, "lora_alpha": 5, **arguments}))
    randomise(model, seed)
    model.save_pretrained(folder)
    return model.eval()


def forms(work, only):
    for number, (name, (family, arguments, merges)) in enumerate(FORMS.items()):
        if only and name not in only:
            continue
        base, adapter = work.model(family), work.folder / f"form-{number}"
        plain = work.theirs(work.load(base))
        expected = work.theirs(make(work.load(base), adapter, 100 + number, **arguments))
        moved = family_parity.difference(plain, expected)
        work.check(f"{name}: PEFT's adapter moves the logits", moved >= 0.05, moved)
        work.same(f"{name}: the same logits here", work.ours(base, adapter), expected)
        if merges:
            merged = work.merge(base, adapter, f"form-{number}")
            work.same(f"{name}: and of the merged model in transformers", work.theirs(work.load(merged)), expected)
            shutil.rmtree(merged)
        shutil.rmtree(adapter)


def resized(work, only):
    for family in ("llama", "qwen2"):
        for number, (name, arguments) in enumerate(RESIZED.items()):
            what = f"resized {family}, {name}"
            if only and what not in only:
                continue
            base, adapter = work.model(family), work.folder / f"resized-{family}-{number}"
            tokenizer = AutoTokenizer.from_pretrained(base)
            tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
            model = work.load(base)
            torch.manual_seed(number)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            adapted = make(model, adapter, 200 + number, **arguments)
            tokenizer.save_pretrained(adapter)
            expected = work.theirs(adapted)
            work.same(f"{what}: the same logits here", work.ours(base, adapter), expected)
            merged = work.merge(base, adapter, f"resized-{family}-{number}")
            work.same(f"{what}: and of the merged model in transformers", work.theirs(work.load(merged)), expected)
            again = work.folder / f"again-{family}-{number}"
            work.lowrank("export", adapter, "--model", base, "--format", "peft", "--out", again)
            grown = work.load(base)
            torch.manual_seed(number)
            grown.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            work.same(f"{what}: and in PEFT with what is written here", work.theirs(PeftModel.from_pretrained(grown, again)), expected)


def added_tokens(work, only):
    text = work.folder / "tokens.jsonl"
    rows = [{"prompt": f"<|user|>Say {w}.<|end|>", "completion": f" <|bot|>{w} {w}.<|end|>"} for w in ("cat", "dog", "tree", "sun")]
    text.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens = work.folder / "tokens.txt"
    tokens.write_text("<|user|>\tuser\n<|bot|>\tshe said\n<|end|>\n")
    for family in ("llama", "qwen2"):
        for number, options in enumerate(([], ["--modules-to-save", "embed_tokens,lm_head"], ["--dora"], ["--init", "pissa"])):
            what = f"tokens added to {family} {' '.join(options)}"
            if only and what not in only:
                continue
            base, out = work.model(family), work.folder / f"tokens-{family}-{number}"
            work.lowrank("finetune", base, "--data", text, "--out", out, "--add-tokens", tokens, "--rank", 4, "--lr", "2e-2",
                         "--max-steps", 6, "--val-split", 0, "--quiet", *options)
            mine = work.ours(base, out)
            tokenizer = AutoTokenizer.from_pretrained(out)
            ids = tokenizer("<|user|>hi<|end|>", add_special_tokens=False)["input_ids"]
            work.check(f"{what}: the tokenizer has them", 512 in ids and 514 in ids and len(tokenizer) == 515, len(tokenizer))
            model = work.load(base)
            model.resize_token_embeddings(len(tokenizer))
            global SEQUENCES
            kept, SEQUENCES = SEQUENCES, [[1, 512, 40, 41, 513, 77, 514]]
            mine = work.ours(base, out)
            expected = work.theirs(PeftModel.from_pretrained(model, out))
            work.same(f"{what}: PEFT gives the same logits after resize_token_embeddings", mine, expected)
            merged = work.merge(base, out, f"tokens-{family}-{number}")
            work.same(f"{what}: and the merged model in transformers", work.theirs(work.load(merged)), expected)
            SEQUENCES = kept


def activated(work, only):
    """A run that starts from an activated LoRA trains it as PEFT does: the same gradients, losses of some steps, logits afterwards."""
    name, steps, rate = "alora_invocation_tokens as a start", 12, 5e-3
    if only and name not in only:
        return
    base, start, out = work.model("llama"), work.folder / "activated", work.folder / "activated-trained"
    texts = [f"The {w} was {c}. Answer: the {w} is {c}." for w, c in zip(("cat", "dog", "sun", "big tree", "ball", "bird", "car"),
                                                                         ("red", "blue", "hot", "green", "round", "small", "fast"))]
    texts.insert(3, "There is nothing to be learned from what has no such word in it.")
    data = work.folder / "activated.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def ids_of(text):
        return json.loads(work.lowrank("tokenize", base, "--text", text, "--json", capture_output=True, text=True).stdout)["ids"]

    invocation = ids_of(texts[0].split(" the ")[0])[-3:]
    documents = [ids_of(text) + [2] for text in texts]
    find = [[i for i in range(len(ids)) if ids[i:i + 3] == invocation] for ids in documents]
    assert [len(found) for found in find] == [1, 1, 1, 0, 1, 1, 1, 1], find
    make(work.load(base), start, 500, target_modules=[*Q, "v_proj"], alora_invocation_tokens=invocation, use_rslora=True)
    model = PeftModel.from_pretrained(work.load(base), start, is_trainable=True)
    error = family_parity.gradient_error(family_parity.run_model(work.build, base, start, documents[:5], "gradients"), model, documents[:5])
    work.check(f"{name}: the same gradients", error <= TOLERANCE, error)
    model.zero_grad()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0)
    losses = []
    for step in range(steps):
        batch = [documents[(2 * step + i) % len(documents)] for i in range(2)]
        loss = sum(torch.nn.functional.cross_entropy(model(torch.tensor([ids])).logits[0, :-1], torch.tensor(ids[1:]), reduction="sum")
                   for ids in batch) / sum(len(ids) - 1 for ids in batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())

    def ours(adapter, *options):
        work.lowrank("finetune", base, "--adapter", adapter, "--data", data, "--out", out, "--batch-size", 2, "--no-shuffle", "--max-steps", steps,
                     "--lr", rate, "--schedule", "constant", "--warmup", 0, "--clip", 0, "--val-split", 0, "--samples", 0, "--quiet", "--overwrite",
                     *options)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        return max(abs(row["loss"] - loss) for row, loss in zip([row for row in rows if "loss" in row], losses, strict=True))

    plain = work.folder / "activated-everywhere"
    shutil.copytree(start, plain)
    config = json.loads((plain / "adapter_config.json").read_text())
    (plain / "adapter_config.json").write_text(json.dumps({**config, "alora_invocation_tokens": None}))
    error = ours(plain)
    work.check(f"{name}: other losses where it acts on every token", error > 0.01, error)
    for recompute in ("layer", "none"):
        error = ours(start, "--recompute", recompute)
        work.check(f"{name}: the same losses of {steps} steps, recompute {recompute}", error <= 1e-5, error)
    config = json.loads((out / "adapter_config.json").read_text())
    work.check(f"{name}: it stays one", config["alora_invocation_tokens"] == invocation, len(invocation))
    global SEQUENCES
    kept, SEQUENCES = SEQUENCES, documents
    expected = work.theirs(model)
    work.same(f"{name}: the same logits afterwards", work.ours(base, out), expected, 10 * TOLERANCE)
    work.same(f"{name}: and in PEFT", work.theirs(PeftModel.from_pretrained(work.load(base), out)), work.ours(base, out))
    SEQUENCES = kept


def mlx(work, only):
    """As mlx-lm 0.32 saves: lora_a [in, r], lora_b [r, out], of experts [E, r, in] and [E, out, r]; scale by itself."""
    cases = {"mlx": ("llama", dict(target_modules=Q)), "mlx DoRA": ("llama", dict(target_modules=Q, use_dora=True)),
             "mlx experts": ("qwen3-moe", MOE)}
    for number, (name, (family, arguments)) in enumerate(cases.items()):
        if only and name not in only:
            continue
        base, peft, folder = work.model(family), work.folder / f"mlx-peft-{number}", work.folder / f"mlx-{number}"
        adapted = make(work.load(base), peft, 300 + number, **{**arguments, "rank_pattern": {".*gate_up_proj": 6}, "alpha_pattern": {".*gate_up_proj": 10}}
                       if family == "qwen3-moe" else arguments)
        tensors = {}
        if family == "qwen3-moe":  # gate and up have a half each of a block-diagonal B: made first as mlx has them
            tensors, adapted = mlx_experts(work, base, peft)
        else:
            for key, value in load_file(peft / "adapter_model.safetensors").items():
                path = key.removeprefix("base_model.model.")
                if path.endswith("lora_magnitude_vector"):
                    tensors[path.removesuffix("lora_magnitude_vector") + "m"] = value
                    continue
                path, half = path.rsplit(".lora_", 1)
                tensors[f"{path}.lora_{half[0].lower()}"] = value.T.contiguous()
        folder.mkdir()
        save_file(tensors, folder / "adapters.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({
            "model": str(base), "fine_tune_type": "dora" if arguments.get("use_dora") else "lora", "num_layers": 2,
            "lora_parameters": {"rank": 3, "scale": 5 / 3, "dropout": 0.0, "keys": ["self_attn.q_proj"]}}))
        expected = work.theirs(adapted)
        work.same(f"{name}: the same logits here", work.ours(base, folder), expected)
        work.same(f"{name}: and of the merged model in transformers", work.theirs(work.load(work.merge(base, folder, f"mlx-{number}"))), expected)


def mlx_experts(work, base, folder):
    """Tensors of a mlx-lm adapter on experts, and transformers' model with the same update added to its weights."""
    model = work.load(base)
    generator = torch.Generator().manual_seed(9)
    tensors = {}
    with torch.no_grad():
        for index, layer in enumerate(model.model.layers):
            experts = layer.mlp.experts
            count, width = experts.gate_up_proj.shape[0], experts.gate_up_proj.shape[1] // 2
            for name, (out, into) in {"gate_proj": (width, experts.gate_up_proj.shape[2]), "up_proj": (width, experts.gate_up_proj.shape[2]),
                                      "down_proj": tuple(experts.down_proj.shape[1:])}.items():
                a, b = torch.randn((count, 3, into), generator=generator) * 0.15, torch.randn((count, out, 3), generator=generator) * 0.15
                tensors[f"model.layers.{index}.mlp.switch_mlp.{name}.lora_a"], tensors[f"model.layers.{index}.mlp.switch_mlp.{name}.lora_b"] = a, b
                delta = 5 / 3 * b @ a
                if name == "down_proj":
                    experts.down_proj += delta
                else:
                    experts.gate_up_proj[:, (width if name == "up_proj" else 0):][:, :width] += delta
    del folder
    return tensors, model


def combined(work, only):
    base = work.model("llama")
    one, two, other = (work.folder / f"combined-{n}" for n in ("one", "two", "other"))
    make(work.load(base), one, 401, target_modules=["q_proj", "v_proj", "embed_tokens"])
    make(work.load(base), two, 402, target_modules=["q_proj", "down_proj", "embed_tokens"], lora_alpha=9)
    make(work.load(base), other, 403, target_modules=["q_proj"], r=5, use_rslora=False)
    for name, options in COMBINED.items():
        if only and f"combined by {name}" not in only:
            continue
        adapters = [one, two, other] if name in ("cat", "svd") else [one, two]
        weights = [0.7, -0.4, 0.9][:len(adapters)]
        model = PeftModel.from_pretrained(work.load(base), one, adapter_name="a0")
        for i, folder in enumerate(adapters[1:], 1):
            model.load_adapter(folder, adapter_name=f"a{i}")
        # A new adapter is initialised first; the masks are then drawn from the seed on.
        inject = model.base_model.inject_adapter

        def seeded(*arguments, inject=inject, **keywords):
            result = inject(*arguments, **keywords)
            torch.manual_seed(7)
            return result

        model.base_model.inject_adapter = seeded
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.base_model.add_weighted_adapter([f"a{i}" for i in range(len(adapters))], weights, "sum", name, **options)
        model.set_adapter("sum")
        expected = work.theirs(model)
        words = [w for folder in adapters for w in ("--adapter", folder)]
        words += ["--combine", name, "--weights", ",".join(map(str, weights)), "--seed", 7, "--quiet"]
        words += [w for key, value in options.items() for w in (f"--{key}", value)]
        out, merged = work.folder / f"combined-{name}", work.folder / f"combined-merged-{name}"
        work.lowrank("merge", base, *words, "--adapter-only", "--out", out)
        work.same(f"combined by {name}: the same logits here", work.ours(base, out), expected, 3e-4)
        reloaded = PeftModel.from_pretrained(work.load(base), out)
        work.same(f"combined by {name}: and in PEFT with the adapter that is written", work.theirs(reloaded), expected, 3e-4)
        work.lowrank("merge", base, *words, "--out", merged)
        work.same(f"combined by {name}: and of the merged model in transformers", work.theirs(work.load(merged)), expected, 3e-4)


def compare(build, assets, folder, check, only=None):
    """check(what, holds, figure) is run.py's."""
    folder.mkdir(exist_ok=True)
    work = Work(build, assets, folder, check)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in (forms, activated, resized, added_tokens, mlx, combined):
            part(work, only)


if __name__ == "__main__":
    live.main(__doc__, lambda arguments, work, check: compare(arguments.build, arguments.assets, work, check, arguments.only))
