"""Cases of make_goldens.py for families whose layers carry a state: texts longer than a chunk of the delta rule (64 tokens)
and than every convolution, decays slow enough that a state is felt from one chunk to the next. (A norm's eps of 1e-2 keeps rounding from growing in a
network of random weights.)"""
import transformers

LINEAR, FULL = "linear_attention", "full_attention"
DELTA_LINEARS = ["in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"]
ATTENTION_AND_MLP = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LINEARS = {"qwen3_5_text": DELTA_LINEARS + ATTENTION_AND_MLP, "qwen3_5": DELTA_LINEARS + ATTENTION_AND_MLP,
           "lfm2": ["in_proj", "out_proj", "q_proj", "k_proj", "v_proj", "w1", "w2", "w3"]}
SMALL = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_attention_heads=2, max_position_embeddings=256,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)


def qwen3_5_text(**kw):
    return transformers.Qwen3_5TextConfig(**{**SMALL, **kw})


def qwen3_5(**kw):
    return transformers.Qwen3_5ForCausalLM, qwen3_5_text(**kw)


def qwen3_5_pictures(text, **kw):
    vision = dict(depth=1, hidden_size=8, intermediate_size=8, num_heads=2, patch_size=4, out_hidden_size=16,
                  num_position_embeddings=16)
    config = transformers.Qwen3_5Config(text_config=text.to_dict(), vision_config=vision, image_token_id=3, video_token_id=4,
                                        vision_start_token_id=5, vision_end_token_id=6, **kw)
    return transformers.Qwen3_5ForConditionalGeneration, config


def lfm2(**kw):
    return transformers.Lfm2ForCausalLM, transformers.Lfm2Config(**{**SMALL, **kw})


CASES = {
    "qwen3_5": (qwen3_5(num_hidden_layers=3, num_key_value_heads=1, head_dim=16, layer_types=[LINEAR, FULL, LINEAR],
                        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=6,
                        rms_norm_eps=1e-2,
                        rope_parameters=dict(rope_type="default", rope_theta=100.0, partial_rotary_factor=0.25,
                                             mrope_section=[1, 1, 0], mrope_interleaved=True)), ["lm_head"],
                {"rms_norm_eps": 1e-3}),
    "qwen3_5-tied": (qwen3_5(num_hidden_layers=2, num_key_value_heads=2, head_dim=8, full_attention_interval=2,
                             linear_num_key_heads=1, linear_num_value_heads=1, linear_key_head_dim=10,
                             linear_value_head_dim=12, linear_conv_kernel_dim=3, attention_bias=True, hidden_act="gelu",
                             tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=50.0,
                                                                            partial_rotary_factor=0.5)), [],
                     {"hidden_act": "silu"}),
    "lfm2": (lfm2(num_hidden_layers=3, num_key_value_heads=1, layer_types=["conv", FULL, "conv"], intermediate_size=25,
                  block_multiple_of=8,
                  rope_parameters=dict(rope_type="default", rope_theta=100.0)), [],
             {"norm_eps": 1e-2, "rope_parameters": dict(rope_type="default", rope_theta=200.0)}),
    "lfm2-bias": (lfm2(num_hidden_layers=2, num_key_value_heads=2, full_attn_idxs=[1], conv_bias=True, conv_L_cache=5,
                       block_auto_adjust_ff_dim=False, tie_word_embeddings=False), ["lm_head"], {}),
    "qwen3_5-pictures": (qwen3_5_pictures(qwen3_5_text(num_hidden_layers=2, num_key_value_heads=1, head_dim=8,
                                                       layer_types=[LINEAR, FULL], linear_num_key_heads=1,
                                                       linear_num_value_heads=2, linear_key_head_dim=6,
                                                       linear_value_head_dim=8, tie_word_embeddings=True),
                                          tie_word_embeddings=True), [], {}),
}
LENGTHS = {"qwen3_5": 130, "qwen3_5-tied": 70, "qwen3_5-pictures": 70}  # of `ids`, where not 40
DOCUMENTS = {"qwen3_5": (75, 30)}


def randomised(name, noise):
    """What a parameter of these families is given, or None for the rule that all share."""
    if name.endswith("A_log"):
        return noise - 3
    if name.endswith("dt_bias"):
        return noise
    if name.endswith(("conv1d.weight", "conv.conv.weight")):
        return 0.5 * noise
    if name.endswith("linear_attn.norm.weight"):  # the one that is not 1 + w
        return 1 + 0.3 * noise
    return None
