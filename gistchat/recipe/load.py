"""Recipes as TOML files: read, overridden as section.field=value, and checked before anything starts."""

import dataclasses
import difflib
import json
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gistchat.context.strategies import STRATEGIES
from gistchat.errors import UserError, first_line, shown
from gistchat.limits import LARGEST_RECIPE, LONGEST_RECIPE_LINE
from gistchat.progress import say, say_once
from gistchat.recipe.schema import ExperimentConfig, Recipe
from gistchat.trusted_hosts import trust_those_in

SHIPPED = Path(__file__).parent.parent / "recipes"
TYPE_NAMES = {str: "strings", int: "whole numbers"}
PAST_ENGINES = ("ctranslate2", "ctranslate2-int8")  # that recipes of earlier versions may name


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the bare name of one that ships with gistchat.

    Raises:
        UserError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = SHIPPED / f"{path.stem}.toml"
    if not path.suffix and path.name == name:
        if shipped.exists():
            return shipped
        names = ", ".join(shipped_recipes())
        raise UserError(f"{name}: no such recipe; give a file (./NAME.toml) or one that ships with gistchat: {names}")
    if shipped.exists() and not path.exists():
        raise UserError(f"{name}: no such file; a recipe of this name ships with gistchat: gistchat run {path.stem}")
    return path  # what is wrong with it is said when it is read


def shipped_recipes() -> dict[str, str]:
    """The names of the recipes that ship with gistchat, each with the first line of its comment."""
    paths = sorted(SHIPPED.glob("*.toml"))
    return {path.stem: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for path in paths}


def load_recipe(path: Path, overrides: Sequence[str] | None = None, offline: bool = False) -> Recipe:
    """Read a recipe and apply `section.field=value` overrides.

    Args:
        overrides: of the command line. They go before what the recipe says, its variants' own settings included.
        offline: make the recipe's offline settings, which these go before, and leave out variants that need the hub.
    Raises:
        UserError: no such file, not TOML, an unknown field (the nearest right one is named) or a wrong value, with
            file:line.
    """
    text = _recipe_text(path)
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # tomllib's own are ValueErrors, too, as is that of a number of thousands of digits
        raise UserError(f"{path}: not valid TOML: {first_line(error)}") from None
    trust_those_in(overrides or [])
    values.setdefault("name", path.stem)
    recipe = recipe_from_dict(values, str(path), text)
    settings = [*(recipe.experiment.offline if offline else []), *(overrides or [])]
    own_settings = [setting for setting in settings if not setting.startswith("experiment.")]
    variants = [
        dataclasses.replace(variant, set=[*variant.set, *own_settings])
        for variant in (_offline_variants(recipe.experiment) if offline else recipe.experiment.variants)
    ]
    return override(recipe.change(experiment={"variants": variants}), settings)


def _recipe_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_RECIPE + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name the recipe file in it") from None
    if len(data) > LARGEST_RECIPE:
        raise UserError(f"{path}: over {LARGEST_RECIPE:,} bytes long, which no recipe is")
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) > LONGEST_RECIPE_LINE:
            raise UserError(f"{path}:{number}: {len(line):,} bytes long; at most {LONGEST_RECIPE_LINE:,}")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def _offline_variants(config: ExperimentConfig) -> list[Any]:
    left_out = [variant.name for variant in config.variants if variant.needs_hub]
    kept = [variant for variant in config.variants if not variant.needs_hub]
    if left_out:
        say(f"offline: left out, as they need the hub: {', '.join(left_out)}")
    if left_out and not kept:
        raise UserError("every variant of this recipe needs the hub; run it without --offline")
    return kept


def override(recipe: Recipe, settings: Sequence[str], where: str = "--set") -> Recipe:
    """A recipe with `section.field=value` settings, which are made together and then checked.

    Args:
        where: they come from, for messages.

    Raises:
        UserError: an unknown field, or a value that it cannot have.
    """
    values = dataclasses.asdict(recipe)
    infos = {name: info for name, info in _field_infos(Recipe) if "[]" not in name}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(f"{where} {setting}: expected section.field=value")
        if name not in infos:
            raise UserError(f"{where}: unknown field {name}{_nearest(name, infos)}")
        section, _, field = name.rpartition(".")
        (values[section] if section else values)[field] = _parse(infos[name].annotation, text.strip())
    return recipe_from_dict(values, where)


def recipe_from_dict(values: dict[str, Any], where: str, text: str = "") -> Recipe:
    """A recipe from plain values, such as `dataclasses.asdict` makes of one.

    Args:
        where: they come from, for messages.
        text: of the TOML file that they were read from, to name the line.

    Raises:
        UserError: the first mistake, in one line for people.
    """
    try:
        return TypeAdapter(Recipe).validate_python(_with_engine_of_today(values))
    except ValidationError as error:
        field, problem = _explained(error.errors()[0])
        line = _line_of(field, text)
        raise UserError(f"{where}:{line}: {problem}" if line else f"{where}: {problem}") from None


