"""What a chat template does with a conversation, seen by rendering markers in place of the texts.

A template is a program, and many treat messages in ways of their own: they leave the system role out or refuse it, move
it to the last user message, insist that the user goes first, show the latest turns only, cut thoughts out of replies.
A marker that is missing or in the wrong place shows that. And as a template is given nothing but markers, it cannot
cut, trim or drop any part of a text.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from gistchat.context.types import ASSISTANT, USER
from gistchat.errors import UserError
from gistchat.prompts.jinja import variables_of
from gistchat.prompts.rendering import Unbounded, fault_of, render_bounded
from gistchat.prompts.thoughts import closing

Message = dict[str, Any]
Render = Callable[[list[Message], bool], str]  # messages, and whether to ask for a reply -> text

MARKER = re.compile(r"Marker(\d{5})")
# Windows of 1 to 8 turns, and one that is longer than a template may want to show.
PROBED_TURNS = (1, 2, 3, 4, 5, 6, 7, 8, 99, 100)
# The day of all prompts, of every checkpoint: the one that the templates of Llama 3 take where they know no other.
DATE = datetime(2024, 7, 26)
DATE_CODES = "aAbBcdDeFHIjmMpRSTuUVwWxXyYzZ"
# Other programs, llama.cpp among them, give today's as these; the template does as where it is not given.
DATES = ("date_string", "datetime")
# What turns thoughts off in the templates that know it, and what makes them short in those that cannot.
SWITCHES = {"enable_thinking": "false", "thinking": "false", "reasoning": "false"}
EFFORT = {"reasoning_effort": "'low'"}
LISTS = {"tools": "[]", "documents": "[]"}


@dataclass(frozen=True)
class Layout:
    """How a template is handed the opening text (preamble and gist) and the turns.

    Attributes:
        system: the opening is the system message; else it stands on top of the user's first turn, or is a user message
            of its own where the window begins with the model's turn.
        parts: contents are lists of typed parts, as templates of vision models want them, else plain texts.
        user_first: between a system message and the model's turn stands a user message, as many templates insist that
            the user begins.
        filler: the text of that message.
    """

    system: bool
    parts: bool = False
    user_first: bool = False
    filler: str = ""

    def messages(self, roles: Sequence[str], texts: Sequence[str]) -> list[Message]:
        """Messages of the opening, `texts[0]`, and of turns in these roles, `texts[1:]`."""
        opening, *turns = texts
        pairs = list(zip(roles, turns, strict=True))
        if self.system:
            before = [(USER, self.filler)] if self.user_first and roles[0] != USER else []
            pairs = [("system", opening), *before, *pairs]
        elif roles[0] == USER:
            pairs[0] = (USER, f"{opening}\n\n{turns[0]}")
        else:
            pairs.insert(0, (USER, opening))
        return [{"role": role, "content": self._content(text)} for role, text in pairs]

    def _content(self, text: str) -> str | list[dict[str, str]]:
        return [{"type": "text", "text": text}] if self.parts else text


PLAINEST = Layout(system=False)
# The first one that works is taken.
LAYOUTS = [
    replace(layout, parts=parts)
    for layout in (Layout(system=True), Layout(system=True, user_first=True), PLAINEST)
    for parts in (False, True)
]


class UnusableTemplate(UserError):
    """A chat template that does not show every text once and in order, or not who speaks."""

    def __init__(self, problem: str) -> None:
        self._what = problem
        self._name("this chat template")

    def _name(self, template: str) -> None:
        self.problem = f"{template} {self._what}"
        self.args = (f"{self.problem}; use model.format = 'speaker-tokens'",)

    def of(self, model: str) -> "UnusableTemplate":
        """The same, with the name of the model that the template came with."""
        if model:
            self._name(f"this chat template (of {model})")
        return self


class EndlessTemplate(UnusableTemplate):
    """A chat template that takes too long, or writes too much."""


def choose_layouts(render: Render) -> dict[str, Layout]:
    """The layout for windows that begin with a turn of each role.

    Raises:
        UnusableTemplate: no layout shows the opening and all turns once and in order.
    """
    return {first: _choose_layout(render, first) for first in (USER, ASSISTANT)}


def _choose_layout(render: Render, first: str) -> Layout:
    windows = [roles for count in PROBED_TURNS if (roles := alternating(count))[0] == first]
    problems: dict[Layout, UnusableTemplate] = {}
    for layout in LAYOUTS:
        try:
            for roles in windows:
                skeleton(render, layout, roles)
        except EndlessTemplate:
            raise  # to try the other layouts would take as long
        except UnusableTemplate as error:
            problems[layout] = error
        else:
            return layout
    raise problems[PLAINEST]  # what the other layouts met with may be of their own making


def alternating(count: int) -> list[str]:
    """The roles of so many turns; the user's is the last."""
    return [USER if (count - i) % 2 else ASSISTANT for i in range(count)]


def marks_roles(render: Render, layouts: dict[str, Layout]) -> bool:
    """Whether the template shows who speaks. DialoGPT's does not: it puts the end token after each text."""
    _, _, before_answer, after_answer, _ = skeleton(render, layouts[USER], [USER, ASSISTANT, USER])
    return before_answer != after_answer


