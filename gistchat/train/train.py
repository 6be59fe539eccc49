"""Stage 3: lessons -> checkpoint."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
from transformers import PreTrainedModel, set_seed

from gistchat.errors import UserError, require
from gistchat.examples.build import Example, ExampleBuilder, TooLong, builders_by_budget
from gistchat.files import read_json, write_json
from gistchat.memory.summary_store import SummaryStore
from gistchat.models.base import Base, load_model, model_limit
from gistchat.models.checkpoint import METADATA, damaged_weights, recover_folder, save_checkpoint
from gistchat.models.embeddings import fit_embeddings
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.schema import Recipe, mix_of
from gistchat.train.loop import ReplyTrainer, arguments
from gistchat.train.rows import TrainingSet, build_lessons, order_lessons
from gistchat.train.states import Saved, changes, last_state


def method_of(recipe: Recipe) -> str:
    """lora or full: what `auto` stands for with this model."""
    if recipe.train.method != "auto":
        return recipe.train.method
    return "full" if recipe.model.init == "scratch" else "lora"


def learning_rate_of(recipe: Recipe) -> float:
    """The peak learning rate: the recipe's, or what suits the method."""
    if recipe.train.learning_rate:
        return recipe.train.learning_rate
    if method_of(recipe) == "lora":
        return 1e-3
    return 5e-4 if recipe.model.init == "scratch" else 5e-5


def weights_of(recipe: Recipe) -> dict[str, float]:
    """How often replies of each corpus of a mix are drawn; empty for a single corpus."""
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
    """Fine-tune, keeping the best checkpoint by token-weighted validation loss in `folder/checkpoint`.

    A stopped run resumes from its last whole state in `folder/train` and comes to the same end.

    Args:
        stores: the summaries, by the budget that they serve.
        details: what the checkpoint's metadata say of data and base.
        force: resume also where settings or data changed.
    Returns:
        The training history: steps, losses, what was left out.
    Raises:
        UserError: no lesson fits, settings that changed since the run was stopped, or training that fails.
    """
    require("accelerate", "train")
    config = recipe.train
    set_seed(recipe.seed)
    model = load_model(base)
    require_types(model, prompt_format)
    limit = min(config.max_tokens, model_limit(model.config))
    builders = list(builders_by_budget(config.budgets, prompt_format, recipe.context, stores, limit).values())
    lessons, left_out = build_lessons(targets.train, config, builders, recipe.seed)
    validation, validation_left_out = build_validation(targets, recipe, builders)
    if left_out or validation_left_out:
        say(f"left out {left_out} train and {validation_left_out} validation replies: longer than {limit} tokens")
    if not lessons or not validation:
        raise UserError(f"no reply fits into {limit} tokens; raise train.max_tokens")
    lessons = order_lessons(lessons, config.batch_size, recipe.seed)
    states, checkpoint = folder / "train", folder / "checkpoint"
    model = prepare_model(model, recipe, len(prompt_format.tokenizer))
    trainer = ReplyTrainer(
        model,
        arguments(config, recipe.seed, learning_rate_of(recipe), states, len(lessons)),
        config,
        prompt_format,
        lessons,
        validation,
        settings={**describe(recipe), **details},
        save_best=lambda loss, step: save_checkpoint(
            checkpoint, model, prompt_format, recipe, {**details, "validation_loss": loss, "step": step}
        ),
    )
    resume = _state_to_resume(states, checkpoint, trainer, force)
    if not (resume and trainer.had_stopped(resume.folder)):
        trainer.train(resume_from_checkpoint=resume and str(resume.folder))
    history = {
        "method": method_of(recipe),
        "steps": trainer.state.global_step,
        "examples": len(lessons),
        "left_out": left_out,
        "best_validation_loss": read_json(checkpoint / METADATA)["validation_loss"],
        "log": trainer.state.log_history,
    }
    if trainer.is_world_process_zero():
        write_json(states / "history.json", history)
    return history


