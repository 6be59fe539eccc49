"""Stage 3: training rows -> checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import PreTrainedModel

from gistchat.errors import UserError
from gistchat.examples.build import Example, ExampleBuilder, TooLong, builders_by_budget
from gistchat.files import fingerprint, put_aside, read_json, recover_folder, write_json
from gistchat.memory.factory import search_settings, summary_settings
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import Base, embedding_layers, fit_embeddings, load_model, model_limit, require_types
from gistchat.models.checkpoint import save_checkpoint
from gistchat.models.checkpoint_folder import METADATA, damage
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.load import recipe_from_dict
from gistchat.recipe.schema import Recipe, mix_of
from gistchat.train.loop import TrainingLoop
from gistchat.train.rows import TrainingSet, build_rows, order_rows
from gistchat.train.states import SavedState, changes, last_state, remove_states


def method_of(recipe: Recipe) -> str:
    """lora or full; `auto` is full for models from scratch and lora for all others."""
    if recipe.train.method != "auto":
        return recipe.train.method
    return "full" if recipe.model.init == "scratch" else "lora"


def learning_rate_of(recipe: Recipe) -> float:
    """The peak learning rate: the recipe's, or the default of the method."""
    if recipe.train.learning_rate:
        return recipe.train.learning_rate
    if method_of(recipe) == "lora":
        return 1e-3
    return 5e-4 if recipe.model.init == "scratch" else 5e-5


def weights_of(recipe: Recipe) -> dict[str, float]:
    """Sampling weights of the corpora of a mix; empty for a single corpus."""
    return {part.name: part.weight for part in mix_of(recipe.data)} if recipe.data.mix else {}


def train(
    recipe: Recipe,
    base: Base,
    prompt_format: PromptFormat,
    targets: TrainingSet,
    stores: Mapping[int, SummaryStore],
    folder: Path,
    details: dict[str, Any],
    force: bool = False,
) -> dict[str, Any]:
    """Fine-tune, keeping the checkpoint with the lowest validation loss per token in `folder/checkpoint`.

    A stopped run resumes from its last whole state in `folder/train` and comes to the same end.

    Args:
        stores: the summaries, by the budget that they serve.
        details: what the checkpoint's metadata say of data and base.
        force: resume also where settings or data changed.
    Returns:
        The training history: steps, losses, what was left out.
    Raises:
        UserError: no row fits, settings or data changed since the run was stopped, or training fails.
    """
    config = recipe.train
    torch.manual_seed(recipe.seed)  # for the first values of LoRA's matrices
    model = load_model(base, all_trained=method_of(recipe) == "full")
    require_types(model, prompt_format)
    limit = min(config.max_tokens, model_limit(model.config))
    by_budget = builders_by_budget(config.budgets, prompt_format, recipe.context, stores, limit, memory=recipe.memory)
    builders = list(by_budget.values())
    rows, left_out = build_rows(targets.train, config, builders, recipe.seed)
    validation, validation_left_out = build_validation(targets, recipe, builders)
    if left_out or validation_left_out:
        say(f"left out {left_out} train and {validation_left_out} validation replies: longer than {limit} tokens")
    if not rows or not validation:
        raise UserError(f"no reply fits into {limit} tokens; raise train.max_tokens")
    rows = order_rows(rows, config.batch_size, recipe.seed)
    states, checkpoint = folder / "train", folder / "checkpoint"
    model = prepare_model(model, recipe, prompt_format)

    def save_best(loss: float, step: int, weights: dict[str, torch.Tensor] | None) -> None:
        described = {**details, "validation_loss": loss, "step": step, "finished": False}
        save_checkpoint(checkpoint, model, prompt_format, recipe, described, weights)

    settings, learning_rate = {**describe(recipe), **details}, learning_rate_of(recipe)
    loop = TrainingLoop(
        model, config, prompt_format, rows, validation, recipe.seed, learning_rate, states, settings, save_best
    )
    if saved := _state_to_resume(states, checkpoint, loop, recipe, details, force):
        loop.load_state(saved)
    loop.run()
    history = {
        "method": method_of(recipe),
        "steps": loop.step,
        "examples": len(rows),
        "left_out": left_out,
        "best_validation_loss": read_json(checkpoint / METADATA)["validation_loss"],
        "log": loop.log,
    }
    if loop.accelerator.is_main_process:
        write_json(states / "history.json", history)
    return history


def build_validation(
    targets: TrainingSet, recipe: Recipe, builders: Sequence[ExampleBuilder]
) -> tuple[list[Example], int]:
    """Validation examples, cycling through strategies and budgets, and how many were left out as too long."""
    examples, left_out = [], 0
    kinds = [(builder, strategy) for builder in builders for strategy in recipe.train.strategies]
    for i, target in enumerate(targets.validation):
        builder, strategy = kinds[i % len(kinds)]
        try:
            examples.append(builder.build(target, strategy))
        except TooLong:
            left_out += 1
    return examples, left_out


def prepare_model(model: PreTrainedModel, recipe: Recipe, prompt_format: PromptFormat) -> Any:
    """Add rows for new tokens, and LoRA matrices where the method asks for them.

    LoRA trains the rows of the format's own tokens as well, in all embeddings, and no other rows.
    """
    fit_embeddings(model, prompt_format)
    if method_of(recipe) == "full":
        return model
    control_ids = list(prompt_format.control_ids)
    head = model.get_output_embeddings()
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.train.lora_rank,
        lora_alpha=recipe.train.lora_alpha,
        lora_dropout=recipe.train.lora_dropout,
        target_modules="all-linear",
        exclude_modules=layers_left_out(model) or None,
        trainable_token_indices=dict.fromkeys(embedding_layers(model), control_ids) if control_ids else None,
        fan_in_fan_out=model.config.model_type == "gpt2",  # GPT-2 stores its weights transposed (Conv1D)
    )
    adapted = peft.get_peft_model(model, config)
    if (bias := getattr(head, "bias", None)) is not None:
        _restore_bias(adapted.get_output_embeddings(), bias)
    return adapted


