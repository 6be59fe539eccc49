"""A trained checkpoint -> whole weights that plain transformers or llama.cpp loads, or its adapter alone as GGUF."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gistchat.errors import UserError
from gistchat.files import atomic_file, atomic_text
from gistchat.locks import locked
from gistchat.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gistchat.models.checkpoint_folder import read_while_replaced
from gistchat.models.gguf_file import FORMAT, QUANTS, RECIPE, WEIGHTS, write_gguf
from gistchat.models.gguf_lora import CONFIG, write_lora_gguf
from gistchat.models.modelfile import modelfile_path, modelfile_text
from gistchat.models.packaged_file import SMOLLM2, packaged_file
from gistchat.models.sharing import shareable
from gistchat.prompts.portable import end_of_turn, jinja_template

GGUF = ".gguf"
DEFAULT_QUANT = "f16"


@dataclass(frozen=True)
class ExportedGguf:
    """A GGUF file that was written.

    Attributes:
        base: the model that it is an adapter of, if it is one.
        exact: whether its weights are (almost) those of the checkpoint, not rounded to few bits.
        lacks: what its Modelfile lacks, in words.
    """

    path: Path
    modelfile: Path
    checkpoint: Checkpoint
    base: Path | None
    exact: bool
    lacks: str


def export(run: Path, out: Path) -> Path:
    """Write merged weights, tokenizer and gistchat's metadata to a folder; a LoRA adapter is merged into its base.

    Raises:
        UserError: no checkpoint, or `out` is taken.
    """
    with locked(out, seconds=0):
        if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
            raise UserError(f"{out} is not empty; give another folder")
        loaded = load_checkpoint(run)
        written_anew = ("format", "recipe", "versions", "weights", "files")
        details = {name: value for name, value in loaded.metadata.items() if name not in written_anew}
        save_checkpoint(out, loaded.model, loaded.format, loaded.recipe, details)
    return out


def export_gguf(run: Path, out: Path, quant: str = DEFAULT_QUANT) -> ExportedGguf:
    """Write a GGUF file of the merged weights, and a Modelfile beside it.

    Raises:
        UserError: no checkpoint, no such quant, `out` is taken, or llama.cpp cannot run this model.
    """
    if (quant := quant.lower()) not in QUANTS:
        raise UserError(f"--quant: {quant!r} is not one of {', '.join(QUANTS)}")

    def load() -> Checkpoint:
        checkpoint = load_checkpoint(run)
        _require_no_types(checkpoint)
        return checkpoint

    def write(checkpoint: Checkpoint, path: Path) -> None:
        # The file is for others, too.
        write_checkpoint_gguf(dataclasses.replace(checkpoint, recipe=shareable(checkpoint.recipe)), path, quant)

    return _export_file(out, load, write, None, exact=quant in ("f32", "f16"))


def write_checkpoint_gguf(checkpoint: Checkpoint, path: Path, quant: str) -> None:
    """Write the merged weights as one of QUANTS. Raises UserError where llama.cpp cannot run such a model."""
    details = {
        "name": checkpoint.recipe.name,
        "chat_template": jinja_template(checkpoint.format),
        "end_of_turn": end_of_turn(checkpoint.format),
        FORMAT: checkpoint.format.name,
        RECIPE: dataclasses.asdict(checkpoint.recipe),
        WEIGHTS: checkpoint.metadata["weights"],
    }
    write_gguf(path, checkpoint.model, checkpoint.tokenizer, quant, details)


def export_adapter(run: Path, out: Path) -> ExportedGguf:
    """Write a run's adapter alone, as a GGUF file for that of the packaged base, and a Modelfile beside it.

    Raises:
        UserError: no adapter, one of another base, or one that GGUF cannot hold; `out` is taken.
    """

    def load() -> Checkpoint:
        checkpoint = load_checkpoint(run)
        base = checkpoint.recipe.model
        if base.init != "pretrained" or base.name != SMOLLM2:
            raise UserError(
                f"--adapter-only is for adapters of the packaged model; this run's is {base.name!r}, so leave it out"
            )
        return checkpoint

    def write(checkpoint: Checkpoint, path: Path) -> None:
        recipe = dataclasses.asdict(shareable(checkpoint.recipe))
        read_while_replaced(run, lambda folder: write_lora_gguf(_with_adapter(folder), path, recipe=recipe))

    # The packaged file's weights are of four bits, with which llama.cpp computes otherwise than torch.
    return _export_file(out, load, write, packaged_file(), exact=False)


def _with_adapter(folder: Path) -> Path:
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder}: holds whole weights, not an adapter; leave --adapter-only out")
    return folder


def _export_file(
    out: Path,
    load: Callable[[], Checkpoint],
    write: Callable[[Checkpoint, Path], None],
    base: Path | None,
    exact: bool,
) -> ExportedGguf:
    with locked(out, seconds=0):
        if out.exists():
            raise UserError(f"{out} is there already; give another name")
        modelfile = modelfile_path(out)
        checkpoint = load()
        text, lacks = modelfile_text(checkpoint, out, base)
        with atomic_file(out) as temporary:
            write(checkpoint, temporary)
        with atomic_text(modelfile) as file:
            file.write(text)
    return ExportedGguf(out, modelfile, checkpoint, base, exact, lacks)


def _require_no_types(checkpoint: Checkpoint) -> None:
    if checkpoint.format.has_types:
        raise UserError(
            f"the format {checkpoint.format.name!r} has token types, which llama.cpp does not know; export to a folder "
            "instead"
        )
