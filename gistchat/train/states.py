"""Saved states of a training run: written whole or not at all, checked before use, the last few kept.

A state is a folder `state-STEP` with the trained weights, optimizer, schedule, random states and counters, none of them
pickled, and `manifest.json`, which is written last and holds the hash of every other file.
"""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from gistchat.errors import UserError
from gistchat.files import file_hash, read_json, sync_folder, sync_tree, write_json
from gistchat.progress import say

MANIFEST = "manifest.json"
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Saved:
    """A state that is whole: what it was trained with, and a digest of the lessons that it has seen."""

    folder: Path
    step: int
    settings: dict[str, Any]
    seen: str


def finish_state(written: Path, states: Path, step: int, settings: dict[str, Any], seen: str, keep: int) -> None:
    """Make a folder that was written a state, and remove all but the last `keep`.

    Files reach the disk, then the manifest, then the name under which the state is found: whatever is interrupted, a
    state of that name is whole.
    """
    sync_tree(written)
    files = {path.relative_to(written).as_posix(): file_hash(path) for path in written.rglob("*") if path.is_file()}
    write_json(written / MANIFEST, {"step": step, "seen": seen, "settings": settings, "files": files})
    final = states / f"state-{step}"
    shutil.rmtree(final, ignore_errors=True)  # from before a resume from an earlier one
    written.rename(final)
    sync_folder(states)
    for old in _newest_first(states)[keep:]:
        shutil.rmtree(old)


def last_state(states: Path) -> Saved | None:
    """The newest state that is whole. Unfinished and damaged ones are named, and removed."""
    if (states / UNFINISHED).exists():
        for path in (states / UNFINISHED).iterdir():
            say(f"{path} was cut off while being written; not used")
        shutil.rmtree(states / UNFINISHED)
    for folder in _newest_first(states):
        if not (problem := _damage(folder)):
            manifest = read_json(folder / MANIFEST)
            return Saved(folder, manifest["step"], manifest["settings"], manifest["seen"])
        say(f"{folder} is damaged ({problem}); not used")
        shutil.rmtree(folder)
    return None


def _newest_first(states: Path) -> list[Path]:
    found = [path for path in states.glob("state-*") if path.name.rpartition("-")[2].isdecimal()]
    return sorted(found, key=lambda path: -int(path.name.rpartition("-")[2]))


def _damage(folder: Path) -> str:
    try:
        files = read_json(folder / MANIFEST)["files"]
    except (UserError, KeyError, TypeError):
        return f"no readable {MANIFEST}"
    for name, expected in files.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if file_hash(folder / name) != expected:
            return f"{name} differs from what was written"
    return ""


def changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two settings, as "train.steps: 10 -> 20"."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from changes(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif json.loads(json.dumps(before)) != json.loads(json.dumps(now)):
        yield f"{name}: {before} -> {now}"


def save_nested(path: Path, value: Any) -> None:
    """Write dicts, lists and tuples of tensors, arrays and plain values as safetensors: an optimizer's state, say."""
    tensors: dict[str, torch.Tensor] = {}
    shape = json.dumps(_flatten(value, tensors))
    save_file(tensors, path, metadata={"shape": shape})


def load_nested(path: Path) -> Any:
    """What `save_nested` wrote. Raises UserError where it is not that."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return _unflatten(json.loads(file.metadata()["shape"]), tensors)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a saved state ({error})") from None


def _flatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor | numpy.ndarray):
        name = str(len(tensors))
        tensors[name] = torch.as_tensor(value).detach().cpu().contiguous().clone()
        return {"tensor" if isinstance(value, torch.Tensor) else "array": name}
    if isinstance(value, dict):
        return {"dict": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_flatten(item, tensors) for item in value]}
    return {"value": value}


def _unflatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    [(kind, inner)] = value.items()
    if kind == "tensor":
        return tensors[inner]
    if kind == "array":
        return tensors[inner].numpy()
    if kind == "dict":
        return {key: _unflatten(item, tensors) for key, item in inner}
    if kind in ("list", "tuple"):
        items = [_unflatten(item, tensors) for item in inner]
        return items if kind == "list" else tuple(items)
    return inner


def random_states() -> dict[str, Any]:
    """The states of all generators that training may draw from."""
    states = {"python": random.getstate(), "numpy": numpy.random.get_state(), "torch": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state_all()} if torch.cuda.is_available() else states


def set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    numpy.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
