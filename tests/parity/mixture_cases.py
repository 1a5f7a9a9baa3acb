"""Mixtures of experts among the cases of make_goldens.py: small models, what their adapters target, adapters in the older
form (a linear layer for each expert), and gpt-oss's experts in MXFP4."""
import json
import shutil

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM, Qwen2MoeConfig,
                          Qwen2MoeForCausalLM, Qwen3_5MoeConfig, Qwen3_5MoeForCausalLM, Qwen3_5MoeForConditionalGeneration,
                          Qwen3_5MoeTextConfig, Qwen3MoeConfig, Qwen3MoeForCausalLM)
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

TINY = dict(vocab_size=80, hidden_size=24, intermediate_size=20, max_position_embeddings=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, bos_token_id=1, eos_token_id=2, pad_token_id=0)
YARN = dict(rope_type="yarn", rope_theta=50.0, factor=4.0, beta_fast=2.0, beta_slow=0.25, truncate=False,
            original_max_position_embeddings=16)


def qwen3_moe(**kw):
    return Qwen3MoeForCausalLM, Qwen3MoeConfig(**{**TINY, **dict(head_dim=12, num_experts=5, moe_intermediate_size=12), **kw})


def qwen2_moe(**kw):
    return Qwen2MoeForCausalLM, Qwen2MoeConfig(**{**TINY, **dict(num_experts=4, moe_intermediate_size=12, num_experts_per_tok=2,
                                                                 shared_expert_intermediate_size=16), **kw})


def qwen3_5_moe(**kw):
    return Qwen3_5MoeForCausalLM, Qwen3_5MoeTextConfig(**{**TINY, **dict(
        head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, shared_expert_intermediate_size=16,
        layer_types=["linear_attention", "full_attention"], linear_num_key_heads=1, linear_num_value_heads=2,
        linear_key_head_dim=8, linear_value_head_dim=6, rms_norm_eps=1e-2,
        rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.25)), **kw})


def mixtral(**kw):
    return MixtralForCausalLM, MixtralConfig(**{**TINY, **dict(num_local_experts=4, intermediate_size=12), **kw})


def gpt_oss(**kw):
    return GptOssForCausalLM, GptOssConfig(**{**TINY, **dict(head_dim=12, num_local_experts=4, num_experts_per_tok=2,
                                                             intermediate_size=12, sliding_window=7, swiglu_limit=0.9,
                                                             rope_parameters=YARN), **kw})


# As in make_goldens.CASES.
CASES = {
    "qwen3-moe": (qwen3_moe(num_experts_per_tok=2, norm_topk_prob=True), [],
                  {"norm_topk_prob": False, "num_experts_per_tok": 3}),
    "qwen3-moe-attention": (qwen3_moe(num_experts_per_tok=3, num_hidden_layers=4, mlp_only_layers=[1],
                                      decoder_sparse_step=2, attention_bias=True, use_sliding_window=True,
                                      sliding_window=7, num_experts=4), [],
                            {"norm_topk_prob": True, "sliding_window": 9}),
    "qwen2-moe": (qwen2_moe(), [], {"norm_topk_prob": True, "num_experts_per_tok": 1}),
    "qwen2-moe-window": (qwen2_moe(num_hidden_layers=3, norm_topk_prob=True, use_sliding_window=True, sliding_window=6,
                                   max_window_layers=2, qkv_bias=False, mlp_only_layers=[0]), [], {"sliding_window": 9}),
    "mixtral": (mixtral(), [], {"num_experts_per_tok": 1}),
    "mixtral-window": (mixtral(sliding_window=6, num_local_experts=3, tie_word_embeddings=True), [], {"sliding_window": 9}),
    "gpt-oss": (gpt_oss(), [], {"swiglu_alpha": 1.0, "swiglu_limit": 0.5, "sliding_window": 9, "num_experts_per_tok": 1,
                                "layer_types": ["full_attention", "full_attention"],
                                "rope_parameters": {**YARN, "truncate": True}}),
    "qwen3_5-moe": (qwen3_5_moe(), [], {"num_experts_per_tok": 3}),
    "gpt-oss-mxfp4": (gpt_oss(hidden_size=32, intermediate_size=32, num_hidden_layers=1, attention_bias=False), [], {}),
}

QWEN3_5_MOE_PICTURES = ((Qwen3_5MoeForConditionalGeneration, Qwen3_5MoeConfig(
    text_config=qwen3_5_moe()[1].to_dict(), image_token_id=3, video_token_id=4, vision_start_token_id=5, vision_end_token_id=6,
    vision_config=dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, patch_size=4, out_hidden_size=24,
                       num_position_embeddings=16))), [], {"num_experts_per_tok": 3})

# PEFT's conversion of a list (the rank of gate_up_proj is doubled), target_parameters, attention alone.
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
TARGETS = {
    "qwen3-moe": {"target_modules": ["q_proj", "v_proj", "gate", "gate_proj", "up_proj", "down_proj"]},
    "qwen3-moe-attention": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "qwen2-moe": {"target_modules": ["o_proj", "gate_proj", "up_proj", "down_proj", "shared_expert_gate"],
                  "target_parameters": [*EXPERTS, "mlp.gate.weight"]},
    "qwen2-moe-window": {"target_modules": ["q_proj", "o_proj"], "target_parameters": ["experts.down_proj"]},
    "mixtral": {"target_modules": ["k_proj", "gate", "w1", "w2", "w3"]},
    "mixtral-window": {"target_modules": ["q_proj", "o_proj"], "target_parameters": ["experts.gate_up_proj"]},
    "gpt-oss": {"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"], "target_parameters": [*EXPERTS, "router.weight"]},
    "qwen3_5-moe": {"target_modules": ["in_proj_qkv", "out_proj", "down_proj"], "target_parameters": [*EXPERTS, "mlp.gate.weight"]},
    "gpt-oss-mxfp4": {"target_modules": ["q_proj"], "target_parameters": EXPERTS},
    "gemma4-experts": {"target_modules": ["q_proj", "proj", "down_proj"],
                       "target_parameters": ["experts.gate_up_proj", "experts.down_proj"]},
    "qwen3_5-moe-pictures": {"target_modules": r".*language_model\..*\.(q_proj|in_proj_z|up_proj)", "target_parameters": EXPERTS},
}