def layers_left_out(model: PreTrainedModel) -> list[str]:
    """Names of linear layers that LoRA cannot train.

    Those that text does not pass, as for pictures; routers that return more than a tensor; and those of Mamba's
    blocks whose weights are taken without asking the layer.
    """
    text = {*model.get_decoder().modules(), model.get_output_embeddings()}
    left_out = []
    for name, module in model.named_modules():
        is_router = type(module).__name__.endswith("Router")
        if isinstance(module, torch.nn.Linear) and (module not in text or is_router):
            left_out.append(name)
        if hasattr(module, "A_log") and hasattr(module, "D"):
            left_out += [f"{name}.{part}" for part in ("dt_proj", "out_proj") if hasattr(module, part)]
    return left_out


def _restore_bias(head: torch.nn.Module, bias: torch.Tensor) -> None:
    """Add the output layer's bias, which peft 0.21 leaves out where rows of that layer are trained."""
    nothing = torch.zeros(1, head.weight.shape[1], dtype=bias.dtype, device=bias.device)
    if not torch.equal(head(nothing)[0], bias):
        head.register_forward_hook(lambda layer, inputs, logits: logits + bias)


def _state_to_resume(
    states: Path, checkpoint: Path, loop: TrainingLoop, recipe: Recipe, details: dict[str, Any], force: bool
) -> SavedState | None:
    """The state to continue from; None: begin, after putting aside what stands in the way.

    Only the first process touches the files; the others wait, and then find the same.
    """
    if loop.accelerator.is_main_process:
        recover_folder(checkpoint)
        if saved := last_state(states):
            _check_unchanged(saved, loop, force)
        validated = saved and any("eval_loss" in entry for entry in saved.log)  # then there is a best checkpoint
        if validated and not _is_whole(checkpoint):
            say(f"{checkpoint} is missing or damaged; training from the start")
            remove_states(states)
            saved = validated = None
        if saved:
            say(f"resuming from {saved.folder}")
        # What this very run left when it was stopped before its first state will come again, to the bit.
        replaceable = validated or (is_of_run(checkpoint, recipe, details) and is_finished(checkpoint) is False)
        if checkpoint.exists() and not replaceable:
            put_aside(checkpoint, "is not known as this run's")
    loop.accelerator.wait_for_everyone()
    return saved if loop.accelerator.is_main_process else last_state(states)


def _check_unchanged(saved: SavedState, loop: TrainingLoop, force: bool) -> None:
    changed = [f"  {change}" for change in changes(saved.settings, loop.settings)]
    if not changed and saved.seen != loop.seen(saved.step):
        changed = ["  the examples themselves (data, summaries or tokenizer)"]
    if changed and not force:
        advice = (
            f"  Set them back, or give another --out, or delete {saved.folder.parent} to begin again, or add --force "
            "to go on from it with the new ones"
        )
        raise UserError("\n".join([f"{saved.folder} was trained with other settings:", *changed, advice]))
    if changed:
        say(f"going on from {saved.folder} with other settings, as forced:", *changed)


def _is_whole(checkpoint: Path) -> bool:
    try:
        metadata = read_json(checkpoint / METADATA)
        return bool(metadata["weights"]) and not damage(checkpoint, metadata)
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return False


def is_of_run(checkpoint: Path, recipe: Recipe, details: dict[str, Any]) -> bool:
    """Whether a checkpoint is whole and says that it was made with this recipe, data and base."""
    if not _is_whole(checkpoint):
        return False
    metadata = read_json(checkpoint / METADATA)
    try:
        before = recipe_from_dict(metadata["recipe"], str(checkpoint / METADATA))
    except (UserError, KeyError, TypeError, AttributeError):
        return False
    described = {name: metadata.get(name) for name in details}
    return fingerprint([describe(before), described]) == fingerprint([describe(recipe), details])


def is_finished(checkpoint: Path) -> bool | None:
    """Whether training has come to its end since; None: older versions did not note it."""
    return read_json(checkpoint / METADATA).get("finished")


def mark_finished(checkpoint: Path) -> None:
    """Note in a checkpoint that training came to its end, so that it counts also where only it was copied."""
    write_json(checkpoint / METADATA, {**read_json(checkpoint / METADATA), "finished": True})


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of a recipe that the result of training depends on, for its fingerprint.

    How a batch is cut into micro-batches is left out: one process and many train the same.
    """
    settings = dataclasses.asdict(recipe.train)
    for name in ("micro_batch", "samples", "save_every", "keep_states", "report_to", "fsdp", "deepspeed"):
        settings.pop(name)
    if not recipe.train.fact_items:  # so that older fingerprints stay good
        del settings["fact_items"]
    others = {name: dataclasses.asdict(getattr(recipe, name)) for name in ("model", "context")}
    others["summary"] = summary_settings(recipe.summary)
    del others["context"]["found_share"]  # which is among these, where it is not as always
    others |= search_settings(recipe)
    return {"seed": recipe.seed, **others, "train": settings, "weights": weights_of(recipe)}
