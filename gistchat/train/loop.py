"""The training loop: transformers.Trainer with the loss on replies, states written whole, and the best model kept."""

import contextlib
import hashlib
import importlib.util
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from gistchat.engines.engine import generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError
from gistchat.examples.build import Example
from gistchat.models.base import device
from gistchat.models.cpu_speedups import (
    add_embedding_gradients_in_place,
    draw_attention_dropout_from_bits,
    quicken_dropout,
)
from gistchat.models.likelihood import collate, label_losses, score_replies
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.schema import TrainConfig
from gistchat.train.rows import Lesson
from gistchat.train.states import UNFINISHED, finish_state, load_nested, random_states, save_nested, set_random_states

WEIGHTS, OPTIMIZER, SCHEDULE = "weights.safetensors", "optimizer.safetensors", "schedule.safetensors"


def arguments(config: TrainConfig, seed: int, learning_rate: float, folder: Path, lessons: int) -> TrainingArguments:
    """The library's settings for a recipe's.

    Raises:
        UserError: a batch that cannot be shared by the processes, a precision or tracker that is not to be had.
    """
    steps = lessons // config.batch_size
    options: dict[str, Any] = {}
    if config.fsdp:
        if device() == "cpu":
            raise UserError("train.fsdp needs GPUs (on a processor transformers would leave it out without a word)")
        options["fsdp"] = config.fsdp
    if config.deepspeed:
        options["deepspeed"] = config.deepspeed
    made = TrainingArguments(
        output_dir=str(folder),
        use_cpu=device() == "cpu",
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type=config.schedule,
        lr_scheduler_kwargs={"power": config.schedule_power} if config.schedule == "polynomial" else {},
        warmup_steps=min(config.warmup_steps, steps // 2),
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=_in_bfloat16(config.precision),
        activation_checkpointing=config.gradient_checkpointing,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=config.evaluate_every,
        save_strategy="steps",
        save_steps=config.save_every,
        seed=seed,
        train_sampling_strategy="sequential",  # the lessons come in their final order
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=_trackers(config.report_to),
        run_name=folder.parent.name,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=False,
        ddp_timeout=24 * 3600,  # others wait while one process validates or saves
        **options,
    )
    share, over = divmod(config.batch_size, made.world_size)
    if over or not share:
        raise UserError(
            f"train.batch_size ({config.batch_size}) cannot be shared by {made.world_size} processes; the recipe "
            "states the batch of all processes together"
        )
    rows = max(rows for rows in range(1, min(share, config.micro_batch or share) + 1) if share % rows == 0)
    made.per_device_train_batch_size = made.per_device_eval_batch_size = rows
    made.gradient_accumulation_steps = share // rows
    return made


def _in_bfloat16(precision: str) -> bool:
    """Mixed precision only where the hardware computes in it: emulated, it is slower than float32."""
    gpu = torch.cuda.is_available()
    able = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else torch.cpu._is_avx512_bf16_supported()
    if precision == "bfloat16" and not able:
        raise UserError("train.precision: this hardware has no bfloat16 units; use float32")
    return precision == "bfloat16" or (precision == "auto" and gpu and able)


def _trackers(names: Sequence[str]) -> list[str]:
    """The trackers of a recipe; tensorboard, the default, only where it is installed."""
    missing = [name for name in names if name != "none" and importlib.util.find_spec(name) is None]
    for name in missing:
        if name != "tensorboard":
            raise UserError(f"train.report_to: {name} is not installed: pip install {name}")
    return [name for name in names if name not in (*missing, "none")]


class IntervalsOfNow(TrainerCallback):
    """A state that is resumed brings the intervals it was saved with; those that are asked for now count."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.eval_steps, state.save_steps = args.eval_steps, args.save_steps


class ReplyTrainer(Trainer):
    """Loss on replies only, weighted by tokens over all processes; validation by the same; the best model saved."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        config: TrainConfig,
        prompt_format: PromptFormat,
        lessons: list[Lesson],
        validation: list[Example],
        settings: dict[str, Any],
        save_best: Callable[[float, int], None],
    ) -> None:
        """`settings` are what a resume is checked against; `save_best` is called with a loss and a step."""
        self.config, self.format = config, prompt_format
        self.lessons, self.validation = lessons, validation
        self.settings, self.save_best = settings, save_best
        self.interrupted = False
        quicken_dropout(model)
        draw_attention_dropout_from_bits(model)
        if args.world_size == 1:
            add_embedding_gradients_in_place(model)
        super().__init__(
            model=model,
            args=args,
            train_dataset=lessons,
            eval_dataset=validation,
            data_collator=lambda rows: collate(rows, prompt_format),
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(IntervalsOfNow)
        self.model_accepts_loss_kwargs = True  # num_items_in_batch is wanted
        self.loss_is_scaled_for_ga = True

    def train(self, **kwargs: Any) -> Any:
        """Train to the end, or until Ctrl-C: then a state is saved first.

        Raises:
            UserError: a loss that is not a number, or too little memory.
            KeyboardInterrupt: after the state is saved.
        """
        resumed = kwargs.get("resume_from_checkpoint")
        done = int(resumed.rpartition("-")[2]) if resumed else 0
        with self._stop_at_interrupt(), self._progress(done):
            try:
                result = super().train(**kwargs)
            except torch.OutOfMemoryError as error:
                raise self._too_large(error) from None
            except RuntimeError as error:
                if "can't allocate memory" in str(error):
                    raise self._too_large(error) from None
                raise
        if self.interrupted:
            raise KeyboardInterrupt
        return result

    @contextlib.contextmanager
    def _progress(self, done: int) -> Iterator[None]:
        per_step = self.args.gradient_accumulation_steps
        if not self.is_world_process_zero():
            self._advance = lambda count, note="": None
            yield
            return
        with progress("train (batches)", self.args.max_steps * per_step, done * per_step) as self._advance:
            yield

    @contextlib.contextmanager
    def _stop_at_interrupt(self) -> Iterator[None]:
        """The first Ctrl-C lets the step end and saves a state; the second stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: Any) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            say("stopping after this step; again to stop at once")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _too_large(self, error: Exception) -> UserError:
        rows, longest = self.args.per_device_train_batch_size, max(len(lesson) for lesson in self.lessons)
        return UserError(
            f"out of memory at step {self.state.global_step + 1} ({str(error).splitlines()[0][:100]}): {rows} rows of "
            f"up to {longest} tokens; lower train.micro_batch or train.max_tokens, or set "
            "train.gradient_checkpointing=true"
        )

    # ---- a step

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The batch's share of the mean over all labels of the optimizer step, on all processes."""
        losses = label_losses(model, inputs)
        if not losses.numel():
            raise UserError(f"no label in a batch of step {self.state.global_step + 1} ({self._batch_names()})")
        loss = losses.sum() / num_items_in_batch
        if not torch.isfinite(loss):
            raise self._diverged("loss")
        return loss * self.args.world_size  # gradients are averaged over processes

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self._advance(1, f"loss {self._smoothed(float(loss)):.3f}")
        return loss

    def _smoothed(self, loss: float) -> float:
        loss *= self.args.gradient_accumulation_steps
        self._shown = 0.9 * getattr(self, "_shown", loss) + 0.1 * loss
        return self._shown

    def _clip_grad_norm(self, model: Any) -> Any:
        """Shorten gradients that are too long, and touch no others: the library multiplies all of them by one."""
        if self._sharded:
            return super()._clip_grad_norm(model)
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm):
            raise self._diverged("gradient")
        if norm > self.args.max_grad_norm:
            torch._foreach_mul_(gradients, float(self.args.max_grad_norm / (norm + 1e-6)))
        return norm

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if grad_norm is None and not self._sharded:
            norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
            if not torch.isfinite(norm):
                raise self._diverged("gradient")
            return norm
        return super()._get_grad_norm(model, grad_norm)

    def _diverged(self, what: str, done: int = 0) -> UserError:
        """What to say of a step: of the one that is under way, or with `done=1` of the one before."""
        step = self.state.global_step + 1 - done
        return UserError(
            f"the {what} is not a number at step {step} (batch: {self._batch_names(done)}); lower "
            f"train.learning_rate (now {self.args.learning_rate:g}). What was saved before is kept"
        )

    def _batch_names(self, done: int = 0) -> str:
        first = (self.state.global_step - done) * self.config.batch_size
        names = [lesson.id for lesson in self.lessons[first : first + self.config.batch_size]]
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    # ---- validation

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Token-weighted validation loss, shared by the processes; saves the model when it is the best so far."""
        self.model.eval()
        rank, world = self.args.process_index, self.args.world_size
        nats = sum(score_replies(self.model, self.format, self.validation[rank::world]))
        total = self.accelerator.reduce(torch.tensor(nats, dtype=torch.float64, device=self.args.device))
        loss = float(total) / sum(len(example.reply) for example in self.validation)
        if not math.isfinite(loss):
            raise self._diverged("validation loss", done=1)
        earlier = [entry["eval_loss"] for entry in self.state.log_history if "eval_loss" in entry]
        metrics = {"eval_loss": loss, "eval_perplexity": math.exp(min(loss, 50.0))}
        self.log(metrics)
        if self.is_world_process_zero():
            perplexity = f"{metrics['eval_perplexity']:.1f}"
            say(f"step {self.state.global_step}: validation loss {loss:.3f}, perplexity {perplexity}")
            self._show_samples()
            if not earlier or loss < min(earlier):
                self.save_best(loss, self.state.global_step)
        self.accelerator.wait_for_everyone()
        if self._out_of_patience([*earlier, loss]):
            say(f"no better validation loss in {self.config.patience} validations: stopping")
            self.control.should_training_stop = True
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _out_of_patience(self, losses: Sequence[float]) -> bool:
        return bool(self.config.patience) and len(losses) - 1 - losses.index(min(losses)) >= self.config.patience

    def had_stopped(self, folder: Path) -> bool:
        """Whether the run of this state had stopped early, so that nothing is left to do but what follows."""
        state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
        losses = [entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry]
        if not losses or not self._out_of_patience(losses):
            return False
        self.state = state
        return True

    def _show_samples(self) -> None:
        """What the model answers now, greedily, so that no random state changes."""
        chosen = self.validation[: self.config.samples]
        contexts = [example.context for example in chosen]
        engine = TorchEngine(self.model, self.format, may_move_weights=False)
        replies = generate_replies(engine, contexts, Sampling(max_tokens=30)) if chosen else []
        for example, reply in zip(chosen, replies, strict=True):
            say(f"    {example.context.last.text.splitlines()[-1][:100]}\n    -> {reply.text[:200]}")

    # ---- states

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.interrupted:
            self.control.should_save = self.control.should_training_stop = True
        super()._maybe_log_save_evaluate(*args, **kwargs)

    @property
    def _sharded(self) -> bool:
        """Whether weights and optimizer are spread over processes: the library then writes and reads their states."""
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def seen(self, step: int) -> str:
        """A digest of the ids of every batch up to a step."""
        digest = hashlib.sha256()
        for lesson in self.lessons[: step * self.config.batch_size]:
            digest.update(f"{lesson.id}\n".encode() + lesson.ids.tobytes())
        return digest.hexdigest()

    def _get_output_dir(self, trial: Any) -> str:
        return str(Path(self.args.output_dir) / UNFINISHED)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            states, step = Path(self.args.output_dir), self.state.global_step
            written = states / UNFINISHED / f"checkpoint-{step}"
            finish_state(written, states, step, self.settings, self.seen(step), self.config.keep_states)
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """What is trained: the adapter with LoRA, all weights without."""
        if self._sharded:
            super().save_model(output_dir, _internal_call)
        elif self.is_world_process_zero():
            folder = Path(output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_file({name: tensor.detach().contiguous() for name, tensor in self._trained()}, folder / WEIGHTS)

    def _trained(self) -> Iterator[tuple[str, torch.Tensor]]:
        model = self.accelerator.unwrap_model(self.model)
        return ((name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        own = dict(self._trained())
        if {name: tensor.shape for name, tensor in own.items()} != {n: t.shape for n, t in saved.items()}:
            raise UserError(f"{resume_from_checkpoint}: of another model or method; delete the folder to begin again")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(saved[name])

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self._sharded:
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.is_world_process_zero():
            save_nested(Path(output_dir) / OPTIMIZER, self.optimizer.state_dict())
            save_nested(Path(output_dir) / SCHEDULE, self.lr_scheduler.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            schedule = self.lr_scheduler
            rates, decays = schedule.base_lrs, [group["weight_decay"] for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(load_nested(Path(checkpoint) / OPTIMIZER))
            schedule.load_state_dict(load_nested(Path(checkpoint) / SCHEDULE))
            # The states bring the settings that they were saved with; those of now count, where they were forced.
            schedule.base_lrs = rates
            now = [rate * factor(schedule.last_epoch) for rate, factor in zip(rates, schedule.lr_lambdas, strict=True)]
            schedule._last_lr = now
            for group, rate, decay in zip(self.optimizer.param_groups, now, decays, strict=True):
                group["lr"], group["weight_decay"] = rate, decay

    def _save_rng_state(self, output_dir: str) -> None:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_nested(self._random_file(output_dir), random_states())

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint and self._random_file(checkpoint).exists():  # not where the number of processes changed
            set_random_states(load_nested(self._random_file(checkpoint)))

    def _random_file(self, folder: str) -> Path:
        return Path(folder) / f"random-{self.args.process_index}.safetensors"
