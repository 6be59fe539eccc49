"""Commands that make a model: run, train."""

import os
from typing import Annotated

import typer

from gistchat.cli.options import (
    Corpus,
    Force,
    From,
    Init,
    Model,
    Out,
    RecipeName,
    Seed,
    Set,
    Size,
    Targets,
    load,
)
from gistchat.errors import UserError


def run(
    recipe: RecipeName,
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
    from gistchat.pipeline import run as run_recipe
    from gistchat.report.write import print_table

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
    recipe: RecipeName,
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
    from gistchat.pipeline import is_first_process, open_workspace, run_train

    loaded, folder = load(recipe, from_, corpus, model, init, size, seed, out, set_, targets=targets)
    if loaded.experiment.variants or loaded.experiment.seeds:
        raise UserError(f"{recipe} is an experiment of several runs; gistchat run {recipe} trains and compares them")
    run_train(open_workspace(loaded, folder), force)
    if is_first_process():
        print(f"checkpoint: {folder / 'checkpoint'}\nnext: gistchat evaluate {folder}")
