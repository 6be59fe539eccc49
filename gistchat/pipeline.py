"""The whole way: prepare, summarize, train, evaluate, report. A stage whose output is current is skipped."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gistchat.context.strategies import shows_summary
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import SPLITS, Dialogue
from gistchat.errors import UserError, require
from gistchat.evaluate.analysis import analyse, analyse_probe
from gistchat.evaluate.costs import cache_bytes_per_token, seconds_per_summary
from gistchat.evaluate.items import askable, build_items, choose_items, conditions
from gistchat.evaluate.model_metrics import check_models, score_by_models
from gistchat.evaluate.planted_facts import probe
from gistchat.evaluate.planted_questions import probe_targets
from gistchat.evaluate.predict import Row, Subject, open_parts, predict, what_rows_depend_on
from gistchat.evaluate.rows import MARKER, write_rows
from gistchat.examples.build import ExampleBuilder, builders_by_budget
from gistchat.examples.targets import Target
from gistchat.files import file_hash, fingerprint, put_aside, read_json, recover_folder, write_json
from gistchat.locks import locked, locked_by_first
from gistchat.memory.factory import allow_endpoint
from gistchat.memory.summary_store import PickedOnDemand, SummaryStore
from gistchat.models.base import (
    Base,
    fit_embeddings,
    load_model,
    load_tokenizer,
    model_limit,
    require_causal,
    tokenizer_fingerprint,
)
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import METADATA, base_of, find_checkpoint, read_while_replaced
from gistchat.models.generation import end_ids
from gistchat.models.resolve import resolve_base
from gistchat.preflight import open_models
from gistchat.prepare.prepare import default_folder, prepare
from gistchat.prepare.report import report_lines
from gistchat.processes import is_first_process
from gistchat.progress import say
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.formats import make_format
from gistchat.prompts.token_store import TokenStore, tokenize
from gistchat.prompts.token_store import report_lines as tokens_lines
from gistchat.recipe.load import override, recipe_from_dict
from gistchat.recipe.schema import DataConfig, Recipe, names_of
from gistchat.report.write import write_report
from gistchat.stages import changed_files, is_current, keep_changed, mark_done, read_marker
from gistchat.train.rows import choose_targets
from gistchat.train.states import remove_states
from gistchat.train.train import describe as describe_training
from gistchat.train.train import is_finished, is_of_run, mark_finished, train, weights_of
from gistchat.trusted_hosts import trust_those_in

SETTINGS_OF_EVALUATION = ("evaluate", "context", "summary")
VERSION = 5  # raise it when the same recipe would give another result
Stores = Mapping[int, SummaryStore | PickedOnDemand]  # by the budget that they serve


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
    stores: dict[int, SummaryStore]  # by the budget that they serve
    run: Path | None = None  # the run's folder, where this one is in it for the results on other data

    @property
    def checkpoint(self) -> Path:
        return (self.run or self.folder) / "checkpoint"

    @property
    def store(self) -> SummaryStore:
        """The summaries for the recipe's own budget."""
        return self.stores[self.recipe.context.budget]

    def key(self, *parts: Any) -> str:
        """The fingerprint of a stage that reads these data and summaries."""
        return fingerprint([VERSION, self.data_key, self.store.path.name, *parts])

    def split(self, name: str) -> list[Dialogue]:
        """Raises UserError where another process has prepared the folder with other settings since."""
        dialogues = load_dialogues(self.data / f"{name}.jsonl")
        if read_marker(self.data / "prepared.json")["key"] != self.data_key:
            raise UserError(f"{self.data} was prepared anew, with other settings, while this run was reading it")
        return dialogues

    def summarize(self, dialogues: Sequence[Dialogue], budgets: Sequence[int] = ()) -> None:
        """Make the summaries of these dialogues that are not stored yet, for the recipe's budget or for others."""
        for store in dict.fromkeys(self.stores[budget] for budget in budgets or [self.recipe.context.budget]):
            new = store.add(dialogues)
            stored = len({dialogue.content_hash for dialogue in dialogues}) - new
            say(f"summarize: {new:,} dialogues summarised, {stored:,} stored before")

    def summaries_asked_once(self, dialogues: Sequence[Dialogue], budgets: Sequence[int] = ()) -> Stores:
        """Where dialogues have their summaries of which only the last is asked for: picked sentences are not stored, as
        it takes seconds to rank those of every prefix of a long dialogue."""
        if not self.store.written:
            return {budget: PickedOnDemand(store) for budget, store in self.stores.items()}
        if dialogues:
            self.summarize(dialogues, budgets)
        return self.stores


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder, for all processes of the run. Raises UserError when another run holds it."""
    with locked_by_first(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield


def open_workspace(recipe: Recipe, folder: Path, run: Path | None = None) -> Workspace:
    """Stage 1, and the model's tokenizer and prompt format. `run` as in `Workspace`."""
    allow_endpoint(recipe.summary)
    base = resolve_base(recipe.model, recipe.seed, base_of(run or folder))
    require_causal(base)
    data = default_folder(recipe.data)
    report, new = prepare(recipe.data, data)
    say(f"prepare: {names_of(recipe.data)} -> {data}" + ("" if new else " (done before, skipped)"))
    if new:
        for line in report_lines(report):
            say(f"  {line}")
    with locked(data):  # one of several processes tokenizes, the others find it done
        tokenizer = load_tokenizer(base)
        key = tokenizer_fingerprint(tokenizer, base)
        tokens, lengths = tokenize(data, tokenizer, key)
        prompt_format = make_format(recipe.model.format, tokenizer, end_ids(base))
        prompt_format.stored = tokens and TokenStore(tokens)
        if new:
            for line in tokens_lines(lengths):
                say(f"  {line}")
        stores = open_stores(recipe, data / "summaries", prompt_format, key)
        data_key = read_json(data / "prepared.json")["key"]
        return Workspace(recipe, folder, data, data_key, base, tokenizer, prompt_format, stores, run)


