"""Saved states of a training run: written whole or not at all, checked before use, the last few kept.

A state is a folder `state-STEP` with `training.pt` (the weights that are trained, AdamW's moments), `random-N.pt` (the
random generator of process N), and `manifest.json`, which is written last and has the hashes of all other files. Where
weights are sharded over processes, accelerate writes and reads its own files instead.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim import Optimizer

from gistchat.errors import UserError
from gistchat.files import damaged_file, file_hash, put_aside, read_json, sync_folder, sync_tree, write_json
from gistchat.progress import say

MANIFEST = "manifest.json"
UNFINISHED = "unfinished"
TRAINING = "training.pt"
LAYOUT = 2  # of these files; 1 had no number


@dataclass(frozen=True)
class SavedState:
    """A state that is whole."""

    folder: Path
    step: int
    settings: dict[str, Any]  # what it was trained with
    seen: str  # a digest of the rows that were trained on
    log: list[dict[str, Any]]  # losses and rates by step, as in history.json


def finish_state(
    states: Path, step: int, settings: dict[str, Any], seen: str, log: list[dict[str, Any]], keep: int
) -> None:
    """Make what was written to `states/unfinished` a state, and remove all but the last `keep` states.

    First the files reach the disk, then the manifest, then the name under which the state is found: a state of that
    name is whole, whenever the process dies.
    """
    written, final = states / UNFINISHED, states / f"state-{step}"
    sync_tree(written)
    files = {path.relative_to(written).as_posix(): file_hash(path) for path in written.rglob("*") if path.is_file()}
    manifest = {"layout": LAYOUT, "step": step, "seen": seen, "settings": settings, "log": log, "files": files}
    write_json(written / MANIFEST, manifest)
    shutil.rmtree(final, ignore_errors=True)  # left by a run that was resumed from an earlier state
    written.rename(final)
    sync_folder(states)
    remove_states(states, keep)


def last_state(states: Path) -> SavedState | None:
    """The newest state that is whole. Unfinished ones are named and removed, others that cannot be used put aside."""
    if (states / UNFINISHED).exists():
        say(f"{states / UNFINISHED} was cut off while being written; not used")
        shutil.rmtree(states / UNFINISHED)
    for folder in _newest_first(states):
        if not (problem := _problem(folder)):
            manifest = read_json(folder / MANIFEST)
            return SavedState(folder, *(manifest[name] for name in ("step", "settings", "seen", "log")))
        put_aside(folder, f"{problem}; not used")
    return None


def remove_states(states: Path, keep: int = 0) -> None:
    """Remove all but the last `keep` states; they are large."""
    own = [folder for folder in _newest_first(states) if (folder / MANIFEST).is_file()]
    for folder in own[keep:]:
        shutil.rmtree(folder)


def write_state(folder: Path, accelerator: Accelerator, model: torch.nn.Module, optimizer: Optimizer) -> None:
    """Write what a process has: its random generator; the first also the trained weights and the optimizer's moments.

    With LoRA only the adapter is trained. Training draws from one generator: torch's, on the device; it draws dropout.
    """
    if accelerator.is_main_process:
        weights = {name: tensor.detach() for name, tensor in _trained(model).items()}
        torch.save({"weights": weights, "moments": optimizer.state_dict()["state"]}, folder / TRAINING)
    cuda = accelerator.device.type == "cuda"
    generator = torch.cuda.get_rng_state(accelerator.device) if cuda else torch.get_rng_state()
    torch.save(generator, folder / f"random-{accelerator.process_index}.pt")


def read_state(folder: Path, accelerator: Accelerator, model: torch.nn.Module, optimizer: Optimizer) -> None:
    """Put back what `write_state` wrote; the optimizer's settings stay, and the generator where fewer processes wrote.

    Raises:
        UserError: the weights are of another model or method.
    """
    saved = torch.load(folder / TRAINING, map_location="cpu", weights_only=True)
    weights = _trained(model)
    if {name: tensor.shape for name, tensor in weights.items()} != {n: t.shape for n, t in saved["weights"].items()}:
        raise UserError(f"{folder}: of another model or method; delete the folder to begin again")
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(saved["weights"][name])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": saved["moments"]})
    path = folder / f"random-{accelerator.process_index}.pt"
    if path.exists():
        generator = torch.load(path, map_location="cpu", weights_only=True)
        cuda = accelerator.device.type == "cuda"
        torch.cuda.set_rng_state(generator, accelerator.device) if cuda else torch.set_rng_state(generator)


def _trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


def _newest_first(states: Path) -> list[Path]:
    steps = [name for path in states.glob("state-*") if (name := path.name.removeprefix("state-")).isdecimal()]
    return [states / f"state-{step}" for step in sorted(steps, key=int, reverse=True)]


def _problem(folder: Path) -> str:
    """Why a state cannot be used, as the rest of a sentence; empty where it can."""
    try:
        manifest = read_json(folder / MANIFEST)
        layout, files = manifest.get("layout", 1), manifest["files"]
    except (UserError, KeyError, TypeError, AttributeError):
        return f"is damaged (no readable {MANIFEST})"
    if layout != LAYOUT:
        return "was written by another version of gistchat"
    if name := damaged_file(folder, files):
        problem = "differs from what was written" if (folder / name).is_file() else "is missing"
        return f"is damaged ({name} {problem})"
    return ""


def changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Each difference between two settings, as "train.steps: 10 -> 20"."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from changes(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif json.loads(json.dumps(before)) != json.loads(json.dumps(now)):
        yield f"{name}: {before} -> {now}"
