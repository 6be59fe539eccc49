"""A base model: its tokenizer, its weights, rows for new tokens, where it is kept and runs, how much it reads."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from gistchat.context.types import USER, Context, RoleTurn
from gistchat.errors import UserError
from gistchat.files import fingerprint
from gistchat.models.architecture import causal_fault
from gistchat.models.cpu_speedups import fuse_activations
from gistchat.models.hub import fetched, load_error
from gistchat.progress import say, say_once
from gistchat.prompts.format import PromptFormat

hf_logging.disable_progress_bar()  # its bars for reading and writing files run into ours
if "TRANSFORMERS_VERBOSITY" not in os.environ:
    hf_logging.set_verbosity_error()  # its warnings are for programmers, and would stand between a chat's lines

LARGE = 2_000_000_000  # parameters; up to here weights are always computed with in 32 bits
TRAINED = 16  # bytes of a parameter, its gradient and AdamW's two moments
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length", "context_length")
ASSUMED_LIMIT = 2048  # of models that name none, such as Mamba
EXTENDED = ("yarn", "dynamic")  # rotary embeddings of these kinds reach further than the positions that are named
TRIED = Context((), (), RoleTurn(USER, "Hi!", 0), 0, 0)


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
    require_pair(tokenizer, rows, base.source)
    return tokenizer


def require_pair(tokenizer: PreTrainedTokenizerBase, rows: int, source: str, more: Sequence[str] = ()) -> None:
    """Allow tokens without a row in the embeddings where no text and no prompt becomes these.

    Such are control tokens for pictures (Gemma 3's <image_soft_token>) and for blanks (BART's <mask>), as no text
    becomes a control token.

    Args:
        more: which of the tokenizer's special tokens are used besides those that begin and end texts.

    Raises:
        UserError: others lack a row, so the tokenizer is another model's.
    """
    lacking = {id: token for token, id in tokenizer.get_vocab().items() if id >= rows}
    if not lacking:
        return
    names = ("bos_token_id", "eos_token_id", "unk_token_id", "cls_token_id", "sep_token_id", *more)
    used = {getattr(tokenizer, name, None) for name in names}
    control = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
    if lacking.keys() - control or lacking.keys() & used:
        ids = max(lacking) + 1
        raise UserError(f"{source}: the tokenizer has {ids:,} tokens, the model knows {rows:,}: not a pair")
    say_once(f"{source}: the model has no rows for {shortened(lacking.values())}; no text becomes these tokens")


def configuration(base: Base) -> PretrainedConfig:
    """The base model's configuration. Raises UserError where there is none."""
    try:
        return AutoConfig.from_pretrained(fetched(base.source, base.commit, weights=False), trust_remote_code=False)
    except Exception as error:
        raise load_error(base.source, error) from None


def model_type(base: Base) -> str:
    """What kind of model it is, by its configuration alone. Raises UserError where there is none."""
    return configuration(base).model_type


def require_causal(base: Base) -> None:
    """Raises UserError, before weights are downloaded, where a model is of a kind that cannot be trained to answer."""
    if fault := causal_fault(configuration(base)):
        raise UserError(f"{base.source}: {fault}")


def require_words(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Raises UserError where the vocabulary is missing: the library then makes a tokenizer of the control tokens."""
    if not tokenizer("hello", add_special_tokens=False)["input_ids"]:
        raise UserError(f"{source}: no tokenizer in this folder (tokenizer.json, or vocab.json and merges.txt)")


def read_model(
    model_class: Any,
    source: str | Path,
    unused: str = "",
    dtype: torch.dtype = torch.float32,
    device_map: str | None = None,
) -> PreTrainedModel:
    """A model of a class such as AutoModelForCausalLM, every weight as the files have it.

    Args:
        unused: how the names of weights begin that may be missing, as nobody uses them.
        device_map: "meta" fetches the files and compares names and shapes, without reading weights into memory.

    Raises:
        UserError: weights that are missing, for which the library would draw random ones, or of another shape.
        Exception: whatever else is wrong with the files, in the words of the library.
    """
    with _quiet():  # without its tables of such weights
        model, report = model_class.from_pretrained(
            source,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
            device_map=device_map,
        )
    faults = {
        "missing": [name for name in report["missing_keys"] if not (unused and name.startswith(unused))],
        "of another shape": [name for name, *_ in report["mismatched_keys"]],
    }
    if named := [f"{fault}: {shortened(names)}" for fault, names in faults.items() if names]:
        raise UserError(f"{source}: these files do not hold the whole model ({'; '.join(named)})")
    if not unused and report["unexpected_keys"]:
        say(f"{source}: holds weights that the model does not have, left out: {shortened(report['unexpected_keys'])}")
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warnings."""
    verbosity = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)


