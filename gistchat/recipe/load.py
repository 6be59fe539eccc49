"""Recipes as TOML files: read, overridden as section.field=value, and checked before anything starts."""

import dataclasses
import difflib
import json
import re
import tomllib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, ValidationError

from gistchat.context.strategies import STRATEGIES
from gistchat.errors import UserError
from gistchat.progress import say
from gistchat.recipe.schema import ExperimentConfig, OneOf, Recipe

SHIPPED = Path(__file__).parent.parent / "recipes"
TYPE_NAMES = {str: "strings", int: "whole numbers"}


class Place(typing.NamedTuple):
    """Where values come from, for messages: a file with its text, or the command line."""

    name: str
    text: str = ""

    def error(self, field: str, problem: str) -> UserError:
        """The error at a field: with file:line where the text tells it."""
        line = _line_of(field, self.text)
        where = f"{self.name}:{line}" if line else self.name
        return UserError(f"{where}: {problem}" if where else problem)


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
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = tomllib.loads(text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; name the recipe file in it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    values.setdefault("name", path.stem)
    recipe = _build(Recipe, values, "", Place(str(path), text))
    settings = [*(recipe.experiment.offline if offline else []), *(overrides or [])]
    own_settings = [setting for setting in settings if not setting.startswith("experiment.")]
    variants = [
        dataclasses.replace(variant, set=[*variant.set, *own_settings])
        for variant in (_offline_variants(recipe.experiment) if offline else recipe.experiment.variants)
    ]
    return override(recipe.change(experiment={"variants": variants}), settings)


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
    values: dict[str, Any] = {}
    annotations = dict(_annotations(Recipe))
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise UserError(f"{where} {setting}: expected section.field=value")
        if name not in annotations:
            raise UserError(f"{where}: unknown field {name}{_nearest(name, _field_names())}")
        section, _, field = name.rpartition(".")
        value = _parse(annotations[name], text.strip())
        if section:
            values.setdefault(section, {})[field] = value
        else:
            values[field] = value
    place = Place(where)
    sections = {
        name: _replace(getattr(recipe, name), value, f"{name}.", place)
        for name, value in values.items()
        if isinstance(value, dict)
    }
    return _replace(recipe, values | sections, "", place)


def recipe_from_dict(values: dict[str, Any], where: str) -> Recipe:
    """A recipe from the dictionary that `dataclasses.asdict` made of one."""
    return _build(Recipe, values, "", Place(where))


def fields() -> list[tuple[str, str, Any, str]]:
    """(name, type, default, help) of every recipe field, for `gistchat fields` and the documents."""
    chat = ", ".join(name for name, strategy in STRATEGIES.items() if strategy.in_chat)
    rows = []
    for name, info in _field_infos(Recipe):
        help_text = info.description.replace("{strategies}", ", ".join(STRATEGIES)).replace("{chat_strategies}", chat)
        default = info.get_default(call_default_factory=True)
        rows.append((name, _type_name(info.annotation), default, help_text))
    return rows


def _field_infos(config: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, pydantic's FieldInfo) of every field, those of sections and of lists of tables included."""
    for name, info in config.__pydantic_fields__.items():  # type: ignore[attr-defined]
        if dataclasses.is_dataclass(info.annotation):
            yield from _field_infos(info.annotation, f"{prefix}{name}.")
            continue
        if table := _table_of(info.annotation):
            yield from _field_infos(table, f"{prefix}{name}[].")
        yield f"{prefix}{name}", info


def _annotations(config: type) -> Iterator[tuple[str, Any]]:
    return ((name, info.annotation) for name, info in _field_infos(config))


def _field_names() -> list[str]:
    return [name for name, _ in _field_infos(Recipe)]


def _table_of(annotation: Any) -> type | None:
    """The dataclass of a list of tables."""
    if typing.get_origin(annotation) is list and dataclasses.is_dataclass(typing.get_args(annotation)[0]):
        return typing.get_args(annotation)[0]
    return None


def _plain_type(annotation: Any) -> Any:
    """str, int, ... of an annotation with checks."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is not list:
        return _plain_type(annotation).__name__
    [item] = typing.get_args(annotation)
    return f"list of {'tables' if dataclasses.is_dataclass(item) else _plain_type(item).__name__}"


def _build(config: type, values: Any, prefix: str, place: Place) -> Any:
    """A section, and those in it, from plain values."""
    if not isinstance(values, dict):
        section = prefix.rstrip(".")
        raise place.error(section, f"[{section}] must be a table")
    infos = config.__pydantic_fields__  # type: ignore[attr-defined]
    arguments = {}
    for name, value in values.items():
        if name not in infos:
            full = prefix + name
            raise place.error(full, f"unknown field {full}{_nearest(full, _field_names())}")
        annotation = infos[name].annotation
        if dataclasses.is_dataclass(annotation):
            value = _build(annotation, value, f"{prefix}{name}.", place)
        elif (table := _table_of(annotation)) and isinstance(value, list):
            value = [_build(table, item, f"{prefix}{name}[].", place) for item in value]
        arguments[name] = value
    with _plain_errors(config, prefix, place):
        return config(**arguments)


def _replace(config: Any, values: dict[str, Any], prefix: str, place: Place) -> Any:
    with _plain_errors(type(config), prefix, place):
        return dataclasses.replace(config, **values)


class _plain_errors:
    """Turns pydantic's errors into one line for people, with the place of the value."""

    def __init__(self, config: type, prefix: str, place: Place) -> None:
        self.config, self.prefix, self.place = config, prefix, place

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, ValidationError):
            return
        detail = error.errors()[0]
        if detail["type"] == "mismatch":
            text = detail["ctx"]["text"]
            raise self.place.error(re.split(r"[: ]", text)[0], text) from None
        field = detail["loc"][0]
        name, info = f"{self.prefix}{field}", self.config.__pydantic_fields__[field]  # type: ignore[attr-defined]
        raise self.place.error(name, _explained(name, info, detail)) from None


def _explained(name: str, info: Any, detail: Any) -> str:
    """What is wrong with the value of a field, from pydantic's error."""
    kind, value = detail["type"], detail["input"]
    if kind == "one_of":
        allowed = detail["ctx"]["allowed"]
        return f"{name}: {value!r} is not one of {', '.join(allowed)}{_nearest(value, allowed)}"
    if kind == "too_short":
        return f"{name} must name at least one of {', '.join(_allowed(info.annotation))}"
    if kind in ("greater_than", "greater_than_equal", "less_than_equal", "finite_number"):
        return f"{name} must be {_bounds(info.metadata)}, not {value}"
    if _table_of(info.annotation):
        return f"{name} must be a list of tables, [[{name}]]"
    annotation = info.annotation
    if typing.get_origin(annotation) is list:
        items = TYPE_NAMES[_plain_type(typing.get_args(annotation)[0])]
        return f"{name} must be a list of {items}, not {'' if kind == 'list_type' else 'with '}{value!r}"
    return f"{name} must be of type {_plain_type(annotation).__name__}, not {value!r}"


def _allowed(annotation: Any) -> Sequence[str]:
    """The values that the items of a list may have."""
    [item] = typing.get_args(annotation)
    [check] = [one.func for one in typing.get_args(item)[1:] if isinstance(one, AfterValidator)]
    return check.allowed() if isinstance(check, OneOf) else []


def _bounds(metadata: Sequence[Any]) -> str:
    low = next((f"{bound.ge:g}" for bound in metadata if isinstance(bound, Ge)), "")
    high = next((f"{bound.le:g}" for bound in metadata if isinstance(bound, Le)), "")
    above = next((f"above {bound.gt:g}" for bound in metadata if isinstance(bound, Gt)), "")
    return above or (f"between {low} and {high}" if high else f"at least {low}")


def _parse(annotation: Any, text: str) -> Any:
    """Text from the command line: JSON where the type is not a string; lists also as a,b,c."""
    if _plain_type(annotation) is str:
        return text
    if typing.get_origin(annotation) is list and not text.startswith("["):
        item = _plain_type(typing.get_args(annotation)[0])
        return [part.strip() if item is str else _parse(item, part) for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _line_of(field: str, text: str) -> int | None:
    """The line of a TOML text at which a field is set; None where it cannot be told."""
    section, _, key = field.replace("[]", "").rpartition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\-\s]+?)\s*\]+", line):
            current = header[1]
            if current == field:
                return number
        elif (match := re.match(r"\s*([\w.\-]+)\s*=", line)) and ".".join(filter(None, [current, match[1]])) == (
            f"{section}.{key}" if section else key
        ):
            return number
    return None


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1, 0.5)
    if not close:  # a right field in the wrong section: compare the last parts
        close = [full for full in names if "." in full and full.split(".")[-1] == name.split(".")[-1]]
    return f"; did you mean {close[0]}?" if close else ""
