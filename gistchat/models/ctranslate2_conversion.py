"""Conversion of a checkpoint to CTranslate2, in 32-bit floats or 8-bit integers."""

import copy
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from gistchat.errors import UserError, first_line, require
from gistchat.files import fingerprint
from gistchat.models.base import cache_dir, id_count
from gistchat.models.cache import made_once, make_whole
from gistchat.models.checkpoint import Checkpoint, versions
from gistchat.progress import say

INT8, FLOAT32 = "ctranslate2-int8", "ctranslate2"


def convert(checkpoint: Checkpoint, name: str, folder: Path | None = None) -> Path:
    """The folder of a checkpoint's converted weights, made where it is not there yet.

    Args:
        folder: where, held by the caller; None: in the cache, by the weights' hashes.
    Raises:
        UserError: CTranslate2 knows no such model or format.
    """
    if checkpoint.format.has_types:
        raise UserError(
            f"the format {checkpoint.format.name!r} has token types, which CTranslate2 does not know; use torch"
        )
    key = fingerprint([checkpoint.metadata["weights"], versions(), name])

    def make(temporary: Path) -> None:
        _convert(checkpoint, name, temporary)

    if folder:
        make_whole(folder, key, make)
    else:
        folder = cache_dir() / "models" / f"{name}-{key}"
        made_once(folder, key, make)
    return folder


def make_contiguous(model: torch.nn.Module) -> None:
    """Lay weights out as the library writes them to files; it saves no others."""
    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()


def _with_all_rows_named(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """The tokenizer with a name for every row of the embeddings; the library names tokens by their place in a list.

    Raises:
        UserError: ids that no token has, with tokens after them.
    """
    ids = id_count(checkpoint.tokenizer)
    if ids != len(checkpoint.tokenizer):
        raise UserError("CTranslate2 cannot convert a model whose token ids have gaps; use torch")
    tokenizer = copy.deepcopy(checkpoint.tokenizer)
    tokenizer.add_tokens(
        [f"<unused row {row}>" for row in range(ids, len(checkpoint.model.get_input_embeddings().weight))]
    )
    return tokenizer


def _convert(checkpoint: Checkpoint, name: str, temporary: Path) -> None:
    say(f"converting the model to {name}, once")
    converters = require("ctranslate2.converters", "fast")
    with tempfile.TemporaryDirectory() as plain:
        make_contiguous(checkpoint.model)  # the torch engine may have laid its weights out otherwise
        checkpoint.model.save_pretrained(plain)
        _with_all_rows_named(checkpoint).save_pretrained(plain)
        try:
            converter = converters.TransformersConverter(plain, trust_remote_code=False)
            converter.convert(str(temporary), quantization="int8" if name == INT8 else None, force=True)
        except Exception as error:
            # The converter raises whatever it stumbled over.
            raise UserError(f"CTranslate2 cannot convert this model ({first_line(error)}); use torch") from None
