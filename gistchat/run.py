"""The whole way: prepare, summarize, train, evaluate, report. A stage whose output is current is skipped."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gistchat.checkpoint import METADATA, find_checkpoint, fit_embeddings, load_checkpoint
from gistchat.dialogue import Dialogue, load_dialogues
from gistchat.errors import UserError
from gistchat.evaluate import Subject, build_items, choose_items, evaluate
from gistchat.evaluate import describe as describe_evaluation
from gistchat.examples import ExampleBuilder
from gistchat.lessons import choose_targets
from gistchat.models import Base, load_model, load_tokenizer, model_limit, resolve_base, tokenizer_fingerprint
from gistchat.prepare import default_folder, prepare
from gistchat.prepare_report import report_lines
from gistchat.progress import say
from gistchat.prompt import PromptFormat, make_format
from gistchat.recipe import Recipe, apply_overrides, recipe_from_dict
from gistchat.report import write_report
from gistchat.storage import file_hash, fingerprint, is_current, mark_done, read_json
from gistchat.summarize.store import SummaryStore
from gistchat.tokens import TokenStore, tokenize
from gistchat.tokens import report_lines as tokens_lines
from gistchat.train import describe as describe_training
from gistchat.train import train, weights_of

SETTINGS_OF_EVALUATION = ("evaluate", "context", "summary")
VERSION = 3  # raise it when the same recipe would give another result


@dataclass(frozen=True)
class Workspace:
    """What every stage after `prepare` works with."""

    recipe: Recipe
    folder: Path
    data: Path
    data_key: str
    base: Base
    tokenizer: PreTrainedTokenizerBase
    format: PromptFormat
    store: SummaryStore

    def key(self, *parts: Any) -> str:
        """The fingerprint of a stage that reads these data and summaries."""
        return fingerprint([VERSION, self.data_key, self.store.path.name, *parts])

    def split(self, name: str) -> list[Dialogue]:
        return load_dialogues(self.data / f"{name}.jsonl")

    def summarize(self, dialogues: Sequence[Dialogue]) -> None:
        """Make the summaries of these dialogues that are not stored yet."""
        made = self.store.add(dialogues)
        kept = len({dialogue.content_hash for dialogue in dialogues}) - made
        say(f"summarize: {made:,} dialogues summarised, {kept:,} stored before")


def is_first_process() -> bool:
    """Whether this is the only process of the run, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder, for all processes of the run. Raises UserError when another run holds it."""
    if not is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"another process is writing to {folder}; wait for it, or give another --out") from None


def open_workspace(recipe: Recipe, folder: Path) -> Workspace:
    """Stage 1, and the model's tokenizer and prompt format."""
    data = default_folder(recipe.data)
    data.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(data.with_name(data.name + ".lock")):  # one of several processes prepares, the others find it done
        return _open_workspace(recipe, folder, data)


def _open_workspace(recipe: Recipe, folder: Path, data: Path) -> Workspace:
    report, new = prepare(recipe.data, data)
    say(f"prepare: {recipe.data.corpus} -> {data}" + ("" if new else " (done before, skipped)"))
    if new:
        for line in report_lines(report):
            say(f"  {line}")
    base = resolve_base(recipe.model, recipe.seed)
    tokenizer = load_tokenizer(base)
    key = tokenizer_fingerprint(tokenizer)
    tokens, lengths = tokenize(data, tokenizer, key)
    prompt_format = make_format(recipe.model.format, tokenizer)
    prompt_format.known = tokens and TokenStore(tokens)
    if new:
        for line in tokens_lines(lengths):
            say(f"  {line}")
    store = SummaryStore(data / "summaries", recipe.summary, recipe.context, prompt_format, key)
    return Workspace(
        recipe,
        folder,
        data,
        read_json(data / "prepared.json")["key"],
        base,
        tokenizer,
        prompt_format,
        store,
    )


def run(recipe: Recipe, folder: Path, force: bool = False) -> dict[str, Any]:
    """Everything a recipe asks for, into the run `folder`; returns the metrics. `force`: see `run_train`."""
    workspace = open_workspace(recipe, folder)
    choose_items(recipe, workspace.split("test"))  # what cannot be evaluated should fail before training, not after
    run_train(workspace, force)
    return run_evaluate(workspace) if is_first_process() else {}


def run_train(workspace: Workspace, force: bool = False) -> None:
    """Stages 2 and 3: summaries of the dialogues that are learned from, and the checkpoint.

    Args:
        force: resume a stopped training also where its settings changed.
    """
    with only_run(workspace.folder):
        _train(workspace, force)


