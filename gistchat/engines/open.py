"""From what the user named (a run, a GGUF file, a server) to the engine that answers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gistchat import trusted_hosts
from gistchat.engines.engine import Engine, LocalEngine
from gistchat.engines.llama_server import LlamaServer, load_library
from gistchat.engines.llama_tokenizer import LlamaTokenizer
from gistchat.engines.llamacpp_engine import LlamaCppEngine, rules_fault
from gistchat.errors import UserError
from gistchat.files import read_json
from gistchat.models.checkpoint_folder import PACKAGED, read_metadata, read_while_replaced
from gistchat.models.checkpoint_gguf import GgufFiles, adapter_files, convert, converted_file, on_packaged_base
from gistchat.models.gguf_file import kind_fault
from gistchat.models.gguf_header import GgufHeader, is_gguf, read_header
from gistchat.printable import printable
from gistchat.progress import say
from gistchat.prompts.formats import FORMATS, make_format
from gistchat.prompts.wording import PREAMBLE
from gistchat.recipe.load import override, recipe_from_dict
from gistchat.recipe.schema import Recipe

LEAST_CONTEXT = 4096  # tokens that llama.cpp makes room for, where the model holds them
AROUND = 1024  # tokens for the last turn, and what a template puts around turns
LEAST_PROMPT = 32
END_ROLES = ("eot", "eom")  # tokens that end a turn, or a message that a tool answers, besides the end token
# For models that were not trained with gistchat, most of which say more at a time, and remember more.
OTHERS_SETTINGS = ("context.budget=1024", "chat.max_reply_tokens=256")
OTHER_KINDS = {"adapter": "an adapter without its model", "mmproj": "the part of a model that reads images"}
NO_WRITERS = ("t5", "t5encoder", "clip")
# Of these llama.cpp takes some that cannot be, and then ends the whole process.
BOUNDS = {"context_length": (LEAST_PROMPT, 2**31 - 1), "block_count": (1, 512)}


@dataclass(frozen=True)
class Opened:
    """Who answers.

    Attributes:
        recipe: how it was trained and is to talk; overridden.
        identity: equal for the same weights.
        name: for people.
    """

    engine: Engine
    recipe: Recipe
    identity: Any
    name: str


def open_answerer(source: Path | None, overrides: tuple[str, ...] = (), slots: int = 1) -> Opened:
    """Open a run's checkpoint, a GGUF file, or (chat.url) the server that answers in its place.

    Args:
        source: None for the adapter that comes with gistchat, or for a server without a run's settings.
        overrides: `field=value` of the recipe.
        slots: replies that may be asked for at once, where llama.cpp answers; torch writes one after another.

    Raises:
        UserError: nothing there, not a model that can answer, or no engine for it.
    """
    trusted_hosts.trust_those_in(overrides)
    if source is not None and is_gguf(source):
        return _open_gguf(source, overrides, slots)
    if source is None and override(Recipe(), overrides).chat.url:
        return _open_server(override(_recipe_of_others("server"), overrides))
    return read_while_replaced(source or PACKAGED, lambda folder: _open_folder(folder, overrides, slots))


def _recipe_of_others(name: str) -> Recipe:
    return override(Recipe(name=name), OTHERS_SETTINGS)


def _open_server(recipe: Recipe) -> Opened:
    from gistchat.engines.server_engine import open_server_engine

    engine = open_server_engine(recipe.chat.url, recipe.chat.model, preamble=recipe.chat.system or PREAMBLE)
    url, model = engine.client.url, engine.client.model
    return Opened(_settled(engine, recipe), recipe, [url, model], f"{printable(model)} at {url}")


def _open_folder(folder: Path, overrides: tuple[str, ...], slots: int) -> Opened:
    recipe, metadata = read_metadata(folder)
    recipe = override(recipe, overrides)
    if recipe.chat.url:
        return _open_server(recipe)
    engine = _engine_of(folder, recipe, metadata, slots)
    name = "the packaged adapter" if folder == PACKAGED else str(folder)
    return Opened(_settled(engine, recipe), recipe, metadata["weights"], name)


def _engine_of(folder: Path, recipe: Recipe, metadata: dict[str, Any], slots: int) -> Engine:
    """llama.cpp where it can be had, else torch, and why; `chat.engine` may insist on either."""
    if recipe.chat.engine == "torch":
        return _torch_engine(folder)
    fault = llama_fault(folder, recipe, metadata)
    if not fault:
        try:
            load_library()
        except UserError as error:
            fault = str(error)
    if fault and recipe.chat.engine == "llamacpp":
        raise UserError(fault)
    if fault:
        engine = _torch_engine(folder)
        say(f"answering with torch: {fault}")
        return engine
    if on_packaged_base(folder, recipe.model, metadata):
        return _llama_engine(adapter_files(folder, metadata), metadata["format"], recipe, slots)
    if kept := converted_file(metadata):
        return _llama_engine(GgufFiles(kept), metadata["format"], recipe, slots)
    return _converted(folder, recipe, metadata, slots)


def llama_fault(folder: Path, recipe: Recipe, metadata: dict[str, Any]) -> str:
    """Why llama.cpp cannot answer with a checkpoint as its recipe wants it; empty where it can, as far as is known.

    Told before anything is loaded or downloaded.
    """
    prompt_format = FORMATS.get(metadata["format"])
    if prompt_format is not None and prompt_format.has_types:
        return f"the format {metadata['format']!r} has token types, which llama.cpp does not know"
    if fault := rules_fault(recipe.chat.repetition_penalty, recipe.chat.no_repeat_ngram):
        return fault
    config = folder / "config.json"  # that of whole weights; an adapter has its base's
    return kind_fault(str(read_json(config).get("model_type"))) if config.is_file() else ""


def _converted(folder: Path, recipe: Recipe, metadata: dict[str, Any], slots: int) -> Engine:
    """llama.cpp with weights that are converted now; torch, which has them already, where they cannot be."""
    from gistchat.engines.torch_engine import TorchEngine
    from gistchat.models.base import model_type
    from gistchat.models.checkpoint import load_checkpoint
    from gistchat.models.resolve import resolve_base

    if recipe.chat.engine == "llamacpp" and (folder / "adapter_config.json").is_file():
        kind = model_type(resolve_base(recipe.model, recipe.seed, metadata.get("base")))
        if fault := kind_fault(kind):  # said before the base's weights are downloaded
            raise UserError(fault)
    checkpoint = load_checkpoint(folder)
    try:
        files = convert(checkpoint)
    except UserError as error:
        if recipe.chat.engine == "llamacpp":
            raise
        say(f"answering with torch: {error}")
        return TorchEngine(checkpoint.model, checkpoint.format)
    return _llama_engine(files, checkpoint.format.name, recipe, slots)


def _torch_engine(folder: Path) -> Engine:
    from gistchat.engines.torch_engine import TorchEngine
    from gistchat.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(folder)
    return TorchEngine(checkpoint.model, checkpoint.format)


def _open_gguf(path: Path, overrides: tuple[str, ...], slots: int) -> Opened:
    header = read_header(path)
    _require_writer(header)
    recipe = override(_recipe_in(header), overrides)
    if recipe.chat.engine == "torch":
        raise UserError(f"{path}: a GGUF file is for llama.cpp; leave --engine torch out, or name the run")
    if recipe.chat.url:
        raise UserError(f"{path}: a model to answer and a server to answer (--url); give one of them")
    if fault := rules_fault(recipe.chat.repetition_penalty, recipe.chat.no_repeat_ngram):
        raise UserError(fault)
    engine = _llama_engine(GgufFiles(path), _format_of(header), recipe, slots, header)
    stat = path.stat()
    return Opened(_settled(engine, recipe), recipe, [path.name, stat.st_size, stat.st_mtime_ns], path.name)


def _require_writer(header: GgufHeader) -> None:
    """Raises UserError where a file holds something else than a model that writes text."""
    values, kind = header.values, str(header.values.get("general.type", "model"))
    if kind in OTHER_KINDS:
        raise UserError(f"{header.path}: {OTHER_KINDS[kind]}, which cannot answer alone")
    if not header.architecture:
        raise UserError(f"{header.path}: does not say of which architecture the model is")
    pooled = values.get(f"{header.architecture}.pooling_type")
    if pooled or values.get(f"{header.architecture}.attention.causal") is False or "bert" in header.architecture:
        raise UserError(f"{header.path}: an embedding model ({header.architecture}), which writes no text")
    if header.architecture in NO_WRITERS:
        raise UserError(f"{header.path}: a model of another kind ({header.architecture}), which takes no conversation")
    for name, (least, most) in BOUNDS.items():
        value = values.get(f"{header.architecture}.{name}", least)
        if not isinstance(value, int) or not least <= value <= most:
            raise UserError(f"{header.path}: damaged, as {header.architecture}.{name} is {str(value)[:40]}")


def _recipe_in(header: GgufHeader) -> Recipe:
    """What `gistchat export` wrote into the file; for others a recipe of no training."""
    stored = header.values.get("gistchat.recipe")
    if not isinstance(stored, str):
        return _recipe_of_others(header.path.stem if header.path.stem.isidentifier() else "model")
    try:
        values = json.loads(stored)
    except (ValueError, RecursionError):
        raise UserError(f"{header.path}: gistchat.recipe in this file is damaged") from None
    return recipe_from_dict(values, str(header.path))


def _format_of(header: GgufHeader) -> str:
    """The prompt format that a file's model was trained with; others have a chat template of their own."""
    name = header.values.get("gistchat.format")
    if isinstance(name, str) and name in FORMATS and not FORMATS[name].has_types:
        return name
    if not header.chat_template:
        raise UserError(
            f"{header.path}: no chat template in this file, so the model would not know who speaks; take an instruct "
            "or chat model"
        )
    return "chat-template"


