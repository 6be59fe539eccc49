"""Tiny random models of many families, in configurations with the kinds of layers that the true ones have."""

from collections.abc import Callable

from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoConfig, GPT2Tokenizer, PretrainedConfig

TOKENS = 257  # GPT-2's bytes and its end token
PADDED = 320  # rows of embeddings that are more than the tokens, as most models have

SHORT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
NARROW = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
WIDE = {**NARROW, "intermediate_size": 48}
SHARED = {**WIDE, "num_key_value_heads": 2}
HEADS = {**SHARED, "head_dim": 8}
SLIDING = {**HEADS, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
MIXED = {"num_local_experts": 4, "num_experts_per_tok": 2}
DELTA = {
    **HEADS,
    **{f"linear_num_{part}_heads": 2 for part in ("key", "value")},
    **{f"linear_{part}_head_dim": 8 for part in ("key", "value")},
    "layer_types": ["linear_attention", "full_attention"],
}
STATES = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
BLOCKS = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
NEMOTRON = {"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1}
JAMBA = {"num_experts": 2, "num_experts_per_tok": 1, "mamba_d_state": 8, "use_mamba_kernels": False}
PERIODS = {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}
ZAMBA = {"n_mamba_heads": 4, "mamba_d_state": 8, "mamba_headdim": 16, "mamba_ngroups": 1, "use_mamba_kernels": False}
PICTURES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**PICTURES, "image_size": 28, "patch_size": 14}
GEMMA4 = {"global_head_dim": 8, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
QWEN_VISION = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32}

ATTENTION = {
    "gpt2": ("gpt2", SHORT),
    "GPT-Neo": (
        "gpt_neo",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 8, "max_position_embeddings": 256}
        | {"attention_types": [[["global", "local"], 1]]},
    ),
    "GPT-J": ("gptj", {**SHORT, "rotary_dim": 4, "tie_word_embeddings": False}),
    "Pythia": ("gpt_neox", WIDE),
    "OPT": ("opt", {**NARROW, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "OPT-350m": ("opt", {**NARROW, "ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "BLOOM": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "MPT": ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256, "expansion_ratio": 2}),
    "Falcon": ("falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}),
    "Phi-2": ("phi", WIDE),
    "Phi-3": ("phi3", {**SHARED, "pad_token_id": 0}),
    "Llama": ("llama", SHARED),
    "Llama 3.2": ("llama", {**SHARED, "tie_word_embeddings": True}),
    "Mistral": ("mistral", {**SHARED, "sliding_window": 16}),
    "Mixtral": ("mixtral", {**SHARED, "num_local_experts": 4}),
    "Qwen 2.5": ("qwen2", SHARED),
    "Qwen 3": ("qwen3", HEADS),
    "Qwen 3 MoE": ("qwen3_moe", {**HEADS, **EXPERTS}),
    "Gemma": ("gemma", HEADS),
    "Gemma 2": ("gemma2", {**HEADS, "sliding_window": 16}),
    "Gemma 3 text": ("gemma3_text", SLIDING),
    "Gemma 4 text": ("gemma4_text", {**SLIDING, **GEMMA4}),
    "Granite 3": ("granite", SHARED),
    "StableLM": ("stablelm", SHARED),
    "OLMo 2": ("olmo2", SHARED),
    "SmolLM 3": ("smollm3", {**SHARED, "pad_token_id": 0}),
    "Cohere": ("cohere", SHARED),
    "StarCoder 2": ("starcoder2", SHARED),
    "GPT-OSS": ("gpt_oss", {**HEADS, **MIXED, "sliding_window": 16}),
}
RECURRENT = {
    "Qwen3-Next": ("qwen3_next", {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 16}),
    "Qwen 3.5 text": ("qwen3_5_text", DELTA),
    "LFM2": ("lfm2", {**SHARED, "layer_types": ["conv", "full_attention"]}),
    "Granite 4 H": (
        "granitemoehybrid",
        {**SHARED, **BLOCKS, **MIXED, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 32},
    ),
    "Jamba": ("jamba", {**SHARED, **JAMBA, **PERIODS}),
    "Bamba": ("bamba", {**SHARED, **BLOCKS, "attn_layer_indices": [1]}),
    "Falcon-H1": ("falcon_h1", {**SHARED, **BLOCKS, "mamba_d_ssm": 64}),
    "Nemotron-H": ("nemotron_h", {**HEADS, **NEMOTRON, "layers_block_type": ["mamba", "attention"]}),
    "Zamba 2": (
        "zamba2",
        {**WIDE, **ZAMBA, "layers_block_type": ["mamba", "hybrid"], "hybrid_layer_ids": [1]}
        | {"num_mem_blocks": 1, "adapter_rank": 4},
    ),
    "Mamba": ("mamba", STATES),
    "Mamba 2": ("mamba2", {**STATES, "num_heads": 8, "head_dim": 8, "n_groups": 1, "expand": 2, "chunk_size": 16}),
    "Falcon-Mamba": ("falcon_mamba", STATES),
}
WITH_PICTURES = {
    "Gemma 3": ("gemma3", SLIDING, {**VISION}, {"mm_tokens_per_image": 4}),
    "Gemma 4": ("gemma4", {**SLIDING, **GEMMA4}, VISION, {"audio_config": None}),
    "Llama 4": ("llama4", {**HEADS, "intermediate_size_mlp": 48, "num_local_experts": 2}, VISION, {}),
    "Qwen 3.5": ("qwen3_5", DELTA, QWEN_VISION, {}),
}
REFUSED = {
    "bert": "AutoModelForMaskedLM",
    "roberta": "AutoModelForMaskedLM",
    "modernbert": "AutoModelForMaskedLM",
    "deberta-v2": "AutoModelForMaskedLM",
    "t5": "AutoModelForSeq2SeqLM",
    "bart": "AutoModelForSeq2SeqLM",
    "pegasus": "AutoModelForSeq2SeqLM",
    "mistral3": "AutoModelForImageTextToText",
    "qwen2_5_vl": "AutoModelForImageTextToText",
    "qwen3_vl": "AutoModelForImageTextToText",
    "llava": "AutoModelForImageTextToText",
    "rwkv": "in a way of its own",
    "openai-gpt": "in a way of its own",
    "xlnet": "in a way of its own",
    "recurrent_gemma": "in a way of its own",
    "siglip_vision_model": "is for others",
}


def config_of(family: str, rows: int = PADDED) -> PretrainedConfig:
    """The configuration of a tiny model with so many rows of embeddings."""
    if family in WITH_PICTURES:
        kind, text, vision, more = WITH_PICTURES[family]
        return AutoConfig.for_model(kind, text_config={"vocab_size": rows, **text}, vision_config=vision, **more)
    kind, shape = (ATTENTION | RECURRENT)[family]
    return AutoConfig.for_model(kind, vocab_size=rows, **shape)


def byte_tokenizer(change: Callable[[GPT2Tokenizer], object] = lambda tokenizer: None) -> GPT2Tokenizer:
    """GPT-2's bytes and its end token, and no merges."""
    vocabulary = {token: i for i, token in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = GPT2Tokenizer(vocab={**vocabulary, "<|endoftext|>": TOKENS - 1}, merges=[])
    change(tokenizer)
    return tokenizer
