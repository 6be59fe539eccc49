"""The training loop: forward, backward, clip, step, log, validate, save."""

import contextlib
import hashlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from transformers import PreTrainedModel

from gistchat.engines.engine import generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.torch_engine import TorchEngine
from gistchat.errors import UserError, first_line
from gistchat.examples.build import Example
from gistchat.models.cpu_speedups import speed_up_training
from gistchat.models.likelihood import IGNORED, collate, label_losses, score_replies
from gistchat.progress import progress, say
from gistchat.prompts.format import PromptFormat
from gistchat.recipe.schema import TrainConfig
from gistchat.train.accelerator import make_accelerator, split_batch
from gistchat.train.optimizer import make_optimizer, make_schedule
from gistchat.train.rows import TrainingRow
from gistchat.train.states import UNFINISHED, SavedState, finish_state, read_state, write_state


class TrainingLoop:
    """One training run, from its first step or from a saved state.

    Every process holds all rows, in the same order. Each optimizer step takes the next `batch_size` rows; they are cut
    into micro-batches, which the processes take in turn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: TrainConfig,
        prompt_format: PromptFormat,
        rows: Sequence[TrainingRow],
        validation: Sequence[Example],
        seed: int,
        learning_rate: float,
        folder: Path,
        settings: dict[str, Any],
        save_best: Callable[[float, int, dict[str, torch.Tensor] | None], None],
    ) -> None:
        """Prepare model and optimizer for the processes.

        Args:
            rows: in the order of training, a multiple of the batch size.
            learning_rate: the peak.
            folder: for states and TensorBoard files.
            settings: saved with each state; a resumed run compares them with its own.
            save_best: called in the first process when a validation loss is the best so far, with that loss, the step,
                and all weights where the model itself has only a process's shard of them.
        Raises:
            UserError: see `make_accelerator`.
        """
        self.model, self.config, self.format = model, config, prompt_format
        self.rows, self.validation = rows, validation
        self.folder, self.settings, self.save_best = folder, settings, save_best
        self.steps = len(rows) // config.batch_size
        self.step = 0
        self.log: list[dict[str, Any]] = []
        self.accelerator = make_accelerator(config, folder)
        self.micro_rows, self.micro_batches = split_batch(config, self.accelerator.num_processes)
        speed_up_training(model, self.accelerator.num_processes)
        if config.gradient_checkpointing:
            model.activation_checkpointing_enable()
        optimizer = make_optimizer(model, config, learning_rate)
        self.schedule = make_schedule(optimizer, config, self.steps)
        self.wrapped, self.optimizer = self.accelerator.prepare(model, optimizer)
        torch.manual_seed(seed)  # for dropout
        # The number that a DataLoader would draw: with it, a recipe gives the bytes that documents report.
        torch.empty((), dtype=torch.int64).random_()

    def run(self) -> None:
        """Train to the last step, until patience is exhausted, or until Ctrl-C; a state is saved in each case.

        Raises:
            UserError: a loss or gradient that is not a number, or too little memory.
            KeyboardInterrupt: after Ctrl-C, once the state is saved.
        """
        with (
            self._stop_at_interrupt(),
            self._explain_memory_errors(),
            self._trackers(),
            progress("train (steps)", self.steps, self.step) as advance,
        ):
            smoothed = None
            while self.step < self.steps and not self.out_of_patience:
                figures = self.optimizer_step()
                self._record("train", figures)
                smoothed = figures["loss"] if smoothed is None else 0.9 * smoothed + 0.1 * figures["loss"]
                advance(1, f"loss {smoothed:.3f}")
                last = self.step == self.steps
                if last or self.step % self.config.evaluate_every == 0:
                    self.validate()
                interrupted = self.accelerator.check_trigger()  # in any of the processes
                if last or interrupted or self.out_of_patience or self.step % self.config.save_every == 0:
                    self.save_state()
                if interrupted:
                    raise KeyboardInterrupt
        if self.out_of_patience:
            say(f"no better validation loss in {self.config.patience} validations: stopping")

    def optimizer_step(self) -> dict[str, float]:
        """Train on the next batch.

        Returns:
            `loss`, the mean per label in nats; `grad_norm`, before clipping; `learning_rate`.
        Raises:
            UserError: a loss or gradient that is not a number, before it reaches the weights.
        """
        batch = self._batch(self.step)
        label_count = sum(len(row) - 1 - row.labels[1:].count(IGNORED) for row in batch)
        learning_rate = self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.wrapped.train()
        loss = torch.zeros((), device=self.accelerator.device)
        for number in range(self.micro_batches):
            # This process's share of the batch.
            first = (number * self.accelerator.num_processes + self.accelerator.process_index) * self.micro_rows
            last = number == self.micro_batches - 1
            self.accelerator.sync_gradients = last
            # Gradients are averaged over processes once, in the last backward pass.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss += self._backward(batch[first : first + self.micro_rows], label_count)
        grad_norm = self._clip_gradients()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        loss = self.accelerator.reduce(loss, "mean").item()
        return {"loss": loss, "grad_norm": grad_norm, "learning_rate": learning_rate}

    def _batch(self, step: int) -> Sequence[TrainingRow]:
        """The rows that the step after `step` steps trains on, in all processes."""
        return self.rows[step * self.config.batch_size : (step + 1) * self.config.batch_size]

    def _backward(self, rows: Sequence[TrainingRow], label_count: int) -> torch.Tensor:
        """Add the gradients of some rows; returns their share of the mean loss over all labels of the batch.

        The share is multiplied by the number of processes, over which gradients are averaged.
        """
        inputs = {name: tensor.to(self.accelerator.device) for name, tensor in collate(rows, self.format).items()}
        losses = label_losses(self.wrapped, inputs)
        if not losses.numel():
            raise UserError(f"no label in a batch of step {self.step + 1} ({self._batch_names(self.step)})")
        loss = losses.sum() / label_count * self.accelerator.num_processes
        if not torch.isfinite(loss):
            raise self._diverged("loss", self.step)
        deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        self.accelerator.backward(loss, **({"scale_wrt_gas": False} if deepspeed else {}))
        return loss.detach()

    def _clip_gradients(self) -> float:
        """Scale gradients down to train.max_grad_norm where they are longer; returns their norm before that."""
        limit = self.config.max_grad_norm or math.inf
        parameters = list(self.wrapped.parameters())
        if self.sharded:
            norm = torch.as_tensor(self.accelerator.clip_grad_norm_(parameters, limit))
        else:
            norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not torch.isfinite(norm):
            raise self._diverged("gradient", self.step)
        if norm > limit and not self.sharded:  # the library would multiply all gradients by one otherwise
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return norm.item()

    def _diverged(self, what: str, step: int) -> UserError:
        return UserError(
            f"the {what} is not a number at step {step + 1} (batch: {self._batch_names(step)}); lower "
            f"train.learning_rate (now {self.optimizer.defaults['lr']:g}). What was saved before is kept"
        )

    def _batch_names(self, step: int) -> str:
        names = [row.id for row in self._batch(step)]
        return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    @property
    def validation_losses(self) -> list[float]:
        return [entry["eval_loss"] for entry in self.log if "eval_loss" in entry]

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` validations brought no better loss."""
        losses, patience = self.validation_losses, self.config.patience
        return bool(patience and losses) and len(losses) - 1 - losses.index(min(losses)) >= patience

    def validate(self) -> None:
        """Log the validation loss per token, show sample replies, and save the model if it is the best so far.

        Raises:
            UserError: the loss is not a number.
        """
        self.model.eval()
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        # Sharded weights are gathered for each forward pass, so that all processes have to make the same ones.
        share = self.validation if self.sharded else self.validation[rank::world]
        nats = torch.tensor(sum(score_replies(self.model, self.format, share)), dtype=torch.float64)
        total = self.accelerator.reduce(nats.to(self.accelerator.device), "mean" if self.sharded else "sum")
        loss = total.item() / sum(len(example.reply) for example in self.validation)
        if not math.isfinite(loss):
            raise self._diverged("validation loss", self.step - 1)
        best = loss < min(self.validation_losses, default=math.inf)
        perplexity = math.exp(min(loss, 50.0))
        self._record("eval", {"eval_loss": loss, "eval_perplexity": perplexity})
        say(f"step {self.step}: validation loss {loss:.3f}, perplexity {perplexity:.1f}")
        weights = self.accelerator.get_state_dict(self.wrapped) if self.sharded and best else None
        if self.accelerator.is_main_process:
            if not self.sharded:
                self._show_samples()
            if best:
                self.save_best(loss, self.step, weights)
        self.accelerator.wait_for_everyone()

    def _show_samples(self) -> None:
        """Show what the model answers now, greedily, so that no random state changes."""
        examples = self.validation[: self.config.samples]
        engine = TorchEngine(self.model, self.format)
        replies = generate_replies(engine, [example.context for example in examples], Sampling(max_tokens=30))
        for example, reply in zip(examples, replies, strict=True):
            say(f"    {example.context.last.text.splitlines()[-1][:100]}", f"    -> {reply.text[:200]}")

    @property
    def sharded(self) -> bool:
        """Whether weights and optimizer are spread over processes; accelerate then writes and reads their states."""
        return self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)

    def save_state(self) -> None:
        """Write all that a resumed run needs to come to the same end."""
        written = self.folder / UNFINISHED
        if self.accelerator.is_main_process:
            written.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        if self.sharded:
            self.accelerator.save_state(str(written))
        else:
            write_state(written, self.accelerator, self.model, self.optimizer)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            seen = self.seen(self.step)
            finish_state(self.folder, self.step, self.settings, seen, self.log, self.config.keep_states)
        self.accelerator.wait_for_everyone()

    def load_state(self, saved: SavedState) -> None:
        """Continue from a saved state. Raises UserError where it is of another model or method."""
        self.step, self.log = saved.step, list(saved.log)
        if self.sharded:
            self.accelerator.load_state(str(saved.folder))
        else:
            read_state(saved.folder, self.accelerator, self.model, self.optimizer)

    def seen(self, step: int) -> str:
        """A digest of the rows of the first `step` batches."""
        digest = hashlib.sha256()
        for row in self.rows[: step * self.config.batch_size]:
            digest.update(f"{row.id}\n".encode() + row.ids.tobytes())
        return digest.hexdigest()

    def _record(self, tag: str, figures: dict[str, float]) -> None:
        """Add to the log, and send to the trackers as `train/loss`, `eval/loss` and so on."""
        self.log.append({**figures, "step": self.step})
        self.accelerator.log({f"{tag}/{name.removeprefix('eval_')}": figures[name] for name in figures}, self.step)

    @contextlib.contextmanager
    def _trackers(self) -> Iterator[None]:
        name = self.folder.parent.name
        names = {"wandb": {"name": name}, "trackio": {"name": name}, "mlflow": {"run_name": name}}
        self.accelerator.init_trackers("gistchat", init_kwargs=names)
        try:
            yield
        finally:
            # `accelerator.end_training` would end the process group, too, which the next run of an experiment needs.
            for tracker in self.accelerator.trackers:
                tracker.finish()

    @contextlib.contextmanager
    def _stop_at_interrupt(self) -> Iterator[None]:
        """The first Ctrl-C lets the step end and a state be saved; the second stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        interrupted = False

        def stop(number: int, frame: Any) -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True
            self.accelerator.set_trigger()
            say("stopping after this step; Ctrl-C again stops at once")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextlib.contextmanager
    def _explain_memory_errors(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # OutOfMemoryError is one
            if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
                raise
            longest = max(len(row) for row in self.rows)
            raise UserError(
                f"out of memory at step {self.step + 1} ({first_line(error, 100)}): {self.micro_rows} rows "
                f"of up to {longest} tokens; lower train.micro_batch or train.max_tokens, or set "
                "train.gradient_checkpointing=true"
            ) from None
