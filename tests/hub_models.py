"""Tiny random models, each laid out as the true repository of that name: files, configuration, special tokens."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hub_templates as templates
import torch
import transformers
from hub_tokenizers import Words, as_json, byte_level, pieces, unigram, word_pieces
from safetensors.torch import load_file, save_file

LLAMA = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
LLAMA |= {"num_key_value_heads": 1, "hidden_act": "silu", "rms_norm_eps": 1e-6, "initializer_range": 0.02}
GPT2 = {"n_embd": 32, "n_head": 2, "n_layer": 2, "n_positions": 1024, "n_ctx": 1024, "activation_function": "gelu_new"}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "is_encoder_decoder": True,
}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 1024}
SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"
OTHERS = ("flax_model.msgpack", "tf_model.h5", "rust_model.ot", "64.tflite", "onnx/decoder_model.onnx")
UNTIED, TIED = {"tie_word_embeddings": False}, {"tie_word_embeddings": True}


@dataclass(frozen=True)
class Model:
    """One repository.

    Attributes:
        words: makes its tokenizer.
        config: of config.json; special tokens stand for their ids, in fields that end in token_id.
        spare: rows of the embedding more than tokens; below 0: fewer.
        generation: of generation_config.json; None: there is no such file.
        weights: names of the files that hold the weights.
        others: files of other libraries, which nobody shall download.
        head: the class of transformers that it is.
        rights: gated, private.
        card: what stands on top of its README.
        bare: whether weights are named, and masks are among them, as in GPT-2's own file.
    """

    words: Callable[[], Words]
    config: Mapping[str, Any]
    spare: int = 0
    generation: Mapping[str, Any] | None = field(default_factory=dict)
    weights: Sequence[str] = (SAFETENSORS,)
    others: Sequence[str] = ()
    head: str = "AutoModelForCausalLM"
    rights: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=lambda: {"license": "apache-2.0"})
    bare: bool = False


def _llama(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A configuration of Llama's shape."""
    shape = {"model_type": kind, "architectures": [name], "max_position_embeddings": 2048, "torch_dtype": "bfloat16"}
    return {**LLAMA, **shape, "rope_theta": 10000.0, "attention_bias": False, **more}


def _of_gpt2(model_max_length: int = 1024, **more: Any) -> Words:
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return byte_level("GPT2Tokenizer", ["<|endoftext|>"], model_max_length=model_max_length, **roles, **more)


def _dialogpt(**more: Any) -> Words:
    return _of_gpt2(has_json=False, **more).add_template(templates.DIALOGPT)


def _chatml(kind: str, specials: Sequence[str], template: str, **roles: Any) -> Words:
    return byte_level(kind, specials, **roles).add_template(template)


_smollm2 = functools.partial(
    _chatml,
    "GPT2Tokenizer",
    [],
    templates.SMOLLM2,
    first=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>"],
    bos_token="<|im_start|>",
    eos_token="<|im_end|>",
    pad_token="<|im_end|>",
    unk_token="<|endoftext|>",
    model_max_length=8192,
)
QWEN_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|vision_pad|>", "<tool_call>"]
_qwen = functools.partial(
    _chatml,
    "Qwen2Tokenizer",
    bos_token=None,
    eos_token="<|im_end|>",
    pad_token="<|endoftext|>",
    add_bos_token=False,
    model_max_length=131072,
)
QWEN_ENDS = {"bos_token_id": "<|endoftext|>", "eos_token_id": ["<|im_end|>", "<|endoftext|>"], "do_sample": True}
QWEN_ENDS |= {"pad_token_id": "<|endoftext|>", "temperature": 0.6, "top_k": 20, "top_p": 0.95}


def _llama3() -> Words:
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", "<|start_header_id|>"]
    specials += ["<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|reserved_special_token_0|>"]
    roles = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "model_max_length": 131072}
    kind = "PreTrainedTokenizerFast"
    words = byte_level(kind, specials, prefix="<|begin_of_text|>", files=(), **roles)
    return words.add_template(templates.LLAMA32)


def _llama2(template: str, added: Sequence[str] = (), **roles: Any) -> Words:
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True, **roles}
    words = pieces("LlamaTokenizer", ["<unk>", "<s>", "</s>"], added, bos="<s>", **roles)
    return words.add_template(template) if template else words


