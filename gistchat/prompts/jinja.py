"""Chat templates rendered without transformers, in the environment that it gives them."""

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import ext, meta, nodes, parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(ext.Extension):
    """`{% generation %}` marks what a model has said, for training; what is inside is shown as it is."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own way)

    def parse(self, source: parser.Parser) -> nodes.Node:
        line = next(source.stream).lineno
        return nodes.Scope(source.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def render_template(source: str, messages: list[dict[str, Any]], ask: bool, tokens: dict[str, str]) -> str:
    """The text that a template makes of messages.

    Args:
        ask: whether it ends where a reply begins.
        tokens: `bos_token` and the like, which templates may name.

    Raises:
        Exception: whatever the template does wrong.
    """
    options = {"tools": None, "documents": None, "add_generation_prompt": ask, **tokens}
    return _compiled(source).render(messages=messages, **options)


def variables_of(source: str) -> set[str]:
    """The names that a template takes from whoever renders it; none where it cannot be parsed."""
    try:
        return meta.find_undeclared_variables(_environment().parse(source))
    except jinja2.exceptions.TemplateError:
        return set()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    return environment


@lru_cache(maxsize=50)
def _compiled(source: str) -> jinja2.Template:
    environment = _environment()
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    return environment.from_string(source)


def _to_json(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _refuse(message: str) -> NoReturn:
    raise jinja2.exceptions.TemplateError(message)
