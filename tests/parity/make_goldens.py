#!/usr/bin/env python3
"""Golden files of tests/models from transformers and peft.

Random tiny models of each family: weights drawn at std 0.2 so that a wrong rotation, scale or window shows, norms and
biases random, texts longer than every window and every original length. For each case, under tests/goldens/models/<case>/:

    config.json, generation_config.json, model.safetensors   as transformers writes them (fp32)
    adapter/                                                  a PEFT adapter with B != 0 on all linears, r = 4
    golden.safetensors   ids [T]; logits [T, V] of the base; adapted_logits [T, V];
                         stepwise_logits [T, V], where rotations depend on the length: row t is what transformers' generation
                         has after t + 1 tokens, which with longrope is a pass over them alone (Phi-3 reads a text anew when it
                         grows out of its original length), and with dynamic scaling goes token by token through its cache;
                         document.0, document.1 (token ids); loss.0, loss.1 (sums over predicted tokens);
                         grad.<peft name>: d(mean loss over both documents' predicted tokens)/d(adapter)
    loss_curve.json      documents' ids, the 20 losses of 20 steps of AdamW, and the settings

With --assets DIR, tests/goldens/eval/pater.json is made too: mean NLL of the first 60,000 characters of Pater's
Renaissance under stories260K, pieces cut as design says.

    python3 tests/parity/make_goldens.py [--assets DIR] [--out tests/goldens]
"""
import argparse
import json
import pathlib
import re
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import (AutoModelForCausalLM, AutoTokenizer, DynamicCache, Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel,
                          LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FAMILY_LINEARS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}
TINY = dict(vocab_size=128, hidden_size=32, intermediate_size=48, max_position_embeddings=64, bos_token_id=1,
            eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)


def llama(**kw):
    return LlamaForCausalLM, LlamaConfig(**{**TINY, **kw})


def mistral(**kw):
    return MistralForCausalLM, MistralConfig(**{**TINY, **kw})


def qwen2(**kw):
    return Qwen2ForCausalLM, Qwen2Config(**{**TINY, **kw})


def qwen3(**kw):
    return Qwen3ForCausalLM, Qwen3Config(**{**TINY, **kw})


def gpt2(**kw):
    return GPT2LMHeadModel, GPT2Config(**{**dict(vocab_size=128, n_embd=32, n_positions=64, bos_token_id=1, eos_token_id=2,
                                                 pad_token_id=0, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0), **kw})


def gemma2(**kw):
    return Gemma2ForCausalLM, Gemma2Config(**{**TINY, **kw})


def phi3(**kw):
    return Phi3ForCausalLM, Phi3Config(**{**TINY, **kw})


# name -> (class, config), what else the adapter targets, what must matter (config changes that must move the logits)
CASES = {
    "llama": (llama(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5), [], {}),
    "llama-llama3": (llama(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, attention_bias=True,
                           mlp_bias=True, rope_parameters=LLAMA3), [],
                     {"rope_parameters": dict(rope_type="default", rope_theta=10000.0)}),
    "llama-linear-tied": (llama(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                                tie_word_embeddings=True, rope_parameters=dict(rope_type="linear", rope_theta=500.0,
                                                                               factor=2.5)), [],
                          {"rope_parameters": dict(rope_type="default", rope_theta=500.0)}),
    "mistral": (mistral(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12,
                        sliding_window=7, rope_parameters=dict(rope_type="default", rope_theta=100000.0)), [],
                {"sliding_window": None}),
    "qwen2": (qwen2(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, use_sliding_window=True,
                    sliding_window=7, max_window_layers=1, tie_word_embeddings=True,
                    rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), [],
              {"sliding_window": 9}),
    "qwen3": (qwen3(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                    use_sliding_window=True, sliding_window=5,
                    layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                    rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), ["lm_head"],
              {"sliding_window": 6}),
    "qwen3-bias-tied": (qwen3(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=20,
                              attention_bias=True, tie_word_embeddings=True), [], {}),
    "llama-dynamic": (llama(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, hidden_act="gelu",
                            max_position_embeddings=20,
                            rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0)), [],
                      {"rope_parameters": dict(rope_type="default", rope_theta=10000.0), "hidden_act": "silu"}),
    "llama-yarn": (llama(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, beta_fast=4.0, beta_slow=0.5,
                                              original_max_position_embeddings=16)), [],
                   {"rope_parameters": dict(rope_type="default", rope_theta=500.0)}),
    "llama-yarn-mscale": (llama(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                                rope_parameters=dict(rope_type="yarn", rope_theta=100.0, factor=8.0, mscale=1.0,
                                                     mscale_all_dim=0.5, truncate=False,
                                                     original_max_position_embeddings=32)), [],
                          {"rope_parameters": dict(rope_type="default", rope_theta=100.0)}),
    "gpt2": (gpt2(n_layer=3, n_head=4), [], {"scale_attn_weights": False, "activation_function": "relu"}),
    "gpt2-bare": (gpt2(n_layer=2, n_head=2, n_inner=40, activation_function="gelu", layer_norm_epsilon=1e-2,
                       scale_attn_by_inverse_layer_idx=True), [], {"scale_attn_by_inverse_layer_idx": False}),
    "gemma2": (gemma2(num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=12, sliding_window=7,
                      query_pre_attn_scalar=20, attn_logit_softcapping=2.0, final_logit_softcapping=3.0,
                      tie_word_embeddings=False, rope_parameters=dict(rope_type="default", rope_theta=100000.0)),
               ["lm_head"], {"sliding_window": 9, "query_pre_attn_scalar": 12, "attn_logit_softcapping": None,
                             "final_logit_softcapping": None, "hidden_activation": "silu"}),
    "gemma2-uncapped": (gemma2(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, head_dim=16,
                               sliding_window=5, layer_types=["full_attention", "sliding_attention"],
                               attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True,
                               hidden_activation="gelu"), [], {"sliding_window": 9}),
    "phi3": (phi3(num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, original_max_position_embeddings=20,
                  rope_parameters=dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                                       short_factor=[1.0, 1.1, 1.3, 1.5, 2.0, 2.5],
                                       long_factor=[1.2, 1.5, 2.0, 3.0, 4.0, 6.0])), [], {}),
    "phi3-window": (phi3(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, sliding_window=9,
                         hidden_act="quick_gelu", tie_word_embeddings=True), [], {"sliding_window": None}),
}


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    centre = 0 if model.config.model_type.startswith("gemma") else 1  # Gemma's norms multiply by 1 + w
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if re.search(r"(norm|ln_\w+)\.weight$", name):
                parameter.copy_(centre + 0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)
    model.tie_weights()


