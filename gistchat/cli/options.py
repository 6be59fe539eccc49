"""Options that several commands share, and what they make of a recipe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gistchat.context.strategies import STRATEGIES

CHAT_STRATEGIES = " | ".join(name for name, strategy in STRATEGIES.items() if strategy.in_chat)

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="One that ships with gistchat, such as demo (see gistchat recipes), or a file ./MINE.toml.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The run's folder. Default: runs/NAME, or runs/NAME-MODEL with --model, --init or --size.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override any recipe field, e.g. train.steps=50. Repeatable."),
]
Model = Annotated[
    str | None,
    typer.Option(help="Base model: smollm2 (packaged), a hub id such as gpt2 or DialoGPT-small, or a folder."),
]
Init = Annotated[str | None, typer.Option(help="pretrained | scratch (random GPT-2). Default: the recipe's.")]
Size = Annotated[str | None, typer.Option(help="Of a scratch gpt2: tiny | mini | small | medium | large | xl.")]
Corpus = Annotated[str | None, typer.Option(help="Of those that gistchat corpora lists. Default: the recipe's.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PLACE",
        help="Your dialogues: a file or folder, hub, or hub:ID. The kind of a file is guessed.",
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/demo.")]
ChatFolder = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run's folder. Default: the adapter that comes with gistchat."),
]
Temperature = Annotated[float | None, typer.Option(help="0 always says the likeliest. Default: the recipe's (0.8).")]
TopP = Annotated[float | None, typer.Option(help="Probability mass kept when sampling. Default: the recipe's (0.9).")]
ReplyTokens = Annotated[int | None, typer.Option(help="Longest reply, in tokens. Default: the recipe's.")]
Engine = Annotated[
    str | None, typer.Option(help="torch | ctranslate2 | ctranslate2-int8 (extra fast). Default: the recipe's (torch).")
]
Targets = Annotated[
    str | None,
    typer.Option(
        help="one | all: learn one reply at a time, or all of a dialogue in one pass, with their full history. "
        "Default: the recipe's."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Resume a stopped training also where its settings have changed since.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of examples, weights and data order. Default: the recipe's (0).")]


def settings(chosen: dict[str, Any], overrides: list[str] | None) -> list[str]:
    """Options that were given, as settings of recipe fields."""
    return [*(f"{name}={value}" for name, value in chosen.items() if value is not None), *(overrides or [])]


def load(
    name: str,
    from_: str | None,
    corpus: str | None,
    model: str | None,
    init: str | None,
    size: str | None,
    seed: int | None,
    out: Path | None,
    overrides: list[str] | None,
    offline: bool = False,
    targets: str | None = None,
) -> tuple[Any, Path]:
    """A recipe as the options change it, and its run's folder."""
    from gistchat.recipe.load import find_recipe, load_recipe

    if from_ and not corpus and Path(from_).is_file():
        from gistchat.corpora.sources import kind_of_file

        corpus = kind_of_file(Path(from_))
    chosen = {"data.source": from_, "data.corpus": corpus}
    if targets:
        chosen |= {"train.targets": targets, "train.strategies": "full" if targets == "all" else None}
    chosen |= {"model.name": model, "model.init": init, "model.size": size, "seed": seed}
    recipe = load_recipe(find_recipe(name), settings(chosen, overrides), offline)
    # Another model gets a folder of its own, so that it does not replace the recipe's run.
    parts = [recipe.name, *(Path(value).name for value in (model, init, size) if value)]
    return recipe, out or Path("runs") / "-".join(parts)