def build_validation(
    targets: TrainingSet, recipe: Recipe, builders: Sequence[ExampleBuilder]
) -> tuple[list[Example], int]:
    """Validation examples with the training's strategies and budgets in turn, and how many were left out."""
    examples, left_out = [], 0
    kinds = [(builder, strategy) for builder in builders for strategy in recipe.train.strategies]
    for i, target in enumerate(targets.validation):
        builder, strategy = kinds[i % len(kinds)]
        try:
            examples.append(builder.build(target, strategy))
        except TooLong:
            left_out += 1
    return examples, left_out


def require_types(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Raises UserError where the format has token types and the model knows none."""
    if prompt_format.has_types and model.config.model_type != "gpt2":
        raise UserError(
            f"model.format {prompt_format.name!r} uses token types, which only GPT-2 models (DialoGPT among them) "
            "have; use speaker-tokens"
        )


def prepare_model(model: PreTrainedModel, recipe: Recipe, vocabulary: int) -> Any:
    """Add rows for new tokens, and LoRA matrices where the method asks for them."""
    new_tokens = fit_embeddings(model, vocabulary)
    if method_of(recipe) == "full":
        return model
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.train.lora_rank,
        lora_alpha=recipe.train.lora_alpha,
        lora_dropout=recipe.train.lora_dropout,
        target_modules="all-linear",
        trainable_token_indices=new_tokens or None,
        fan_in_fan_out=model.config.model_type == "gpt2",  # GPT-2 stores its weights transposed (Conv1D)
    )
    return peft.get_peft_model(model, config)


def _state_to_resume(states: Path, checkpoint: Path, trainer: ReplyTrainer, force: bool) -> Saved | None:
    """The state to go on from; None: begin. Whatever a run of before left in the way of a new one is removed.

    Only the first process touches the files; the others wait, and find the same.
    """
    found = None
    if trainer.is_world_process_zero():
        recover_folder(checkpoint)
        found = last_state(states)
        if found:
            _check_unchanged(found, trainer, force)
        if found and not _has_its_best(found, checkpoint):
            say(f"{checkpoint} is missing or damaged; training from the start")
            for state in states.glob("state-*"):
                shutil.rmtree(state)
            found = None
        if found:
            say(f"resuming from {found.folder}")
        else:
            shutil.rmtree(checkpoint, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return found if trainer.is_world_process_zero() else last_state(states)


def _check_unchanged(found: Saved, trainer: ReplyTrainer, force: bool) -> None:
    changed = list(changes(found.settings, trainer.settings))
    if not changed and found.seen != trainer.seen(found.step):
        changed = ["the examples themselves (data, summaries or tokenizer)"]
    if not changed:
        return
    what = "\n  ".join(changed)
    if not force:
        raise UserError(
            f"{found.folder} was trained with other settings:\n  {what}\n"
            f"Set them back, or give another --out, or delete {found.folder.parent} to begin again, or add --force to "
            "go on from it with the new ones"
        )
    say(f"going on from {found.folder} with other settings, as forced:\n  {what}")


def _has_its_best(state: Saved, checkpoint: Path) -> bool:
    """Whether the best checkpoint that a saved state knows of is there and whole."""
    log = read_json(state.folder / "trainer_state.json")["log_history"]
    if not any("eval_loss" in entry for entry in log):
        return True  # none was due yet
    try:
        return not damaged_weights(checkpoint, read_json(checkpoint / METADATA)["weights"])
    except (UserError, KeyError, TypeError):
        return False


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of a recipe that training depends on, for its fingerprint.

    How a batch is cut into forward passes is left out: it is the same training on one process and on many.
    """
    settings = dataclasses.asdict(recipe.train)
    for name in ("micro_batch", "samples", "save_every", "keep_states", "report_to", "fsdp", "deepspeed"):
        settings.pop(name)
    return {
        "seed": recipe.seed,
        "model": dataclasses.asdict(recipe.model),
        "context": dataclasses.asdict(recipe.context),
        "summary": dataclasses.asdict(recipe.summary),
        "train": settings,
        "weights": weights_of(recipe),
    }
