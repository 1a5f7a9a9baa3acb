#!/usr/bin/env python3
"""llama.cpp as the oracle for GGUF: a random model of each family, with an adapter that `lowrank finetune` trains (rsLoRA, a rank pattern).

    llama_cpp_parity.py --build build --assets DIR --llama-cpp .deps/llama_cpp [--only FAMILY ...]

1. `lowrank merge --into gguf` of the base against llama.cpp's converter (convert_hf_to_gguf.py of the same archive): the same keys and the
   same tensors, byte for byte, in F32, F16, BF16 and Q8_0; Q4_0 against PyPI gguf's quantiser.
2. Log-probabilities of every token: llama.cpp on the F32 base against ours is its own noise; base and GGUF adapter, and the merged model
   in F32, against ours, stay within NOISE times that; an adapter with a doubled alpha does not.
3. Texts: llama.cpp's tokenizer, from the file, gives our ids.
"""
import ctypes
import json
import logging
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import torch
import transformers

import live

HERE = pathlib.Path(__file__).resolve().parent
NOISE = 4.0     # of llama.cpp's own, that results may be off
LEAST = 2e-5    # noise that is counted where llama.cpp shows less: of a few roundings in fp32
TYPES = {"float32": "f32", "q8_0": "q8_0", "float16": "f16", "bfloat16": "bf16"}  # all of Llama; of others the first two
TEXTS = ["Once upon a time, there was a small boat.", "I've 123 things -- and  two   spaces!\n\n\tTabs?", "Größe, naïve, 中文 ok 😀 end",
         " leading and trailing ", "a", "He said: 'don't', they'll; WE'RE 2024."]
# Keys that one of the two may leave out: what llama.cpp takes for granted. In general. each says what it likes.
FREE = re.compile(r"^(general\.(?!architecture$|type$|file_type$|quantization_version$).*|GGUF\..*|.*\.attention\.(key|value)_length|"
                  r".*\.vocab_size|.*\.rope\.(dimension_count|freq_base|scaling\.yarn_.*)|.*\.attention\.head_count_kv|"
                  r"tokenizer\.ggml\.(add_bos_token|add_eos_token|add_sep_token|add_space_prefix|eot_token_id|prefix_token_id|suffix_token_id|middle_token_id|"
                  r"fsep_token_id))$")

SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 256}


def families(t=transformers):
    """Name -> (config class, keys, tokenizer, a rank pattern)."""
    heads = {"head_dim": 32}
    experts = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "norm_topk_prob": True}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64, "rope_theta": 10000.0}
    return {
        "llama": (t.LlamaConfig, {**SMALL, "tie_word_embeddings": True}, "llama", "v_proj=3"),
        "llama-3": (t.LlamaConfig, {**SMALL, "rope_parameters": llama3, "tie_word_embeddings": False}, "gpt2", "v_proj=3"),
        "llama-bias": (t.LlamaConfig, {**SMALL, "attention_bias": True, "mlp_bias": True}, "llama", "v_proj=3"),
        "mistral": (t.MistralConfig, {**SMALL, **heads, "sliding_window": None}, "llama", "v_proj=3"),
        "qwen2": (t.Qwen2Config, {**SMALL}, "llama", "v_proj=3"),
        "qwen3": (t.Qwen3Config, {**SMALL, **heads, "tie_word_embeddings": True}, "gpt2", "v_proj=3"),
        "gemma": (t.GemmaConfig, {**SMALL, **heads}, "gemma", "v_proj=3"),
        "gemma2": (t.Gemma2Config, {**SMALL, **heads, "query_pre_attn_scalar": 32, "sliding_window": 16}, "gemma", "v_proj=3"),
        "gemma3": (t.Gemma3TextConfig, {**SMALL, **heads, "num_hidden_layers": 6, "query_pre_attn_scalar": 32, "sliding_window": 16}, "gemma",
                   "v_proj=3"),
        "phi3": (t.Phi3Config, {**SMALL, "num_attention_heads": 2, "num_key_value_heads": 2, "sliding_window": None,
                                "original_max_position_embeddings": 256}, "phi", "qkv_proj=3"),
        "gpt2": (t.GPT2Config, {"n_embd": 64, "n_layer": 3, "n_head": 2, "n_positions": 256, "n_ctx": 256}, "gpt2", "c_attn=3"),
        "qwen3_moe": (t.Qwen3MoeConfig, {**SMALL, **heads, **experts}, "gpt2", "v_proj=3"),
        "qwen2_moe": (t.Qwen2MoeConfig, {**SMALL, **experts, "norm_topk_prob": False, "shared_expert_intermediate_size": 64}, "gpt2", "v_proj=3"),
        "mixtral": (t.MixtralConfig, {**SMALL, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}, "llama", "v_proj=3"),
        "smollm3": (t.SmolLM3Config, {**SMALL, "num_hidden_layers": 4}, "gpt2", "v_proj=3"),
        "starcoder2": (t.Starcoder2Config, {**SMALL, "sliding_window": None}, "gpt2", "v_proj=3"),
        "olmo2": (t.Olmo2Config, {**SMALL, "num_key_value_heads": 4}, "gpt2", "v_proj=3"),
        "granite": (t.GraniteConfig, {**SMALL, "embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5,
                                      "logits_scaling": 2.0}, "gpt2", "v_proj=3"),
        "seed_oss": (t.SeedOssConfig, {**SMALL, **heads}, "gpt2", "v_proj=3"),
    }


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, **options)


