"""Upload what was exported to the hub: with a model card, without paths of this machine, private unless asked."""

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from gistchat.errors import UserError, first_line
from gistchat.files import read_json
from gistchat.models.checkpoint_folder import METADATA
from gistchat.models.gguf_file import FORMAT, RECIPE
from gistchat.models.gguf_header import read_header
from gistchat.models.modelfile import modelfile_path
from gistchat.models.sharing import base_id, is_place, model_card, shareable
from gistchat.progress import say
from gistchat.recipe.load import recipe_from_dict

CARD = "README.md"
UNAUTHORIZED, FORBIDDEN = 401, 403
ADAPTER = "adapter_config.json"
PATHS = ("_name_or_path", "name_or_path", "base_model_name_or_path")  # of a library's own configurations
FROM = re.compile(r'^FROM "*(/[^"\n]*)"*$', re.M)  # of a Modelfile: the base of an adapter


class Exported(NamedTuple):
    """What was exported: the files to upload by their names, some with other contents than here, and its card."""

    files: dict[str, Path | bytes]
    card: Callable[[str, HfApi], str]  # of the name on the hub


def check_name(name: str) -> None:
    """Raises UserError where no model of the hub can be called so."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"--push: {first_line(error)}") from None


def push(path: Path, name: str, public: bool = False) -> str:
    """Upload an exported folder, or a GGUF file with its Modelfile, with the login of `hf auth login`.

    Args:
        name: on the hub; without an owner, it is the user's own. There it is private unless `public`.
    Returns:
        its address.
    Raises:
        UserError: nothing that was exported, or the hub does not take it; what to do to go on.
    """
    check_name(name)
    exported = _exported(path)
    api = HfApi()
    try:
        if "/" not in name:
            name = f"{api.whoami()['name']}/{name}"
        address = api.create_repo(name, private=not public, exist_ok=True)
        name = address.repo_id
        private = api.repo_info(name).private
        if not public and not private:
            raise UserError(f"{name} is there and public: add --public to upload to it, or give another name")
        if public and private:
            say(f"{name} was there before, and stays private; its settings on the hub change that")
        files = dict(exported.files)
        if CARD not in files and not api.file_exists(name, CARD):
            files[CARD] = exported.card(name, api).encode()
        operations = [CommitOperationAdd(place, content) for place, content in files.items()]
        api.create_commit(name, operations, commit_message="Upload by gistchat")
    except UserError:
        raise
    except Exception as error:  # no network, no login, no right to write: types of the client and of its own client
        flag = " --public" if public else ""
        goal = name.rpartition("/")[2] if _status(error) == FORBIDDEN else name
        raise UserError(
            f"cannot push to {name!r} ({first_line(error)}). {path} is kept, and what was uploaded is not sent again: "
            f"{_remedy(error)}gistchat export {shlex.quote(str(path))} --push {goal}{flag}"
        ) from None
    return str(address)


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _remedy(error: Exception) -> str:
    if _status(error) == UNAUTHORIZED or type(error).__name__ == "LocalTokenNotFoundError":
        return "hf auth login, then "
    if _status(error) == FORBIDDEN:
        return "log in as somebody who may write there (hf auth login), or push to your own account: "
    return "go on with "


def _as_json(values: Any) -> bytes:
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _exported(path: Path) -> Exported:
    """What lies at a path, as it is to be uploaded. Raises UserError where it was not exported."""
    if path.is_file():
        return _exported_gguf(path)
    if not (path / METADATA).is_file():
        raise UserError(f"{path}: not what gistchat export writes; say where to: gistchat export RUN OUT --push HUB_ID")
    metadata = read_json(path / METADATA)
    recipe = recipe_from_dict(metadata["recipe"], str(path / METADATA))
    files: dict[str, Path | bytes] = {
        file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()
    }
    for name in [name for name in files if name.endswith("config.json")]:
        values = read_json(path / name)
        if named := {field: base_id(recipe) for field in PATHS if field in values}:
            files[name] = _as_json({**values, **named})
            metadata.get("files", {})[name] = hashlib.sha256(files[name]).hexdigest()
    if is_place(str(metadata.get("base", {}).get("source", ""))):
        metadata["base"]["source"] = base_id(recipe)
    files[METADATA] = _as_json({**metadata, "recipe": dataclasses.asdict(shareable(recipe))})
    relation = "adapter" if ADAPTER in files else "finetune"
    library = "peft" if ADAPTER in files else "transformers"
    return Exported(files, lambda name, api: model_card(recipe, metadata["format"], name, library, relation, api))


def _exported_gguf(path: Path) -> Exported:
    header = read_header(path)
    if not isinstance(stored := header.values.get(RECIPE), str):
        raise UserError(f"{path}: not a file that gistchat export wrote")
    recipe = recipe_from_dict(json.loads(stored), str(path))
    files: dict[str, Path | bytes] = {path.name: path}
    if (modelfile := modelfile_path(path)).is_file():
        text = modelfile.read_text(encoding="utf-8")
        files[modelfile.name] = FROM.sub(lambda found: f"FROM ./{Path(found[1]).name}", text).encode()
    relation = "adapter" if header.values.get("general.type") == "adapter" else "quantized"
    format_name = str(header.values.get(FORMAT, ""))
    return Exported(files, lambda name, api: model_card(recipe, format_name, name, "gguf", relation, api))
