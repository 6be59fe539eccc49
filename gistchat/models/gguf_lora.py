"""A LoRA adapter of peft as a GGUF file that llama.cpp puts on top of its base. Needs neither torch nor peft."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from gistchat.errors import UserError, first_line
from gistchat.files import read_json
from gistchat.models.gguf_file import FORMAT, RECIPE, WEIGHTS, add_own_keys, permuted

CONFIG, TENSORS, METADATA = "adapter_config.json", "adapter_model.safetensors", "gistchat.json"
PREFIX = "base_model.model."
# What of peft's settings changes more than the two matrices of each module, or their scale.
OTHER_KINDS = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "trainable_token_indices"),
    *("target_parameters", "layer_replication", "alpha_pattern", "rank_pattern", "alora_invocation_tokens"),
    *("arrow_config", "kasa_config", "monteclora_config", "velora_config"),
)


@dataclass(frozen=True)
class LoraBase:
    """What of a base model its adapters have to know."""

    arch: str
    layers: int
    heads: int
    kv_heads: int
    interleaved: bool  # as in gguf_file.Kind


PACKAGED_BASE = LoraBase("llama", layers=30, heads=9, kv_heads=3, interleaved=True)  # SmolLM2-135M


def lora_fault(folder: Path) -> str:
    """Why a folder's adapter cannot be written as a GGUF LoRA; empty where it can.

    Raises:
        UserError: no adapter, or one that cannot be read.
    """
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        return "it is no LoRA adapter"
    if not all(isinstance(config.get(name), (int, float)) and config[name] > 0 for name in ("r", "lora_alpha")):
        return "it does not state its rank and scale"
    if named := [name for name in OTHER_KINDS if config.get(name)]:
        return f"it has {named[0]}, which GGUF does not know"
    if config.get("bias", "none") != "none":
        return "it has biases, which GGUF does not know"
    others = [name for name in _names(folder / TENSORS) if _parts(name) is None]
    return f"it has other weights than LoRA's ({others[0][:80]})" if others else ""


def write_lora_gguf(
    folder: Path, path: Path, base: LoraBase = PACKAGED_BASE, recipe: dict[str, Any] | None = None
) -> None:
    """Write a folder's adapter for the GGUF file of its base.

    Args:
        recipe: to write in place of the folder's.
    Raises:
        UserError: package gguf is missing, or the adapter is none that can be written so, or not of this base.
    """
    import gguf  # takes a fifth of a second, which a chat need not wait for

    if fault := lora_fault(folder):
        raise UserError(f"{folder}: the adapter alone cannot be written as GGUF: {fault}; export the whole model")
    config = read_json(folder / CONFIG)
    writer = gguf.GGUFWriter(path, base.arch)
    try:
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, _alpha(config))
        if (folder / METADATA).is_file():
            metadata = read_json(folder / METADATA)
            metadata |= {"recipe": recipe} if recipe else {}
            keys = {FORMAT: "format", RECIPE: "recipe", WEIGHTS: "weights"}
            add_own_keys(writer, {key: metadata[name] for key, name in keys.items() if name in metadata})
        for name, values in sorted(_lora_tensors(folder, base, gguf)):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _alpha(config: dict[str, Any]) -> float:
    """llama.cpp scales by alpha / rank, which is to be peft's scale."""
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _lora_tensors(folder: Path, base: LoraBase, gguf: Any) -> Iterator[tuple[str, np.ndarray]]:
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == base.arch)
    names = gguf.get_tensor_name_map(arch, base.layers)
    heads = {"q_proj": base.heads, "k_proj": base.kv_heads} if base.interleaved else {}
    for own_name, values in read_tensors(folder / TENSORS).items():
        module, half = _parts(own_name)
        name = names.get_name(module)
        if name is None:
            raise UserError(f"{folder}: an adapter of another model ({module[:80]})")
        if half == "b" and (count := heads.get(module.rpartition(".")[2])):
            if len(values) % (2 * count):
                raise UserError(f"{folder}: an adapter of another model ({module[:80]} has {len(values)} rows)")
            values = permuted(values, count)
        yield f"{name}.weight.lora_{half}", np.ascontiguousarray(values)


def _parts(name: str) -> tuple[str, str] | None:
    """The module of a LoRA matrix and which of the two it is, "a" or "b"; None where it is something else."""
    for half in "AB":
        ending = f".lora_{half}.weight"
        if name.startswith(PREFIX) and name.endswith(ending):
            return name.removeprefix(PREFIX).removesuffix(ending), half.lower()
    return None


def _names(path: Path) -> list[str]:
    try:
        with safetensors.safe_open(path, "np") as file:
            return list(file.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)})") from None


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file as 32-bit floats. numpy itself has no bfloat16.

    Raises:
        UserError: missing or damaged, or numbers of another kind.
    """
    kinds = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
    tensors = {}
    try:
        for name, tensor in safetensors.deserialize(path.read_bytes()):
            data = tensor["data"]
            if tensor["dtype"] == "BF16":  # the upper half of a 32-bit float
                values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data, kinds[tensor["dtype"]]).astype(np.float32)
            tensors[name] = values.reshape(tensor["shape"])
    except KeyError as error:
        raise UserError(f"{path}: holds numbers of kind {error}; gistchat reads floats") from None
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({first_line(error)})") from None
    return tensors
