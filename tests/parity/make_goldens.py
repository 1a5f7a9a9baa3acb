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
import transformers
from transformers import (AutoModelForCausalLM, AutoTokenizer, DynamicCache, Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel,
                          LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config, Phi3ForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

import mixture_cases

import hybrid_cases

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
FAMILY_LINEARS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
                  "phi": ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"],
                  "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
                  "opt": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
                  "glm4": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"],
                  "gemma4_text": LINEARS + ["per_layer_input_gate", "per_layer_projection", "per_layer_model_projection"],
                  "gemma4": LINEARS + ["per_layer_input_gate", "per_layer_projection", "per_layer_model_projection"],
                  "starcoder2": ["q_proj", "k_proj", "v_proj", "o_proj", "c_fc", "c_proj"]}
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


SMALL = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_attention_heads=2, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)
SLIDING, FULL = "sliding_attention", "full_attention"


def small(family, **kw):
    """The smaller models of the families that came later."""
    config = getattr(transformers, family + "TextConfig", None) or getattr(transformers, family + "Config")
    keys = {key: value for key, value in {**SMALL, **kw}.items() if value is not None}
    return getattr(transformers, family + "ForCausalLM"), config(**keys)


def with_pictures(family, text, vision):
    """A model of pictures and text, of which the text part is looked at."""
    _, text_config = text
    config = getattr(transformers, family + "Config")(text_config=text_config.to_dict(), vision_config=vision, bos_token_id=1,
                                                      eos_token_id=2, pad_token_id=0, image_token_index=2)
    return getattr(transformers, family + "ForConditionalGeneration"), config


def plain_rope(theta, **kw):
    return dict(rope_type="default", rope_theta=theta, **kw)


