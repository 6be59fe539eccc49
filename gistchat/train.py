"""Stage 3: examples -> checkpoint, over transformers.Trainer."""

import dataclasses
import functools
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from gistchat.checkpoint import METADATA, damaged_weights, fit_embeddings, recover_folder, save_checkpoint
from gistchat.dialogue import Dialogue
from gistchat.errors import UserError, require
from gistchat.examples import Example, ExampleBuilder, Target, TooLong, require_dialogues, sample_targets
from gistchat.likelihood import IGNORED, collate, reply_loss, score_replies
from gistchat.models import Base, load_model, model_limit
from gistchat.prepare import mix_of
from gistchat.progress import progress, say
from gistchat.prompt import PromptFormat
from gistchat.recipe import Recipe, TrainConfig
from gistchat.storage import read_json, write_json
from gistchat.summarize.store import SummaryStore

COMPLETE = "complete"  # the last file of a saved state; a state without it was cut off and is not resumed from
MEGABATCH = 16  # batches whose examples are sorted by length together


@dataclass(frozen=True)
class TrainingSet:
    """The replies to learn in the order they are seen, and those that choose the best checkpoint."""

    train: list[Target]
    validation: list[Target]


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


def choose_targets(recipe: Recipe, train: Sequence[Dialogue], validation: Sequence[Dialogue]) -> TrainingSet:
    """Draw the replies to learn; a recipe that names `steps` needs no more than these.

    Raises:
        UserError: a split without a reply.
    """
    config = recipe.train
    needed = config.steps * config.batch_size * config.accumulation or 10**12
    require_dialogues("validation", validation)
    drawn = sample_targets(train, needed, recipe.seed, weights=weights_of(recipe))
    if not drawn:
        raise UserError("the train split holds no reply to learn from")
    if config.steps:  # more steps than replies: go round again
        drawn = (drawn * math.ceil(needed / len(drawn)))[:needed]
    else:
        drawn = drawn * config.epochs
    held_out = sample_targets(validation, config.validation_items, recipe.seed, one_per_dialogue=True)
    if not held_out:
        raise UserError(
            "the validation split holds no reply to choose the best checkpoint by; raise data.validation_share"
        )
    return TrainingSet(drawn, held_out)


def build_examples(
    targets: Sequence[Target], strategies: Sequence[str], builder: ExampleBuilder
) -> tuple[list[Example], int]:
    """Examples with the strategies in turn, and how many targets were left out as too long for the limit."""
    examples, left_out = [], 0
    with progress("build examples", len(targets)) as advance:
        for i, target in enumerate(targets):
            try:
                examples.append(builder.build(target, strategies[i % len(strategies)]))
            except TooLong:
                left_out += 1
            advance(1)
    return examples, left_out


def order_examples(examples: Sequence[Example], batch_size: int, seed: int) -> list[Example]:
    """Batches of similar length in random order: less padding, and the order is fixed by the seed.

    Examples are sorted by length within runs of `MEGABATCH` batches, and the batches of a run are shuffled. A batch
    here is what one optimizer step sees, so that accumulation does not change the steps.
    """
    rng = random.Random(seed)
    ordered: list[Example] = []
    for start in range(0, len(examples), batch_size * MEGABATCH):
        run = sorted(examples[start : start + batch_size * MEGABATCH], key=len, reverse=True)
        batches = [run[i : i + batch_size] for i in range(0, len(run), batch_size)]
        rng.shuffle(batches)
        batches.sort(key=len, reverse=True)  # a short batch comes last, so that all steps are full
        ordered += [example for batch in batches for example in batch]
    return ordered


