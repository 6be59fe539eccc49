"""Commands between gistchat's checkpoints and other formats: export, import-ckpt."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from gistchat.cli.options import RunFolder
from gistchat.errors import UserError
from gistchat.names import file_to_write, folder_to_write, require_plain_name
from gistchat.progress import say, show

if TYPE_CHECKING:
    from gistchat.models.export import ExportedGguf


def output_to_write(path: Path | str) -> Path:
    """A new folder, or a new file by its ending. Raises UserError where it can be neither."""
    return file_to_write(path) if str(path).endswith(".gguf") else folder_to_write(path)


def export(
    run_folder: RunFolder,
    out: Annotated[
        Path | None,
        Argument(
            parser=output_to_write,
            metavar="[OUT]",
            help="A new folder, or a new file whose name ends in .gguf. Without it, RUN is what was exported before, "
            "and is pushed.",
        ),
    ] = None,
    quant: Annotated[
        str,
        Option(metavar="KIND", help="Of a .gguf: f32 | f16 | q8_0 | q4_k_m. Default: f16.", show_default=False),
    ] = "",
    adapter_only: Annotated[
        bool, Option("--adapter-only", help="Only the LoRA adapter, as a .gguf for the packaged model's.")
    ] = False,
    push: Annotated[
        str,
        Option(
            metavar="HUB_ID",
            help="Upload it, too (hf auth login first), with a model card. Without an owner: to your own account.",
        ),
    ] = "",
    public: Annotated[bool, Option("--public", help="For all to see. Default: a new model is private.")] = False,
) -> None:
    """Write a checkpoint as a folder that plain transformers loads, or as a GGUF file for llama.cpp and Ollama.

    A LoRA adapter is merged into its base. Beside a GGUF file comes a Modelfile for Ollama.
    """
    from gistchat.models.export import GGUF
    from gistchat.models.export import export as export_run
    from gistchat.models.push import check_name
    from gistchat.models.push import push as push_path

    if push:
        check_name(push)
    if public and not push:
        raise UserError("--public is for what is pushed: give --push HUB_ID")
    if out is None:
        if not push:
            raise UserError("say where to: gistchat export RUN OUT")
        if quant or adapter_only:
            raise UserError(f"{'--quant' if quant else '--adapter-only'}: give OUT, the file to write")
    elif out.suffix == GGUF:
        _export_gguf(run_folder, out, quant, adapter_only)
    elif quant or adapter_only:
        raise UserError(
            f"{'--quant' if quant else '--adapter-only'} is for a file: give OUT a name that ends in {GGUF}"
        )
    else:
        export_run(run_folder, out)
        show(f"exported: {out}")
    if push:
        show(f"pushed: {push_path(out or run_folder, push, public)}")


def _export_gguf(run_folder: Path, out: Path, quant: str, adapter_only: bool) -> None:
    """Write the file, say what to do with it, and test it."""
    from gistchat.models.export import DEFAULT_QUANT, export_adapter, export_gguf

    if adapter_only and quant:
        raise UserError("--quant is for whole models; an adapter alone is small as it is, so leave it out")
    done = export_adapter(run_folder, out) if adapter_only else export_gguf(run_folder, out, quant or DEFAULT_QUANT)
    show(f"exported: {out}", f"for Ollama: ollama create NAME -f {done.modelfile}")
    if done.lacks:
        show(f"{done.modelfile.name}: {done.lacks}")
    _test_export(done)


def _test_export(done: "ExportedGguf") -> None:
    from gistchat.engines.self_test import compare_with_torch

    files = (done.base, done.path) if done.base else (done.path,)
    try:
        agreement = compare_with_torch(done.checkpoint, *files)
    except UserError as error:
        say(f"warning: the self-test could not be made: {error}")
        return
    show(*agreement.sentences(done.exact))


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
