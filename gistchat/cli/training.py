"""Commands that make and measure a model: run, train, evaluate, compare, judge."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gistchat.cli.options import (
    Corpus,
    Force,
    From,
    Init,
    Model,
    Out,
    RecipePath,
    RunFolder,
    Seed,
    Set,
    Size,
    Targets,
    load,
)
from gistchat.errors import UserError


def run(
    recipe: RecipePath,
    from_: From = None,
    corpus: Corpus = None,
    model: Model = None,
    init: Init = None,
    size: Size = None,
    seed: Seed = None,
    out: Out = None,
    set_: Set = None,
    targets: Targets = None,
    force: Force = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Make the recipe's offline settings, and leave out what needs the hub.")
    ] = False,
) -> None:
    """Go the whole way: prepare, summarize, train, evaluate, report.

    Stages whose output is current are skipped; an interrupted run goes on where it was. A recipe with experiment
    variants or seeds is several runs and their comparison.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported, which reads it then
    from gistchat.experiment import run_experiment
    from gistchat.report import print_table
    from gistchat.run import run as run_recipe

    loaded, folder = load(recipe, from_, corpus, model, init, size, seed, out, set_, offline, targets)
    several = bool(loaded.experiment.variants or loaded.experiment.seeds)
    metrics = run_experiment(loaded, folder, force) if several else run_recipe(loaded, folder, force)
    if not metrics:
        return  # of several processes, the first evaluates
    print_table(metrics)
    print(f"\nreport:    {folder / 'report.html'}")
    if not several:
        print(f"talk to it: gistchat chat {folder}")


def train(
    recipe: RecipePath,
    from_: From = None,
    corpus: Corpus = None,
    model: Model = None,
    init: Init = None,
    size: Size = None,
    seed: Seed = None,
    out: Out = None,
    set_: Set = None,
    targets: Targets = None,
    force: Force = False,
) -> None:
    """Prepare, summarize and train, without evaluation."""
    from gistchat.run import is_first_process, open_workspace, run_train

    loaded, folder = load(recipe, from_, corpus, model, init, size, seed, out, set_, targets=targets)
    if loaded.experiment.variants or loaded.experiment.seeds:
        raise UserError(f"{recipe} is an experiment of several runs; gistchat run {recipe} trains and compares them")
    run_train(open_workspace(loaded, folder), force)
    if is_first_process():
        print(f"checkpoint: {folder / 'checkpoint'}\nnext: gistchat evaluate {folder}")


def evaluate(
    run_folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run's folder.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of a run: replies that any system wrote.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The gold replies, aligned by id, else by place.")
    ] = None,
    old_rouge: Annotated[
        bool, typer.Option("--old-rouge", help="Also the paper's metric, to compare with it (extra paper).")
    ] = False,
    set_: Set = None,
) -> None:
    """Score a run's checkpoint on held-out dialogues: predictions.jsonl, metrics.json, report.html.

    --set takes fields of evaluate, context and summary; data, model and training are the checkpoint's. With
    --predictions and --references it scores a file of replies beside controls instead: JSONL with id and reply, or the
    paper's {"context": [...], "ans": [...]}.
    """
    if predictions or references:
        if run_folder or not (predictions and references):
            raise UserError("--predictions and --references go together, and without a run's folder")
        _score_file(predictions, references, old_rouge)
        return
    if run_folder is None:
        raise UserError("name a run's folder, such as runs/demo, or give --predictions and --references")
    from gistchat.report import print_table
    from gistchat.run import open_run, run_evaluate

    workspace = open_run(run_folder, set_ or [])
    print_table(run_evaluate(workspace))
    print(f"\nreport: {workspace.folder / 'report.html'}")


def _score_file(predictions: Path, references: Path, old_rouge: bool) -> None:
    from gistchat.predictions import score_predictions
    from gistchat.report import print_scores
    from gistchat.storage import write_json

    found = score_predictions(predictions, references, old=old_rouge)
    print_scores(found)
    out = predictions.with_name(f"{predictions.stem}.scores.json")
    write_json(out, found)
    print(f"\n-> {out}")


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of evaluated runs.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the report goes.")] = Path("runs/comparison"),
    baseline: Annotated[str, typer.Option(help="The strategy that the others are compared with.")] = "recent",
) -> None:
    """Set evaluated runs side by side: one table, paired differences to the first of them, one report.

    Runs are paired on the replies that they share: give them the same data, seed and evaluate.items.
    """
    from gistchat.experiment import compare as compare_runs
    from gistchat.experiment import named_runs
    from gistchat.report import print_table

    if len(runs) < 2:
        raise UserError("compare takes two runs or more; a single one has its own report.html")
    print_table(compare_runs(named_runs(runs), out, " and ".join(path.name for path in runs), baseline))
    print(f"\nreport: {out / 'report.html'}")


def judge(
    run_folder: RunFolder,
    of: Annotated[str, typer.Option("--of", metavar="SYSTEM", help='Such as "tuned hybrid", or "tuned hybrid 64".')],
    against: Annotated[str, typer.Option("--against", metavar="SYSTEM", help='Such as "tuned recent".')],
    url: Annotated[str, typer.Option(help="Of an OpenAI-compatible endpoint; its key: OPENAI_API_KEY.")],
    model: Annotated[str, typer.Option(help="The judge, by the endpoint's name.")],
    items: Annotated[int, typer.Option(help="Replies that are judged, at most.")] = 50,
    seed: Annotated[int, typer.Option(help="Of which replies, and which stands first.")] = 0,
) -> None:
    """Let a language model judge the replies of two systems of a run: in pairs, each in both orders.

    Stopped, the same command goes on; what was judged is not asked again.
    """
    from gistchat.judge import judge_lines, judge_run

    for line in judge_lines(judge_run(run_folder, of, against, url, model, items, seed)):
        print(line)
    print(f"\n-> {run_folder / 'judge.json'}")
