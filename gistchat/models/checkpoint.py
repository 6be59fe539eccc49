"""What is in a checkpoint folder.

The folder loads with plain transformers (full) or peft (LoRA) and holds the tokenizer; `gistchat.json` beside the
weights says which prompt format, recipe, data, versions and seed it was made with.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from gistchat.errors import UserError, first_line
from gistchat.files import atomic_folder, write_json
from gistchat.models.base import (
    fit_embeddings,
    load_model,
    load_tokenizer,
    read_causal_model,
    require_pair,
    require_words,
    shortened,
)
from gistchat.models.checkpoint_folder import METADATA, hashes_of, read_metadata, read_while_replaced, versions
from gistchat.models.hub import load_error, needs_own_code
from gistchat.models.resolve import resolve_base
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import Recipe


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, ready to answer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    format: PromptFormat
    recipe: Recipe
    metadata: dict[str, Any]


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
        if isinstance(model, peft.PeftModel):
            model.active_peft_config.revision = details.get("base", {}).get("commit")
        model.save_pretrained(temporary, state_dict=state_dict, **options)
        (temporary / "README.md").unlink(missing_ok=True)  # peft's empty model card
        prompt_format.tokenizer.save_pretrained(temporary)
        asked = {"format": prompt_format.name, "stop_ids": prompt_format.stop_ids}
        made_by = {**asked, "recipe": dataclasses.asdict(recipe), "versions": versions()}
        write_json(temporary / METADATA, {**made_by, **hashes_of(temporary), **details})


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint folder, or the one inside a run folder; LoRA weights are merged into the base.

    Raises:
        UserError: not a checkpoint, files that are missing or damaged, or a base model that cannot be had.
    """
    return read_while_replaced(folder, _load)


def _load(folder: Path) -> Checkpoint:
    recipe, metadata = read_metadata(folder)
    try:
        tokenizer = _load_tokenizer(folder, recipe, metadata)
        prompt_format = make_format(metadata["format"], tokenizer, metadata.get("stop_ids", ()))
        model = _load_weights(folder, recipe, prompt_format, metadata)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if needs_own_code(error):
            raise load_error(str(folder), error) from None
        raise UserError(f"{folder}: cannot load the checkpoint ({first_line(error)})") from None
    return Checkpoint(model.eval(), tokenizer, prompt_format, recipe, metadata)


def _load_tokenizer(folder: Path, recipe: Recipe, metadata: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The one beside the weights; the packaged adapter has none, as it uses its base's tokenizer unchanged."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        require_words(tokenizer, str(folder))
        return tokenizer
    return load_tokenizer(resolve_base(recipe.model, recipe.seed, metadata.get("base")))


def _load_weights(
    folder: Path, recipe: Recipe, prompt_format: PromptFormat, metadata: dict[str, Any]
) -> PreTrainedModel:
    if not (folder / "adapter_config.json").is_file():
        model = read_causal_model(folder)
        require_pair(prompt_format.tokenizer, model.get_input_embeddings().weight.shape[0], str(folder))
        return model
    config = peft.PeftConfig.from_pretrained(folder)
    if config.peft_type != peft.PeftType.LORA:
        raise UserError(
            f"{folder / 'adapter_config.json'}: an adapter of type {config.peft_type}; gistchat writes and reads LoRA"
        )
    # The recipe says which base; the path in adapter_config.json is that of the machine that trained.
    base = resolve_base(recipe.model, recipe.seed, metadata.get("base"))
    if "files" in metadata and metadata.get("base", {}).get("identity", base.identity) != base.identity:
        say(f"{folder}: an adapter of another version of the model {recipe.model.name}, so its replies may be worse")
    model = load_model(base)
    if prompt_format.control_ids:
        known = load_tokenizer(base).get_vocab().values()
        prompt_format.added_ids = [id for id in prompt_format.control_ids if id not in known]
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