def skeleton(render: Render, layout: Layout, roles: Sequence[str], ask: bool = True) -> list[str]:
    """The template's own text before, between and after the opening and the turns: `len(roles) + 2` pieces.

    Raises:
        UnusableTemplate: the template refuses such a conversation, or does not show each text once and in order.
    """
    markers = [f"Marker{i:05d}" for i in range(len(roles) + 1)]
    conversation = f"a conversation of {len(roles)} turn{'s' * (len(roles) > 1)}"
    try:
        rendered = render_bounded(lambda: render(layout.messages(roles, markers), ask))
    except Unbounded as error:
        raise EndlessTemplate(f"{fault_of(error)} for {conversation}") from None
    except Exception as error:  # a template is a program of its own, so it may fail in any way
        raise UnusableTemplate(f"refuses {conversation} ({fault_of(error)})") from None
    pieces = MARKER.split(rendered)
    shown = [int(number) for number in pieces[1::2]]
    if shown != list(range(len(markers))):
        raise UnusableTemplate(f"{_difference(shown, roles)} in {conversation}")
    if layout.parts and re.search(r"""["']type["']: ["']text["']""", rendered):
        raise UnusableTemplate("shows lists of parts as they are")
    return pieces[::2]


def _difference(shown: Sequence[int], roles: Sequence[str]) -> str:
    """What of a conversation is not shown once and in order, in words."""
    names = ["the gist", *(f"turn {i} (the {role}'s)" for i, role in enumerate(roles, 1))]
    for place, name in enumerate(names):
        if (times := shown.count(place)) != 1:
            return f"shows {name} {times} times" if times else f"leaves out {name}"
    return "changes the order of the turns"


def joining_template(pieces: Sequence[str], source: str) -> str:
    """A template that shows of each message its `content`, and after that the piece with the number `piece`.

    Args:
        source: the template that the pieces are of. All its control tokens have to be known, so that none of them can
            be typed; those of other branches than were taken come along in one that shows nothing.
    """
    shown = "{% for message in messages %}{{ message.content }}{{ pieces[message.piece] }}{% endfor %}"
    return f"{{% set pieces = {list(pieces)!r} %}}{shown}{{% if false %}}{{{{ {source!r} }}}}{{% endif %}}"


def choose_source(source: str, render: Callable[[str, list[Message], bool], str]) -> tuple[str, dict[str, Layout]]:
    """The template as it is used, and its layouts.

    Args:
        render: a template, messages, and whether to ask for a reply -> text.

    Raises:
        UnusableTemplate: see `choose_layouts`.
    """
    problem: UnusableTemplate | None = None
    for variant in _settled(source):
        try:
            return variant, choose_layouts(partial(render, variant))
        except EndlessTemplate:
            raise
        except UnusableTemplate as error:
            problem = problem or error
    raise problem


def _settled(source: str) -> Iterator[str]:
    """The template as it is used: the same every day, and without thoughts. The first one that works is taken."""
    taken = variables_of(source)
    date = _fixed_date(source) if "strftime_now" in taken else ""
    date += "".join(f"{{% set {name} = given_by_nobody %}}" for name in DATES if name in taken)
    # Some know other words for an effort, and some count tools or documents also where there are none.
    variants = (SWITCHES | EFFORT, SWITCHES, SWITCHES | LISTS)
    settings = [
        date + "".join(f"{{% set {name} = {value} %}}" for name, value in variant.items() if name in taken)
        for variant in variants
    ]
    for setting in dict.fromkeys(settings):
        # White space at the template's own begin stays on a line of its own: Jinja drops a line break after a block.
        yield setting + ("\n" if setting and source[0].isspace() else "") + source


def _fixed_date(source: str) -> str:
    """A macro in place of the function that tells the date, for what the template asks of it."""
    values = {code: DATE.strftime("%" + code) for code in DATE_CODES}
    values |= {f"-{code}": value.lstrip("0") or "0" for code, value in values.items()}  # %-d is %d without a zero
    asked = {code: value for code, value in values.items() if f"%{code}" in source}
    replaced = "".join(f".replace('%{code}', {value!r})" for code, value in asked.items())
    return f"{{% macro strftime_now(format) %}}{{{{ format{replaced} }}}}{{% endmacro %}}"


def with_asked(source: str, more: str) -> str:
    """A template that shows more where it asks for a reply."""
    # Jinja drops the line break at a template's end, but not within it.
    return source.removesuffix("\n") + f"{{% if add_generation_prompt %}}{{{{ {more!r} }}}}{{% endif %}}"


def asked_otherwise(asked: str, shown: str) -> tuple[str, str]:
    """What a template lacks where it asks for a reply, and what stands between that and the reply's text.

    Args:
        asked: the template's own text from the last turn to where the reply is asked for.
        shown: the same to where the text of an answer begins.
    """
    if more := closing(asked):
        return more, ""
    if not shown.startswith(asked):  # as where an empty thought is there only when asked
        return "", ""
    rest = shown[len(asked) :]
    more = rest.rstrip(" ")  # a space is one token with the word after it in most vocabularies
    return more, rest[len(more) :]