def _train(workspace: Workspace, force: bool) -> None:
    recipe, folder = workspace.recipe, workspace.folder
    key = workspace.key(describe_training(recipe), workspace.base.identity)
    marker = folder / "trained.json"
    if is_current(marker, key):
        say(f"train: {folder / 'checkpoint'} (done before, skipped)")
        return
    if marker.exists():
        say(f"train: {folder} holds a run of another recipe or other data; training again")
        marker.unlink(missing_ok=True)
    targets = choose_targets(
        recipe.train, workspace.split("train"), workspace.split("validation"), recipe.seed, weights_of(recipe)
    )
    workspace.summarize([target.dialogue for target in targets.train + targets.validation])
    details = {
        "data": {
            "corpus": recipe.data.corpus,
            "key": workspace.data_key,
            "sha256": {path.name: file_hash(path) for path in sorted(workspace.data.glob("*.jsonl"))},
        },
        "base": {"source": recipe.model.name, "identity": workspace.base.identity},
        "seed": recipe.seed,
    }
    history = train(recipe, workspace.base, workspace.format, targets, workspace.store, folder, details, force)
    if not is_first_process():
        return
    checkpoint = folder / "checkpoint"
    mark_done(marker, key, [*checkpoint.glob("*.safetensors"), checkpoint / METADATA])
    for state in (folder / "train").glob("state-*"):
        shutil.rmtree(state)  # of use only to a run that was stopped; optimizer states are large
    say(f"train: validation loss {history['best_validation_loss']:.3f} -> {checkpoint}")


def run_evaluate(workspace: Workspace) -> dict[str, Any]:
    """Stages 4 and 5: predictions.jsonl, metrics.json and report.html."""
    with only_run(workspace.folder):
        return _evaluate(workspace)


def _evaluate(workspace: Workspace) -> dict[str, Any]:
    recipe, folder = workspace.recipe, workspace.folder
    checkpoint = folder / "checkpoint"
    weights = read_json(checkpoint / METADATA)["weights"]
    key = workspace.key(describe_evaluation(recipe), workspace.base.identity, weights)
    marker = folder / "evaluated.json"
    if is_current(marker, key):
        say(f"evaluate: {folder / 'metrics.json'} (done before, skipped)")
        return read_json(folder / "metrics.json")
    marker.unlink(missing_ok=True)
    items = choose_items(recipe, workspace.split("test"))
    dialogues = [item.dialogue for item in items]
    workspace.summarize(dialogues)
    tuned = load_checkpoint(checkpoint)
    builder = ExampleBuilder(
        workspace.format,
        recipe.context,
        workspace.store,
        model_limit(tuned.model.config),
        dialogues,
        reserve=recipe.evaluate.max_reply_tokens,
    )
    built, left_out = build_items(items, recipe.evaluate.strategies, builder)
    subjects = [Subject("tuned", lambda: tuned.model)]
    if recipe.evaluate.base:
        subjects.insert(0, Subject("base", lambda: untuned(workspace)))
    values = evaluate(recipe, subjects, workspace.format, built, left_out, folder, key)
    report = write_report(folder, recipe, values)
    mark_done(marker, key, [folder / "predictions.jsonl", folder / "metrics.json", report])
    return values


def untuned(workspace: Workspace) -> PreTrainedModel:
    """The base model, with rows for the format's own tokens as training started from."""
    model = load_model(workspace.base)
    fit_embeddings(model, len(workspace.tokenizer))
    return model


def open_run(folder: Path, overrides: Sequence[str]) -> Workspace:
    """The workspace of a trained run, to evaluate it with other settings.

    Raises:
        UserError: an override of what the checkpoint was made with, or data that are no longer those it was made
            with: their split may hold training dialogues.
    """
    for override in overrides:
        if override.split(".")[0] not in SETTINGS_OF_EVALUATION:
            raise UserError(
                f"--set {override}: evaluate takes settings of {', '.join(SETTINGS_OF_EVALUATION)}; "
                "for another model or other data, run a recipe"
            )
    checkpoint = find_checkpoint(folder)
    metadata = read_json(checkpoint / METADATA)
    recipe = apply_overrides(recipe_from_dict(metadata["recipe"], str(checkpoint / METADATA)), list(overrides))
    workspace = open_workspace(recipe, checkpoint.parent)
    if workspace.data_key != metadata["data"].get("key", workspace.data_key):  # an imported checkpoint knows of none
        raise UserError(
            f"the {recipe.data.corpus} data have changed since {folder} was trained, so its test split may hold "
            "training dialogues; train again with gistchat run"
        )
    return workspace