GEMMA_CONTROLS = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "<start_of_turn>", "<end_of_turn>"]


def _gemma(template: str, added: Sequence[str] = ()) -> Words:
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    words = pieces("GemmaTokenizer", GEMMA_CONTROLS, added, prepend=False, bos="<bos>", add_bos_token=True, **roles)
    return words.add_template(template)


def _gemma_config(kind: str, name: str, **more: Any) -> dict[str, Any]:
    ids = {"bos_token_id": "<bos>", "eos_token_id": "<eos>", "pad_token_id": "<pad>"}
    act = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh", "head_dim": 16}
    return _llama(kind, name, **ids, **act, **more)


GEMMA_SOFT = {"query_pre_attn_scalar": 16, "sliding_window": 512}
GEMMA_LIMITS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "cache_implementation": "hybrid"}
GEMMA_ENDS = {"bos_token_id": "<bos>", "eos_token_id": ["<eos>", "<end_of_turn>"], "pad_token_id": "<pad>"}
GEMMA_CARD = {"license": "gemma", "extra_gated_heading": "Access Gemma on Hugging Face"}


def _gemma3_parts() -> dict[str, Any]:
    text = _gemma_config("gemma3_text", "", **GEMMA_SOFT, rope_local_base_freq=10000.0, sliding_window_pattern=6)
    for name in ("architectures", "bos_token_id", "eos_token_id", "pad_token_id"):
        del text[name]
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "patch_size": 14}
    vision |= {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "vision_use_head": False}
    return {"text_config": text, "vision_config": vision}


def _codegen(extra: int) -> Words:
    """GPT-2's tokenizer with some tokens more at the end, which stand for runs of spaces or for nothing."""
    added = [f"<|extratoken_{i + 1}|>" for i in range(extra)]
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return byte_level("GPT2Tokenizer", ["<|endoftext|>", *added], model_max_length=2048, **roles)


def _phi3() -> Words:
    names = ("system", "end", "user", "placeholder1", "placeholder2")
    added = ["<|endoftext|>", "<|assistant|>", *(f"<|{name}|>" for name in names)]
    roles = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "add_bos_token": False}
    return _llama2(templates.PHI3, added, **roles)


def _phi4() -> Words:
    roles = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    specials = ["<|endoftext|>", "<|assistant|>", "<|user|>", "<|system|>", "<|end|>", "<|endofprompt|>"]
    return byte_level("GPT2Tokenizer", specials, model_max_length=131072, **roles).add_template(templates.PHI4)


def _stablelm2() -> Words:
    specials = ["<|endoftext|>", "<|fim_prefix|>", "<|im_start|>", "<|im_end|>", "<|pause|>", "<|reg0|>"]
    roles = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    return byte_level("GPT2Tokenizer", specials, model_max_length=2048, **roles).add_template(templates.STABLELM2)


def _neox() -> Words:
    roles = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    return byte_level("GPTNeoXTokenizer", ["<|padding|>"], first=["<|endoftext|>"], files=(), **roles)


def _granite() -> Words:
    names = ["<|end_of_text|>", "<fim_prefix>", "<fim_middle>", "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"]
    roles = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<|end_of_text|>")
    words = byte_level("GPT2Tokenizer", names[3:], first=names[:3], model_max_length=8192, **roles)
    return words.add_template(templates.GRANITE3)


def _bloom() -> Words:
    roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    first = ["<unk>", "<s>", "</s>", "<pad>"]
    return byte_level("BloomTokenizer", [], first=first, files=(), padding_side="left", **roles)


def _opt() -> Words:
    roles = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "</s>", "add_bos_token": True}
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    return byte_level("GPT2Tokenizer", [], first=first, prefix="</s>", has_json=False, **roles)


def _bart() -> Words:
    roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "sep_token": "</s>"}
    roles |= {"cls_token": "<s>", "mask_token": "<mask>", "model_max_length": 1024}
    return byte_level("BartTokenizer", ["<mask>"], first=["<s>", "<pad>", "</s>", "<unk>"], **roles)


