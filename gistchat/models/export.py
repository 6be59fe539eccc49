"""A trained checkpoint -> whole weights that plain transformers or CTranslate2 loads, in a folder or on the hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from gistchat.errors import UserError, first_line
from gistchat.locks import locked
from gistchat.models.checkpoint import load_checkpoint, save_checkpoint
from gistchat.models.ctranslate2_conversion import FLOAT32, INT8, convert

KINDS = ("transformers", FLOAT32, INT8)


def export(run: Path, out: Path, to: str = "transformers") -> Path:
    """Write merged weights, tokenizer and gistchat's metadata to `out`; a LoRA adapter is merged into its base.

    Raises:
        UserError: no checkpoint, no such kind, `out` is taken, or CTranslate2 cannot run this model.
    """
    if to not in KINDS:
        raise UserError(f"--to: {to!r} is not one of {', '.join(KINDS)}")
    with locked(out, seconds=0):
        if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
            raise UserError(f"{out} is not empty; give another folder")
        return _export(run, out, to)


def _export(run: Path, out: Path, to: str) -> Path:
    loaded = load_checkpoint(run)
    if to != "transformers":
        convert(loaded, to, out)
        loaded.tokenizer.save_pretrained(out)
        return out
    written_anew = ("format", "recipe", "versions", "weights", "files")
    details = {name: value for name, value in loaded.metadata.items() if name not in written_anew}
    save_checkpoint(out, loaded.model, loaded.format, loaded.recipe, details)
    return out


def push(folder: Path, name: str) -> str:
    """Upload an exported folder as a model of that hub id, with the login of `hf auth login`; returns its address.

    Raises:
        UserError: the hub does not take it.
    """
    api = HfApi()
    try:
        address = api.create_repo(name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        # No network, no login, no right to write, a name that is none; the folder stays.
        raise UserError(
            f"cannot push to {name!r} ({first_line(error)}); {folder} is kept. Logged in? hf auth login"
        ) from None
    return str(address)
