"""Recipes as TOML files: read, overridden as section.field=value, and checked before anything starts."""

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

from gistchat.errors import UserError
from gistchat.progress import say
from gistchat.recipe.data_section import DataConfig
from gistchat.recipe.schema import STRATEGIES, ExperimentConfig, Recipe, SummaryConfig, TrainConfig

CHOICES = {
    "train.schedule": ("linear", "cosine", "constant", "constant_with_warmup", "polynomial"),
    "model.init": ("pretrained", "scratch"),
    "model.format": ("auto", "speaker-tokens", "chat-template", "paper", "paper-turns"),
    "summary.method": ("textrank", "lexrank", "lsa", "mmr", "lead", "recent", "seq2seq", "llm", "endpoint"),
    "train.method": ("auto", "lora", "full"),
    "train.targets": ("one", "all"),
    "train.precision": ("auto", "float32", "bfloat16"),
    "train.report_to": ("tensorboard", "trackio", "wandb", "mlflow", "none"),
    "train.strategies": (*STRATEGIES, "rolling", "gold"),
    "evaluate.strategies": (*STRATEGIES, "rolling", "gold"),
    "evaluate.baseline": (*STRATEGIES, "rolling", "gold"),
    "evaluate.turns": ("one", "last", "all"),
    "chat.strategy": (*(name for name in STRATEGIES if name != "shuffled"), "rolling"),
    "chat.engine": ("torch", "ctranslate2", "ctranslate2-int8"),
    "data.on_error": ("stop", "skip"),
    "data.audit": ("no", "report", "drop"),
    "data.scrub": ("auto", "yes", "no"),
    "data.split_by": ("auto", "speaker", "dialogue"),
}
# (least, most) of numbers; None: no bound
RANGES: dict[str, tuple[float, float | None]] = {
    "seed": (0, 2**32 - 1),
    "data.seed": (0, None),
    "data.min_turns": (0, None),
    "data.max_turn_chars": (0, None),
    "data.test_share": (0, 0.9),
    "data.validation_share": (0, 0.9),
    "context.budget": (0, None),
    "context.summary_share": (0, 1),
    "context.full_limit": (0, None),
    "context.max_turns": (0, None),
    "summary.recency": (0.5, 1),
    "train.steps": (0, None),
    "train.epochs": (1, None),
    "train.batch_size": (1, None),
    "train.micro_batch": (0, None),
    "train.learning_rate": (0, None),
    "train.warmup_steps": (0, None),
    "train.weight_decay": (0, None),
    "train.schedule_power": (0.1, None),
    "train.max_grad_norm": (0, None),
    "train.patience": (0, None),
    "train.samples": (0, None),
    "train.keep_states": (1, None),
    "train.max_tokens": (1, None),
    "train.lora_rank": (1, None),
    "train.lora_alpha": (1, None),
    "train.lora_dropout": (0, 0.99),
    "train.validation_items": (1, None),
    "train.evaluate_every": (1, None),
    "train.save_every": (1, None),
    "evaluate.items": (1, None),
    "evaluate.reply_items": (0, None),
    "evaluate.rank_items": (0, None),
    "evaluate.probe_items": (0, None),
    "evaluate.base_items": (0, None),
    "evaluate.min_history": (1, None),
    "evaluate.max_reply_tokens": (1, None),
    "evaluate.batch_tokens": (1, None),
    "evaluate.resamples": (1, None),
    "chat.max_reply_tokens": (1, None),
    "chat.temperature": (0, None),
    "chat.top_p": (0.01, 1),
    "chat.top_k": (0, None),
    "chat.repetition_penalty": (0.1, 10),
    "chat.no_repeat_ngram": (0, None),
    "chat.n_best": (1, 64),
}


