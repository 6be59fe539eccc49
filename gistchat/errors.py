"""The one exception that the command line shows as a message instead of a traceback."""

import importlib
import importlib.util
from types import ModuleType

LONGEST_MESSAGE = 2000  # characters: a message may quote what a file holds, however long that is


class UserError(Exception):
    """A mistake the user can mend. The text says what is wrong (with file:line where there is one) and what to do."""

    def __init__(self, text: str) -> None:
        super().__init__(text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}...")


def first_line(error: BaseException | str, length: int = 200) -> str:
    """The first line of an error's message, cut to `length`; the name of its class where it has no message.

    A line that ends in a colon only announces the next one, which is said with it.
    """
    lines = list(filter(None, map(str.strip, str(error).splitlines())))
    last = next((i for i, line in enumerate(lines) if not line.endswith(":")), len(lines) - 1)
    return (
        " ".join(lines[: last + 1])[:length]
        if lines
        else type(error).__name__
        if isinstance(error, BaseException)
        else "no message"
    )


def shown(value: object, length: int = 100) -> str:
    """A value as messages quote it: whatever it is, and cut to `length`."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number of thousands of digits"
    except RecursionError:
        return "a value that is nested too deeply"
    return text if len(text) <= length else f"{text[:length]}..."


TRAINING = ("torch", "transformers", "peft", "accelerate", "tokenizers", "huggingface_hub", "tensorboard", "matplotlib")
TRAINING += ("sentencepiece",)  # reads tokenizers that are kept as its model alone, as PEGASUS's
EXTRA_OF = {**dict.fromkeys(TRAINING, "train"), "sentence_transformers": "dense"}
EXTRA_OF |= dict.fromkeys(("fastapi", "uvicorn", "starlette", "httpx2", "prometheus_client"), "serve")
EXTRA_OF |= {"psycopg": "postgres"}


def missing_extra(error: BaseException) -> str:
    """What to do where a package is missing that an extra of gistchat brings; empty for any other error."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    package = error.name.partition(".")[0]
    extra = EXTRA_OF.get(package)
    return f"this needs {package}, which is not installed: pip install 'gistchat[{extra}]'" if extra else ""


def missing_for_tokenizer(error: BaseException) -> str:
    """What to do where transformers cannot read a tokenizer as sentencepiece is missing; empty for any other error.

    It then takes the file for one of tiktoken, and asks for that package.
    """
    asked = any(name in str(error).lower() for name in ("sentencepiece", "tiktoken"))
    if not asked or importlib.util.find_spec("sentencepiece"):
        return ""
    return missing_extra(ModuleNotFoundError(name="sentencepiece"))


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        UserError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        raise UserError(f"{module} is not installed: pip install 'gistchat[{extra}]'") from None