def _with_engine_of_today(values: dict[str, Any]) -> dict[str, Any]:
    chat = values.get("chat")
    engine = chat.get("engine") if isinstance(chat, dict) else None
    if engine not in PAST_ENGINES:
        return values
    say_once(f'chat.engine: gistchat has no {engine} any more; taken as "auto"')
    return {**values, "chat": {**chat, "engine": "auto"}}


def fields() -> list[tuple[str, str, Any, str]]:
    """(name, type, default, help) of every recipe field, for `gistchat fields` and the documents."""
    chat = ", ".join(name for name, strategy in STRATEGIES.items() if strategy.in_chat)
    rows = []
    for name, info in _field_infos(Recipe):
        help_text = info.description.replace("{strategies}", ", ".join(STRATEGIES)).replace("{chat_strategies}", chat)
        kind, item = info.annotation.__name__, _item_type(info.annotation)
        if item:
            kind = f"list of {'tables' if dataclasses.is_dataclass(item) else item.__name__}"
        rows.append((name, kind, info.get_default(call_default_factory=True), help_text))
    return rows


def _field_infos(config: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, pydantic's FieldInfo) of every field, those of sections and of lists of tables included."""
    for name, info in config.__pydantic_fields__.items():  # type: ignore[attr-defined]
        if dataclasses.is_dataclass(info.annotation):
            yield from _field_infos(info.annotation, f"{prefix}{name}.")
            continue
        if dataclasses.is_dataclass(table := _item_type(info.annotation)):
            yield from _field_infos(table, f"{prefix}{name}[].")
        yield f"{prefix}{name}", info


def _item_type(annotation: Any) -> Any:
    """What a list holds, without the checks of `Annotated`; None where it is no list."""
    if typing.get_origin(annotation) is not list:
        return None
    [item] = typing.get_args(annotation)
    return typing.get_args(item)[0] if typing.get_origin(item) is typing.Annotated else item


def _explained(detail: Any) -> tuple[str, str]:
    """The field that one of pydantic's errors is about, and what is wrong with its value."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "mismatch":
        return re.split(r"[: ]", context["text"])[0], context["text"]
    name = "".join("[]" if isinstance(part, int) else f".{part}" for part in detail["loc"])[1:].removesuffix("[]")
    infos = dict(_field_infos(Recipe))
    if kind == "unexpected_keyword_argument":
        names = infos if "." in name else [*infos, *Recipe.__pydantic_fields__]
        return name, f"unknown field {name}{_nearest(name, names)}"
    if name not in infos:
        return name, f"[{name}] must be a table"
    annotation, item = infos[name].annotation, _item_type(infos[name].annotation)
    if kind == "one_of":
        problem = (
            f": {shown(value)} is not one of {', '.join(context['allowed'])}{_nearest(value[:100], context['allowed'])}"
        )
    elif kind == "too_short":
        [choice] = typing.get_args(annotation)
        problem = f" must name at least one of {', '.join(choice.__metadata__[-1].func.allowed())}"
    elif kind in ("greater_than", "greater_than_equal", "less_than_equal", "finite_number"):
        problem = f" must be {_bounds(infos[name].metadata, kind)}, not {shown(value)}"
    elif kind == "string_pattern_mismatch":
        problem = f": {shown(value)} holds the character NUL"
    elif dataclasses.is_dataclass(item):
        problem = f" must be a list of tables, [[{name}]]"
    elif item:
        problem = f" must be a list of {TYPE_NAMES[item]}, not {'' if kind == 'list_type' else 'with '}{shown(value)}"
    else:
        problem = f" must be of type {annotation.__name__}, not {shown(value)}"
    return name, name + problem


def _bounds(metadata: Sequence[Any], kind: str) -> str:
    """What a value has to be; the most there may be only where there was more, as it is far above what is needed."""
    limits = {name: getattr(bound, name) for bound in metadata for name in ("gt", "ge", "le") if hasattr(bound, name)}
    least = f"above {limits['gt']:g}" if "gt" in limits else f"at least {limits['ge']:g}"
    if kind != "less_than_equal":
        return least
    return (
        f"{least} and at most {limits['le']:g}" if "gt" in limits else f"between {limits['ge']:g} and {limits['le']:g}"
    )


def _parse(annotation: Any, text: str) -> Any:
    """Text from the command line: JSON where the type is not a string; lists also as a,b,c."""
    if annotation is str:
        return text
    if (item := _item_type(annotation)) and not text.startswith("["):
        return [_parse(item, part.strip()) for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # of JSON that is none, has a number of thousands of digits, or nests deeply
        return text


def _line_of(field: str, text: str) -> int | None:
    """The line of a TOML text at which a field is set; None where it cannot be told."""
    field = field.replace("[]", "")
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*+\[++([\w.\-\s]*+)\]", line):
            section = name = header[1].strip()
        elif match := re.match(r"\s*+([\w.\-]++)\s*=", line):
            name = f"{section}.{match[1]}" if section else match[1]
        else:
            continue
        if name == field:
            return number
    return None


def _nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, or else at a field of the same name in another section."""
    last = name.split(".")[-1]
    close = difflib.get_close_matches(name, names, 1, 0.5) or [full for full in names if full.endswith(f".{last}")]
    return f"; did you mean {close[0]}?" if close else ""