def open_stores(recipe: Recipe, folder: Path, prompt_format: PromptFormat, key: str) -> dict[int, SummaryStore]:
    """The summaries for each budget of the recipe.

    Picked sentences are stored best first, so those for the largest budget serve the smaller ones; a written summary
    is written for its budget.
    """
    most = recipe.context.budget
    stores = {most: SummaryStore(folder, recipe.summary, recipe.context, prompt_format, key)}
    for budget in {*recipe.train.budgets, *recipe.evaluate.budgets} - {most}:
        context = dataclasses.replace(recipe.context, budget=budget)
        written = stores[most].written
        stores[budget] = SummaryStore(folder, recipe.summary, context, prompt_format, key) if written else stores[most]
    return stores


def run(recipe: Recipe, folder: Path, force: bool = False, opened: bool = False) -> dict[str, Any]:
    """Everything a recipe asks for, into the run `folder`; returns the metrics.

    Args:
        force: see `run_train`.
        opened: whether `open_parts_of` was called.
    """
    if not opened:
        open_parts_of({"": recipe} if not is_finished_run(folder) else {})
    workspace = open_workspace(recipe, folder)
    check_evaluation(workspace)  # what cannot be evaluated should fail before training, not after
    run_train(workspace, force)
    return run_evaluate(workspace) if is_first_process() else {}


def open_parts_of(recipes: Mapping[str, Recipe]) -> None:
    """Packages and models that runs of these recipes need: see `open_models`. Data are opened with the workspace."""
    for module in ("rouge_score", "sacrebleu", "matplotlib"):
        require(module, "train")
    open_models(recipes)


def is_finished_run(folder: Path) -> bool:
    """Whether a run was trained and evaluated: it needs no model any more."""
    return (folder / "trained.json").exists() and (folder / MARKER).exists()


def check_evaluation(workspace: Workspace) -> list[Target]:
    """The items that will be scored. Raises UserError where they, or a model that scores them, cannot be had."""
    config = workspace.recipe.evaluate
    targets = choose_items(workspace.recipe, workspace.split("test"))
    check_models(config.bertscore_model, config.mauve_model, min(len(targets), config.reply_items))
    return targets


def run_train(workspace: Workspace, force: bool = False) -> None:
    """Stages 2 and 3: summaries of the dialogues that are learned from, and the checkpoint.

    Args:
        force: resume a stopped training also where its settings changed.
    """
    recipe, folder = workspace.recipe, workspace.folder
    checkpoint, marker = folder / "checkpoint", folder / "trained.json"
    key = workspace.key(describe_training(recipe), workspace.base.identity)
    with only_run(folder):
        if is_current(marker, key):
            say(f"train: {checkpoint} (done before, skipped)")
            return
        details = _origin(workspace)
        if _is_finished_elsewhere(workspace, key, details):
            say(f"train: {checkpoint} is a finished checkpoint of this recipe and data; used as it is")
            _finish_training(workspace, key)
            return
        _make_way(workspace, key)
        targets = choose_targets(
            recipe.train, workspace.split("train"), workspace.split("validation"), recipe.seed, weights_of(recipe)
        )
        workspace.summarize(targets.dialogues, recipe.train.budgets)
        history = train(recipe, workspace.base, workspace.format, targets, workspace.stores, folder, details, force)
        if is_first_process():
            mark_finished(checkpoint)
            say(f"train: validation loss {history['best_validation_loss']:.3f} -> {checkpoint}")
        _finish_training(workspace, key)


