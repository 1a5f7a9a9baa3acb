#!/usr/bin/env python3
"""LoRA training speed and memory: PEFT and lowrank in turn, on the same model, tokens and machine.

A random-weight model of SmolLM2-135M's shape, rank 16 on all linear layers, 2 x 512 tokens a step, AdamW. Each side runs as a
process of its own, alternating; the first steps of each are left out; medians of tokens/s and VmHWM of the process are printed, and which share of
the machine's multiply-adds (a loop, measured as lowrank's run begins) each side's step reaches, counting lowrank's operations for both. On a machine
that does other things too, --clock cpu takes the process's CPU time, divided by the threads, for the wall's.
--shape 0.5B takes Qwen2.5-0.5B's, --shape qwen3_5 a hybrid: Qwen3.5-0.8B's layers (three of Gated DeltaNet to one of attention), a third of them and
of its vocabulary; transformers runs its torch path, the one there is on a CPU.

    python bench/bench.py --lowrank build/bin/lowrank [--shape qwen3_5] [--dtype float32 bfloat16] [--rounds 2] [--steps 8]
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEQ, BATCH, RANK = 512, 2, 16


SHAPES = {
    "135M": ("Llama", "Llama", dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                                    num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100000.0)),
    "0.5B": ("Qwen2", "Qwen2", dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                                    num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768, rope_theta=1000000.0)),
    "TinyLlama": ("Llama", "Llama", dict(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                                         num_attention_heads=32, num_key_value_heads=4, max_position_embeddings=2048,
                                         tie_word_embeddings=False)),
    "Llama-3-8B": ("Llama", "Llama", dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                                          num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192, rope_theta=500000.0,
                                          tie_word_embeddings=False)),  # for bench/gpu.py
    "qwen3_5": ("Qwen3_5", "Qwen3_5Text", dict(vocab_size=81920, hidden_size=1024, intermediate_size=3584, num_hidden_layers=8,
                                               num_attention_heads=8, num_key_value_heads=2, head_dim=256, linear_num_key_heads=16,
                                               linear_num_value_heads=16, linear_key_head_dim=128, linear_value_head_dim=128)),
}


def make_model(folder: Path, dtype: str, shape: str, tokens: int = 0) -> None:
    """config.json and random weights of a shape, a byte-level tokenizer trained on the examples' text, and that text as often as gives so many tokens."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    torch.manual_seed(0)
    family, config_family, sizes = SHAPES[shape]
    config = getattr(transformers, config_family + "Config")(**{"tie_word_embeddings": True, **sizes}, bos_token_id=0, eos_token_id=0)
    if shape == "Llama-3-8B":
        torch.set_default_dtype(torch.bfloat16)  # half the room while it is drawn
    getattr(transformers, family + "ForCausalLM")(config).to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [p.read_text() for p in sorted((ROOT / "examples/art-history/train").glob("*.txt"))]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=1000, special_tokens=["<|endoftext|>"], show_progress=False))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast"}))
    text = "\n\n".join(texts)
    (folder / "corpus.txt").write_text("\n\n".join([text] * (1 + tokens // len(tokenizer.encode(text).ids))))


PEFT = """
import json, sys, time, torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from peft import LoraConfig, get_peft_model
folder, dtype, steps, skip, seq, batch, rank = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:8])
threads = int(sys.argv[8])
device = sys.argv[10]
def clock():
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() if sys.argv[9] == "wall" else time.process_time() / threads
torch.set_num_threads(threads)
torch.manual_seed(0)
ids = Tokenizer.from_file(folder + "/tokenizer.json").encode(open(folder + "/corpus.txt").read()).ids
model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"))
model.train()
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0)
rates, losses = [], []
for step in range(steps):
    x = torch.tensor([ids[(step * batch + b) * seq:][:seq] for b in range(batch)], device=device)
    begin = clock()
    loss = model(input_ids=x, labels=x).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    rates.append(batch * seq / (clock() - begin))
peak = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
print(json.dumps({"rates": rates[skip:], "peak": peak, "losses": losses}))
"""


def run_peft(model: Path, dtype: str, steps: int, skip: int, threads: int, clock: str = "wall", seq: int = SEQ, batch: int = BATCH,
             device: str = "cpu") -> dict:
    words = map(str, (steps, skip, seq, batch, RANK, threads, clock, device))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PEFT, str(model), dtype, *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_lowrank(command: str, model: Path, dtype: str, steps: int, skip: int, threads: int, extra: list, clock: str = "wall") -> dict:
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([command, "finetune", str(model), "--data", str(model / "corpus.txt"), "--out", out + "/run", "--seq-len", str(SEQ),
                        "--batch-size", str(BATCH), "--max-steps", str(steps), "--val-split", "0", "--rank", str(RANK), "--dtype", dtype,
                        "--threads", str(threads), "--no-shuffle", "--schedule", "constant", "--warmup", "0", "--save-every", str(steps), "--quiet",
                        "--profile", *extra], check=True)
        rows = [json.loads(line) for line in open(out + "/run/metrics.jsonl")]
        trace = json.loads(Path(out + "/run/profile.json").read_text())["traceEvents"]
        best = json.loads(Path(out + "/run/run.json").read_text())["result"]["profile"]["best_flops_per_second"]
    rows = [row for row in rows if "loss" in row]
    around = sorted((e for e in trace if e["name"] == "step"), key=lambda e: e["ts"])
    rates = [row["tokens_per_second"] for row in rows]
    if clock == "cpu":
        rates = [BATCH * SEQ * threads / step["args"]["cpu_seconds"] for step in around]
    begin, end = around[-1]["ts"], around[-1]["ts"] + around[-1]["dur"]
    flops = sum(e["args"]["GFLOP/s"] * 1e3 * e["dur"] for e in trace if begin <= e["ts"] < end and "GFLOP/s" in e.get("args", {}))
    return {"rates": rates[skip:], "peak": rows[-1]["peak_rss_bytes"], "losses": [row["loss"] for row in rows], "flops": flops, "best": best}


def cpu_name() -> str:
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(ROOT / "build/bin/lowrank"))
    parser.add_argument("--shape", choices=sorted(SHAPES), default="135M")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--stored", choices=["float32", "bfloat16"], help="dtype of the model's file, which most have in bfloat16; default: --dtype's")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--skip", type=int, default=2, help="first steps that are left out (a CPU without bf16 instructions: PEFT's bf16 "
                        "steps take minutes each; --steps 1 --skip 0 measures one)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more options for lowrank")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    flags = open("/proc/cpuinfo").read()
    isa = ", ".join(name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags)
    print(f"CPU: {cpu_name()} ({isa}), {arguments.threads} threads; {arguments.shape} shape, {BATCH} x {SEQ} tokens, rank {RANK} on all linear layers")
    print(f"{'dtype':10} {'PEFT tok/s':>11} {'lowrank':>9} {'ratio':>6}   {'PEFT peak':>10} {'lowrank':>9} {'ratio':>6}   of the multiply-adds   first losses")
    for dtype in arguments.dtype:
        folder = Path(tempfile.mkdtemp(prefix="lowrank-bench-"))
        try:
            make_model(folder, arguments.stored or dtype, arguments.shape)
            theirs, ours = [], []
            for _ in range(arguments.rounds):
                theirs.append(run_peft(folder, dtype, arguments.steps, arguments.skip, arguments.threads, arguments.clock))
                ours.append(run_lowrank(arguments.lowrank, folder, dtype, arguments.steps, arguments.skip, arguments.threads,
                                        arguments.extra, arguments.clock))
            a, b = (statistics.median(r for one in side for r in one["rates"]) for side in (theirs, ours))
            m, n = (max(one["peak"] for one in side) for side in (theirs, ours))
            each = statistics.median(one["flops"] / one["best"] for one in ours) / (BATCH * SEQ)  # seconds a token at the limit
            print(f"{dtype:10} {a:11.0f} {b:9.0f} {b / a:5.2f}x   {m / 1e9:7.2f} GB {n / 1e9:6.2f} GB {n / m:5.2f}x   {a * each:8.0%} {b * each:8.0%}      "
                  f"{theirs[0]['losses'][0]:.4f} {ours[0]['losses'][0]:.4f}", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