def load_recipe(path: Path, overrides: list[str] | None = None, offline: bool = False) -> Recipe:
    """Read a recipe and apply `section.field=value` overrides.

    Args:
        overrides: of the command line. They go before what the recipe says, its variants' own settings included.
        offline: make the recipe's offline settings, which these go before, and leave out variants that need the hub.
    Raises:
        UserError: no such file, not TOML, an unknown field (the nearest right one is named) or a wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name the recipe file in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    values.setdefault("name", path.stem)
    recipe = _fill(Recipe, values, "", str(path))
    if offline:
        _leave_out_hub(recipe.experiment)
    recipe = apply_overrides(recipe, settings := [*(recipe.experiment.offline if offline else []), *(overrides or [])])
    for variant in recipe.experiment.variants:
        variant.set += [setting for setting in settings if not setting.startswith("experiment.")]
    return recipe


def _leave_out_hub(config: ExperimentConfig) -> None:
    left_out = [variant.name for variant in config.variants if variant.needs_hub]
    config.variants = [variant for variant in config.variants if not variant.needs_hub]
    if left_out:
        say(f"offline: left out, as they need the hub: {', '.join(left_out)}")
    if left_out and not config.variants:
        raise UserError("every variant of this recipe needs the hub; run it without --offline")


def apply_overrides(recipe: Recipe, overrides: list[str]) -> Recipe:
    """Set `section.field=value` in place and check the result. Raises UserError as `load_recipe` does."""
    for override in overrides:
        _override(recipe, override)
    check(recipe)
    return recipe


def recipe_from_dict(values: dict[str, Any], where: str) -> Recipe:
    """A recipe from the dictionary that `dataclasses.asdict` made of one."""
    recipe = _fill(Recipe, values, "", where)
    check(recipe)
    return recipe


def fields(config: type = Recipe, prefix: str = "") -> list[tuple[str, str, Any, str]]:
    """(name, type, default, help) of every recipe field, for `gistchat fields` and the documents."""
    rows = []
    for item in dataclasses.fields(config):
        if dataclasses.is_dataclass(item.type):
            rows += fields(item.type, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            default = item.default if item.default is not dataclasses.MISSING else item.default_factory()  # type: ignore[misc]
            kind = item.type.__name__ if isinstance(item.type, type) and item.type is not list else str(item.type)
            if isinstance(item.type, types.GenericAlias):
                [inner] = typing.get_args(item.type)
                kind = f"list of {'tables' if dataclasses.is_dataclass(inner) else inner.__name__}"
                if dataclasses.is_dataclass(inner):
                    rows += fields(inner, f"{prefix}{item.name}[].")
            rows.append((f"{prefix}{item.name}", kind, default, item.metadata.get("help", "")))
    return rows


def check(recipe: Recipe) -> None:
    """Refuse values that no stage can work with."""
    for name, allowed in CHOICES.items():
        _check_choice(name, _get(recipe, name), allowed)
    for name, (least, most) in RANGES.items():
        value = _get(recipe, name)
        if not (math.isfinite(value) and least <= value <= (math.inf if most is None else most)):
            bounds = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
            raise UserError(f"{name} must be {bounds}, not {value}")
    if recipe.data.test_share + recipe.data.validation_share >= 1:
        raise UserError("data.test_share + data.validation_share must be below 1")
    _check_train(recipe.train)
    for name in ("train.budgets", "evaluate.budgets"):
        _check_budgets(name, _get(recipe, name), recipe.context.budget)
    _check_mix(recipe.data)
    _check_format(recipe)
    _check_summary(recipe.summary)
    if Path(recipe.name).name != recipe.name:
        raise UserError(f"name: {recipe.name!r} must be a plain name; --out takes a folder")
    if recipe.evaluate.baseline not in recipe.evaluate.strategies:
        raise UserError(f"evaluate.baseline: {recipe.evaluate.baseline!r} is not among evaluate.strategies")


def _check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value == []:
        raise UserError(f"{name} must name at least one of {', '.join(allowed)}")
    for item in value if isinstance(value, list) else [value]:
        if item not in allowed:
            raise UserError(f"{name}: {item!r} is not one of {', '.join(allowed)}{_nearest(item, allowed)}")


def _check_train(config: TrainConfig) -> None:
    if config.targets == "all" and config.strategies != ["full"]:
        raise UserError(
            "train.targets 'all' learns every reply with its full history; set train.strategies = [\"full\"]"
        )


def _check_budgets(name: str, budgets: list[int], most: int) -> None:
    for budget in budgets:
        if not 0 <= budget <= most:
            raise UserError(
                f"{name}: {budget} is not between 0 and context.budget ({most}), which summaries are made for"
            )
    if len(set(budgets)) < len(budgets):
        raise UserError(f"{name}: a budget is there twice")


def _check_format(recipe: Recipe) -> None:
    """The layout of the paper's parent has no place for a summary; better said before training than after."""
    if recipe.model.format != "paper-turns":
        return
    for name in ("train.strategies", "evaluate.strategies"):
        if gists := set(_get(recipe, name)) - {"last", "recent", "full"}:
            raise UserError(f"{name}: model.format 'paper-turns' has no place for the summary of {min(gists)!r}")


