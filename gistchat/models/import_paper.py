"""Checkpoints of the paper's code and of its parent -> gistchat checkpoints."""

import argparse
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerBase

from gistchat.errors import UserError, first_line
from gistchat.locks import locked
from gistchat.models.base import Base, load_model, load_tokenizer, require_types, shortened
from gistchat.models.checkpoint import save_checkpoint
from gistchat.models.scratch import SCRATCH_SIZES, gpt2_tokenizer
from gistchat.names import fault_of_name
from gistchat.prompts.format import add_tokens
from gistchat.prompts.formats import make_format
from gistchat.prompts.paper import PAPER_TOKENS
from gistchat.recipe.schema import Recipe

# Attention heads by layers and width, for the models that the paper's code trained (GPT-2, DialoGPT) and DistilGPT2;
# weights do not tell them.
KNOWN_HEADS = {SCRATCH_SIZES[name][:2]: SCRATCH_SIZES[name][2] for name in ("small", "medium", "large", "xl")}
KNOWN_HEADS[6, 768] = 12
NAMES_OF_HEADS = ("n_head", "num_attention_heads", "num_heads", "n_heads", "heads")
NAMES_OF_WEIGHTS = ("model_state_dict", "state_dict")  # the paper's code, Lightning
LARGEST_NUMBER = 10**9  # of losses, epochs and heads that are believed
LAYER_NUMBER = re.compile(r"transformer\.h\.\d{1,5}\.")
EMBEDDING, POSITIONS, HEAD = "transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight"


def import_checkpoint(source: str, out: Path, format_name: str = "", heads: int = 0) -> Path:
    """Write `out/checkpoint` from a `.ckpt` file of the paper's code, or from a model folder or hub id of its parent.

    Args:
        format_name: paper | paper-turns; empty: paper for a file, paper-turns for a model.
        heads: attention heads of a file's model; 0: as the file states, or those of the GPT-2 of its shape.
    Returns:
        The checkpoint's folder.
    Raises:
        UserError: no such file, a file that holds more than weights, a model that is no GPT-2 or whose heads are not
            known, another vocabulary, or `out` is taken.
    """
    folder = out / "checkpoint"
    with locked(out, seconds=0):
        if folder.exists():
            raise UserError(f"{folder} exists; give another --out")
        _import(source, folder, format_name, heads)
    return folder


def _import(source: str, folder: Path, format_name: str, heads: int) -> None:
    name = format_name or ("paper" if Path(source).is_file() else "paper-turns")
    if name not in ("paper", "paper-turns"):
        raise UserError(f"--format: {name!r} is not one of paper, paper-turns")
    if Path(source).is_file():
        model, tokenizer, details = _from_ckpt(Path(source), heads)
    elif heads:
        raise UserError("--heads is for a .ckpt file; a model's config.json says how many it has")
    else:
        model, tokenizer = _from_model(source)
        details = {"source": source}
    known = tokenizer.get_vocab()
    prompt_format = make_format(name, tokenizer)
    require_types(model, prompt_format)
    if prompt_format.added_ids:
        missing = ", ".join(token for token in PAPER_TOKENS if token not in known)
        raise UserError(f"{source}: its tokenizer has no {missing}, so it is not of the paper's code")
    recipe = _recipe(folder, name)
    save_checkpoint(folder, model, prompt_format, recipe, {"data": {}, "seed": 0, "imported": details})


def _recipe(folder: Path, format_name: str) -> Recipe:
    """How the code talked: nucleus sampling at temperature 1, with its script's top-p; the parent saw five turns."""
    turns = format_name == "paper-turns"
    name = folder.parent.name
    return Recipe(name="imported" if fault_of_name(name) else name).change(
        model={"name": str(folder.resolve()), "format": format_name},
        context={"budget": 1024, "max_turns": 4} if turns else {},
        train={"strategies": ["recent"]} if turns else {},
        # The model before its training is not known.
        evaluate={"base": False, **({"strategies": ["last", "recent"]} if turns else {})},
        chat={"strategy": "recent" if turns else "summary", "temperature": 1.0, "top_p": 0.8},
    )