BART_IDS = {"bos_token_id": "<s>", "pad_token_id": "<pad>", "eos_token_id": "</s>", "decoder_start_token_id": "</s>"}
BART_IDS |= {"forced_eos_token_id": "</s>"}
BART_LENGTHS = {"min_length": 56, "max_length": 142, "length_penalty": 2.0, "no_repeat_ngram_size": 3, "num_beams": 4}
BART_LENGTHS |= {"early_stopping": True, "forced_bos_token_id": "<s>"}
BART_CONFIG = {**BART, **BART_IDS, **BART_LENGTHS, "model_type": "bart", "activation_function": "gelu"}
BART_CONFIG |= {"architectures": ["BartForConditionalGeneration"], "scale_embedding": False}
BART_CONFIG |= {"task_specific_params": {"summarization": {name: BART_LENGTHS[name] for name in [*BART_LENGTHS][:5]}}}


def _t5() -> Words:
    added = [f"<extra_id_{i}>" for i in range(10)]
    roles = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "extra_ids": 10, "model_max_length": 512}
    return unigram("T5Tokenizer", ["<pad>", "</s>", "<unk>"], added, **roles)


T5 = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 32, "d_kv": 16, "d_ff": 64}
T5 |= {
    "num_layers": 2,
    "num_heads": 2,
    "n_positions": 512,
    "is_encoder_decoder": True,
    "decoder_start_token_id": "<pad>",
}
T5 |= {"eos_token_id": "</s>", "pad_token_id": "<pad>", "relative_attention_num_buckets": 32}
T5_TASK = {"early_stopping": True, "length_penalty": 2.0, "max_length": 200, "min_length": 30, "num_beams": 4}
T5 |= {"task_specific_params": {"summarization": {**T5_TASK, "no_repeat_ngram_size": 3, "prefix": "summarize: "}}}


def _pegasus() -> Words:
    roles = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask_2>"}
    controls = ["<pad>", "</s>", "<mask_1>", "<mask_2>", "<unk>"]
    return unigram("PegasusTokenizer", controls, has_json=False, model_max_length=512, offset=103, **roles)


PEGASUS = {**BART, "model_type": "pegasus", "architectures": ["PegasusForConditionalGeneration"]}
PEGASUS |= {"max_position_embeddings": 512, "activation_function": "relu", "scale_embedding": True, "num_beams": 8}
PEGASUS |= {"length_penalty": 0.6, "max_length": 64, "decoder_start_token_id": "<pad>", "eos_token_id": "</s>"}
PEGASUS |= {"pad_token_id": "<pad>", "bos_token_id": "<pad>", "forced_eos_token_id": "</s>"}

