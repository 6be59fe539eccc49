"""A base model: its tokenizer, its weights, rows for new tokens, where it is kept and runs, how much it reads."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.models.cpu_speedups import fuse_activations
from gistchat.models.hub import fetched, load_error
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat

hf_logging.disable_progress_bar()  # its bars for reading and writing files run into ours
if "TRANSFORMERS_VERBOSITY" not in os.environ:
    hf_logging.set_verbosity_error()  # its warnings are for programmers, and would stand between a chat's lines


@dataclass(frozen=True)
class Base:
    """A base model that can be loaded with `from_pretrained(source)`.

    Attributes:
        identity: changes when its weights do, or its tokenizer, configuration or chat template.
        files: changes when the latter do; empty where they are not a user's.
        commit: of a repository of the hub, whose id is the source; empty where that is a folder.
    """

    source: str
    identity: str
    files: str = ""
    commit: str = ""


def device() -> str:
    """Where models run."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The base model's tokenizer. Raises UserError when there is none, or one of another model."""
    source = fetched(base.source, base.commit, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        rows = config.get_text_config().vocab_size
    except Exception as error:
        # Damaged files raise whatever the parser stumbled over.
        raise load_error(base.source, error) from None
    tokenizer.name_or_path = base.source  # not the hub cache's folder, for messages
    require_words(tokenizer, base.source)
    if (ids := id_count(tokenizer)) > rows:
        raise UserError(f"{base.source}: the tokenizer has {ids:,} tokens, the model knows {rows:,}: not a pair")
    return tokenizer


def model_type(base: Base) -> str:
    """What kind of model it is, by its configuration alone. Raises UserError where there is none."""
    source = fetched(base.source, base.commit, weights=False)
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False).model_type
    except Exception as error:
        raise load_error(base.source, error) from None


def require_words(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Raises UserError where the vocabulary is missing: the library then makes a tokenizer of the control tokens."""
    if not tokenizer("hello", add_special_tokens=False)["input_ids"]:
        raise UserError(f"{source}: no tokenizer in this folder (tokenizer.json, or vocab.json and merges.txt)")


def read_model(model_class: Any, source: str | Path, unused: str = "") -> PreTrainedModel:
    """A model of a class such as AutoModelForCausalLM, in 32-bit floats, every weight as the files have it.

    Args:
        unused: how the names of weights begin that may be missing, as nobody uses them.

    Raises:
        UserError: weights that are missing, for which the library would draw random ones, or of another shape.
        Exception: whatever else is wrong with the files, in the words of the library.
    """
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()  # without its tables of such weights
    try:
        model, report = model_class.from_pretrained(
            source,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    finally:
        hf_logging.set_verbosity(verbosity)
    faults = {
        "missing": [name for name in report["missing_keys"] if not (unused and name.startswith(unused))],
        "of another shape": [name for name, *_ in report["mismatched_keys"]],
    }
    if named := [f"{fault}: {shortened(names)}" for fault, names in faults.items() if names]:
        raise UserError(f"{source}: these files do not hold the whole model ({'; '.join(named)})")
    if not unused and report["unexpected_keys"]:
        say(f"{source}: holds weights that the model does not have, left out: {shortened(report['unexpected_keys'])}")
    return model


def shortened(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    ordered = sorted(name[:100] for name in names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def load_model(base: Base) -> PreTrainedModel:
    """The base model's weights in 32-bit floats, in evaluation mode, on the GPU where there is one."""
    source = fetched(base.source, base.commit)
    try:
        model = read_model(AutoModelForCausalLM, source).eval().to(device())
    except UserError:
        raise
    except Exception as error:
        # safetensors and the hub client raise their own exception types; all mean that the weights cannot be loaded.
        raise load_error(base.source, error) from None
    fuse_activations(model)
    # LoRA checkpoints carry this name to other machines, so it must not be the hub cache's folder.
    model.name_or_path = model.config.name_or_path = base.source
    return model


def id_count(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the highest token id: the rows that embeddings must have. Vocabularies may have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def embedding_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """The input embeddings and, where it has weights of its own, the output layer, by their names in the model."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    layers = (embedding,) if tied else (embedding, head)
    return {name: module for name, module in model.named_modules() if any(module is layer for layer in layers)}


def fit_embeddings(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Give every token a row, also those that a prompt format adds, and the new tokens' rows their first values.

    Some models have more rows than their tokenizer has tokens. New tokens then land on rows that are there already
    but were never trained, so these are filled, too.
    """
    rows, needed = model.get_input_embeddings().weight.shape[0], id_count(prompt_format.tokenizer)
    new = sorted({*prompt_format.added_ids, *range(rows, needed)})
    if not new:
        return
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        if needed > rows:
            model.resize_token_embeddings(needed, mean_resizing=False)
        for layer in embedding_layers(model).values():
            _fill_rows(layer.weight, new)
            if getattr(layer, "bias", None) is not None:
                layer.bias[new] = layer.bias[: new[0]].mean()


def _fill_rows(weight: torch.Tensor, new: list[int]) -> None:
    """Start new rows at the mean of those before them plus noise of their spread; `weight`: (rows, width).

    Left at the mean alone they would start (and, with few steps, stay) almost identical. The noise has a seed of its
    own, so that everyone who loads the base finds the same rows.
    """
    known = weight[: new[0]]
    noise = torch.randn((len(new), weight.shape[1]), generator=torch.Generator().manual_seed(0))
    weight[new] = known.mean(0) + known.std(0) * noise.to(weight)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase, base: Base | None = None) -> str:
    """Equal for tokenizers that cut text alike, as far as vocabulary, special tokens and a user's files tell."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    return fingerprint([vocabulary, base.files] if base and base.files else [vocabulary])


def model_limit(model_config: object) -> int:
    """The longest input in tokens."""
    limits = (getattr(model_config, name, None) for name in ("max_position_embeddings", "n_positions"))
    return next((int(limit) for limit in limits if limit), 2048)


def require_types(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Raises UserError where the format has token types and the model has no embeddings for them."""
    if prompt_format.has_types and model.config.model_type != "gpt2":
        raise UserError(
            f"model.format {prompt_format.name!r} uses token types, which only GPT-2 models (DialoGPT among them) "
            "have; use speaker-tokens"
        )
