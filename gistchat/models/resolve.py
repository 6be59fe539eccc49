"""From a recipe's [model] to a base model that can be loaded."""

from pathlib import Path

from gistchat.errors import UserError
from gistchat.files import file_hash, fingerprint
from gistchat.models.base import Base
from gistchat.models.packaged import packaged_base
from gistchat.models.packaged_file import SMOLLM2
from gistchat.models.scratch import scratch_base
from gistchat.recipe.schema import ModelConfig

# Names that are short for a hub id, in lower case. gpt2, gpt2-medium, gpt2-large and gpt2-xl are hub ids themselves.
SHORT_NAMES = {f"dialogpt-{size}": f"microsoft/DialoGPT-{size}" for size in ("small", "medium", "large")}
# Tokenizer, configuration and chat templates of a folder.
TEXT_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "additional_chat_templates/*.jinja")


def resolve_base(config: ModelConfig, seed: int) -> Base:
    """Find or make the base model's folder, without loading its weights into memory where they exist already.

    Raises:
        UserError: a missing package or folder, an unknown size, or a name that is not of that size.
    """
    if config.init == "scratch":
        return scratch_base(config, seed)
    if config.name == SMOLLM2:
        return packaged_base()
    # Short names count however they are capitalised; a folder of that name goes first, as on the hub.
    is_folder = Path(config.name).expanduser().is_dir()
    name = config.name if is_folder else SHORT_NAMES.get(config.name.lower().removeprefix("microsoft/"), config.name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: no config.json in this folder, so it is not a transformers model")
        weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
        if not weights:
            raise UserError(f"{folder}: no weights (*.safetensors) in this folder")
        others = sorted(path for pattern in TEXT_FILES for path in folder.glob(pattern))
        files = fingerprint([[path.name, file_hash(path)] for path in others])
        return Base(str(folder.resolve()), fingerprint([*map(file_hash, weights), files]), files)
    if name.startswith((".", "/", "~")):
        raise UserError(f"{name}: no such folder")
    return Base(name, name)
