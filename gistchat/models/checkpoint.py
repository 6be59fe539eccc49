"""What is in a checkpoint folder.

The folder loads with plain transformers (full) or peft (LoRA) and holds the tokenizer; `gistchat.json` beside the
weights says which prompt format, recipe, data, versions and seed it was made with.
"""

import dataclasses
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import peft
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from gistchat.errors import UserError, first_line
from gistchat.files import atomic_folder, damaged_file, file_hash, previous_version, read_json, write_json
from gistchat.models.base import (
    device,
    fit_embeddings,
    id_count,
    load_model,
    load_tokenizer,
    read_model,
    require_words,
    shortened,
)
from gistchat.models.hub import load_error, needs_own_code
from gistchat.models.resolve import resolve_base
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.formats import make_format
from gistchat.recipe.load import recipe_from_dict
from gistchat.recipe.schema import Recipe

T = TypeVar("T")

METADATA = "gistchat.json"
PACKAGED = Path(__file__).with_name("adapter")  # the adapter that comes with gistchat, for the packaged base
PACKAGES = ("gistchat", "torch", "transformers", "peft", "tokenizers", "numpy", "nupunkt")
LOOKS = 10
RETRY_SECONDS = 60  # as long as a reader begins again because a run replaces the checkpoint; loading takes seconds


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, ready to answer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    format: PromptFormat
    recipe: Recipe
    metadata: dict[str, Any]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "not installed"
    return installed


def save_checkpoint(
    folder: Path,
    model: Any,
    prompt_format: PromptFormat,
    recipe: Recipe,
    details: dict[str, Any],
    state_dict: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write weights (adapter only for LoRA), tokenizer and metadata; the folder appears whole or not at all.

    Args:
        state_dict: all weights, where the model itself has only a process's shard of them.
    """
    with atomic_folder(folder, METADATA) as temporary:
        # New tokens' rows are part of the adapter; peft would add a copy of the whole embedding.
        options = {"save_embedding_layers": False} if isinstance(model, peft.PeftModel) else {}
        model.save_pretrained(temporary, state_dict=state_dict, **options)
        (temporary / "README.md").unlink(missing_ok=True)  # peft's empty model card
        prompt_format.tokenizer.save_pretrained(temporary)
        made_by = {"format": prompt_format.name, "recipe": dataclasses.asdict(recipe), "versions": versions()}
        write_json(temporary / METADATA, {**made_by, **hashes_of(temporary), **details})


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


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint folder, or the one inside a run folder; LoRA weights are merged into the base.

    Raises:
        UserError: not a checkpoint, files that are missing or damaged, or a base model that cannot be had.
    """
    if folder == PACKAGED and not folder.exists():
        raise UserError("this installation ships no adapter; name a run's folder, such as runs/demo")
    return read_while_replaced(folder, _load)


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


def _load(folder: Path) -> Checkpoint:
    metadata = read_json(folder / METADATA)
    try:
        recipe = recipe_from_dict(metadata["recipe"], str(folder / METADATA))
        damaged = damage(folder, metadata)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{folder / METADATA}: not written by gistchat") from None
    if damaged:
        raise UserError(f"{folder / damaged}: missing or damaged (its hash differs); train again or copy it again")
    try:
        tokenizer = _load_tokenizer(folder, recipe)
        prompt_format = make_format(metadata["format"], tokenizer)
        model = _load_weights(folder, recipe, prompt_format, metadata)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if needs_own_code(error):
            raise load_error(str(folder), error) from None
        raise UserError(f"{folder}: cannot load the checkpoint ({first_line(error)})") from None
    return Checkpoint(model.eval(), tokenizer, prompt_format, recipe, metadata)


def find_checkpoint(folder: Path) -> Path:
    """`folder`, or its subfolder `checkpoint` when it is a run. Raises UserError when there is none.

    While a run replaces it, that is the previous version. As one may come just when the other was looked for, it is
    looked for several times.
    """
    for _ in range(LOOKS):
        for candidate in (folder, folder / "checkpoint"):
            for place in (candidate, previous_version(candidate)):
                if (place / METADATA).is_file():
                    return place
        time.sleep(0.01)
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    raise UserError(f"{folder}: holds no checkpoint yet; train one with gistchat run RECIPE.toml")


def _load_tokenizer(folder: Path, recipe: Recipe) -> PreTrainedTokenizerBase:
    """The one beside the weights; the packaged adapter has none, as it uses its base's tokenizer unchanged."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        require_words(tokenizer, str(folder))
        return tokenizer
    return load_tokenizer(resolve_base(recipe.model, recipe.seed))


def _load_weights(
    folder: Path, recipe: Recipe, prompt_format: PromptFormat, metadata: dict[str, Any]
) -> PreTrainedModel:
    if not (folder / "adapter_config.json").is_file():
        model = read_model(AutoModelForCausalLM, folder).to(device())
        if (rows := model.get_input_embeddings().weight.shape[0]) < (ids := id_count(prompt_format.tokenizer)):
            raise UserError(f"{folder}: the tokenizer has {ids:,} tokens, the model knows {rows:,}: not a pair")
        return model
    config = peft.PeftConfig.from_pretrained(folder)
    if config.peft_type != peft.PeftType.LORA:
        raise UserError(
            f"{folder / 'adapter_config.json'}: an adapter of type {config.peft_type}; gistchat writes and reads LoRA"
        )
    # The recipe says which base; the path in adapter_config.json is that of the machine that trained.
    base = resolve_base(recipe.model, recipe.seed)
    if "files" in metadata and metadata.get("base", {}).get("identity", base.identity) != base.identity:
        say(f"{folder}: an adapter of another version of the model {recipe.model.name}, so its replies may be worse")
    model = load_model(base)
    fit_embeddings(model, prompt_format)
    config.base_model_name_or_path = model.name_or_path
    adapted = peft.get_peft_model(model, config)
    weights = load_file(folder / "adapter_model.safetensors")
    _require_whole_adapter(folder, weights, peft.get_peft_model_state_dict(adapted, save_embedding_layers=False))
    peft.set_peft_model_state_dict(adapted, weights)
    return adapted.merge_and_unload()


def _require_whole_adapter(folder: Path, weights: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    """Raises UserError, naming tensors, where some are missing, for which random ones would stand, or do not fit."""
    if missing := wanted.keys() - weights.keys():
        raise UserError(f"{folder}: the adapter lacks weights ({shortened(missing)})")
    if other := [name for name, tensor in wanted.items() if tensor.shape != weights[name].shape]:
        raise UserError(f"{folder}: the adapter's weights are of another shape than its model's ({shortened(other)})")
    if unknown := weights.keys() - wanted.keys():
        say(f"{folder}: holds weights that its adapter does not have, left out: {shortened(unknown)}")
