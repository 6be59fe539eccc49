"""The models that recipes name, opened before the first of them trains: a run must not fail after hours for want of
one. Weights are fetched and looked through, not loaded."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from gistchat.errors import UserError
from gistchat.evaluate.model_metrics import FEWEST, check_models
from gistchat.memory.factory import PACKAGED_MODEL, PAPERS_MODEL, allow_endpoint, make_index
from gistchat.memory.summarizers.seq2seq import open_seq2seq
from gistchat.memory.summarizers.summary_prompt import SummaryPrompt
from gistchat.models.base import load_tokenizer, read_model, require_causal, require_types
from gistchat.models.hub import fetched, load_error
from gistchat.models.resolve import resolve_base
from gistchat.progress import say
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import MemoryConfig, ModelConfig, Recipe


class Part(NamedTuple):
    """What a setting names; `open(*arguments)` raises UserError where it cannot be had."""

    setting: str
    name: str
    open: Callable[..., Any]
    arguments: tuple[Any, ...]


def open_models(recipes: Mapping[str, Recipe]) -> None:
    """Open what recipes name, each model once.

    Args:
        recipes: by what to call them in messages; a single one needs no name.
    Raises:
        UserError: what cannot be had, all of it, each with the setting that names it.
    """
    for recipe in recipes.values():  # a question to the user comes before all that takes time
        allow_endpoint(recipe.summary)
    parts: dict[Part, str] = {}
    for name, recipe in recipes.items():
        for part in _parts(recipe):
            parts.setdefault(part, name)
    problems = []
    for number, (part, recipe_name) in enumerate(parts.items(), 1):
        say(f"open: {part.setting} {part.name} ({number} of {len(parts)})")
        try:
            part.open(*part.arguments)
        except UserError as error:
            problems.append(": ".join(filter(None, [recipe_name, part.setting, str(error)])))
    if len(problems) > 1:
        numbered = "; ".join(f"({number}) {problem}" for number, problem in enumerate(problems, 1))
        raise UserError(f"{len(problems)} of these cannot be had: {numbered}")
    if problems:
        raise UserError(problems[0])


def _parts(recipe: Recipe) -> list[Part]:
    model, memory, evaluate = recipe.model, recipe.memory, recipe.evaluate
    seed = recipe.seed if model.init == "scratch" else 0
    encoder, reranker = MemoryConfig(encoder=memory.encoder), MemoryConfig(reranker=memory.reranker)
    parts = [
        Part("model.name", model.name, _open_base, (model, seed)),
        *_parts_of_summarizer(recipe),
        Part("memory.encoder", memory.encoder, make_index, (encoder,)),
        Part("memory.reranker", memory.reranker, make_index, (reranker,)),
        Part("evaluate.bertscore_model", evaluate.bertscore_model, check_models, (evaluate.bertscore_model, "", 0)),
        Part("evaluate.mauve_model", evaluate.mauve_model, check_models, ("", evaluate.mauve_model, FEWEST)),
    ]
    return [part for part in parts if part.name]


def _parts_of_summarizer(recipe: Recipe) -> list[Part]:
    config = recipe.summary
    prompt = Part("summary.prompt", config.prompt, SummaryPrompt, (config.prompt, recipe.context.budget))
    if config.method == "seq2seq":
        name = config.model or PAPERS_MODEL
        return [Part("summary.model", name, open_seq2seq, (name, "meta"))]
    if config.method == "llm":
        name = config.model or PACKAGED_MODEL
        return [prompt, Part("summary.model", name, _open_chat_model, (name,))]
    return [prompt] if config.method == "endpoint" else []


def _open_base(config: ModelConfig, seed: int) -> None:
    tokenizer, model = _open(config, seed)
    require_types(model, make_format(config.format, tokenizer))


def _open_chat_model(name: str) -> None:
    tokenizer, _ = _open(ModelConfig(name=name), 0)
    if not tokenizer.chat_template:
        raise UserError(f"{name}: no chat template, so it takes no instructions; give a chat model")


def _open(config: ModelConfig, seed: int) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    base = resolve_base(config, seed)
    require_causal(base)
    tokenizer = load_tokenizer(base)
    try:
        return tokenizer, read_model(AutoModelForCausalLM, fetched(base.source, base.commit), device_map="meta")
    except UserError:
        raise
    except Exception as error:  # as of `load_model`
        raise load_error(base.source, error) from None