GEMMA3_ROPE = {SLIDING: plain_rope(50.0), FULL: dict(rope_type="linear", rope_theta=5000.0, factor=4.0)}
MINISTRAL3_ROPE = dict(rope_type="yarn", rope_theta=500.0, factor=4.0, beta_fast=4.0, beta_slow=0.5, mscale=1.0,
                       mscale_all_dim=0.5, original_max_position_embeddings=16, llama_4_scaling_beta=0.3)

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
    "gemma3": (small("Gemma3", num_hidden_layers=3, num_key_value_heads=1, head_dim=8, sliding_window=7,
                     query_pre_attn_scalar=20, layer_types=[SLIDING, FULL, SLIDING], final_logit_softcapping=3.0,
                     rope_parameters=GEMMA3_ROPE), [],
               {"sliding_window": 9, "query_pre_attn_scalar": 12, "final_logit_softcapping": None,
                "rope_parameters": {SLIDING: plain_rope(50.0), FULL: plain_rope(5000.0)}}),
    "gemma3-pictures": (with_pictures("Gemma3", small("Gemma3", num_hidden_layers=2, num_key_value_heads=2, head_dim=12,
                                                      sliding_window=5, layer_types=[SLIDING, FULL], attention_bias=True,
                                                      hidden_activation="gelu"),
                                      dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                                           image_size=16, patch_size=8)), [], {"sliding_window": 9}),
    "ministral3": (small("Ministral3", num_hidden_layers=2, num_key_value_heads=1, head_dim=10, rope_parameters=MINISTRAL3_ROPE),
                   ["lm_head"], {"rope_parameters": {**MINISTRAL3_ROPE, "llama_4_scaling_beta": 0.1}}),
    "mistral3": (with_pictures("Mistral3", small("Ministral3", num_hidden_layers=2, num_key_value_heads=2, head_dim=8,
                                                 sliding_window=9, tie_word_embeddings=True,
                                                 rope_parameters=plain_rope(100.0, llama_4_scaling_beta=0.5,
                                                                            original_max_position_embeddings=8)),
                               dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                                    head_dim=4, image_size=16, patch_size=8)), [], {"sliding_window": None}),
    "smollm3": (small("SmolLM3", num_hidden_layers=3, num_key_value_heads=1, no_rope_layer_interval=2,
                      rope_parameters=plain_rope(1000.0)), [], {"no_rope_layers": [1, 1, 0]}),
    "smollm3-window": (small("SmolLM3", num_hidden_layers=2, num_key_value_heads=2, no_rope_layers=[0, 1], attention_bias=True,
                             mlp_bias=True, use_sliding_window=True, sliding_window=7, tie_word_embeddings=False), [],
                       {"no_rope_layers": [1, 1], "sliding_window": 9}),
    "granite": (small("Granite", num_hidden_layers=2, num_key_value_heads=1, attention_multiplier=0.5, residual_multiplier=0.6,
                      embedding_multiplier=3.0, logits_scaling=2.0, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
                [], {"attention_multiplier": 0.35, "residual_multiplier": 1.0, "embedding_multiplier": 1.0, "logits_scaling": 1.0}),
    "gemma": (small("Gemma", num_hidden_layers=2, num_key_value_heads=1, head_dim=12, hidden_act="gelu"), [], {"hidden_act": "silu"}),
    "olmo2": (small("Olmo2", num_hidden_layers=2, num_key_value_heads=1, rope_parameters=plain_rope(500.0)), ["lm_head"], {}),
    "olmo3": (small("Olmo3", num_hidden_layers=3, num_key_value_heads=2, attention_bias=True, sliding_window=7,
                    layer_types=[SLIDING, FULL, SLIDING],
                    rope_parameters={SLIDING: plain_rope(50.0),
                                     FULL: dict(rope_type="yarn", rope_theta=500.0, factor=4.0, beta_fast=4.0, beta_slow=0.5,
                                                original_max_position_embeddings=16)}), [],
              {"sliding_window": 9, "rope_parameters": {SLIDING: plain_rope(50.0), FULL: plain_rope(500.0)}}),
    "phi": (small("Phi", num_hidden_layers=2, rope_parameters=plain_rope(100.0, partial_rotary_factor=0.5)), ["lm_head"],
            {"rope_parameters": plain_rope(100.0, partial_rotary_factor=0.75)}),
    "phi-qk": (small("Phi", num_hidden_layers=2, num_key_value_heads=1, qk_layernorm=True, hidden_act="relu",
                     rope_parameters=plain_rope(100.0, partial_rotary_factor=0.75)), [], {}),
    "gpt_neox": (small("GPTNeoX", num_hidden_layers=2, rope_parameters=plain_rope(100.0, partial_rotary_factor=0.5)), [],
                 {"use_parallel_residual": False, "hidden_act": "relu"}),
    "gpt_neox-serial": (small("GPTNeoX", num_hidden_layers=2, use_parallel_residual=False, attention_bias=False,
                              tie_word_embeddings=True, rope_parameters=plain_rope(1000.0, partial_rotary_factor=1.0)), [], {}),
    "opt": (small("OPT", num_hidden_layers=2, intermediate_size=None, ffn_dim=24, dropout=0.0), [], {"activation_function": "gelu"}),
    "opt-plain": (small("OPT", num_hidden_layers=2, intermediate_size=None, ffn_dim=20, dropout=0.0, enable_bias=False,
                       layer_norm_elementwise_affine=False, _remove_final_layer_norm=True, tie_word_embeddings=False,
                       activation_function="silu"), [], {}),
    "starcoder2": (small("Starcoder2", num_hidden_layers=2, num_key_value_heads=1, sliding_window=7,
                         rope_parameters=plain_rope(1000.0)), [], {"sliding_window": 9}),
    "starcoder2-plain": (small("Starcoder2", num_hidden_layers=2, num_key_value_heads=2, use_bias=False, hidden_act="gelu",
                              tie_word_embeddings=False), [], {}),
    "stablelm": (small("StableLm", num_hidden_layers=2, num_key_value_heads=1, use_qkv_bias=True,
                       rope_parameters=plain_rope(100.0, partial_rotary_factor=0.5)), [],
                 {"rope_parameters": plain_rope(100.0, partial_rotary_factor=0.75)}),
    "stablelm-qk": (small("StableLm", num_hidden_layers=2, num_key_value_heads=2, qk_layernorm=True, use_parallel_residual=True,
                          rope_parameters=plain_rope(100.0, partial_rotary_factor=0.25)), [], {}),
    "gemma4": (small("Gemma4", num_hidden_layers=4, num_key_value_heads=1, head_dim=8, global_head_dim=12, sliding_window=7,
                     layer_types=[SLIDING, FULL, SLIDING, FULL], num_kv_shared_layers=2, use_double_wide_mlp=True,
                     hidden_size_per_layer_input=4, vocab_size_per_layer_input=64, final_logit_softcapping=3.0, rms_norm_eps=0.1,
                     rope_parameters={SLIDING: plain_rope(50.0),
                                      FULL: dict(rope_type="proportional", rope_theta=500.0, partial_rotary_factor=0.5)}), [],
               {"sliding_window": 9}),
    "gemma4-keys": (small("Gemma4", num_hidden_layers=2, num_key_value_heads=2, head_dim=8, global_head_dim=8, sliding_window=5,
                          layer_types=[SLIDING, FULL], attention_k_eq_v=True, num_global_key_value_heads=1,
                          hidden_size_per_layer_input=0, hidden_activation="silu", attention_bias=True,
                          tie_word_embeddings=False), ["lm_head"], {"sliding_window": 9}),
    "ernie4_5": (small("Ernie4_5", num_hidden_layers=2, num_key_value_heads=1, head_dim=10, use_bias=True,
                       rope_parameters=plain_rope(100.0)), [], {"rope_parameters": plain_rope(200.0)}),
    "glm4": (small("Glm4", num_hidden_layers=2, num_key_value_heads=1, head_dim=8,
                   rope_parameters=plain_rope(100.0, partial_rotary_factor=0.5)), [],
             {"rope_parameters": plain_rope(100.0, partial_rotary_factor=0.75)}),
    "seed_oss": (small("SeedOss", num_hidden_layers=2, num_key_value_heads=1, head_dim=8, mlp_bias=True,
                       rope_parameters=plain_rope(500.0)), [], {}),
    "cohere2": (small("Cohere2", num_hidden_layers=3, num_key_value_heads=1, sliding_window=7, logit_scale=0.5,
                      layer_types=[SLIDING, FULL, SLIDING], rope_parameters=plain_rope(100.0)), [],
                {"sliding_window": 9, "logit_scale": 0.25}),
    "exaone4": (small("Exaone4", num_hidden_layers=2, num_key_value_heads=1, sliding_window=7, layer_types=[SLIDING, FULL],
                      rope_parameters=plain_rope(100.0)), [], {"sliding_window": 9}),
    "hunyuan": (small("HunYuanDenseV1", num_hidden_layers=2, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True,
                      rope_parameters=dict(rope_type="dynamic", rope_theta=100.0, factor=1.0, alpha=50.0)), [],
                {"rope_parameters": plain_rope(100.0)}),
}


