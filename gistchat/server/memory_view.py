"""What a session keeps of its conversation, as the memory panel of the page and other programs read it."""

from collections.abc import Iterable, Sequence
from typing import Any

from gistchat.chat.describe import without_words
from gistchat.chat.session import ChatSession, sentences_of
from gistchat.context.types import Context, Sentence
from gistchat.memory.standing_facts import Fact


def memory_of(session: ChatSession) -> dict[str, Any]:
    """Gist, pins, facts, earlier gists, and how the budget was spent; turns are counted from 1.

    Boundary, tokens and what was found are of the latest reply where the session gave it, else of the next one.
    """
    context = session.context or session.next_context()
    seen, coming = session.gist_lines(), session.next_gist_lines()
    numbers = line_numbers(session)
    by_model = session.context is not None
    return {
        "strategy": session.strategy.name,
        "budget": session.budget,
        "tokens": {"used": context.tokens, "budget": session.budget, "parts": _parts(session, context)},
        "boundary": context.boundary,
        "gist": {
            "made_by": session.gist_by if by_model else session.memory.gist.made_by,
            "covers": session.gist_end if by_model else min(session.memory.gist.end, context.boundary),
            "lines": _lines(session, seen, numbers),
        },
        "next_gist_lines": _lines(session, coming, numbers),
        "found": [
            {"turn": line.turn + 1, "text": line.text, "why": why_found(session, session.shared_words(line.turn))}
            for line in context.found
        ],
        "facts": _facts(session),
        "pinned": [{"number": number, "text": line.text} for number, line in enumerate(session.memory.pinned, 1)],
        "versions": [
            {
                "number": number,
                "covers": gist.end,
                "made_by": gist.made_by,
                "lines": [line.text for line in gist.sentences],
            }
            for number, gist in enumerate(session.versions(), 1)
        ],
        "notice": session.notice,
    }


def line_numbers(session: ChatSession) -> dict[Sentence, int]:
    """The lines of the gist, by the numbers that people see.

    Those that the next reply reads come first: they are the same when a conversation was closed and opened again, which
    forgets what the latest reply read.
    """
    lines = dict.fromkeys([*session.next_gist_lines(), *session.gist_lines()])
    return {line: number for number, line in enumerate(lines, 1)}


def why_found(session: ChatSession, words: Sequence[str]) -> str:
    return f"shares {', '.join(words)}" if words else without_words(session)


def _lines(session: ChatSession, lines: Iterable[Sentence], numbers: dict[Sentence, int]) -> list[dict[str, Any]]:
    pinned = {line.text for line in session.memory.pinned}
    return [
        {
            "number": numbers[line],
            "speaker": line.speaker,
            "text": line.text,
            "turns": [turn + 1 for turn in line.sources or (line.turn,) if turn >= 0],
            "pinned": line.text in pinned,
            "fact": fact.kind if (fact := _fact(session, line)) else None,
        }
        for line in lines
    ]


def _fact(session: ChatSession, line: Sentence) -> Fact | None:
    return session.memory.facts.of(line) if session.strategy.keeps_facts else None


def _facts(session: ChatSession) -> list[dict[str, Any]]:
    """All standing facts, those that hold first."""
    if not session.strategy.keeps_facts:
        return []
    memory = session.memory
    unshown = set(memory.unshown_facts())
    held = sorted(memory.facts.known(memory.turns), key=lambda fact: fact.turn)
    return [
        {
            "turn": fact.turn + 1,
            "speaker": fact.speaker,
            "kind": fact.kind,
            "text": fact.text,
            "until": None if fact.until is None else fact.until + 1,
            "in_gist": fact.until is None and fact not in unshown and fact.turn < memory.gist.end,
        }
        for fact in [*held, *memory.facts.ended()]
    ]


def _parts(session: ChatSession, context: Context) -> dict[str, int]:
    """Tokens of a context by what they are for; headings count with what they stand over."""
    costs, pinned = session.engine.costs, {line.text for line in session.memory.pinned}
    parts = dict.fromkeys(("pinned", "gist", "facts", "found", "verbatim"), 0)
    for line, sentence in zip(context.lines, sentences_of(context), strict=True):
        part = "pinned" if line.text in pinned else "facts" if _fact(session, sentence) else "gist"
        parts[part] += costs.line_cost(line)
    parts["verbatim"] = sum(map(costs.turn_cost, context.turns))
    heading = costs.gist_cost() if context.lines else 0
    parts["gist"] += heading
    parts["found"] = max(0, context.tokens - sum(parts.values())) if context.found else 0
    return parts
