"""Options that several commands share, and what they make of a recipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, CallbackParam, Option

from gistchat.context.strategies import STRATEGIES
from gistchat.errors import UserError
from gistchat.limits import MOST_SEED
from gistchat.names import checked_path


def within(least: int, most: int) -> Callable[[CallbackParam, int | None], int | None]:
    """The check of an option that is no recipe field: whole numbers between these."""

    def check(param: CallbackParam, value: int | None) -> int | None:
        if value is not None and not least <= value <= most:
            raise UserError(f"{param.opts[0]} must be between {least:,} and {most:,}")
        return value

    return check


SEED = within(0, MOST_SEED)
CHAT_STRATEGIES = " | ".join(name for name, strategy in STRATEGIES.items() if strategy.in_chat)

Set = Annotated[
    list[str] | None,
    Option("--set", metavar="FIELD=VALUE", help="Override any recipe field, e.g. train.steps=50. Repeatable."),
]
RunFolder = Annotated[Path, Argument(parser=checked_path, metavar="RUN", help="A run's folder, such as runs/demo.")]
ChatFolder = Annotated[
    Path | None,
    Argument(
        parser=checked_path,
        metavar="[MODEL]",
        help="A run's folder, or a GGUF file of any chat model. Default: the adapter that comes with gistchat.",
    ),
]
Temperature = Annotated[float | None, Option(help="0 always says the likeliest. Default: the recipe's (0.8).")]
TopP = Annotated[float | None, Option(help="Probability mass kept when sampling. Default: the recipe's (0.9).")]
ReplyTokens = Annotated[int | None, Option(help="Longest reply, in tokens. Default: the recipe's.")]
Engine = Annotated[
    str | None, Option(help="auto (llama.cpp where it can run the model) | llamacpp | torch. Default: the recipe's.")
]
Encoder = Annotated[
    str | None,
    Option(
        metavar="NAME",
        help="Finds old turns also by meaning, under strategies that search: minilm (extra dense), or any sentence "
        "encoder by hub id or folder. Default: the recipe's (none).",
    ),
]
Url = Annotated[
    str | None,
    Option(
        metavar="ADDRESS",
        help="An OpenAI-compatible server that answers instead, such as http://localhost:11434/v1 (Ollama). A key, "
        "if it needs one, is taken from OPENAI_API_KEY.",
    ),
]
ServerModel = Annotated[
    str | None, Option(metavar="NAME", help="With --url: the server's model that answers. Default: its only one.")
]

Database = Annotated[
    str | None,
    Option(
        metavar="URL",
        help="Where conversations are kept: sqlite:///PATH or postgresql://... Default: GISTCHAT_DATABASE, or a file "
        "in your data folder.",
    ),
]


def answering(url: str | None, model: str | None) -> dict[str, Any]:
    """The fields that --url and --model stand for. Raises UserError where one makes no sense without the other."""
    if model and not url:
        raise UserError("--model names a model of a server, so give its address, too: --url http://localhost:11434/v1")
    return {"chat.url": url, "chat.model": model}


def settings(chosen: dict[str, Any], overrides: list[str] | None) -> list[str]:
    """Options that were given, as settings of recipe fields."""
    return [*(f"{name}={value}" for name, value in chosen.items() if value is not None), *(overrides or [])]