CASES.update(mixture_cases.CASES)


FAMILY_LINEARS.update(hybrid_cases.LINEARS)
CASES.update(hybrid_cases.CASES)
# Later ones come last: seeds go by the place. gemma4-pictures has a large eps: with 1e-6 transformers' own fp32 curve leaves its
# fp64 one by 2.6e-3 in 20 steps (6e-7 with 0.1), as small values are normed again and again.
CASES.update({
    "opt-350m": (small("OPT", num_hidden_layers=2, ffn_dim=24, do_layer_norm_before=False, word_embed_proj_dim=12,
                       intermediate_size=None), ["project_in", "project_out"], {}),
    "gemma4-experts": (small("Gemma4", num_hidden_layers=3, num_key_value_heads=1, head_dim=8, global_head_dim=8, sliding_window=7,
                             layer_types=[SLIDING, FULL, FULL], hidden_size_per_layer_input=0,
                             enable_moe_block=True, num_experts=4, top_k_experts=2, moe_intermediate_size=12), [],
                       {"top_k_experts": 1}),
    "gemma4-pictures": (with_pictures("Gemma4", small("Gemma4", num_hidden_layers=3, num_key_value_heads=1, head_dim=8,
                                                      global_head_dim=8, sliding_window=5, layer_types=[SLIDING, FULL, FULL],
                                                      num_kv_shared_layers=1, hidden_size_per_layer_input=4,
                                                      vocab_size_per_layer_input=64, rms_norm_eps=0.1),
                                      dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                                           num_key_value_heads=2, head_dim=4, patch_size=4, position_embedding_size=16)), [],
                        {"sliding_window": 9}),
    "qwen3_5-moe-pictures": mixture_cases.QWEN3_5_MOE_PICTURES,
})


def seed_of(name):
    group, first = (hybrid_cases.CASES, 3000) if name in hybrid_cases.CASES else (CASES, 1000)
    return first + list(group).index(name)


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    centre = 0 if re.match("(gemma([23]|$)|qwen3_5)", model.config.model_type) else 1  # Gemma's first norms multiply by 1 + w
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            own = hybrid_cases.randomised(name, noise)
            if own is not None:
                parameter.copy_(own)
            elif name.endswith(("router.scale", "per_expert_scale")):
                parameter.copy_(1 + 0.3 * noise)
            elif re.search(r"(norm|norms\.\d+|ln_\w+)\.weight$", name):
                parameter.copy_(centre + 0.3 * noise)
            else:
                parameter.copy_(0.2 * noise)
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith("layer_scalar"):
                buffer.copy_(1 + 0.3 * torch.randn(buffer.shape, generator=generator))
    model.tie_weights()


