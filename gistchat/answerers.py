"""Evaluation of whatever gives replies: a server's model, a GGUF file, or a run's own in llama.cpp.

It stands in the run's place: the same held-out replies, the same context strategies, memory and budgets. What needs
likelihoods is left out. The results have a folder of their own below the run's.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gistchat import trusted_hosts
from gistchat.context.strategies import shows_summary
from gistchat.engines.engine import Engine
from gistchat.engines.open import Opened, open_answerer
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_engine import open_server_engine
from gistchat.errors import UserError, require
from gistchat.evaluate.analysis import analyse, analyse_probe, compare_probe
from gistchat.evaluate.answers import answer, ask_about, prediction_rows, probe_rows, settle_counts
from gistchat.evaluate.costs import seconds_per_summary
from gistchat.evaluate.items import askable, choose_items, conditions
from gistchat.evaluate.metrics import Row
from gistchat.evaluate.model_metrics import check_models, score_by_models
from gistchat.evaluate.planted_questions import probe_targets
from gistchat.evaluate.predict import open_parts, what_rows_depend_on
from gistchat.evaluate.rows import MARKER, write_rows
from gistchat.examples.build import ContextBuilder, context_builders
from gistchat.examples.targets import Target
from gistchat.files import fingerprint, put_aside, read_json, write_json
from gistchat.models.gguf_header import is_gguf
from gistchat.names import fault_of_name
from gistchat.pipeline import Stores, Workspace, only_run
from gistchat.printable import printable
from gistchat.progress import say
from gistchat.recipe.schema import Recipe, names_of
from gistchat.report.write import write_report
from gistchat.resumable import ResumableJsonl
from gistchat.stages import is_current, keep_changed, mark_done

FOLDER = "served"
MODEL = "served"  # as rows and tables call it, whoever it is
NOTE = "answerer.json"  # whose results a folder holds
LONGEST_NAME = 80


@dataclass(frozen=True)
class Answerer:
    """Who gives the replies.

    Attributes:
        name: for people, and of the folder.
        identity: plain values, equal for the same weights as far as is known.
    """

    engine: Engine
    name: str
    identity: Any

    def folder(self, run: Path) -> Path:
        """Where its results go."""
        plain = re.sub(r"[^\w.-]+", "-", self.name).strip("-.")
        return run / FOLDER / (fingerprint(self.name) if fault_of_name(plain) else plain)


def open_server(url: str, model: str) -> Answerer:
    """A server's model, by an address that the user typed; its only one where none is named."""
    trusted_hosts.trust(url)
    engine = open_server_engine(url, model)
    client = engine.client  # its model may be the server's own word
    return Answerer(engine, printable(client.model)[:LONGEST_NAME], [client.url, client.model])


def open_file(path: Path, recipe: Recipe) -> Answerer:
    """The model of a GGUF file. Raises UserError where it is none, or cannot answer."""
    if not is_gguf(path):
        raise UserError(f"{path}: {'not a GGUF file' if path.exists() else 'no such file'}")
    opened = _in_llama_cpp(path, recipe)
    return Answerer(opened.engine, path.stem, opened.identity)


def open_own(workspace: Workspace) -> Answerer:
    """The run's own model in llama.cpp. Raises UserError where that cannot run it."""
    opened = _in_llama_cpp(workspace.folder, workspace.recipe)
    return Answerer(opened.engine, "llamacpp", opened.identity)


def _in_llama_cpp(path: Path, recipe: Recipe) -> Opened:
    settings = {
        "chat.engine": "llamacpp",
        "chat.max_reply_tokens": recipe.evaluate.max_reply_tokens,
        "context.budget": recipe.context.budget,
        "context.full_limit": recipe.context.full_limit,
    }
    return open_answerer(path, tuple(f"{name}={value}" for name, value in settings.items()))


