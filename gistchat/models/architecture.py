"""Whether a model is of a kind that can be trained to answer: its configuration tells, before its weights are there."""

import inspect

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    PretrainedConfig,
)

WANTED = "models that answer are those that AutoModelForCausalLM is for"
OTHERS = (
    (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "an encoder-decoder, for AutoModelForSeq2SeqLM (gistchat takes such for summaries: --summarizer seq2seq)",
    ),
    (MODEL_FOR_MASKED_LM_MAPPING, "an encoder, for AutoModelForMaskedLM: its tokens see those behind them"),
)
UNPADDED = ("recurrent_gemma",)  # their state takes in the padding of a batch
STATES = "cache_params"  # what a forward pass calls its cache where that holds nothing but states, as Mamba's
CACHES = ("past_key_values", STATES)


def causal_fault(config: PretrainedConfig) -> str:
    """Why a model cannot be one that answers, and the class that is for it; empty where it can."""
    kind, named = type(config), f"a model of type {config.model_type!r}"
    for mapping, what in OTHERS:
        if kind in mapping:
            return f"{named} is {what}; {WANTED}"
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING:
        reads_pictures = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        classes = "AutoModelForImageTextToText" if reads_pictures else ", ".join(config.architectures or ["others"])
        return f"{named} is for {classes}; {WANTED}"
    if not cache_argument(config) or "logits_to_keep" not in _parameters(config) or config.model_type in UNPADDED:
        return f"{named} keeps what it has read in a way of its own, which gistchat does not know"
    return ""


def _parameters(config: PretrainedConfig) -> list[str]:
    return list(inspect.signature(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].forward).parameters)


def cache_argument(config: PretrainedConfig) -> str | None:
    """What the forward pass of a kind of model calls its cache; None where it takes none back."""
    return next((name for name in _parameters(config) if name in CACHES), None)