def _origin(workspace: Workspace) -> dict[str, Any]:
    """What a checkpoint notes of the data, base and seed that it was made with."""
    recipe, files = workspace.recipe, [workspace.data / f"{split}.jsonl" for split in sorted(SPLITS)]
    return {
        "data": {
            "corpus": names_of(recipe.data),
            "key": workspace.data_key,
            "sha256": {path.name: file_hash(path) for path in files},
        },
        "base": _origin_of_base(workspace),
        "seed": recipe.seed,
    }


def _origin_of_base(workspace: Workspace) -> dict[str, str]:
    base = workspace.base
    origin = {"source": workspace.recipe.model.name, "identity": base.identity}
    return origin | {"commit": base.commit} if base.commit else origin


def _is_finished_elsewhere(workspace: Workspace, key: str, details: dict[str, Any]) -> bool:
    """Whether a checkpoint without a marker, such as a copied one, is what training would come to."""
    checkpoint, marker, recipe = workspace.folder / "checkpoint", workspace.folder / "trained.json", workspace.recipe
    return (
        read_marker(marker)["key"] in ("", key)
        and is_of_run(checkpoint, recipe, details)
        and is_finished(checkpoint) is True
    )


def _make_way(workspace: Workspace, key: str) -> None:
    """Put a finished checkpoint aside that is of another recipe, or damaged; it may be hours of work.

    Raises:
        UserError: it is the very model that is to be trained.
    """
    checkpoint, marker = workspace.folder / "checkpoint", workspace.folder / "trained.json"
    if checkpoint.exists() and checkpoint.resolve() in [(base := Path(workspace.base.source).resolve()), *base.parents]:
        raise UserError(f"{checkpoint} is the model to begin with; give another --out, so that it stays")
    if not is_first_process() or not (done := read_marker(marker))["files"]:
        return
    if done["key"] == key:
        problem = f"{changed_files(marker)[0]} is missing or damaged"
    else:
        problem = f"{workspace.folder} holds a run of another recipe or other data"
    say(f"train: {problem}; training again")
    if checkpoint.exists():
        put_aside(checkpoint, "stood there before")
    marker.unlink()


def _finish_training(workspace: Workspace, key: str) -> None:
    checkpoint = workspace.folder / "checkpoint"
    if is_first_process():
        files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
        mark_done(workspace.folder / "trained.json", key, files)
        remove_states(workspace.folder / "train")


def run_evaluate(workspace: Workspace) -> dict[str, Any]:
    """Stages 4 and 5: predictions.jsonl, metrics.json and report.html."""
    recipe, folder, config = workspace.recipe, workspace.folder, workspace.recipe.evaluate
    marker = folder / MARKER
    with only_run(folder):
        recover_folder(workspace.checkpoint)
        weights = read_json(workspace.checkpoint / METADATA)["weights"]
        key = workspace.key(what_rows_depend_on(recipe), dataclasses.asdict(config), workspace.base.identity, weights)
        if is_current(marker, key):
            say(f"evaluate: {folder / 'metrics.json'} (done before, skipped)")
            return read_json(folder / "metrics.json")
        keep_changed(marker)
        marker.unlink(missing_ok=True)
        rows, answers, facts = _predictions(workspace, weights)
        facts["mauve"] = score_by_models(config, rows, recipe.seed)
        write_rows(folder / "predictions.jsonl", rows)
        write_rows(folder / "probe.jsonl", answers)
        values = analyse(rows, config.baseline, config.resamples, recipe.seed)
        values |= {"probe": analyse_probe(answers, config.resamples, recipe.seed), **facts}
        write_json(folder / "metrics.json", values)
        subtitle = (
            f"Does the gist of a conversation serve as well as its turns? Model {recipe.model.name}, corpus "
            f"{names_of(recipe.data)}, summarizer {recipe.summary.method}, seed {recipe.seed}."
        )
        report = write_report(folder, recipe.name, subtitle, values, rows, {"": [training_log(folder)]})
        files = [folder / name for name in ("predictions.jsonl", "probe.jsonl", "metrics.json")]
        mark_done(marker, key, [*files, report])
        return values