ROPE3 = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192}
LONG = {"type": "longrope", "long_factor": [1.0] * 6, "short_factor": [1.0] * 6}
GATED = {"gated": True}
_GPT2_CONFIG = {**GPT2, "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
_GPT2_CONFIG |= {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"}
_GPT2_ENDS = {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>"}
_LLAMA_IDS = {"bos_token_id": "<s>", "eos_token_id": "</s>"}
_OF_PHI3 = {"auto_map": {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.X"}}
_OF_PHI3 |= {"pad_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>", "sliding_window": 2047, **UNTIED}
_PHI_CODE = ("configuration_phi3.py", "modeling_phi3.py")

MODELS = {
    "openai-community/gpt2": Model(
        _of_gpt2, _GPT2_CONFIG, 0, _GPT2_ENDS, (SAFETENSORS, BIN), OTHERS, bare=True, card={"license": "mit"}
    ),
    "microsoft/DialoGPT-small": Model(
        _dialogpt, _GPT2_CONFIG, 0, _GPT2_ENDS, (BIN,), OTHERS[:2], card={"license": "mit"}
    ),
    "microsoft/DialoGPT-medium": Model(
        _dialogpt, _GPT2_CONFIG, 0, _GPT2_ENDS, (SAFETENSORS, BIN), OTHERS[:3], card={"license": "mit"}
    ),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Model(
        _smollm2,
        _llama("llama", "LlamaForCausalLM", bos_token_id="<|im_start|>", eos_token_id="<|im_end|>", **TIED),
        0,
        {"bos_token_id": "<|im_start|>", "eos_token_id": "<|im_end|>", "pad_token_id": "<|im_end|>"},
        others=("onnx/model.onnx", "runs/events.out.tfevents"),
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": Model(
        functools.partial(_qwen, specials=QWEN_SPECIALS, template=templates.QWEN25),
        _llama("qwen2", "Qwen2ForCausalLM", bos_token_id="<|endoftext|>", eos_token_id="<|im_end|>", **TIED),
        27,
        {**QWEN_ENDS, "repetition_penalty": 1.1},
    ),
    "Qwen/Qwen3-0.6B": Model(
        functools.partial(_qwen, specials=[*QWEN_SPECIALS, "<think>", "</think>"], template=templates.QWEN3),
        _llama(
            "qwen3", "Qwen3ForCausalLM", bos_token_id="<|endoftext|>", eos_token_id="<|im_end|>", head_dim=16, **TIED
        ),
        27,
        QWEN_ENDS,
    ),
    "meta-llama/Llama-3.2-1B-Instruct": Model(
        _llama3,
        _llama(
            "llama",
            "LlamaForCausalLM",
            bos_token_id="<|begin_of_text|>",
            eos_token_id=["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
            rope_scaling={**ROPE3, "rope_type": "llama3"},
            head_dim=16,
            **TIED,
        )
        | {"rope_theta": 500000.0, "max_position_embeddings": 131072},
        0,
        {
            "bos_token_id": "<|begin_of_text|>",
            "eos_token_id": ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
            "do_sample": True,
            "temperature": 0.6,
            "top_p": 0.9,
        },
        others=("original/consolidated.00.pth", "original/tokenizer.model"),
        rights=GATED,
        card={"license": "llama3.2"},
    ),
    "meta-llama/Llama-2-7b-chat-hf": Model(
        functools.partial(_llama2, templates.LLAMA2),
        _llama("llama", "LlamaForCausalLM", **_LLAMA_IDS, **UNTIED) | {"torch_dtype": "float16"},
        0,
        {**_LLAMA_IDS, "do_sample": True, "temperature": 0.6, "top_p": 0.9},
        rights=GATED,
        card={"license": "llama2"},
    ),
    "mistralai/Mistral-7B-Instruct-v0.2": Model(
        functools.partial(_llama2, templates.MISTRAL),
        _llama("mistral", "MistralForCausalLM", sliding_window=None, **_LLAMA_IDS, **UNTIED),
        0,
        _LLAMA_IDS,
        (SAFETENSORS, BIN),
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": Model(
        functools.partial(_llama2, templates.MISTRAL3),
        _llama("mistral", "MistralForCausalLM", sliding_window=None, **_LLAMA_IDS, **UNTIED),
        0,
        _LLAMA_IDS,
        others=("consolidated.safetensors", "tokenizer.model.v3", "params.json"),
    ),
    "google/gemma-2b-it": Model(
        functools.partial(_gemma, templates.GEMMA),
        _gemma_config("gemma", "GemmaForCausalLM"),
        0,
        {**GEMMA_ENDS, "eos_token_id": "<eos>"},
        others=("gemma-2b-it.gguf",),
        rights=GATED,
        card=GEMMA_CARD,
    ),
    "google/gemma-2-2b-it": Model(
        functools.partial(_gemma, templates.GEMMA),
        _gemma_config("gemma2", "Gemma2ForCausalLM", **GEMMA_SOFT, **GEMMA_LIMITS),
        0,
        GEMMA_ENDS,
        rights=GATED,
        card=GEMMA_CARD,
    ),
    "google/gemma-3-1b-it": Model(
        functools.partial(_gemma, templates.GEMMA3, ["<image_soft_token>"]),
        _gemma_config(
            "gemma3_text", "Gemma3ForCausalLM", **GEMMA_SOFT, rope_local_base_freq=10000.0, sliding_window_pattern=6
        )
        | {"eos_token_id": ["<eos>", "<end_of_turn>"]},
        -1,
        {**GEMMA_ENDS, "do_sample": True, "top_k": 64, "top_p": 0.95},
        rights=GATED,
        card=GEMMA_CARD,
    ),
    "google/gemma-3-4b-it": Model(
        functools.partial(_gemma, templates.GEMMA3, ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]),
        {
            "model_type": "gemma3",
            "architectures": ["Gemma3ForConditionalGeneration"],
            **_gemma3_parts(),
            "mm_tokens_per_image": 4,
            "boi_token_index": "<start_of_image>",
            "eoi_token_index": "<end_of_image>",
            "image_token_index": "<image_soft_token>",
            "eos_token_id": ["<eos>", "<end_of_turn>"],
            "torch_dtype": "bfloat16",
        },
        8,
        {**GEMMA_ENDS, "do_sample": True, "top_k": 64, "top_p": 0.95},
        others=("preprocessor_config.json", "processor_config.json", "chat_template.json"),
        head="AutoModelForImageTextToText",
        rights=GATED,
        card={**GEMMA_CARD, "pipeline_tag": "image-text-to-text"},
    ),
    "microsoft/phi-2": Model(
        functools.partial(_codegen, 38),
        {
            **{"model_type": "phi", "architectures": ["PhiForCausalLM"], "hidden_size": 32, "intermediate_size": 64},
            **{
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "max_position_embeddings": 2048,
                "torch_dtype": "float16",
            },
            **{"partial_rotary_factor": 0.5, "hidden_act": "gelu_new", **_GPT2_ENDS, **UNTIED},
        },
        905,
        _GPT2_ENDS,
        card={"license": "mit"},
    ),
    "microsoft/Phi-3-mini-4k-instruct": Model(
        _phi3,
        _llama("phi3", "Phi3ForCausalLM", **_OF_PHI3, bos_token_id="<s>") | {"num_key_value_heads": 2},
        53,
        {"bos_token_id": "<s>", "eos_token_id": ["<|endoftext|>", "<|assistant|>", "<|end|>"]},
        others=_PHI_CODE,
        card={"license": "mit"},
    ),
    "microsoft/Phi-4-mini-instruct": Model(
        _phi4,
        _llama("phi3", "Phi3ForCausalLM", **{**_OF_PHI3, **TIED}, bos_token_id="<|endoftext|>")
        | {"partial_rotary_factor": 0.75, "rope_scaling": LONG, "max_position_embeddings": 131072}
        | {"original_max_position_embeddings": 4096},
        10,
        {**_GPT2_ENDS, "eos_token_id": ["<|end|>", "<|endoftext|>"], "pad_token_id": "<|endoftext|>"},
        others=_PHI_CODE,
        card={"license": "mit"},
    ),
    "stabilityai/stablelm-2-1_6b-chat": Model(
        _stablelm2,
        _llama("stablelm", "StableLmForCausalLM", **_GPT2_ENDS, **UNTIED)
        | {"partial_rotary_factor": 0.25, "use_qkv_bias": True, "layer_norm_eps": 1e-5, "num_key_value_heads": 2},
        58,
        _GPT2_ENDS,
        card={"license": "other"},
    ),
    "EleutherAI/pythia-70m": Model(
        _neox,
        {
            **{"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_size": 32},
            **{"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "rotary_pct": 0.25},
            **{"max_position_embeddings": 2048, "use_parallel_residual": True, "torch_dtype": "float16"},
            **{"rotary_emb_base": 10000, "hidden_act": "gelu", **_GPT2_ENDS, **UNTIED},
        },
        27,
        None,
        (SAFETENSORS, BIN),
    ),
    "facebook/opt-125m": Model(
        _opt,
        {
            **{"model_type": "opt", "architectures": ["OPTForCausalLM"], "hidden_size": 32, "ffn_dim": 64},
            **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 2048, "prefix": "</s>"},
            **{"word_embed_proj_dim": 32, "do_layer_norm_before": True, "torch_dtype": "float16"},
            **{"bos_token_id": "</s>", "eos_token_id": "</s>", "pad_token_id": "<pad>", "activation_function": "relu"},
        },
        7,
        {"bos_token_id": "</s>", "eos_token_id": "</s>", "pad_token_id": "<pad>"},
        (BIN,),
        OTHERS[:2],
        card={"license": "other"},
    ),
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": Model(
        functools.partial(_llama2, templates.TINYLLAMA, pad_token="</s>"),
        _llama("llama", "LlamaForCausalLM", **_LLAMA_IDS, **UNTIED),
        0,
        {**_LLAMA_IDS, "max_length": 2048, "pad_token_id": "<unk>"},
    ),
    "EleutherAI/gpt-j-6b": Model(
        functools.partial(_codegen, 143),
        {
            **{"model_type": "gptj", "architectures": ["GPTJForCausalLM"], "n_embd": 32, "n_head": 2, "n_layer": 2},
            **{"n_positions": 2048, "rotary_dim": 8, "activation_function": "gelu_new", **_GPT2_ENDS, **UNTIED},
        },
        0,
        None,
        (BIN,),
        OTHERS[:2],
    ),
    "bigscience/bloom-560m": Model(
        _bloom,
        {
            **{"model_type": "bloom", "architectures": ["BloomForCausalLM"], "n_embed": 32, "hidden_size": 32},
            **{"n_layer": 2, "num_attention_heads": 2, "n_head": 2, "seq_length": 2048, "pad_token_id": "<pad>"},
            **{"bos_token_id": "<s>", "eos_token_id": "</s>", "apply_residual_connection_post_layernorm": False},
        },
        64,
        None,
        (SAFETENSORS, BIN),
        ("flax_model.msgpack",),
        card={"license": "bigscience-bloom-rail-1.0"},
    ),
    "ibm-granite/granite-3.1-2b-instruct": Model(
        _granite,
        _llama("granite", "GraniteForCausalLM", **TIED)
        | dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), "<|end_of_text|>")
        | {"embedding_multiplier": 12.0, "logits_scaling": 8.0, "residual_multiplier": 0.22}
        | {"attention_multiplier": 0.0625},
        3,
        dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), "<|end_of_text|>"),
    ),
    "state-spaces/mamba-130m-hf": Model(
        _neox,
        {
            **{
                "model_type": "mamba",
                "architectures": ["MambaForCausalLM"],
                "hidden_size": 32,
                "intermediate_size": 64,
            },
            **{"num_hidden_layers": 2, "state_size": 8, "conv_kernel": 4, "expand": 2, "time_step_rank": 2},
            **{"bos_token_id": "<|endoftext|>", "eos_token_id": "<|endoftext|>", "pad_token_id": "<|endoftext|>"},
        },
        3,
    ),
    "google-bert/bert-base-uncased": Model(
        word_pieces,
        {
            **{"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 32, "num_hidden_layers": 2},
            **{
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "max_position_embeddings": 512,
                "pad_token_id": "[PAD]",
            },
        },
        0,
        None,
        (SAFETENSORS, BIN),
        OTHERS[:3],
        head="AutoModelForMaskedLM",
    ),
    "google-t5/t5-small": Model(_t5, T5, 28, {}, (SAFETENSORS, BIN), OTHERS[:3], head="AutoModelForSeq2SeqLM"),
    "facebook/bart-large-cnn": Model(
        _bart,
        BART_CONFIG,
        -1,
        {**BART_IDS, **BART_LENGTHS},
        (SAFETENSORS, BIN),
        OTHERS[:3],
        head="AutoModelForSeq2SeqLM",
        card={"license": "mit"},
    ),
    "philschmid/bart-large-cnn-samsum": Model(
        _bart,
        BART_CONFIG,
        -1,
        None,
        (BIN,),
        ("training_args.bin", "eval_results.json"),
        head="AutoModelForSeq2SeqLM",
        card={"license": "mit"},
    ),
    "google/pegasus-xsum": Model(
        _pegasus,
        PEGASUS,
        103,  # its tokenizer puts as many tokens of its own before those of SentencePiece
        {"length_penalty": 0.6, "max_length": 64, "num_beams": 8, "eos_token_id": "</s>", "pad_token_id": "<pad>"}
        | {"decoder_start_token_id": "<pad>", "bos_token_id": "<pad>", "forced_eos_token_id": "</s>"},
        (BIN,),
        OTHERS[:2],
        head="AutoModelForSeq2SeqLM",
    ),
}
# Of the same shape here, whatever their true size.
MODELS["openai-community/gpt2-medium"] = MODELS["openai-community/gpt2"]
MODELS["HuggingFaceTB/SmolLM2-360M-Instruct"] = MODELS["HuggingFaceTB/SmolLM2-135M-Instruct"]
ADAPTER, ADAPTED = "ada/smollm2-lora", "HuggingFaceTB/SmolLM2-135M-Instruct"
MOVED = {"gpt2": "openai-community/gpt2", "bert-base-uncased": "google-bert/bert-base-uncased"}
MOVED |= {"gpt2-medium": "openai-community/gpt2-medium"}
MOVED |= {"t5-small": "google-t5/t5-small", "EleutherAI/gpt-j-6B": "EleutherAI/gpt-j-6b"}


def make_model(name: str, folder: Path) -> None:
    """Write a model's files to a folder; equal ones whenever it is made."""
    model = MODELS[name]
    folder.mkdir(parents=True)
    words = model.words()
    rows = len(words.vocabulary) + model.spare
    config = _with_ids(model.config, words.vocabulary)
    for part in (config, config.get("text_config", {})):
        part["vocab_size"] = rows
    if "text_config" in config:
        del config["vocab_size"]
    _write_json(folder, "config.json", config)
    if model.generation is not None:
        _write_json(folder, "generation_config.json", _with_ids(model.generation, words.vocabulary))
    _write_words(folder, words)
    _write_weights(folder, model)
    for other in model.others:
        path = folder / other
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"{}\n" if path.suffix == ".json" else f"of another library: {other}\n".encode())
    (folder / "README.md").write_text(f"---\n{_front(model.card)}---\n\n# {name.partition('/')[2]}\n")


