"""From a recipe's [model] to a base model that can be loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gistchat.errors import UserError
from gistchat.files import file_hash, fingerprint
from gistchat.hub import split_revision
from gistchat.models.base import Base
from gistchat.models.hub import commit_now, newer_commit
from gistchat.models.packaged import packaged_base
from gistchat.models.packaged_file import SMOLLM2
from gistchat.models.scratch import scratch_base
from gistchat.progress import say_once
from gistchat.recipe.schema import ModelConfig

# Names that are short for a hub id, in lower case. gpt2, gpt2-medium, gpt2-large and gpt2-xl are hub ids themselves.
SHORT_NAMES = {f"dialogpt-{size}": f"microsoft/DialoGPT-{size}" for size in ("small", "medium", "large")}
# Tokenizer, configuration and chat templates of a folder.
TEXT_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "additional_chat_templates/*.jinja")


def resolve_base(config: ModelConfig, seed: int, trained: Mapping[str, Any] | None = None) -> Base:
    """Find or make the base model's folder, without loading its weights into memory where they exist already.

    Args:
        trained: what a checkpoint's metadata say of its `base`. Of a model on the hub that very commit is taken, and
            where the hub has another one by now, that is said.
    Raises:
        UserError: a missing package or folder, an unknown size, a name that is not of that size, or a model that the
            hub does not give.
    """
    if config.init == "scratch":
        return scratch_base(config, seed)
    if config.name == SMOLLM2:
        return packaged_base()
    # A folder goes first, as on the hub.
    folder = Path(config.name).expanduser()
    if folder.is_dir():
        return _folder_base(folder)
    if config.name.startswith((".", "/", "~")):
        raise UserError(f"{config.name}: no such folder")
    return _hub_base(config.name, trained if trained and trained.get("source") == config.name else {})


def _folder_base(folder: Path) -> Base:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json in this folder, so it is not a transformers model")
    weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    if not weights:
        raise UserError(f"{folder}: no weights (*.safetensors) in this folder")
    others = sorted(path for pattern in TEXT_FILES for path in folder.glob(pattern))
    files = fingerprint([[path.name, file_hash(path)] for path in others])
    return Base(str(folder.resolve()), fingerprint([*map(file_hash, weights), files]), files)


def _hub_base(name: str, trained: Mapping[str, Any]) -> Base:
    source = hub_id(name)
    repository, _ = split_revision(source)
    if trained.get("identity") == repository:
        return Base(source, repository)  # of a version that noted no commits
    commit = trained.get("commit", "")
    if commit and (newer := newer_commit(source, commit)):
        say_once(
            f"{source} has changed on the hub since this was trained: used is what it was trained on, commit "
            f"{commit[:12]}, and not what it is now, {newer[:12]}"
        )
    commit = commit or commit_now(source)
    return Base(repository, f"{repository}@{commit}", commit=commit)


def hub_id(name: str) -> str:
    """The id that a name is short for, however it is capitalised, with the revision that it names."""
    repository, revision = split_revision(name)
    full = SHORT_NAMES.get(repository.lower().removeprefix("microsoft/"), repository)
    return f"{full}@{revision}" if revision else full