def randomise_adapter(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))


def by_length(config):
    """The rope type where rotations depend on the length of the text."""
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type")
    return kind if kind in ("dynamic", "longrope") else None


def logits_of(model, ids):
    """[T, V] of one text alone: a dynamic rotation remembers the longest text, until it sees a short one."""
    if by_length(model.config) == "dynamic":
        with torch.no_grad():
            model(input_ids=ids[None, :2], use_cache=False)
    return model(input_ids=ids[None], use_cache=False).logits[0]


def stepwise_logits(model, ids):
    kind = by_length(model.config)
    if kind == "longrope":
        return [logits_of(model, ids[:t + 1])[-1] for t in range(len(ids))]
    if kind is None:
        return None
    cache = DynamicCache(config=model.config)
    return [model(input_ids=ids[None, t:t + 1], cache=cache, use_cache=True).logits[0, -1] for t in range(len(ids))]


def loss_sum(model, ids):
    logits = logits_of(model, ids)
    return torch.nn.functional.cross_entropy(logits[:-1].float(), ids[1:], reduction="sum")


def file_name(parameter):
    """The name under which PEFT saves a parameter of its model."""
    return parameter.replace(".default.weight", ".weight")


def make_case(name, folder):
    (model_class, config), extra_targets, must_matter = CASES[name]
    seed = 1000 + list(CASES).index(name)
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = model_class(config).float().eval()
    randomise(model, seed)
    shutil.rmtree(folder, ignore_errors=True)
    if name.endswith("-bare"):
        model.transformer.save_pretrained(folder)  # names without the prefix, as the first files of GPT-2 have them
    else:
        model.save_pretrained(folder)

    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(3, config.vocab_size, (40,), generator=generator)
    with torch.no_grad():
        logits = logits_of(model, ids)
        stepwise = stepwise_logits(model, ids)

    for key, value in must_matter.items():
        other_config = type(config).from_pretrained(folder)
        setattr(other_config, key, value)
        other_config._attn_implementation = "eager"
        other = model_class(other_config).float().eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            moved = (logits_of(other, ids) - logits).abs().max().item()
        assert moved > 0.01, f"{name}: {key} moves the logits by only {moved}"
        print(f"  {key} -> {value}: logits move by {moved:.3f}")

    targets = FAMILY_LINEARS.get(config.model_type, LINEARS) + extra_targets
    peft_config = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets, bias="none",
                             task_type="CAUSAL_LM", fan_in_fan_out=config.model_type == "gpt2")
    peft_model = get_peft_model(model, peft_config)
    peft_model.eval()
    randomise_adapter(peft_model, seed + 2)
    peft_model.peft_config["default"].base_model_name_or_path = f"lowrank-goldens/{name}"
    peft_model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    (folder / "adapter" / "README.md").unlink(missing_ok=True)

    with torch.no_grad():
        adapted = logits_of(peft_model, ids)
    documents = [torch.randint(3, config.vocab_size, (n,), generator=generator) for n in (23, 17)]
    losses = [loss_sum(peft_model, d) for d in documents]
    (sum(losses) / sum(len(d) - 1 for d in documents)).backward()
    golden = {"ids": ids, "logits": logits.contiguous(), "adapted_logits": adapted.contiguous()}
    if stepwise:
        golden["stepwise_logits"] = torch.stack(stepwise).contiguous()
    for i, (document, loss) in enumerate(zip(documents, losses)):
        golden[f"document.{i}"] = document
        golden[f"loss.{i}"] = loss.detach().reshape(1)
    for parameter_name, parameter in peft_model.named_parameters():
        if parameter.requires_grad:
            golden["grad." + file_name(parameter_name)] = parameter.grad.clone().contiguous()
    save_file(golden, folder / "golden.safetensors")

    curve = train(peft_model, config, generator)
    (folder / "loss_curve.json").write_text(json.dumps(curve) + "\n")
    print(f"{name}: logits std {logits.std():.2f}, adapter moves them by {(adapted - logits).abs().max():.2f}, "
          f"loss {curve['losses'][0]:.4f} -> {curve['losses'][-1]:.4f}")