def _front(card: Mapping[str, Any]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in card.items())


def _with_ids(values: Mapping[str, Any], vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """The same, with ids in place of the tokens that fields of ids have."""

    def resolved(name: str, value: Any) -> Any:
        if not name.endswith(("token_id", "token_index")) or value is None:
            return value
        return [vocabulary[token] for token in value] if isinstance(value, list) else vocabulary[value]

    return {name: resolved(name, value) for name, value in values.items()}


def _write_json(folder: Path, name: str, value: Any) -> None:
    (folder / name).write_bytes(as_json(value) + b"\n")


def _write_words(folder: Path, words: Words) -> None:
    _write_json(folder, "tokenizer_config.json", words.config)
    roles = {name: value for name, value in words.config.items() if name.endswith("_token") and isinstance(value, str)}
    _write_json(folder, "special_tokens_map.json", roles)
    if words.tokenizer:
        words.tokenizer.save(str(folder / "tokenizer.json"))
    for name, data in words.files.items():
        (folder / name).write_bytes(data)


def _write_weights(folder: Path, model: Model) -> None:
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = getattr(transformers, model.head).from_config(config)
    made.to(getattr(torch, model.config.get("torch_dtype", "float32"))).save_pretrained(folder / "made")
    weights = load_file(folder / "made" / SAFETENSORS)
    for path in (folder / "made").iterdir():
        path.unlink()
    (folder / "made").rmdir()
    if model.bare:
        weights = {name.removeprefix("transformer."): value for name, value in weights.items()}
        weights |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 8, 8).tril() for layer in range(2)}  # unused masks
    if SAFETENSORS in model.weights:
        save_file(weights, folder / SAFETENSORS, metadata={"format": "pt"})
    if BIN in model.weights:
        torch.save(weights, folder / BIN)


def make_adapter(folder: Path) -> None:
    """Write a LoRA adapter as peft does, for ADAPTED."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": ADAPTED, "r": 2}
    config |= {"lora_alpha": 4, "lora_dropout": 0.0, "bias": "none", "target_modules": ["q_proj"]}
    _write_json(folder, "adapter_config.json", config)
    draws = torch.Generator().manual_seed(0)
    start = "base_model.model.model.layers"
    weights = {}
    for layer in range(2):
        for part, shape in (("lora_A", (2, 32)), ("lora_B", (32, 2))):
            name = f"{start}.{layer}.self_attn.q_proj.{part}.weight"
            weights[name] = torch.randn(shape, generator=draws) / 50
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    front = _front({"base_model": ADAPTED, "library_name": "peft"})
    (folder / "README.md").write_text(f"---\n{front}---\n\n# An adapter\n")
    (folder / "training_args.bin").write_bytes(json.dumps({}).encode())
