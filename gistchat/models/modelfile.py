"""A Modelfile beside a GGUF file: what `ollama create NAME -f FILE` needs to run it as it was trained."""

import os
from pathlib import Path

from gistchat.errors import UserError
from gistchat.models.base import model_limit
from gistchat.models.checkpoint import Checkpoint
from gistchat.prompts.format import PromptFormat
from gistchat.prompts.portable import ollama_template, system_text

FIRST_LINE = "# Written by gistchat"
LONGEST_CONTEXT = 2048  # tokens, unless it was trained with longer rows: as long as Ollama itself takes
NO_TEMPLATE = "the model's chat template is none that gistchat can translate for certain; Ollama takes the file's own"


def modelfile_path(gguf: Path) -> Path:
    """`NAME.Modelfile` beside `NAME.gguf`, so that a folder can hold several models.

    Raises:
        UserError: a file of that name stands there that gistchat did not write.
    """
    path = gguf.with_suffix(".Modelfile")
    if os.path.lexists(path) and not _is_ours(path):
        raise UserError(f"{path} is there already, and not of gistchat's; rename it, or give another name to write to")
    return path


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.readline(1000).startswith(FIRST_LINE)
    except OSError:
        return False


def modelfile_text(checkpoint: Checkpoint, gguf: Path, base: Path | None) -> tuple[str, str]:
    """A Modelfile, and what it lacks, in words; empty where it lacks nothing.

    Args:
        base: the model that `gguf` is an adapter of, if it is one.
    """
    own = f"./{gguf.name}"
    sources = [f"FROM {_quoted(str(base))}", f"ADAPTER {_quoted(own)}"] if base else [f"FROM {_quoted(own)}"]
    template, lacks = ollama_template(checkpoint.format), []
    lines = [f"TEMPLATE {_in_quotes(template)}"] if template else [f"# No TEMPLATE: {NO_TEMPLATE}."]
    if not template:
        lacks.append(NO_TEMPLATE)
    if system := system_text(checkpoint.format):
        lines.append(f"SYSTEM {_in_quotes(system)}")
    lines += _parameters(checkpoint)
    if _has_own_rules(checkpoint):
        rules = "the recipe's repetition rules count the reply only, which Ollama cannot; they are left out"
        lines.append(f"# {rules}.")
        lacks.append(rules)
    head = [f"{FIRST_LINE} for {gguf.name}: ollama create NAME -f {gguf.with_suffix('.Modelfile').name}", *sources]
    return "\n".join([*head, *lines, ""]), "; ".join(lacks)


def _has_own_rules(checkpoint: Checkpoint) -> bool:
    chat = checkpoint.recipe.chat
    return chat.repetition_penalty != 1 or bool(chat.no_repeat_ngram)


def _parameters(checkpoint: Checkpoint) -> list[str]:
    recipe, chat = checkpoint.recipe, checkpoint.recipe.chat
    context = min(model_limit(checkpoint.model.config), max(LONGEST_CONTEXT, recipe.train.max_tokens))
    values = {
        "temperature": chat.temperature,
        "top_p": chat.top_p,
        "top_k": chat.top_k,
        "repeat_penalty": 1,
        "num_ctx": context,
        "num_predict": chat.max_reply_tokens,
    }
    stops = dict.fromkeys([*stop_tokens(checkpoint.format), *chat.stop])
    return [
        *(f"PARAMETER {name} {value}" for name, value in values.items()),
        *(f"PARAMETER stop {_in_quotes(text)}" for text in stops),
    ]


def stop_tokens(prompt_format: PromptFormat) -> list[str]:
    """The tokens that end a reply, as they are spelled."""
    names = {number: token for token, number in prompt_format.tokenizer.get_vocab().items()}
    return [names[number] for number in prompt_format.stop_ids]


def _in_quotes(text: str) -> str:
    """Line breaks, and quotes within, are allowed between three quotes."""
    return f'"""{text}"""' if "\n" in text or '"' in text else f'"{text}"'


def _quoted(path: str) -> str:
    return path if path.isascii() and not any(char.isspace() or char in "\"'" for char in path) else _in_quotes(path)