def _from_ckpt(path: Path, heads: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, dict[str, Any]]:
    saved = _load_weights_only(path)
    weights = _gpt2_weights(path, saved)
    _require_room(path, weights)
    rows, width = weights[EMBEDDING].shape
    tokenizer = gpt2_tokenizer()
    genuine = len(tokenizer)
    add_tokens(tokenizer, PAPER_TOKENS)  # ids 50257, 50258, 50259, as there
    if rows != len(tokenizer):
        raise UserError(
            f"{path}: its embeddings have {rows:,} rows, not the {len(tokenizer):,} of the paper's code (GPT-2's "
            f"{genuine:,} tokens and {', '.join(PAPER_TOKENS)}), so its tokenizer is another"
        )
    layers = 1 + max((int(name.split(".")[2]) for name in weights if name.startswith("transformer.h.")), default=-1)
    if layers > len(weights):
        raise UserError(f"{path}: not the weights of a GPT-2 ({layers:,} layers and {len(weights)} tensors)")
    config = GPT2Config(
        vocab_size=rows,
        n_embd=width,
        n_layer=layers,
        n_head=_head_count(path, saved, (layers, width), heads),
        n_positions=len(weights[POSITIONS]),
        tie_word_embeddings=torch.equal(weights[EMBEDDING], weights[HEAD]),
    )
    with torch.device("meta"):  # no memory before it is known that the file fills it
        expected = GPT2LMHeadModel(config).state_dict()
    _require_same_tensors(path, weights, expected)
    model = GPT2LMHeadModel(config)
    model.load_state_dict(weights)
    numbers = {name: float(saved[name]) for name in ("loss", "epoch") if _is_number(saved.get(name))}
    return model.eval(), tokenizer, {"source": path.name, **numbers}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < LARGEST_NUMBER


def _require_room(path: Path, weights: dict[str, torch.Tensor]) -> None:
    """Raises UserError where tensors claim to be larger than the file: a few bytes can pass for terabytes."""
    if odd := [name for name, tensor in weights.items() if not _is_plain(tensor)]:
        raise UserError(f"{path}: tensors without plain values, as no GPT-2 has ({shortened(odd)})")
    own = [tensor for name, tensor in weights.items() if name != HEAD]  # the output layer may be the embedding
    if (claimed := sum(tensor.numel() * tensor.element_size() for tensor in own)) > (size := path.stat().st_size):
        raise UserError(f"{path}: its tensors claim {claimed:,} bytes, and the file has {size:,}; damaged, or made so")
    if weights[HEAD].shape != weights[EMBEDDING].shape:
        raise UserError(f"{path}: not the weights of a GPT-2 (of another shape than the embedding: {HEAD})")


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether every value of a tensor is there, and a number of a kind that a model may have."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
    return plain and not tensor.is_quantized and not tensor.is_complex()


def _gpt2_weights(path: Path, saved: Any) -> dict[str, torch.Tensor]:
    """A file's tensors under the names that transformers gives them.

    Wrappers put their names before these: `module.` (DataParallel), `_orig_mod.` (torch.compile), `model.`, and so on.
    A GPT-2 without an output layer lacks `transformer.`, too.
    """
    saved = saved if isinstance(saved, dict) else {}
    stored = next((saved[name] for name in NAMES_OF_WEIGHTS if isinstance(saved.get(name), dict)), saved)
    tensors = {n: value for n, value in stored.items() if isinstance(n, str) and isinstance(value, torch.Tensor)}
    prefixes = [name.removesuffix("wte.weight") for name in tensors if name.split(".")[-2:] == ["wte", "weight"]]
    if not prefixes:
        raise UserError(f"{path}: no weights of a GPT-2, so it is not a checkpoint of the paper's code")
    if len(prefixes) > 1:
        raise UserError(f"{path}: the weights of {len(prefixes)} models ({', '.join(map(repr, prefixes))})")
    body = prefixes[0]
    wrapper = body.removesuffix("transformer.")
    weights = {}
    for name, tensor in tensors.items():
        plain = f"transformer.{name.removeprefix(body)}" if name.startswith(body) else name.removeprefix(wrapper)
        # Older versions of transformers stored their causal masks among the weights.
        if not plain.endswith((".attn.bias", ".attn.masked_bias")):
            weights[plain] = tensor
    weights.setdefault(HEAD, weights[EMBEDDING])
    blocks = [name for name in weights if name.startswith("transformer.h.") and not LAYER_NUMBER.match(name)]
    if blocks or any(weights.get(name, torch.empty(0)).dim() != 2 for name in (EMBEDDING, POSITIONS)):
        raise UserError(f"{path}: not the weights of a GPT-2 (see {blocks[0][:100] if blocks else 'wte, wpe'})")
    return weights