def make_model(config_class, keys, tokenizer, assets, folder):
    folder.mkdir(parents=True)
    if tokenizer in ("llama", "gemma", "phi"):
        source, vocabulary = assets / "models" / "stories260K-hf", 512
        for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(source / name, folder / name)
        if tokenizer == "gemma":  # no space before a text
            # A protocol buffer that is appended to another is merged into it: normalizer_spec {add_dummy_prefix: false}.
            (folder / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes() + b"\x1a\x02\x18\x00")
            document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            document["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
            (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
        if tokenizer == "phi":  # names its special tokens in tokenizer_config.json too
            config = json.loads((folder / "tokenizer_config.json").read_text())
            config["added_tokens_decoder"] = {
                str(i): {"content": token, "special": True} for i, token in enumerate(("<unk>", "<s>", "</s>"))}
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
        ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
    else:
        vocabulary = 50304  # more rows than tokens
        document = json.loads((assets / "tokenizers" / "gpt2" / "tokenizer.json").read_text(encoding="utf-8"))
        document["model"] = {"type": "BPE", **document["model"]}  # which older files leave out, and the converter asks for
        (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps({
            "tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>",
            "model_max_length": 256, "chat_template": "{{ messages[0].content }}"}))
        ids = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": None}
    config = config_class(vocab_size=vocabulary, **keys, **ids)
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            is_norm = "norm" in name or "ln_" in name
            parameter.normal_(0, 0.1 if not is_norm else 0.2)
            if is_norm and name.endswith("weight") and "gemma" not in config.model_type:
                parameter.add_(1)
    model.save_pretrained(folder)
    return vocabulary


class Llama:
    """llama.cpp on a GGUF file, in fp32 wherever it lets one choose."""

    def __init__(self, bindings, model, adapter=None):
        self.llama = bindings.Llama(model_path=str(model), lora_path=str(adapter) if adapter else None, n_ctx=256, n_batch=256, n_ubatch=256,
                                    logits_all=True, flash_attn=False, type_k=0, type_v=0, n_threads=1, n_threads_batch=1, swa_full=True,
                                    verbose=False)

    def log_probabilities(self, sequences):
        result = []
        for ids in sequences:
            self.llama.reset()
            self.llama.eval(ids)
            logits = torch.tensor(np.array(self.llama.scores[:len(ids)]), dtype=torch.float64)
            result.append(logits.log_softmax(-1))
        return result

    def activated(self, bindings, sequences, invocation):
        """As llama-server has it: the adapter is set where the last invocation begins."""
        adapter, context, result = self.llama._lora_adapter, self.llama._ctx.ctx, []
        count = bindings.llama_adapter_get_alora_n_invocation_tokens(adapter)
        assert list(bindings.llama_adapter_get_alora_invocation_tokens(adapter)[:count]) == invocation
        for ids in sequences:
            starts = [i for i in range(len(ids)) if ids[i:i + len(invocation)] == invocation]
            at = starts[-1] if starts else len(ids)
            self.llama.reset()
            bindings.llama_set_adapters_lora(context, None, 0, None)
            self.llama.eval(ids[:at])
            bindings.llama_set_adapters_lora(context, (bindings.llama_adapter_lora_p_ctypes * 1)(adapter), 1, (ctypes.c_float * 1)(1.0))
            if ids[at:]:
                self.llama.eval(ids[at:])
            result.append(torch.tensor(np.array(self.llama.scores[:len(ids)]), dtype=torch.float64).log_softmax(-1))
        return result

    def tokenize(self, text):
        return self.llama.tokenize(text.encode(), add_bos=True, special=True)


def ours(build, model, adapter, sequences):
    text = "\n".join(json.dumps(ids) for ids in sequences) + "\n"
    done = run(build / "tests" / "model_logits", model, adapter, input=text, capture_output=True, text=True)
    return [torch.tensor(json.loads(line), dtype=torch.float64).log_softmax(-1) for line in done.stdout.splitlines()]


def distance(left, right):
    """Over all tokens that may come next."""
    return max((a - b).abs().max().item() for a, b in zip(left, right, strict=True))


def middle_distance(left, right):
    """The largest over what may come next, of the median token."""
    return torch.cat([(a - b).abs().amax(-1) for a, b in zip(left, right, strict=True)]).median().item()


def contents(reader):
    return {name: field.contents() for name, field in reader.fields.items()}


def compare_files(gguf, mine, theirs, what, check):
    a, b = gguf.GGUFReader(mine), gguf.GGUFReader(theirs)
    ours_keys, their_keys = contents(a), contents(b)
    for key in sorted(set(ours_keys) | set(their_keys)):
        if key.startswith(("general.", "GGUF.")) and FREE.match(key):
            continue
        if FREE.match(key) and not (key in ours_keys and key in their_keys):
            continue
        if key not in ours_keys or key not in their_keys:
            check(f"{what}: the key {key} is in both", False, 1.0)
            continue
        same = ours_keys[key] == their_keys[key]
        if isinstance(ours_keys[key], float):
            same = abs(ours_keys[key] - their_keys[key]) <= 1e-6 * abs(their_keys[key])
        if not same:
            print(key, str(ours_keys[key])[:300], str(their_keys[key])[:300])
            check(f"{what}: the same value of {key}", False, 1.0)
    tensors = {t.name: t for t in b.tensors}
    if {t.name for t in a.tensors} != set(tensors):
        print(sorted({t.name for t in a.tensors} ^ set(tensors))[:10])
        check(f"{what}: the same tensors", False, 1.0)
        return
    for tensor in a.tensors:
        other = tensors[tensor.name]
        same = tensor.tensor_type == other.tensor_type and list(tensor.shape) == list(other.shape)
        if tensor.name.startswith("rope_f"):  # computed, not copied
            same = same and np.allclose(tensor.data, other.data, rtol=1e-5)
        else:
            same = same and np.array_equal(tensor.data, other.data)
        if not same:
            check(f"{what}: {tensor.name} ({tensor.tensor_type.name}, {list(tensor.shape)}) is that of the converter", False, 1.0)
    check(f"{what}: keys and {len(tensors)} tensors as llama.cpp's converter writes them", True, 0.0)


def compare_q4(gguf, full, quantised, what, check):
    exact = {t.name: t for t in gguf.GGUFReader(full).tensors}
    count = 0
    for tensor in gguf.GGUFReader(quantised).tensors:
        if tensor.tensor_type not in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0):
            continue
        expected = gguf.quants.quantize(np.array(exact[tensor.name].data), tensor.tensor_type)
        if not np.array_equal(expected, tensor.data):
            check(f"{what}: the blocks of {tensor.name} are PyPI gguf's", False, 1.0)
        count += 1
    check(f"{what}: blocks of {count} tensors are PyPI gguf's", count > 0, 0.0)


def convert(base, out, kind):
    """llama.cpp's converter, in this process: it takes longer to import than to run."""
    import convert_hf_to_gguf
    arguments = sys.argv
    sys.argv = ["convert_hf_to_gguf.py", str(base), "--outfile", str(out), "--outtype", kind]
    try:
        convert_hf_to_gguf.main()
    finally:
        sys.argv = arguments


def file_in(folder):
    return next(folder.glob("*.gguf"))


def compare_family(name, build, assets, bindings, gguf, work, check):
    config_class, keys, tokenizer, pattern = families()[name]
    name = name.replace("phi3", "third-phi")  # llama.cpp looks for Phi-3's own tokens wherever general.name has its name
    base, trained, doubled = work / name, work / f"{name}-trained", work / f"{name}-doubled"
    vocabulary = make_model(config_class, keys, tokenizer, assets, base)
    lowrank = build / "bin" / "lowrank"

    def merged(out, *options):
        run(lowrank, "merge", base, "--into", "gguf", "--out", work / out, "--quiet", *options)
        return file_in(work / out)

    files = {}
    for ours_type, theirs_type in list(TYPES.items())[:4 if name == "llama" else 2]:
        files[ours_type] = merged(f"{name}-{ours_type}", "--dtype", ours_type)
        reference = work / f"{name}-{theirs_type}.gguf"
        convert(base, reference, theirs_type)
        compare_files(gguf, files[ours_type], reference, f"{name}, {ours_type}", check)
    compare_q4(gguf, files["float32"], merged(f"{name}-q4_0", "--dtype", "q4_0"), f"{name}, q4_0", check)

    text = work / f"{name}.txt"
    book = (assets / "corpora" / "art-history" / "pater-renaissance.pg2398.txt").read_text(encoding="utf-8")
    text.write_text(book[20000:40000], encoding="utf-8")
    run(lowrank, "finetune", base, "--data", text, "--out", trained, "--seq-len", 32, "--max-steps", 8, "--lr", 2e-2, "--rank", 4, "--alpha", 8,
        "--rslora", "--rank-pattern", pattern, "--val-split", 0, "--samples", 0, "--quiet")
    shutil.copytree(trained, doubled)
    config = json.loads((doubled / "adapter_config.json").read_text())
    config["lora_alpha"] *= 2
    (doubled / "adapter_config.json").write_text(json.dumps(config))
    adapters = {}
    for adapter in (trained, doubled):
        adapters[adapter] = work / f"{adapter.name}.gguf"
        run(lowrank, "export", adapter, "--model", base, "--format", "gguf", "--out", adapters[adapter], "--quiet")

    sequences = [[1] + [(7 * i * i + 13 * i + s) % (vocabulary - 400) + 3 for i in range(20 + 30 * s)] for s in range(3)]
    if vocabulary > 10000:  # all log-probabilities go through JSON
        sequences = [ids[:24] for ids in sequences[:2]]
    plain, adapted = ours(build, base, "-", sequences), ours(build, base, trained, sequences)
    moved = distance(plain, adapted)
    check(f"{name}: the adapter moves log-probabilities by at least 0.1", moved >= 0.1, moved)
    here = Llama(bindings, files["float32"])
    noise = max(distance(plain, here.log_probabilities(sequences)), LEAST)
    check(f"{name}: llama.cpp on the F32 base", noise <= 0.02, noise)
    error = distance(adapted, Llama(bindings, files["float32"], adapters[trained]).log_probabilities(sequences))
    check(f"{name}: base and GGUF adapter, within {NOISE:g} times that", error <= NOISE * noise, error)
    error = distance(adapted, Llama(bindings, merged(f"{name}-merged", "--adapter", trained, "--dtype", "float32")).log_probabilities(sequences))
    check(f"{name}: the merged model, within {NOISE:g} times that", error <= NOISE * noise, error)
    error = distance(adapted, Llama(bindings, files["float32"], adapters[doubled]).log_probabilities(sequences))
    check(f"{name}: and not with a doubled alpha", error > 10 * NOISE * noise, error)
    if name == "llama":
        compare_activated(build, bindings, base, files["float32"], trained, sequences, noise, plain, check)
    for quantised, bound in (("q8_0", 0.5), ("q4_0", 5.0)):
        found = Llama(bindings, file_in(work / f"{name}-{quantised}")).log_probabilities(sequences)
        # Of a mixture a token that is nearly undecided takes another expert when values are rounded: the middle token counts.
        error = middle_distance(plain, found) if name.endswith("moe") or name == "mixtral" else distance(plain, found)
        check(f"{name}: llama.cpp runs {quantised}", error <= bound, error)

    for sample in TEXTS:
        done = run(lowrank, "tokenize", base, "--text", sample, "--json", capture_output=True, text=True)
        mine, theirs = json.loads(done.stdout)["ids"], here.tokenize(sample)
        if mine != theirs:
            print(sample, mine, theirs)
        check(f"{name}: llama.cpp's ids of {sample[:20]!r}", mine == theirs, len(mine))
    for path in work.glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def compare_activated(build, bindings, base, file, trained, sequences, noise, plain, check):
    folder, out = trained.with_name("llama-activated"), trained.with_name("llama-activated.gguf")
    shutil.copytree(trained, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    invocation = config["alora_invocation_tokens"] = sequences[1][9:11]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    run(build / "bin" / "lowrank", "export", folder, "--model", base, "--format", "gguf", "--out", out, "--quiet")
    expected = ours(build, base, folder, sequences)
    moved = distance(plain, expected)
    check("llama: an activated LoRA moves log-probabilities by at least 0.1", moved >= 0.1, moved)
    error = distance(expected, Llama(bindings, file, out).activated(bindings, sequences, invocation))
    check(f"llama: llama.cpp reads its invocation and gives the same from there on, within {NOISE:g} times the noise", error <= NOISE * noise, error)


def compare_tokenizers(build, assets, bindings, work, check):
    """Released tokenizers in a file that has little else: byte-level ones, and BPE with byte fallback without a tokenizer.model."""
    config = transformers.LlamaConfig(**{**SMALL, "num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32}, vocab_size=8,
                                      tie_word_embeddings=True)
    for name in ("gpt2", "gpt-neox-20b", "falcon-tokenizer", "phi-3-mini"):
        base = work / f"tokenizer-{name}"
        base.mkdir()
        for file in (assets / "tokenizers" / name).glob("*.json"):
            shutil.copy(file, base / file.name)
        document = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
        config.vocab_size = max([*document["model"]["vocab"].values(), *(token["id"] for token in document["added_tokens"])]) + 1
        transformers.LlamaForCausalLM(config).save_pretrained(base)
        run(build / "bin" / "lowrank", "merge", base, "--into", "gguf", "--out", work / f"{name}-gguf", "--quiet")
        llama = bindings.Llama(model_path=str(file_in(work / f"{name}-gguf")), vocab_only=True, verbose=False)
        for sample in TEXTS:
            done = run(build / "bin" / "lowrank", "tokenize", base, "--text", sample, "--json", capture_output=True, text=True)
            mine, theirs = json.loads(done.stdout)["ids"], llama.tokenize(sample.encode(), add_bos=True, special=True)
            if mine != theirs:
                print(sample, mine, theirs)
            check(f"{name}: llama.cpp's ids of {sample[:20]!r}", mine == theirs, len(mine))


def compare(build, assets, llama_cpp, work, check, only=()):
    os.environ["LLAMA_CPP_LIB_PATH"] = str((llama_cpp / "lib").resolve())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    vendored = llama_cpp.resolve() / "vendor" / "llama.cpp"
    sys.path[:0] = [str(llama_cpp.resolve()), str(vendored), str(vendored / "gguf-py")]
    logging.disable(logging.WARNING)
    import gguf
    import llama_cpp as bindings
    print("llama.cpp by llama-cpp-python", bindings.__version__, "and gguf from", gguf.__path__[0])
    if not only or "tokenizers" in only:
        compare_tokenizers(build, assets, bindings, work, check)
    for name in families():
        if not only or name in only:
            compare_family(name, build, assets, bindings, gguf, work, check)


if __name__ == "__main__":
    live.main(__doc__, lambda arguments, work, check: compare(arguments.build, arguments.assets, arguments.llama_cpp, work, check, arguments.only or []),
              needs_assets=False, llama_cpp=HERE.parents[1] / ".deps" / "llama_cpp")
