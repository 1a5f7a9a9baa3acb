#!/usr/bin/env python3
"""`make parity`: against transformers, peft and tokenizers themselves, live.

    run.py --build build [--assets DIR] [--count 100000]

1. Golden files are made anew by the installed transformers, peft, trl, pillow, scikit-learn, sacrebleu and rouge-score, and the tests
   that read them are run on those.
2. Token ids of random and adversarial strings against tokenizers that PyPI `tokenizers` trains.
3. An adapter that `lowrank finetune` trains (rsLoRA, a rank pattern, regex targets) is loaded by PEFT without a warning and
   gives the same logits; one that PEFT makes does so here; with lora_alpha doubled in the file neither does.
4. The same for DoRA, PiSSA, OLoRA, the orthogonal initialisation, LoRA+, whole modules, and adapters on the embedding and
   the head: the adapter and a checkpoint of each, and what `lowrank merge` and `lowrank compress` make of them.
5. A classifier that `lowrank finetune --task classification` trains is read by transformers and PEFT without a warning and
   gives the same losses and predictions; so does one that PEFT makes, here.
   Every form of LoRA that PEFT writes, resized bases, added tokens, mlx-lm's adapters and combinations: adapter_forms_parity.py.
6. A random model of every family: logits alone, packed and through the cache, gradients, adapters both ways and merging;
   docs/compatibility.md is written from it.
7. Image classifiers that `lowrank finetune` trains (adapter, whole, head) give the same loss in transformers.
8. The chat templates that PyPI trl ships, over a grid of conversations, and random templates of every construct: the same text
   and the same {% generation %} as transformers; mutations of them end in a rendering or in one sentence.
9. Rows of real instruction data with stock templates: token ids and masks as SFTTrainer's with assistant_only_loss, and the losses of
   20 steps.
10. GGUF models and adapters, run by llama.cpp (scripts/llama_cpp.sh builds it), and written as its converter writes them.
    mlx-lm reads exported adapters and gives our logits, and what it trains gives its logits here (scripts/mlx.sh installs it).
11. huggingface_hub reads the cache that `lowrank pull` writes, pull finds what it writes, and push leaves what upload_folder leaves, from a
   server on loopback.
12. A study that processes of ours share is loaded, joined and queued into by PyPI optuna.

2 to 6 and 10 use the model and the texts under --assets ($LOWRANK_ASSETS); without them they are left out, and that is said.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import adapter_forms_parity
import family_parity
import image_parity
import live
import peft_adapter_parity as peft
import sequence_classifier_parity

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-4
check = live.Check()
REGEX = r".*layers\.[0-3]\.(self_attn\.(q|v|o)_proj|mlp\.(up|down)_proj)"


def run(*command, **options):
    print("+", *command, flush=True)
    subprocess.run([str(c) for c in command], check=True, **options)


def golden_tests(build, assets, work):
    goldens = work / "goldens"
    shutil.copytree(HERE.parent / "goldens", goldens)
    run(sys.executable, HERE / "make_goldens.py", "--out", goldens, *(["--assets", assets] if assets else []))
    run(sys.executable, HERE / "make_adapter_goldens.py", "--out", goldens / "lora")
    run(sys.executable, HERE / "make_combine_goldens.py", "--out", goldens / "lora")
    run(sys.executable, HERE / "make_method_goldens.py", "--out", goldens)
    run(sys.executable, HERE / "make_beam_goldens.py", "--out", goldens, *(["--assets", assets] if assets else []))
    run(sys.executable, HERE / "make_conv_goldens.py", "--out", goldens / "lora")
    run(sys.executable, HERE / "make_resnet_goldens.py", "--out", goldens / "models")
    run(sys.executable, HERE / "make_ppo_goldens.py", "--out", goldens)
    run(sys.executable, HERE / "make_seq_cls_goldens.py", "--out", goldens)
    run(sys.executable, HERE / "make_dpo_goldens.py", "--out", goldens)
    run(sys.executable, HERE / "make_image_goldens.py", "--out", goldens / "data")
    if importlib.util.find_spec("pyarrow"):
        run(sys.executable, HERE / "make_parquet_goldens.py", "--out", goldens / "data")
    else:
        shutil.copytree(HERE.parent / "goldens" / "data" / "parquet", goldens / "data" / "parquet", dirs_exist_ok=True)
    if importlib.util.find_spec("trl") and importlib.util.find_spec("datasets"):
        run(sys.executable, HERE / "make_chat_trl_goldens.py", "--out", goldens / "data")
    else:
        shutil.copy(HERE.parent / "goldens" / "data" / "chat_trl.json", goldens / "data")
    run(sys.executable, HERE / "make_chat_goldens.py", "--out", goldens / "data", *(["--assets", assets] if assets else []))
    if importlib.util.find_spec("gguf"):
        run(sys.executable, HERE / "make_gguf_goldens.py", "--out", goldens / "formats")
    run(sys.executable, HERE / "make_score_goldens.py", "--out", goldens / "eval")
    run(sys.executable, HERE / "make_classification_goldens.py", "--out", goldens / "eval")
    for test in ("test_formats", "test_data", "test_lora", "test_models", "test_eval", "test_train"):
        run(build / "tests" / test, env={**os.environ, "LOWRANK_GOLDENS": str(goldens)})


def ours(build, model, adapter, sequences):
    text = "\n".join(json.dumps(ids) for ids in sequences) + "\n"
    done = subprocess.run([build / "tests" / "model_logits", model, adapter], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def difference(left, right):
    """The largest |left - right| over [sequence][token][vocabulary]."""
    return max(abs(a - b) for s, t in zip(left, right, strict=True) for r, q in zip(s, t, strict=True)
               for a, b in zip(r, q, strict=True))


def doubled_alpha(adapter, to):
    shutil.copytree(adapter, to, ignore=shutil.ignore_patterns("checkpoints", "*.jsonl"))
    path = to / "adapter_config.json"
    config = json.loads(path.read_text())
    config["lora_alpha"] *= 2
    path.write_text(json.dumps(config))
    return to


def adapters(build, assets, work):
    model = assets / "models" / "stories260K-hf"
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    sequences = [[1] + [(7 * i * i + 13 * i + s) % (vocabulary - 3) + 3 for i in range(40 + 30 * s)] for s in range(3)]

    text = work / "pater.txt"
    book = (assets / "corpora" / "art-history" / "pater-renaissance.pg2398.txt").read_text(encoding="utf-8")
    text.write_text(book[:100000], encoding="utf-8")
    trained = work / "trained"
    run(build / "bin" / "lowrank", "finetune", model, "--data", text, "--out", trained, "--max-steps", 20, "--seq-len", 256,
        "--lr", 1e-2, "--rank", 8, "--alpha", 16, "--rslora", "--targets", REGEX,
        "--rank-pattern", "v_proj=3", r"layers\.1\.mlp\.up_proj=5", "--quiet")
    base = ours(build, model, "-", sequences)
    made_here = ours(build, model, trained, sequences)
    moved = difference(base, made_here)
    check("20 steps here move the logits by at least 0.5", moved >= 0.5, moved)
    error = difference(made_here, peft.logits(model, trained, sequences))
    check("PEFT gives the same logits with the adapter trained here", error <= TOLERANCE, error)
    error = difference(made_here, peft.logits(model, doubled_alpha(trained, work / "trained-doubled"), sequences))
    check("and other ones when lora_alpha is doubled in the file", error > 100 * TOLERANCE, error)

    theirs = work / "peft"
    peft.make_adapter(model, theirs)
    expected = peft.logits(model, theirs, sequences)
    moved = difference(base, expected)
    check("PEFT's adapter moves the logits by at least 0.5", moved >= 0.5, moved)
    error = difference(expected, ours(build, model, theirs, sequences))
    check("the same logits here with the adapter that PEFT made", error <= TOLERANCE, error)
    error = difference(expected, ours(build, model, doubled_alpha(theirs, work / "peft-doubled"), sequences))
    check("and other ones when lora_alpha is doubled in the file", error > 100 * TOLERANCE, error)


METHODS = {
    "DoRA": ["--dora"],
    "DoRA with rsLoRA, dropout and LoRA+": ["--dora", "--rslora", "--dropout", 0.1, "--lora-plus-ratio", 4],
    "LoRA+": ["--lora-plus-ratio", 16, "--lr", 5e-4],
    "PiSSA": ["--init", "pissa"],
    "fast PiSSA with rsLoRA and a rank pattern": ["--init", "pissa_niter_4", "--rslora", "--rank-pattern", "v_proj=3"],
    "OLoRA": ["--init", "olora"],
    "the orthogonal initialisation": ["--init", "orthogonal"],
    "whole modules": ["--modules-to-save", "embed_tokens,lm_head,norm,4.mlp"],
    "the embedding": ["--targets", "q_proj,v_proj,embed_tokens"],
    "the head": ["--targets", "q_proj,v_proj,lm_head"],
}


def methods(build, assets, work):
    model = assets / "models" / "stories260K-hf"
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    sequences = [[1] + [(11 * i * i + 5 * i + s) % (vocabulary - 3) + 3 for i in range(50)] for s in range(2)]
    text = work / "pater.txt"
    base = ours(build, model, "-", sequences)
    for number, (name, options) in enumerate(METHODS.items()):
        out = work / f"method-{number}"
        run(build / "bin" / "lowrank", "finetune", model, "--data", text, "--out", out, "--max-steps", 20, "--seq-len", 256,
            "--val-split", 0, "--rank", 8, "--alpha", 16, *([] if "--targets" in options else ["--targets", REGEX]),
            *(options if "--lr" in options else ["--lr", 5e-3, *options]), "--quiet")
        made_here = ours(build, model, out, sequences)
        moved = difference(base, made_here)
        check(f"{name}: 20 steps move the logits by at least 0.2", moved >= 0.2, moved)
        error = difference(made_here, peft.logits(model, out, sequences))
        check(f"{name}: PEFT gives the same logits, without a warning", error <= TOLERANCE, error)
        checkpoint = out / "checkpoints" / "checkpoint-20"
        error = difference(ours(build, model, checkpoint, sequences), peft.logits(model, checkpoint, sequences))
        check(f"{name}: so do both with the last checkpoint", error <= TOLERANCE, error)
        if "embed_tokens" not in str(options):  # compress is for linear layers
            smaller = work / f"compressed-{number}"
            run(build / "bin" / "lowrank", "compress", out, "--max-kl", 0.02, "--data", text, "--seq-len", 256, "--out", smaller, "--quiet")
            compressed = ours(build, model, smaller, sequences)
            error = difference(compressed, peft.logits(model, smaller, sequences))
            check(f"{name}: so do both with what compress makes of it", error <= TOLERANCE and difference(compressed, made_here) > 10 * error, error)
        merged = work / f"merged-{number}"
        run(build / "bin" / "lowrank", "merge", model, "--adapter", out, "--out", merged, "--quiet")
        error = difference(made_here, ours(build, merged, "-", sequences))
        check(f"{name}: and the merged model", error <= TOLERANCE, error)


def classifiers(build, assets, work):
    model = assets / "models" / "stories260K-hf"
    rows = work / "labelled.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for number, (label, name) in enumerate([("story", "general/tinystories_2MB.txt"), ("art", "art-history/pater-renaissance.pg2398.txt")]):
            text = (assets / "corpora" / name).read_text(encoding="utf-8")[20000:]
            for i in range(40 - 10 * number):
                file.write(json.dumps({"text": text[300 * i:300 * i + 120 + 5 * i], "label": label}) + "\n")
    labels = ["art", "story"]

    def ours_of(adapter):
        done = subprocess.run([build / "bin" / "lowrank", "evaluate", model, "--adapter", adapter, "--task", "classification",
                               "--data", rows, "--json"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    def compare(what, adapter):
        mine = ours_of(adapter)
        nll, predicted = sequence_classifier_parity.judge(model, adapter, rows, labels)
        check(f"{what}: the same loss in transformers and PEFT", abs(mine["nll"] - nll) <= TOLERANCE, abs(mine["nll"] - nll))
        said = [sum(column) for column in zip(*mine["confusion"], strict=True)]
        check(f"{what}: the same predictions", said == [predicted.count(0), predicted.count(1)], said[0] - predicted.count(0))

    trained = work / "classifier"
    run(build / "bin" / "lowrank", "finetune", model, "--task", "classification", "--data", rows, "--out", trained, "--rank", 4,
        "--lr", 2e-3, "--max-steps", 20, "--quiet")
    compare("a classifier trained here", trained)
    theirs = work / "peft-classifier"
    sequence_classifier_parity.make(model, theirs, 2)
    (theirs / "label2id.json").write_text(json.dumps({name: number for number, name in enumerate(labels)}))
    compare("a classifier that PEFT made", theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    parser.add_argument("--assets", type=pathlib.Path, default=os.environ.get("LOWRANK_ASSETS") or None)
    parser.add_argument("--count", type=int, default=100000, help="strings for the tokenizers, mutations of templates")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    with tempfile.TemporaryDirectory(prefix="lowrank-parity-") as folder:
        work = pathlib.Path(folder)
        if arguments.assets:
            adapters(build, arguments.assets, work)
            methods(build, arguments.assets, work)
            classifiers(build, arguments.assets, work)
            adapter_forms_parity.compare(build, arguments.assets, work / "forms", check)
            family_parity.compare(build, arguments.assets, work, check, document=HERE.parents[1] / "docs" / "compatibility.md")
            run(sys.executable, HERE / "tokenizer_parity.py", "--tool", build / "tests" / "tokenize_lines", "--count", arguments.count,
                env={**os.environ, "LOWRANK_ASSETS": str(arguments.assets)})
        else:
            print("LOWRANK_ASSETS is unset: tokenizers and live adapters are left out")
        run(sys.executable, HERE / "chat_parity.py", "--tool", build / "tests" / "render_chat", "--mutations", arguments.count,
            *(["--assets", arguments.assets] if arguments.assets else []))
        if arguments.assets:
            run(sys.executable, HERE / "chat_trl_parity.py", "--lowrank", build / "bin" / "lowrank", "--assets", arguments.assets)
        run(sys.executable, HERE / "hub_parity.py", "--lowrank", build / "bin" / "lowrank")
        run(sys.executable, HERE.parent / "e2e" / "study.py", build / "bin" / "lowrank", "--trials", "24", "--optuna", sys.executable)
        llama_cpp = HERE.parents[1] / ".deps" / "llama_cpp"
        if arguments.assets and (llama_cpp / "lib" / "libllama.so").exists():
            run(sys.executable, HERE / "llama_cpp_parity.py", "--build", build, "--assets", arguments.assets, "--llama-cpp", llama_cpp)
        else:
            print("llama.cpp is not in .deps/llama_cpp (scripts/llama_cpp.sh), or LOWRANK_ASSETS is unset: GGUF models are left out")
        mlx = HERE.parents[1] / ".deps" / "mlx" / "bin" / "python"
        if arguments.assets and mlx.exists():
            run(sys.executable, HERE / "mlx_parity.py", "--build", build, "--assets", arguments.assets, "--mlx", mlx)
        else:
            print("mlx-lm is not in .deps/mlx (scripts/mlx.sh), or LOWRANK_ASSETS is unset: its reading of adapters is left out")
        golden_tests(build, arguments.assets, work)
        image_parity.compare(build / "bin" / "lowrank", work / "images", check)
    print("parity: everything holds")


if __name__ == "__main__":
    main()