def _head_count(path: Path, saved: dict[str, Any], shape: tuple[int, int], heads: int) -> int:
    """As --heads says, else as the file states beside its weights, else as the GPT-2 of this shape has."""
    layers, width = shape
    stated = _stated_heads(saved)
    if heads and stated and heads not in stated:
        raise UserError(f"--heads {heads}: {path} itself states {' and '.join(map(str, sorted(stated)))}")
    if len(stated) > 1 and not heads:
        numbers = " and ".join(map(str, sorted(stated)))
        raise UserError(f"{path}: it states {numbers} attention heads; give --heads N, as its training had it")
    count = heads or max(stated, default=0) or KNOWN_HEADS.get(shape, 0)
    if not count:
        raise UserError(
            f"{path}: nothing in it says how many attention heads it has (layers: {layers}, width: {width}); "
            "give --heads N, as its training had it"
        )
    if count < 1 or width % count:
        raise UserError(f"{path}: {count} attention heads cannot share a width of {width}; give --heads N")
    return count


def _stated_heads(settings: Any, depth: int = 10) -> set[int]:
    """The numbers of heads among a file's settings (such as `config` or Lightning's `hyper_parameters`)."""
    if isinstance(settings, argparse.Namespace):
        settings = vars(settings)
    if not isinstance(settings, dict) or not depth:  # settings may hold themselves
        return set()
    numbers = [settings[name] for name in NAMES_OF_HEADS if type(settings.get(name)) is int]
    deeper = (_stated_heads(value, depth - 1) for value in settings.values())
    return {number for number in numbers if abs(number) < LARGEST_NUMBER}.union(*deeper)


def _require_same_tensors(path: Path, weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Raises UserError, naming tensors, where some are missing, unknown, of another shape or damaged."""
    faults = {
        "missing": expected.keys() - weights.keys(),
        "unknown": weights.keys() - expected.keys(),
        "of another shape": {
            name for name in expected.keys() & weights.keys() if weights[name].shape != expected[name].shape
        },
        "of whole numbers, or with some that are not finite": {
            name for name, tensor in weights.items() if not (tensor.is_floating_point() and tensor.isfinite().all())
        },
    }
    named = [f"{fault}: {shortened(names)}" for fault, names in faults.items() if names]
    if named:
        raise UserError(f"{path}: not the weights of a GPT-2 ({'; '.join(named)})")


def _load_weights_only(path: Path) -> Any:
    """Tensors, plain values and parsed arguments of a pickled file; whatever else it would run is refused."""
    if not path.stat().st_size:
        raise UserError(f"{path}: an empty file")
    _require_stored(path)
    number = numpy.float64(0)  # the stored loss is a numpy float
    scalar = number.__reduce__()[0]
    # numpy 1, which wrote the old files, calls it by another name.
    harmless = [
        scalar,
        (scalar, "numpy.core.multiarray.scalar"),
        numpy.dtype,
        type(number.dtype),
        float,
        argparse.Namespace,
    ]
    try:
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"{path}: refused, as it is damaged or holds code besides weights") from None
    except Exception as error:
        # Where a file is no checkpoint, or a damaged one, the reader raises whatever it stumbled over.
        told = isinstance(error, RuntimeError | OSError)
        reason = first_line(error, 120) if told else "damaged, or of another kind"
        raise UserError(f"{path}: cannot be read as a checkpoint ({reason})") from None


def _require_stored(path: Path) -> None:
    """Raises UserError for an archive whose parts are packed: unpacked, they could be of any size."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [part for part in archive.infolist() if part.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, ValueError, OSError):
        return  # the reader of checkpoints tells what is wrong
    if packed:
        raise UserError(f"{path}: a zip archive with packed parts, so it is not a checkpoint")


def _from_model(source: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = Path(source).expanduser()
    if (source.startswith((".", "/", "~")) or source.endswith(".ckpt")) and not folder.is_dir():
        raise UserError(f"{source}: no such file or folder")
    base = Base(str(folder) if folder.is_dir() else source, identity="")
    return load_model(base), load_tokenizer(base)
