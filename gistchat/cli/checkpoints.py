"""Commands between gistchat's checkpoints and other formats: export, import-ckpt."""

import os
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from gistchat.cli.options import RunFolder
from gistchat.errors import UserError
from gistchat.names import folder_to_write, require_plain_name
from gistchat.progress import show


def export(
    run_folder: RunFolder,
    out: Annotated[Path, Argument(parser=folder_to_write, metavar="FOLDER", help="A new folder for the weights.")],
    to: Annotated[str, Option(help="transformers | ctranslate2 | ctranslate2-int8 (extra fast).")] = "transformers",
    push: Annotated[str, Option(metavar="HUB_ID", help="Also upload it there (hf auth login first).")] = "",
) -> None:
    """Write a checkpoint as a folder that plain transformers loads; a LoRA adapter is merged into its base."""
    from gistchat.models.export import export as export_run
    from gistchat.models.export import push as push_folder

    show(f"exported: {export_run(run_folder, out, to)}")
    if push:
        show(f"pushed: {push_folder(out, push)}")


def import_ckpt(
    source: Annotated[
        str, Argument(metavar="CKPT", help="A .ckpt of the paper's code, or a model of its parent: folder or hub id.")
    ],
    out: Annotated[
        Path | None,
        Option(parser=folder_to_write, metavar="FOLDER", help="The run's folder that is made. Default: runs/NAME."),
    ] = None,
    format_: Annotated[
        str,
        Option(
            "--format",
            help="The layout that it was trained with: paper (with a summary) | paper-turns (its multi-turn parent). "
            "Default: paper for a .ckpt, paper-turns for a folder or hub id.",
        ),
    ] = "",
    heads: Annotated[
        int | None,
        Option(min=1, help="Attention heads of a .ckpt that does not state them and is not of one of GPT-2's sizes."),
    ] = None,
) -> None:
    """Turn a checkpoint of the paper's code into one that gistchat chats with and evaluates."""
    from gistchat.models.import_paper import import_checkpoint

    if not source:
        raise UserError("CKPT is empty; name a file, a folder or a hub id")
    name = Path(os.path.abspath(source)).name.removesuffix(".ckpt")
    out = out or Path("runs") / require_plain_name("CKPT", name, "; give --out FOLDER")
    show(f"checkpoint: {import_checkpoint(source, out, format_, heads or 0)}", f"talk to it: gistchat chat {out}")
