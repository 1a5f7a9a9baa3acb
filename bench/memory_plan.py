#!/usr/bin/env python3
"""What a run says it will take against what it took (VmHWM), over twenty configurations of small to medium shapes.

    python bench/memory_plan.py [--lowrank build/bin/lowrank] [--only N]

Shapes are random Llamas; each run trains one step on a text that fills its micro-batches. Needs torch and transformers.
"""
import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {  # hidden, layers, intermediate, heads, key-value heads, vocabulary
    "30M": (512, 8, 1408, 8, 4, 8000),
    "60M": (512, 16, 1536, 8, 4, 16000),
    "135M": (576, 30, 1536, 9, 3, 49152),
}
# shape, dtype of the file, options
CASES = [
    ("30M", "bfloat16", "--dtype float32 --batch-size 2 --seq-len 256"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 256"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 8 --seq-len 256"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 512"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 8 --seq-len 256 --recompute layer"),
    ("30M", "bfloat16", "--dtype bfloat16 --batch-size 4 --seq-len 256"),
    ("30M", "bfloat16", "--dtype bfloat16 --batch-size 8 --seq-len 256"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 256 --base-dtype nf4"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 256 --base-dtype int8"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 256 --rank 64"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 256 --dora"),
    ("30M", "bfloat16", "--dtype float32 --batch-size 4 --seq-len 256 --layers 4-7"),
    ("60M", "float32", "--dtype float32 --batch-size 2 --seq-len 256"),
    ("60M", "float32", "--dtype float32 --batch-size 4 --seq-len 512"),
    ("60M", "float32", "--dtype float32 --batch-size 4 --seq-len 512 --recompute layer"),
    ("60M", "float32", "--dtype float32 --batch-size 4 --seq-len 256 --base-dtype nf4"),
    ("135M", "bfloat16", "--dtype float32 --batch-size 2 --seq-len 512"),
    ("135M", "bfloat16", "--dtype float32 --batch-size 2 --seq-len 512 --recompute layer"),
    ("135M", "bfloat16", "--dtype bfloat16 --batch-size 2 --seq-len 512"),
    ("135M", "bfloat16", "--dtype float32 --batch-size 2 --seq-len 512 --base-dtype nf4 --recompute layer"),
]


def make(folder: Path, shape: str, dtype: str, tokenizer: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    model = folder / f"{shape}-{dtype}"
    if model.exists():
        return model
    hidden, layers, inner, heads, kv, vocabulary = SHAPES[shape]
    config = LlamaConfig(vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
                         num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=2048,
                         tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype)).save_pretrained(model)
    for file in tokenizer.glob("tokenizer*"):
        shutil.copy(file, model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(ROOT / "build/bin/lowrank"))
    parser.add_argument("--assets", default=str(ROOT / "../shared/assets"))
    parser.add_argument("--only", type=int, nargs="*", help="these cases alone")
    parser.add_argument("--folder", help="keep the models here")
    arguments = parser.parse_args()
    assets = Path(arguments.assets)
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="lowrank-memory-") as name:
        folder = Path(arguments.folder or name)
        text = folder / "text.txt"
        folder.mkdir(parents=True, exist_ok=True)
        text.write_text((assets / "corpora/general/tinyshakespeare.txt").read_text()[:60000])
        for number, (shape, dtype, options) in enumerate(CASES):
            if arguments.only and number not in arguments.only:
                continue
            model = make(folder, shape, dtype, assets / "models/stories260K-hf")
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            subprocess.run([arguments.lowrank, "finetune", str(model), "--data", str(text), "--out", str(out), "--max-steps",
                            "1", "--samples", "0", "--val-split", "0", "--quiet", *options.split()], check=True,
                           capture_output=True)
            said = json.loads((out / "run.json").read_text())["memory"]
            took = max(json.loads(line).get("peak_rss_bytes", 0) for line in (out / "metrics.jsonl").open())
            error = said["total"] / took - 1
            worst = max(worst, abs(error))
            print(f"{number:2} {shape:5} {options:95} said {said['total'] / 1e6:7.0f} MB, took {took / 1e6:7.0f}: {error:+.1%}",
                  {k: round(v / 1e6) for k, v in said.items()} if arguments.only else "", flush=True)
    print(f"worst {worst:.1%}")


if __name__ == "__main__":
    main()
