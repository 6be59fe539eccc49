"""Checkpoints of the paper's code and of its parent -> gistchat checkpoints."""

import pickle
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from gistchat.errors import UserError, first_line
from gistchat.models.base import Base, load_model, load_tokenizer, require_types
from gistchat.models.checkpoint import save_checkpoint
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.format import add_tokens
from gistchat.prompts.formats import make_format
from gistchat.prompts.paper import PAPER_TOKENS
from gistchat.recipe.schema import Recipe

HEAD_WIDTH = 64  # of every GPT-2 and DialoGPT


def import_checkpoint(source: str, out: Path, format_name: str = "") -> Path:
    """Write `out/checkpoint` from a `.ckpt` file of the paper's code, or from a model folder or hub id of its parent.

    Args:
        format_name: paper | paper-turns; empty: paper for a file, paper-turns for a model.
    Returns:
        The checkpoint's folder.
    Raises:
        UserError: no such file, a file that holds more than weights, a model that is no GPT-2, or `out` is taken.
    """
    folder = out / "checkpoint"
    if folder.exists():
        raise UserError(f"{folder} exists; give another --out")
    name = format_name or ("paper" if Path(source).is_file() else "paper-turns")
    if name not in ("paper", "paper-turns"):
        raise UserError(f"--format: {name!r} is not one of paper, paper-turns")
    if Path(source).is_file():
        model, tokenizer, details = _from_ckpt(Path(source))
    else:
        model, tokenizer = _from_model(source)
        details = {"source": source}
    prompt_format = make_format(name, tokenizer)
    require_types(model, prompt_format)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        raise UserError(f"{source}: has no embeddings for {', '.join(PAPER_TOKENS)}, so it is not of the paper's code")
    recipe = _recipe(folder, name)
    save_checkpoint(folder, model, prompt_format, recipe, {"data": {}, "seed": 0, "imported": details})
    return folder


def _recipe(folder: Path, format_name: str) -> Recipe:
    """How the code talked: nucleus sampling at temperature 1, with its script's top-p; the parent saw five turns."""
    turns = format_name == "paper-turns"
    return Recipe(name=folder.parent.name).change(
        model={"name": str(folder.resolve()), "format": format_name},
        context={"budget": 1024, "max_turns": 4} if turns else {},
        train={"strategies": ["recent"]} if turns else {},
        # The model before its training is not known.
        evaluate={"base": False, **({"strategies": ["last", "recent"]} if turns else {})},
        chat={"strategy": "recent" if turns else "summary", "temperature": 1.0, "top_p": 0.8},
    )


def _from_ckpt(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Any]]:
    saved = _load_weights_only(path)
    try:
        # Older versions of transformers stored their causal masks among the weights.
        masks = (".attn.bias", ".attn.masked_bias")
        weights = {name: tensor for name, tensor in saved["model_state_dict"].items() if not name.endswith(masks)}
        rows, width = weights["transformer.wte.weight"].shape
        positions = weights["transformer.wpe.weight"].shape[0]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            f"{path}: no model_state_dict of a GPT-2, so it is not a checkpoint of the paper's code"
        ) from None
    layers = len({name.split(".")[2] for name in weights if name.startswith("transformer.h.")})
    heads = max(1, width // HEAD_WIDTH)
    tokenizer = gpt2_tokenizer()
    add_tokens(tokenizer, PAPER_TOKENS)  # ids 50257, 50258, 50259, as there
    config = GPT2Config(vocab_size=rows, n_embd=width, n_layer=layers, n_head=heads, n_positions=positions)
    model = GPT2LMHeadModel(config)
    weights.setdefault("lm_head.weight", weights["transformer.wte.weight"])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        _, _, details = str(error).partition("\n")  # the first line names the class only
        raise UserError(f"{path}: not the weights of a GPT-2 ({first_line(details)})") from None
    numbers = {name: float(saved[name]) for name in ("loss", "epoch") if isinstance(saved.get(name), int | float)}
    return model.eval(), tokenizer, {"source": path.name, **numbers}


def _load_weights_only(path: Path) -> Any:
    """Tensors and plain values of a pickled file; whatever else it would run is refused."""
    number = numpy.float64(0)  # the stored loss is a numpy float
    scalar = number.__reduce__()[0]
    # numpy 1, which wrote the old files, calls it by another name.
    harmless = [scalar, (scalar, "numpy.core.multiarray.scalar"), numpy.dtype, type(number.dtype), float]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: refused, as it is damaged or holds code besides weights") from None
    except (RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error, 120)})") from None


def _from_model(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = Path(source).expanduser()
    if (source.startswith((".", "/", "~")) or source.endswith(".ckpt")) and not folder.is_dir():
        raise UserError(f"{source}: no such file or folder")
    base = Base(str(folder) if folder.is_dir() else source, identity="")
    return load_model(base), load_tokenizer(base)