def train(
    recipe: Recipe,
    base: Base,
    prompt_format: PromptFormat,
    targets: TrainingSet,
    store: SummaryStore,
    folder: Path,
    details: dict[str, Any],
) -> dict[str, Any]:
    """Fine-tune, keeping the best checkpoint by token-weighted validation loss in `folder/checkpoint`.

    A stopped run resumes from its last complete state in `folder/train` and comes to the same end.

    Returns:
        The training history: steps, losses, what was left out.
    Raises:
        UserError: no example fits, or the loss is not a number.
    """
    require("accelerate", "train")
    config = recipe.train
    set_seed(recipe.seed)
    model = load_model(base)
    limit = min(config.max_tokens, model_limit(model.config))
    builder = ExampleBuilder(prompt_format, recipe.context, store, limit)
    examples, left_out = build_examples(targets.train, config.strategies, builder)
    validation, validation_left_out = build_examples(targets.validation, config.strategies, builder)
    if left_out or validation_left_out:
        say(f"left out {left_out} train and {validation_left_out} validation replies: longer than {limit} tokens")
    if not examples or not validation:
        raise UserError(f"no reply fits into {limit} tokens; raise train.max_tokens")
    examples = order_examples(examples, config.batch_size * config.accumulation, recipe.seed)
    model = prepare_model(model, recipe, len(prompt_format.tokenizer))
    state_folder = folder / "train"
    resume = last_complete_state(state_folder)
    checkpoint = folder / "checkpoint"
    recover_folder(checkpoint)
    if resume and not _has_its_best(resume, checkpoint):
        say(f"{checkpoint} is missing or damaged; training from the start")
        for state in state_folder.glob("checkpoint-*"):
            shutil.rmtree(state)
        resume = None
    if resume is None:
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        say(f"resuming from {resume}")
    trainer = ReplyTrainer(
        model=model,
        args=_arguments(recipe, state_folder, len(examples)),
        train_dataset=_Examples(examples),
        eval_dataset=_Examples(validation),
        data_collator=functools.partial(collate, pad_id=pad_id(prompt_format)),
        save_best=lambda loss, step: save_checkpoint(
            checkpoint, model, prompt_format, recipe, {**details, "validation_loss": loss, "step": step}
        ),
        callbacks=[_MarkComplete()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    history = {
        "method": method_of(recipe),
        "steps": trainer.state.global_step,
        "examples": len(examples),
        "left_out": left_out,
        "best_validation_loss": read_json(checkpoint / METADATA)["validation_loss"],
        "log": trainer.state.log_history,
    }
    write_json(state_folder / "history.json", history)
    return history


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


def pad_id(prompt_format: PromptFormat) -> int:
    """Any id does: padding is masked."""
    return prompt_format.stop_ids[0]


def last_complete_state(folder: Path) -> Path | None:
    """The newest saved state that was written to its end; cut-off ones are removed."""
    states = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for state in list(states):
        if not (state / COMPLETE).exists():
            say(f"{state} was cut off while being written; not used")
            shutil.rmtree(state)
            states.remove(state)
    return states[-1] if states else None


def _has_its_best(state: Path, checkpoint: Path) -> bool:
    """Whether the best checkpoint that a saved state knows of is there and whole."""
    log = read_json(state / "trainer_state.json")["log_history"]
    if not any("eval_loss" in entry for entry in log):
        return True  # none was due yet
    try:
        return not damaged_weights(checkpoint, read_json(checkpoint / METADATA)["weights"])
    except (UserError, KeyError, TypeError):
        return False


def _arguments(recipe: Recipe, folder: Path, examples: int) -> TrainingArguments:
    config: TrainConfig = recipe.train
    steps = math.ceil(examples / (config.batch_size * config.accumulation))
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=learning_rate_of(recipe),
        lr_scheduler_type=config.schedule,
        warmup_steps=min(config.warmup_steps, steps // 2),
        weight_decay=config.weight_decay,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=config.evaluate_every,
        save_strategy="steps",
        save_steps=config.save_every,
        save_total_limit=2,
        seed=recipe.seed,
        train_sampling_strategy="sequential",  # the examples come in their final order
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=["tensorboard"] if _has_tensorboard() else [],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _has_tensorboard() -> bool:
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


class _Examples(torch.utils.data.Dataset):
    def __init__(self, examples: list[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Example:
        return self.examples[index]


class _MarkComplete(TrainerCallback):
    """The library writes a state file by file; this one comes last."""

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class ReplyTrainer(Trainer):
    """Loss on replies only, weighted by tokens; validation by `score_replies`; the best model saved at once."""

    def __init__(self, *, save_best: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.save_best = save_best
        self.loss_is_scaled_for_ga = True

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        tokens = reply_loss(model, inputs)
        if num_items_in_batch is None:
            num_items_in_batch = (inputs["labels"] != IGNORED).sum()
        loss = tokens.sum() / num_items_in_batch
        if not torch.isfinite(loss):
            raise UserError(
                f"the loss is not a number at step {self.state.global_step + 1}; lower train.learning_rate "
                f"(now {self.args.learning_rate:g})"
            )
        return loss

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self._advance(1)
        return loss

    def train(self, **kwargs: Any) -> Any:
        resumed = kwargs.get("resume_from_checkpoint")
        done = int(resumed.rsplit("-", 1)[1]) if resumed else 0
        per_step = self.args.gradient_accumulation_steps
        with progress("train (batches)", self.args.max_steps * per_step, done * per_step) as self._advance:
            return super().train(**kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Token-weighted validation loss; saves the model when it is the best so far."""
        examples = self.eval_dataset.examples
        self.model.eval()
        pad = self.data_collator.keywords["pad_id"]
        nats = score_replies(self.model, examples, pad)
        loss = sum(nats) / sum(len(example.reply) for example in examples)
        earlier = [entry["eval_loss"] for entry in self.state.log_history if "eval_loss" in entry]
        metrics = {"eval_loss": loss, "eval_perplexity": math.exp(min(loss, 50.0))}
        self.log(metrics)
        if not earlier or loss < min(earlier):
            self.save_best(loss, self.state.global_step)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def describe(recipe: Recipe) -> dict[str, Any]:
    """The parts of a recipe that training depends on, for its fingerprint."""
    return {
        "seed": recipe.seed,
        "model": dataclasses.asdict(recipe.model),
        "context": dataclasses.asdict(recipe.context),
        "summary": dataclasses.asdict(recipe.summary),
        "train": dataclasses.asdict(recipe.train),
        "weights": weights_of(recipe),
    }