def train(peft_model, config, generator):
    """20 steps of torch's AdamW from the saved adapter; 2 documents a step, in order, again and again."""
    lengths = [23, 9, 31, 14, 18, 27, 12, 21]
    documents = [torch.randint(3, config.vocab_size, (n,), generator=generator) for n in lengths]
    parameters = [p for p in peft_model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for step in range(20):
        batch = [documents[(2 * step + i) % len(documents)] for i in range(2)]
        optimizer.zero_grad()
        loss = sum(loss_sum(peft_model, d) for d in batch) / sum(len(d) - 1 for d in batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {"how": "from adapter/; torch.optim.AdamW lr 1e-3, betas 0.9 0.999, eps 1e-8, weight decay 0, constant rate, no "
                   "clipping; 2 documents a step in order (step s: documents 2s and 2s+1 modulo 8), loss = token mean over "
                   "the step's predicted tokens, before the update",
            "lr": 1e-3, "batch_size": 2, "documents": [d.tolist() for d in documents], "losses": losses}


def pater(assets, out):
    """Mean NLL of a text as `lowrank evaluate --seq-len 512` measures it, by transformers one piece at a time."""
    characters, seq_len = 60000, 512
    raw = (assets / "corpora/art-history/pater-renaissance.pg2398.txt").read_bytes().decode("utf-8-sig")
    text = raw.replace("\r\n", "\n").replace("\r", "\n")[:characters]
    result = {"how": "first 60,000 characters (BOM dropped, CRLF made LF); tokens = BOS + text + EOS, cut from the start "
                     "into pieces of 512; each piece alone, its first token not predicted; mean nats a predicted token, "
                     "summed in double", "characters": characters, "seq_len": seq_len}
    for name, dtype in (("stories260K-hf", torch.float32), ("stories260K-hf-bf16", torch.bfloat16)):
        folder = assets / "models" / name
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
        ids = tokenizer(text).input_ids + [tokenizer.eos_token_id]
        assert ids[0] == tokenizer.bos_token_id and ids[1] != tokenizer.bos_token_id
        total, count = 0.0, 0
        with torch.no_grad():
            for begin in range(0, len(ids), seq_len):
                piece = torch.tensor(ids[begin:begin + seq_len])
                if len(piece) < 2:
                    continue
                logits = model(input_ids=piece[None], use_cache=False).logits[0].float()
                losses = torch.nn.functional.cross_entropy(logits[:-1], piece[1:], reduction="none")
                total += losses.double().sum().item()
                count += len(piece) - 1
        result[name] = {"dtype": str(dtype).split(".")[1], "nll": total / count, "counted": count, "tokens": len(ids)}
        print(name, result[name])
    out.mkdir(parents=True, exist_ok=True)
    (out / "pater.json").write_text(json.dumps(result, indent=1) + "\n")


def check_reload(folder):
    """What was written is what PEFT reads back."""
    from safetensors.torch import load_file
    golden = load_file(folder / "golden.safetensors")
    base = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    model = PeftModel.from_pretrained(base, folder / "adapter").eval()
    with torch.no_grad():
        logits = logits_of(model, golden["ids"])
    assert (logits - golden["adapted_logits"]).abs().max() < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "goldens")
    parser.add_argument("--only", nargs="*", help="cases to make")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for name in arguments.only or CASES:
        make_case(name, arguments.out / "models" / name)
        check_reload(arguments.out / "models" / name)
    if arguments.assets:
        pater(arguments.assets, arguments.out / "eval")


if __name__ == "__main__":
    main()
