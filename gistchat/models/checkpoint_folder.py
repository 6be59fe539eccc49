"""A checkpoint's folder, without loading its weights: where it is, what it says of itself, whether it is whole."""

import contextlib
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from gistchat.errors import UserError
from gistchat.files import damaged_file, file_hash, previous_version, read_json
from gistchat.recipe.load import recipe_from_dict
from gistchat.recipe.schema import Recipe

T = TypeVar("T")

METADATA = "gistchat.json"
PACKAGED = Path(__file__).with_name("adapter")  # the adapter that comes with gistchat, for the packaged base
PACKAGES = ("gistchat", "xllamacpp", "torch", "transformers", "peft", "tokenizers", "numpy", "nupunkt")
LOOKS = 10
RETRY_SECONDS = 60  # as long as a reader begins again because a run replaces the checkpoint; loading takes seconds


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def hashes_of(folder: Path) -> dict[str, dict[str, str]]:
    """What metadata say of a checkpoint's files: of its `weights`, and of other `files` (tokenizer, configuration)."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {METADATA}
    hashes = {name: file_hash(folder / name) for name in sorted(names)}
    return {
        "weights": {name: value for name, value in hashes.items() if name.endswith(".safetensors")},
        "files": {name: value for name, value in hashes.items() if not name.endswith(".safetensors")},
    }


def damage(folder: Path, metadata: dict[str, Any]) -> str:
    """The first file of a checkpoint that is missing or not as it was written; empty when all are well.

    Raises:
        KeyError, TypeError: not the metadata of a checkpoint.
    """
    return damaged_file(folder, {**metadata["weights"], **metadata.get("files", {})})  # earlier versions: weights only


def read_metadata(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a checkpoint, and all that it says of itself; its files are whole.

    Raises:
        UserError: not a checkpoint, or files that are missing or damaged.
    """
    metadata = read_json(folder / METADATA)
    try:
        chat = metadata["recipe"]["chat"]
        if "url" not in chat and chat.get("engine") == "torch":
            chat["engine"] = "auto"  # written by a version that had no other, so nobody chose it
        recipe = recipe_from_dict(metadata["recipe"], str(folder / METADATA))
        damaged = damage(folder, metadata)
        stop_ids = metadata.get("stop_ids", [])  # earlier versions have none
        if not isinstance(stop_ids, list) or any(type(number) is not int for number in stop_ids):
            raise TypeError("stop_ids")
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{folder / METADATA}: not written by gistchat") from None
    if damaged:
        raise UserError(f"{folder / damaged}: missing or damaged (its hash differs); train again or copy it again")
    return recipe, metadata


def base_of(run: Path) -> dict[str, str]:
    """What the checkpoint of a run says of its base; empty where there is none, or none that says so."""
    for place in (run / "checkpoint", previous_version(run / "checkpoint")):
        with contextlib.suppress(UserError, OSError, KeyError, TypeError):
            return dict(read_json(place / METADATA)["base"])
    return {}


def read_while_replaced(folder: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a checkpoint's folder, of one version of it: a run that trains may replace it meanwhile.

    Versions differ in their metadata. Where they changed while it was read, it is read again, be it that reading
    failed or that files of two versions were read.
    """
    deadline = time.monotonic() + RETRY_SECONDS
    while True:
        before = _version(folder)
        try:
            value = read(before[0])
        except (UserError, OSError):
            if _version(folder) == before or time.monotonic() > deadline:
                raise
            continue
        if _version(folder) == before:
            return value
        if time.monotonic() > deadline:
            raise UserError(f"{before[0]}: replaced again and again while it is read; try later")


def _version(folder: Path) -> tuple[Path, bytes]:
    """Where the checkpoint is at the moment, and its metadata."""
    while True:
        found = find_checkpoint(folder)
        try:
            return found, (found / METADATA).read_bytes()
        except FileNotFoundError:
            continue  # replaced since it was found


def find_checkpoint(folder: Path) -> Path:
    """`folder`, or its subfolder `checkpoint` when it is a run. Raises UserError when there is none.

    While a run replaces it, that is the previous version. As one may come just when the other was looked for, it is
    looked for several times.
    """
    if folder == PACKAGED and not folder.exists():
        raise UserError("this installation ships no adapter; name a run's folder, such as runs/demo")
    for _ in range(LOOKS):
        for candidate in (folder, folder / "checkpoint"):
            for place in (candidate, previous_version(candidate)):
                if (place / METADATA).is_file():
                    return place
        time.sleep(0.01)
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    raise UserError(f"{folder}: holds no checkpoint yet; train one with gistchat run RECIPE.toml")