def evaluate_answerer(workspace: Workspace, answerer: Answerer) -> tuple[Path, dict[str, Any]]:
    """The folder of the results, and the metrics: predictions.jsonl, probe.jsonl, metrics.json and report.html.

    Stopped, the same command goes on; replies that were made are not made again.
    """
    for module in ("rouge_score", "sacrebleu", "matplotlib"):
        require(module, "train")
    recipe, config = workspace.recipe, workspace.recipe.evaluate
    targets = _targets(workspace)
    folder, marker = answerer.folder(workspace.folder), answerer.folder(workspace.folder) / MARKER
    made_of = [answerer.identity, what_rows_depend_on(recipe)]
    key = workspace.key("replies", made_of, dataclasses.asdict(config))
    with only_run(folder):
        _make_way(folder, answerer)
        if is_current(marker, key):
            say(f"evaluate: {folder / 'metrics.json'} (done before, skipped)")
            return folder, read_json(folder / "metrics.json")
        keep_changed(marker)
        marker.unlink(missing_ok=True)
        say(f"evaluate {answerer.name}: replies only; perplexity, bits per byte and ranks need likelihoods, left out")
        parts = open_parts(folder, workspace.key("replies", made_of))
        rows, answers, facts = _predictions(workspace, answerer, targets, ResumableJsonl(parts / "replies.jsonl"))
        facts["mauve"] = score_by_models(config, rows, recipe.seed)
        write_rows(folder / "predictions.jsonl", rows)
        write_rows(folder / "probe.jsonl", answers)
        values = analyse(rows, config.baseline, config.resamples, recipe.seed)
        values |= {"probe": analyse_probe(answers, config.resamples, recipe.seed), **facts}
        values["comparisons"] += compare_probe(answers, config.baseline, config.resamples, recipe.seed)
        write_json(folder / "metrics.json", values)
        subtitle = (
            f"Does the gist of a conversation serve as well as its turns? Replies by {answerer.name}, corpus "
            f"{names_of(recipe.data)}, summarizer {recipe.summary.method}, seed {recipe.seed}."
        )
        report = write_report(folder, f"{recipe.name}: {answerer.name}", subtitle, values, rows)
        files = [folder / name for name in ("predictions.jsonl", "probe.jsonl", "metrics.json")]
        mark_done(marker, key, [*files, report])
        return folder, values


def _targets(workspace: Workspace) -> list[Target]:
    """The items that are answered. Raises UserError where they, or a model that scores them, cannot be had."""
    config = workspace.recipe.evaluate
    if not config.reply_items:
        raise UserError("evaluate.reply_items is 0, and replies are all that is measured here; set it to 1 or more")
    targets = choose_items(workspace.recipe, workspace.split("test"))[: config.reply_items]
    check_models(config.bertscore_model, config.mauve_model, len(targets))
    return targets


def _make_way(folder: Path, answerer: Answerer) -> None:
    """Put another model's results of the same name aside, such as those of another server."""
    note = {"model": answerer.name, "identity": answerer.identity}
    path = folder / NOTE
    if any(folder.iterdir()) and (not path.is_file() or read_json(path) != note):
        put_aside(folder, "holds results of another model, or file")
        folder.mkdir()
    write_json(path, note)


def _predictions(
    workspace: Workspace, answerer: Answerer, targets: Sequence[Target], answers: ResumableJsonl
) -> tuple[list[Row], list[Row], dict[str, Any]]:
    """The rows of predictions.jsonl and of probe.jsonl, and facts about how they were made."""
    recipe, config, engine = workspace.recipe, workspace.recipe.evaluate, answerer.engine
    questions = probe_targets(config.probe_items, workspace.split("test"), recipe.seed)
    workspace.summarize([target.dialogue for target in targets], config.budgets)
    stores_of_questions = workspace.summaries_asked_once([target.dialogue for target in questions], config.budgets)

    def builders(chosen: Sequence[Target], stores: Stores) -> dict[int, ContextBuilder]:
        donors = [target.dialogue for target in chosen]
        costs, more = (engine.costs, engine.count_tokens), (engine.limit, donors, config.max_reply_tokens)
        return context_builders(config.budgets, *costs, recipe.context, stores, *more, memory=recipe.memory)

    sampling, wanted = Sampling(max_tokens=config.max_reply_tokens), conditions(recipe)
    of_targets = builders(targets, workspace.stores)
    settle_counts(engine, targets, max(of_targets.items())[1], sampling, answers)
    asked = ask_about(targets, wanted, of_targets)
    asking = builders(questions, stores_of_questions)
    asked_facts = ask_about(questions, askable(wanted), asking) if questions else []
    answer(engine, asked, sampling, answers, f"evaluate {answerer.name}, replies")
    if questions:
        answer(engine, asked_facts, sampling, answers, f"evaluate {answerer.name}, planted facts")
    facts = {
        "answered_by": answerer.name,
        "items": len(asked),
        "reply_items": len(asked),
        "left_out": len(targets) - len(asked),
        "budget": recipe.context.budget,
        "min_history": config.min_history,
    }
    if any(map(shows_summary, config.strategies)):
        facts["summary_seconds"] = seconds_per_summary([group[0].target for group in asked], recipe, workspace.format)
    rows = prediction_rows(engine, MODEL, asked, answers)
    return rows, probe_rows(engine, MODEL, asked_facts, answers), facts