def _check_summary(config: SummaryConfig) -> None:
    if config.method == "endpoint" and not (config.url and config.model):
        raise UserError("summary.method 'endpoint' needs summary.url and summary.model (--url and --with)")


def _check_mix(config: DataConfig) -> None:
    for part in config.mix:
        if not (math.isfinite(part.weight) and part.weight > 0):
            raise UserError(f"data.mix[].weight must be above 0, not {part.weight}")
        if Path(part.name).name != part.name:
            raise UserError(f"data.mix[].name: {part.name!r} must be a plain name")


def _fill(config: type, values: Any, prefix: str, where: str) -> Any:
    if not isinstance(values, dict):
        raise UserError(f"{where}: [{prefix.rstrip('.')}] must be a table")
    known = {item.name: item.type for item in dataclasses.fields(config)}
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown field {prefix}{name}{_nearest(prefix + name)}")
    filled = {}
    for name, value in values.items():
        kind = known[name]
        if dataclasses.is_dataclass(kind):
            filled[name] = _fill(kind, value, f"{prefix}{name}.", where)  # type: ignore[arg-type]
        else:
            filled[name] = _typed(kind, value, prefix + name, where)
    return config(**filled)


def _typed(kind: Any, value: Any, name: str, where: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    origin = typing.get_origin(kind)
    if origin is list and dataclasses.is_dataclass(inner := typing.get_args(kind)[0]):
        if not isinstance(value, list):
            raise UserError(f"{where}: {name} must be a list of tables, [[{name}]]")
        return [_fill(inner, item, f"{name}[].", where) for item in value]  # type: ignore[arg-type]
    if origin is list:
        [inner] = typing.get_args(kind)
        fits = isinstance(value, list) and all(type(item) is inner for item in value)
        expected = "a list of strings" if inner is str else "a list of whole numbers"
    else:
        fits = isinstance(value, kind) and not (kind in (int, float) and isinstance(value, bool))
        expected = f"of type {kind.__name__}"
    if not fits:
        raise UserError(f"{where}: {name} must be {expected}, not {value!r}")
    return value


def _override(recipe: Recipe, override: str) -> None:
    name, equals, text = override.partition("=")
    name = name.strip()
    types_by_name = {row[0] for row in fields()}
    if not equals:
        raise UserError(f"--set {override}: expected section.field=value")
    if name not in types_by_name:
        raise UserError(f"--set: unknown field {name}{_nearest(name)}")
    *sections, last = name.split(".")
    owner: Any = recipe
    for section in sections:
        owner = getattr(owner, section)
    kind = {item.name: item.type for item in dataclasses.fields(owner)}[last]
    setattr(owner, last, _typed(kind, _parse(kind, text.strip()), name, "--set"))


def _parse(kind: Any, text: str) -> Any:
    """Text from the command line: JSON where the type is not a string; lists also as a,b,c."""
    if kind is str:
        return text
    if typing.get_origin(kind) is list and not text.startswith("["):
        [inner] = typing.get_args(kind)
        return [item.strip() if inner is str else _parse(inner, item) for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _get(recipe: Recipe, name: str) -> Any:
    value: Any = recipe
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _nearest(name: str, known: tuple[str, ...] | None = None) -> str:
    names = known or tuple(row[0] for row in fields())
    close = difflib.get_close_matches(name, names, 1, 0.5)
    if not close and known is None:
        # A right field in the wrong section: compare the last parts.
        close = [full for full in names if full.split(".")[-1] == name.split(".")[-1]]
    return f"; did you mean {close[0]}?" if close else ""