def training_log(folder: Path) -> list[dict[str, Any]]:
    """Losses by step of a run; empty where its checkpoint was made elsewhere."""
    path = folder / "train" / "history.json"
    return read_json(path)["log"] if path.exists() else []


def _predictions(workspace: Workspace, weights: dict[str, str]) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """The rows of predictions.jsonl and of probe.jsonl, and facts about how they were made."""
    recipe, folder, config = workspace.recipe, workspace.folder, workspace.recipe.evaluate
    targets = check_evaluation(workspace)
    asked = probe_targets(config.probe_items, workspace.split("test"), recipe.seed)
    workspace.summarize([target.dialogue for target in targets], config.budgets)
    stores_of_asked = workspace.summaries_asked_once([target.dialogue for target in asked], config.budgets)
    tuned = load_checkpoint(workspace.checkpoint)

    def builders(chosen: Sequence[Target], stores: Stores) -> dict[int, ExampleBuilder]:
        donors = [target.dialogue for target in chosen]
        more = model_limit(tuned.model.config), donors, config.max_reply_tokens
        return builders_by_budget(config.budgets, workspace.format, recipe.context, stores, *more, memory=recipe.memory)

    wanted = conditions(recipe)
    items = build_items(targets, wanted, builders(targets, workspace.stores))
    parts = open_parts(folder, workspace.key(what_rows_depend_on(recipe), workspace.base.identity, weights))
    subjects = [Subject("base", lambda: untuned(workspace))] if config.base else []
    rows, answers, asking = [], [], builders(asked, stores_of_asked)
    for subject in [*subjects, Subject("tuned", lambda: tuned.model)]:
        scored = items.first(config.base_items) if subject.name == "base" else items
        rows += predict(subject, workspace.format, scored, config, parts)
        if asked:
            answers += probe(subject, workspace.format, asked, askable(wanted), asking, config.batch_tokens, parts)
    facts = {
        "items": len(items.targets),
        "reply_items": min(len(items.targets), config.reply_items),
        "left_out": items.left_out,
        "budget": recipe.context.budget,
        "min_history": config.min_history,
        "cache_bytes_per_token": cache_bytes_per_token(tuned.model),
    }
    if any(map(shows_summary, config.strategies)):
        facts["summary_seconds"] = seconds_per_summary(items.targets, recipe, workspace.format)
    return rows, answers, facts


def untuned(workspace: Workspace) -> PreTrainedModel:
    """The base model, with rows for the format's own tokens as training started from."""
    model = load_model(workspace.base)
    fit_embeddings(model, workspace.format)
    return model


def open_run(folder: Path, overrides: Sequence[str], data: DataConfig | None = None) -> Workspace:
    """The workspace of a trained run, to evaluate it with other settings.

    Args:
        data: other conversations, to be evaluated on in the folder RUN/on/CORPUS; None: those it was made with.
    Raises:
        UserError: an override of what the checkpoint was made with, or data that are no longer those it was made
            with: their split may hold training dialogues.
    """
    allowed = SETTINGS_OF_EVALUATION + (("data",) if data else ())
    for setting in overrides:
        if setting.split(".")[0] not in allowed:
            raise UserError(
                f"--set {setting}: evaluate takes settings of {', '.join(allowed)}; "
                "for another model, run a recipe; for other data, name them with --corpus"
            )
    trust_those_in(overrides)
    checkpoint = find_checkpoint(folder)
    metadata = read_while_replaced(folder, lambda found: read_json(found / METADATA))
    recipe = recipe_from_dict(metadata["recipe"], str(checkpoint / METADATA))
    run = checkpoint.parent
    if data:
        recipe = override(dataclasses.replace(recipe, data=data), overrides)
        return open_workspace(recipe, run / "on" / names_of(data), run)
    recipe = override(recipe, overrides)
    workspace = open_workspace(recipe, run)
    if workspace.data_key != metadata["data"].get("key", workspace.data_key):  # an imported checkpoint knows of none
        raise UserError(
            f"the {names_of(recipe.data)} data have changed since {folder} was trained, so its test split may hold "
            "training dialogues; train again with gistchat run"
        )
    return workspace
