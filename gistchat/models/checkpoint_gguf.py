"""What llama.cpp opens for a checkpoint: files that are made once, and kept in the cache."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gistchat.files import fingerprint
from gistchat.models.cache import cache_dir, is_made, made_once
from gistchat.models.gguf_lora import lora_fault, write_lora_gguf
from gistchat.models.packaged_file import SMOLLM2, packaged_file
from gistchat.progress import say
from gistchat.recipe.schema import ModelConfig

if TYPE_CHECKING:
    from gistchat.models.checkpoint import Checkpoint

VERSION = 1  # raise it when the same weights would give another file
MOST_KEPT = 8  # of each kind, those that were used last; a model that is trained again leaves one behind
QUANT = "f16"  # of weights that were trained in 32 bits: as good as the same


@dataclass(frozen=True)
class GgufFiles:
    """A model, and an adapter that is put on top of it."""

    model: Path
    adapter: Path | None = None


def on_packaged_base(folder: Path, config: ModelConfig, metadata: dict[str, Any]) -> bool:
    """Whether a checkpoint is an adapter that llama.cpp can put on the packaged model's own file."""
    is_packaged = config.init == "pretrained" and config.name == SMOLLM2 and metadata["format"] == "chat-template"
    return is_packaged and (folder / "adapter_config.json").is_file() and not lora_fault(folder)


def adapter_files(folder: Path, metadata: dict[str, Any]) -> GgufFiles:
    """The packaged model's file and a checkpoint's adapter as GGUF, for which nothing needs to be loaded.

    Raises:
        UserError: the packaged model is not installed.
    """
    base = packaged_file()
    made = _kept(metadata, "adapter", lambda path: write_lora_gguf(folder, path))
    return GgufFiles(base, made)


def converted_file(metadata: dict[str, Any]) -> Path | None:
    """A checkpoint's merged weights as GGUF, where they were converted before and are as they were left."""
    folder = _folder(metadata, "model")
    if not is_made(folder):
        return None
    os.utime(folder)  # used now, so it is among the last to be removed
    return folder / "model.gguf"


def convert(checkpoint: "Checkpoint") -> GgufFiles:
    """A loaded checkpoint's weights as GGUF. Raises UserError where llama.cpp cannot run such a model."""
    from gistchat.models.export import write_checkpoint_gguf

    def make(path: Path) -> None:
        say("converting the model for llama.cpp, once")
        write_checkpoint_gguf(checkpoint, path, QUANT)

    return GgufFiles(_kept(checkpoint.metadata, "model", make))


def _folder(metadata: dict[str, Any], what: str) -> Path:
    base = metadata.get("base", {}).get("identity", "") if isinstance(metadata.get("base"), dict) else ""
    key = fingerprint([VERSION, metadata["weights"], metadata.get("files", {}), metadata["format"], base])
    return cache_dir() / "models" / f"gguf-{what}-{key}"


def _kept(metadata: dict[str, Any], what: str, make: Callable[[Path], None]) -> Path:
    folder = _folder(metadata, what)
    made_once(folder, folder.name, lambda temporary: make(temporary / f"{what}.gguf"))
    os.utime(folder)
    used = sorted(folder.parent.glob(f"gguf-{what}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in used[MOST_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return folder / f"{what}.gguf"