def _llama_engine(
    files: GgufFiles, format_name: str, recipe: Recipe, slots: int, header: GgufHeader | None = None
) -> LocalEngine:
    header = header or read_header(files.model)
    holds = header.context_length or LEAST_CONTEXT
    wanted = max(recipe.context.budget, recipe.context.full_limit) + recipe.chat.max_reply_tokens + AROUND
    server = LlamaServer(files.model, min(holds, max(LEAST_CONTEXT, wanted)), files.adapter, slots)
    ends = [number for role in END_ROLES if (number := header.token_id(role)) is not None]
    prompt_format = make_format(format_name, LlamaTokenizer(header, server), ends)
    return LlamaCppEngine(server, prompt_format)


def _settled(engine: Engine, recipe: Recipe) -> Engine:
    """The engine, with the recipe's own preamble; a budget that it cannot hold whole is said.

    Raises:
        UserError: it holds too little, or its prompts have no preamble.
    """
    room = engine.limit - recipe.chat.max_reply_tokens
    if room < LEAST_PROMPT:
        raise UserError(
            f"the model holds {engine.limit:,} tokens, too few for a reply of up to {recipe.chat.max_reply_tokens}: "
            "lower --max-reply-tokens"
        )
    if recipe.chat.system and isinstance(engine, LocalEngine):
        if engine.format.preamble is None:
            raise UserError(f"chat.system: prompts of the format {engine.format.name!r} have no place for it")
        engine.format.preamble = recipe.chat.system
    if recipe.context.budget > room:
        budget, limit = recipe.context.budget, engine.limit
        say(f"a budget of {budget:,} tokens is more than the model holds ({limit:,} with the reply): less is used")
    return engine