# Of the live comparison, by model_type.
FAMILY_TARGETS = {
    "qwen3_moe": {"target_modules": ["q_proj", "o_proj"], "target_parameters": [*EXPERTS, "mlp.gate.weight"]},
    "qwen2_moe": {"target_modules": ["q_proj", "down_proj"], "target_parameters": EXPERTS},
    "mixtral": {"target_modules": ["q_proj", "w1", "w2", "w3"]},
    "qwen3_5_moe_text": {"target_modules": ["q_proj", "in_proj_z", "up_proj"], "target_parameters": EXPERTS},
    "gpt_oss": {"target_modules": ["q_proj", "o_proj"], "target_parameters": EXPERTS},
}

# Of cases that are not as the others of their model_type.
CASE_TARGETS = {name: TARGETS[name] for name in ("gemma4-experts", "qwen3_5-moe-pictures")}

# Cases with an adapter in the older form too, and what its linear layers are called.
OLDER = {"qwen3-moe": ("mlp", "gate_proj", "up_proj", "down_proj"), "mixtral": ("block_sparse_moe", "w1", "w3", "w2")}


def router_losses(name, model, ids):
    """The load-balancing loss of a text, and its gradient by the first and the last matrix of the adapter."""
    if name not in CASES:
        return {}
    for parameter in model.parameters():
        parameter.grad = None
    loss = model(input_ids=ids[None], output_router_logits=True, use_cache=False).aux_loss
    loss.backward()
    grads = {n.replace(".default.weight", ".weight"): p.grad for n, p in model.named_parameters() if p.grad is not None}
    names = [n for n, g in grads.items() if g.abs().max() > 1e-6]
    return {"aux_loss": loss.detach().reshape(1), **{"aux_grad." + n: grads[n].clone() for n in (names[0], names[-1])}}


def pack(model, seed):
    """Random MXFP4 experts into the model; gives the files' tensors, by name."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in model.named_modules():
        if not name.endswith(".experts"):
            continue
        for parameter in ("gate_up_proj", "down_proj"):
            weight = getattr(module, parameter)
            experts, width, out = weight.shape
            blocks = torch.randint(0, 256, (experts, out, width // 32, 16), generator=generator, dtype=torch.uint8)
            scales = torch.randint(121, 126, (experts, out, width // 32), generator=generator, dtype=torch.uint8)
            with torch.no_grad():
                weight.copy_(convert_moe_packed_tensors(blocks, scales).float())
            tensors[f"{name}.{parameter}_blocks"], tensors[f"{name}.{parameter}_scales"] = blocks, scales
    return tensors


def mxfp4_values(name):
    """All values of 4 bits under every scale, as transformers decodes them."""
    if not name.endswith("-mxfp4"):
        return {}
    blocks = torch.arange(256, dtype=torch.uint8).view(16, 16).repeat(16, 1).view(1, 256, 1, 16)
    scales = torch.arange(256, dtype=torch.uint8).view(1, 256, 1)
    values = convert_moe_packed_tensors(blocks, scales)[0].T.contiguous()
    return {"mxfp4.blocks": blocks[0].contiguous(), "mxfp4.scales": scales[0].contiguous(), "mxfp4.values": values}


def save_packed(folder, packed):
    """Takes the place of the experts' matrices in a folder that transformers saved."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, tensor in packed.items():
        tensors.pop(name.removesuffix("_blocks").removesuffix("_scales"), None)
        tensors[name] = tensor
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def older_adapter(name, folder, seed, logits_of, ids):
    """adapter-older/, as PEFT wrote it over transformers 4, and the logits that PEFT has with it now."""
    if name not in OLDER:
        return {}
    scope, *layers = OLDER[name]
    config = json.loads((folder / "config.json").read_text())
    experts = config.get("num_experts") or config["num_local_experts"]
    width, inner, rank = config["hidden_size"], config.get("moe_intermediate_size") or config["intermediate_size"], 2
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"base_model.model.model.layers.{layer}.{scope}."
        shapes = {f"experts.{e}.{one}": (inner, width) if one == layers[2] else (width, inner) for e in range(experts) for one in layers}
        shapes["gate"] = (width, experts)
        for module, (columns, rows) in shapes.items():
            for suffix, shape in (("lora_A", (rank, columns)), ("lora_B", (rows, rank))):
                tensors[f"{prefix}{module}.{suffix}.weight"] = 0.15 * torch.randn(shape, generator=generator)
    out = folder / "adapter-older"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})
    (out / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 3, "lora_dropout": 0.0, "bias": "none",
        "target_modules": ["gate", *layers]}, indent=2) + "\n")
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager"), out).eval()
    with torch.no_grad():
        return {"older_logits": logits_of(model, ids).contiguous()}