def randomise_adapter(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))


def by_length(config):
    """The rope type where rotations depend on the length of the text."""
    rope = getattr(config.get_text_config(), "rope_parameters", None) or {}
    kind = None if "alpha" in rope else rope.get("rope_type")  # Hunyuan's dynamic rotation is not
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


def targets_of(config, extra=()):
    """What an adapter is put on: names, or an expression where other parts of the model have the same."""
    names = FAMILY_LINEARS.get(config.model_type, LINEARS)
    if config.get_text_config() is config:
        return names + list(extra)
    return r".*language_model\..*\.(" + "|".join(names) + ")" + "".join("|" + name for name in extra)


def vocabulary_of(config):
    return config.get_text_config().vocab_size


def make_case(name, folder):
    (model_class, config), extra_targets, must_matter = CASES[name]
    seed = seed_of(name)
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = model_class(config).float().eval()
    randomise(model, seed)
    packed = mixture_cases.pack(model, seed) if name.endswith("-mxfp4") else {}
    shutil.rmtree(folder, ignore_errors=True)
    if name == "gpt2-bare":
        model.transformer.save_pretrained(folder)  # names without the prefix, as the first files of GPT-2 have them
    else:
        model.save_pretrained(folder)
    if packed:
        mixture_cases.save_packed(folder, packed)

    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(3, vocabulary_of(config), (hybrid_cases.LENGTHS.get(name, 40),), generator=generator)
    with torch.no_grad():
        logits = logits_of(model, ids)
        stepwise = stepwise_logits(model, ids)

    for key, value in must_matter.items():
        other_config = type(config).from_pretrained(folder)
        setattr(other_config.get_text_config(), key, value)
        other_config._attn_implementation = "eager"
        other = model_class(other_config).float().eval()
        other.load_state_dict(model.state_dict())
        with torch.no_grad():
            moved = (logits_of(other, ids) - logits).abs().max().item()
        assert moved > 0.01, f"{name}: {key} moves the logits by only {moved}"
        print(f"  {key} -> {value}: logits move by {moved:.3f}")

    targets = {"target_modules": targets_of(config, extra_targets)}
    targets = mixture_cases.TARGETS.get(name, targets)
    rank = 2 if vocabulary_of(config) == SMALL["vocab_size"] else 4
    peft_config = LoraConfig(r=rank, lora_alpha=8, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
                             fan_in_fan_out=config.model_type == "gpt2", **targets)
    peft_model = get_peft_model(model, peft_config)
    peft_model.eval()
    randomise_adapter(peft_model, seed + 2)
    peft_model.peft_config["default"].base_model_name_or_path = f"lowrank-goldens/{name}"
    peft_model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    (folder / "adapter" / "README.md").unlink(missing_ok=True)

    with torch.no_grad():
        adapted = logits_of(peft_model, ids)
    documents = [torch.randint(3, vocabulary_of(config), (n,), generator=generator) for n in hybrid_cases.DOCUMENTS.get(name, (23, 17))]
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
    golden.update(mixture_cases.mxfp4_values(name))
    golden.update(mixture_cases.router_losses(name, peft_model, documents[0]))
    golden.update(mixture_cases.older_adapter(name, folder, seed + 3, logits_of, ids))
    save_file(golden, folder / "golden.safetensors")

    curve = train(peft_model, config, generator)
    (folder / "loss_curve.json").write_text(json.dumps(curve) + "\n")
    print(f"{name}: logits std {logits.std():.2f}, adapter moves them by {(adapted - logits).abs().max():.2f}, "
          f"loss {curve['losses'][0]:.4f} -> {curve['losses'][-1]:.4f}")


def train(peft_model, config, generator):
    """20 steps of torch's AdamW from the saved adapter; 2 documents a step, in order, again and again."""
    lengths = [23, 9, 31, 14, 18, 27, 12, 21]
    documents = [torch.randint(3, vocabulary_of(config), (n,), generator=generator) for n in lengths]
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


def check_reload(name, folder):
    """What was written is what PEFT reads back."""
    from safetensors.torch import load_file
    golden = load_file(folder / "golden.safetensors")
    base = CASES[name][0][0].from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
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
        check_reload(name, arguments.out / "models" / name)
    if arguments.assets:
        pater(arguments.assets, arguments.out / "eval")


if __name__ == "__main__":
    main()