def shortened(names: Iterable[str]) -> str:
    """The first three names, and how many more there are."""
    ordered = sorted(name[:100] for name in names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def read_causal_model(source: str | Path, all_trained: bool = False) -> PreTrainedModel:
    """A model that answers, in 32-bit floats, or in the 16 bits of its files where it is large.

    Args:
        all_trained: whether all its weights are to be trained, for which 16 bits are too few.

    Raises:
        UserError: a model of another kind, or one for which there is too little memory.
    """
    return read_model(AutoModelForCausalLM, source, dtype=_fitting_dtype(source, all_trained)).eval().to(device())


def _fitting_dtype(source: str | Path, all_trained: bool) -> torch.dtype:
    """What to compute in, by the configuration alone. Raises UserError as `read_causal_model`."""
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    if fault := causal_fault(config):
        raise UserError(f"{source}: {fault}")
    with _quiet(), torch.device("meta"):  # its shapes only
        count = AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()
    dtype = torch.float32 if all_trained else _precision(config, count)
    _require_memory(source, count * (TRAINED if all_trained else dtype.itemsize), all_trained)
    return dtype


def _precision(config: PretrainedConfig, count: int) -> torch.dtype:
    """32 bits for models of few parameters: on many a CPU 16 bits take longer, and memory is enough."""
    own = {config.dtype, config.get_text_config().dtype}
    return torch.bfloat16 if count > LARGE and own & {torch.float16, torch.bfloat16} else torch.float32


def _require_memory(source: str | Path, needed: int, all_trained: bool) -> None:
    free = torch.cuda.mem_get_info()[0] if device() == "cuda" else psutil.virtual_memory().available
    if needed > free:
        what, advice = "the weights take", "take a smaller model"
        if all_trained:
            what, advice = "training all weights takes", "train.method = lora takes a part of it"
        raise UserError(
            f"{source}: {what} {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free; {advice}"
        )


def load_model(base: Base, all_trained: bool = False) -> PreTrainedModel:
    """The base model's weights, in evaluation mode, on the GPU where there is one; see `read_causal_model`."""
    texts = fetched(base.source, base.commit, weights=False)
    try:
        _fitting_dtype(texts, all_trained)  # before the weights are downloaded
        model = read_causal_model(fetched(base.source, base.commit), all_trained)
    except UserError:
        raise
    except Exception as error:
        # safetensors and the hub client raise their own exception types; all mean that the weights cannot be loaded.
        raise load_error(base.source, error) from None
    fuse_activations(model)
    # LoRA checkpoints carry this name to other machines, so it must not be the hub cache's folder.
    model.name_or_path = model.config.name_or_path = base.source
    return model


def embedding_layers(model: PreTrainedModel) -> dict[str, torch.nn.Module]:
    """The input embeddings and, where it has weights of its own, the output layer, by their names in the model."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is None or head.weight is embedding.weight
    layers = (embedding,) if tied else (embedding, head)
    return {name: module for name, module in model.named_modules() if any(module is layer for layer in layers)}


def fit_embeddings(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Give every token of a prompt format a row, and the new tokens' rows their first values.

    Some models have more rows than their tokenizer has tokens. New tokens then land on rows that are there already
    but were never trained, so these are filled, too.

    Raises:
        UserError: the format writes a token that the model cannot read.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    needed = max([rows, *(id + 1 for id in prompt_format.control_ids)])
    if new := sorted({*prompt_format.added_ids, *range(rows, needed)}):
        _add_rows(model, needed, new, set(prompt_format.control_ids))
    _require_readable(prompt_format, needed)


def _add_rows(model: PreTrainedModel, needed: int, new: list[int], own: set[int]) -> None:
    nobodys = sorted({*new} - own)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        if needed > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(needed, mean_resizing=False)
        for layer in embedding_layers(model).values():
            _fill_rows(layer.weight, new)
            layer.weight[nobodys] = layer.weight[: new[0]].mean(0)  # so that they are no likely reply
            if getattr(layer, "bias", None) is not None:
                layer.bias[new] = layer.bias[: new[0]].mean()


def _require_readable(prompt_format: PromptFormat, rows: int) -> None:
    ids = {*prompt_format.encode(TRIED).ids, prompt_format.stop_ids[0]}
    if lacking := [prompt_format.tokenizer.convert_ids_to_tokens(id) for id in ids if id >= rows]:
        raise UserError(
            f"model.format {prompt_format.name!r} writes {shortened(lacking)}, for which the model has no row; take "
            "another format or model"
        )


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


def model_limit(config: PretrainedConfig) -> int:
    """The longest input in tokens."""
    config = config.get_text_config()
    named = (getattr(config, name, None) for name in LIMITS)
    limit = next((int(limit) for limit in named if limit), ASSUMED_LIMIT)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in EXTENDED:
        before = rope.get("original_max_position_embeddings") or limit
        limit = max(limit, int(before * rope.get("factor", 1)))
    if rope.get("rope_type") == "linear":  # Vicuna's of 16k: its positions are those before scaling
        limit = max(limit, getattr(config, "max_sequence_length", None) or 0)
    return limit


def require_types(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Raises UserError where the format has token types and the model has no embeddings for them."""
    if prompt_format.has_types and model.config.model_type != "gpt2":
        raise UserError(
            f"model.format {prompt_format.name!r} uses token types, which only GPT-2 models (DialoGPT among them) "
            "have; use speaker-tokens"
        )
