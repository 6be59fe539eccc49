"""Commands that make a model: run, train. The options of both are the parameters of `load`."""

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from gistchat.cli.data import guessed
from gistchat.cli.options import Set, settings
from gistchat.errors import UserError
from gistchat.names import folder_to_write, require_plain_name
from gistchat.progress import show

Force = Annotated[bool, Option("--force", help="Resume a stopped training also where its settings have changed since.")]


def load(
    recipe: Annotated[
        str,
        Argument(
            metavar="RECIPE",
            help="One that ships with gistchat, such as demo (see gistchat recipes), or a file ./MINE.toml.",
        ),
    ],
    from_: Annotated[
        str | None,
        Option(
            "--from",
            metavar="PLACE",
            help="Your dialogues: a file, folder or ZIP, whose kind is guessed; hub, or hub:ID.",
        ),
    ] = None,
    as_: Annotated[
        list[str] | None,
        Option("--as", metavar="NAME", help="Whose replies are learned and tested. Repeatable. Default: everybody's."),
    ] = None,
    corpus: Annotated[str | None, Option(help="Of those that gistchat corpora lists. Default: the recipe's.")] = None,
    model: Annotated[
        str | None, Option(help="Base model: smollm2 (packaged), a hub id such as gpt2 or DialoGPT-small, or a folder.")
    ] = None,
    init: Annotated[str | None, Option(help="pretrained | scratch (random GPT-2). Default: the recipe's.")] = None,
    size: Annotated[str | None, Option(help="Of a scratch gpt2: tiny | mini | small | medium | large | xl.")] = None,
    seed: Annotated[
        int | None, Option(help="Seed of examples, weights and data order. Default: the recipe's (0).")
    ] = None,
    out: Annotated[
        Path | None,
        Option(
            parser=folder_to_write,
            metavar="FOLDER",
            help="The run's folder. Default: runs/NAME, or runs/NAME-MODEL with --model, --init or --size.",
        ),
    ] = None,
    set_: Set = None,
    targets: Annotated[
        str | None,
        Option(
            help="one | all: learn one reply at a time, or all of a dialogue in one pass, with their full history. "
            "Default: the recipe's."
        ),
    ] = None,
    offline: bool = False,
) -> tuple[Any, Path]:
    """A recipe as the options change it, and its run's folder."""
    from gistchat.recipe.load import find_recipe, load_recipe

    chosen = {"data.source": from_, "data.corpus": corpus, "train.targets": targets or None}
    chosen |= {"train.strategies": "full" if targets == "all" else None, "seed": seed}
    chosen |= {"model.name": model, "model.init": init, "model.size": size}
    loaded = load_recipe(find_recipe(recipe), settings(chosen, set_), offline)
    data = {"answer_as": as_} if as_ else {}
    named = corpus or any(setting.startswith(("data.corpus", "data.mix")) for setting in set_ or ())
    if from_ and not named and Path(from_).exists():
        data |= guessed([from_], loaded.data)
    loaded = loaded.change(data=data)
    # Another model gets a folder of its own, so that it does not replace the recipe's run.
    parts = [loaded.name, *(Path(os.path.abspath(value)).name for value in (model, init, size) if value)]
    if not out:
        name = require_plain_name("the run's folder", "-".join(parts), "; give --out FOLDER")
        out = folder_to_write(Path("runs") / name)
    return loaded, out


def _with_options_of_load(command: Callable[..., None]) -> Callable[..., None]:
    """Put the options of `load`, but for `offline`, before a command's own; it gets their values as a dictionary."""
    *shared, _ = inspect.signature(load).parameters.values()
    _, *further = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def with_all_options(**values: Any) -> None:
        command({option.name: values.pop(option.name) for option in shared}, **values)

    with_all_options.__signature__ = inspect.Signature([*shared, *further])
    return with_all_options


@_with_options_of_load
def run(
    asked: dict[str, Any],
    force: Force = False,
    offline: Annotated[
        bool, Option("--offline", help="Make the recipe's offline settings, and leave out what needs the hub.")
    ] = False,
) -> None:
    """Go the whole way: prepare, summarize, train, evaluate, report.

    Stages whose output is current are skipped; an interrupted run goes on where it was. A recipe with experiment
    variants or seeds is several runs and their comparison.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported, which reads it then
    recipe, folder = load(**asked, offline=offline)  # a mistake is said before torch is imported

    from gistchat.experiment import run_experiment
    from gistchat.pipeline import run as run_recipe
    from gistchat.report.write import print_table

    several = bool(recipe.experiment.variants or recipe.experiment.seeds)
    metrics = run_experiment(recipe, folder, force) if several else run_recipe(recipe, folder, force)
    if not metrics:
        return  # of several processes, the first evaluates
    print_table(metrics)
    show("", f"report:    {folder / 'report.html'}")
    if not several:
        show(f"talk to it: gistchat chat {folder}")


@_with_options_of_load
def train(asked: dict[str, Any], force: Force = False) -> None:
    """Prepare, summarize and train, without evaluation."""
    recipe, folder = load(**asked)
    if recipe.experiment.variants or recipe.experiment.seeds:
        name = asked["recipe"]
        raise UserError(f"{name} is an experiment of several runs; gistchat run {name} trains and compares them")

    from gistchat.pipeline import is_first_process, open_workspace, run_train
    from gistchat.preflight import open_models

    if not (folder / "trained.json").exists():
        open_models({"": recipe})
    run_train(open_workspace(recipe, folder), force)
    if is_first_process():
        show(f"checkpoint: {folder / 'checkpoint'}", f"next: gistchat evaluate {folder}")
