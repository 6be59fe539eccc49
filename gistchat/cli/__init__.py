"""The command line: one command per stage. Heavy imports stay inside the commands, so that --help is instant."""

import errno
import os
import re
import sys
import traceback
import warnings
from typing import Annotated

import typer

from gistchat import __version__
from gistchat.cli.chat import chat, reply
from gistchat.cli.checkpoints import export, import_ckpt
from gistchat.cli.conversations import commands as conversation_commands
from gistchat.cli.data import corpora, prepare, summarize
from gistchat.cli.evaluate import compare, evaluate, judge
from gistchat.cli.info import env, fields, recipes
from gistchat.cli.recall import recall
from gistchat.cli.run import run, train
from gistchat.cli.serve import serve
from gistchat.cli.streams import check_arguments, prepare_streams
from gistchat.errors import UserError, missing_extra
from gistchat.progress import say_error, show

INTERRUPTED = 130  # exit code after Ctrl-C, by the shell's convention
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, evaluate and run dialogue models that answer from the gist of a conversation.\n\n"
    "Start with: gistchat run demo",
)

STAGES = (run, prepare, summarize, train, evaluate, compare, judge, recall)
OTHERS = (chat, reply, serve, export, import_ckpt, corpora, recipes, fields, env)
for command in (*STAGES, *OTHERS):  # the order of --help
    app.command()(command)
app.add_typer(conversation_commands)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        show(f"gistchat {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point. A mistake of the user becomes one line on standard error; anything else is a defect and shows."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.|peft\.|torch\.")
    prepare_streams()
    sys.argv[1:] = map(_with_home, sys.argv[1:])
    try:
        check_arguments(sys.argv[1:])
        app()
    except UserError as error:
        _fail(str(error))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _fail("interrupted; the same command goes on, what is finished is kept", INTERRUPTED)
        raise
    except Exception as error:
        if needed := missing_extra(error):
            _fail(needed)
        if _is_full_disk(error):
            _fail(f"disk full ({error}); make room, and the same command goes on from what is finished")
        if isinstance(error, OSError) and error.filename:
            _fail(f"{error.filename}: {error.strerror}")
        if isinstance(error, UnicodeEncodeError) and (
            name := re.search(r'[^"\n]*[\udc80-\udcff][^"\n]*', error.object)
        ):
            _fail(f"{name[0][:200]!r}: a name of a file that is not text in {sys.getfilesystemencoding()}; rename it")
        say_error(*traceback.format_exc().splitlines())
        sys.exit(1)


def _with_home(word: str) -> str:
    """With the home folder for a leading ~/, which shells leave alone in --load=~/talk.jsonl and in quotes."""
    option, path = re.fullmatch(r"(--[\w-]+=)?(.*)", word, re.DOTALL).groups(default="")
    return option + os.path.expanduser(path) if path.startswith("~/") else word


def _is_full_disk(error: BaseException) -> bool:
    """Also where a library wraps the system's error in one of its own: the writers of weights do."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return True
    if any(f"os error {number}" in str(error) for number in FULL_DISK) or "PytorchStreamWriter failed" in str(error):
        return True
    return error.__cause__ is not None and _is_full_disk(error.__cause__)


def _fail(message: str, code: int = 1) -> None:
    """End with a message. Only an indented line begins a new one, as in lists; other line breaks are those of names."""
    say_error(*re.split(r"\n(?=  )", f"error: {message}"))
    sys.exit(code)
