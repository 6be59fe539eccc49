"""Corpora from the Hugging Face hub, by the library `datasets`; `hub:FOLDER` reads a local copy of a hub repository."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from gistchat.errors import UserError, first_line, require

PREFIX = "hub"


def load(corpus: str, ids: Sequence[str]) -> list[tuple[Path, str, str]]:
    """Download the first of `ids`, each owner/name or owner/name@revision, that can be had.

    Returns:
        Its Arrow files in the local cache, each with its split and the id that it came from.

    Raises:
        UserError: the corpus is not on the hub, or none of its mirrors can be had.
    """
    if not ids:
        raise UserError(f"{corpus} is not on the hub; give its files with --from FILE_OR_FOLDER")
    datasets = require("datasets", "hub")
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries would come before our one message
    problems = []
    for name in ids:
        try:
            splits = _load(datasets, name)
        except Exception as error:
            # The library raises types of its own, of the hub's client and of the network, and ValueErrors.
            reason = first_line(error)
            if "OfflineModeIsEnabled" in reason:
                reason = "not reachable now, and not in the local cache"
            problems.append(f"{name}: {reason}")
            continue
        return [(Path(file["filename"]), split, name) for split, part in splits.items() for file in part.cache_files]
    raise UserError(
        f"cannot get {corpus} from the hub ({'; '.join(problems)}); check the network, or download the original files "
        "and give their folder with --from"
    )


def _load(datasets: ModuleType, name: str) -> dict[str, Any]:
    """The splits of a dataset from the hub, its local cache, or a folder."""
    if Path(name).is_dir():
        return datasets.load_dataset(name)
    repository, _, revision = name.partition("@")
    before = datasets.config.HF_HUB_OFFLINE
    # Without a network the library would try for half a minute before it looks into its cache.
    datasets.config.HF_HUB_OFFLINE = before or not is_reachable(name)
    try:
        return datasets.load_dataset(repository, revision=revision or None)  # None: the main branch
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def is_reachable(name: str, timeout: float = 5.0) -> bool:
    """Whether the hub answers for this id and revision now, within `timeout` seconds."""
    repository, _, revision = name.partition("@")
    try:
        from huggingface_hub import HfApi

        HfApi().dataset_info(repository, revision=revision or None, timeout=timeout)
    except Exception:
        return False  # no network, no such repository, a hub that does not answer, no client: whatever the type
    return True
