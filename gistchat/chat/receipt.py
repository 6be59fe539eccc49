"""What was sent for a reply, line by line, and what it took."""

import time
from typing import Any

from gistchat.chat.describe import without_words
from gistchat.chat.session import ChatSession, sentences_of
from gistchat.context.types import RoleTurn


def receipt(session: ChatSession) -> dict[str, Any]:
    """Of the session's latest reply, as plain values; turns are counted from 1."""
    context, cache, costs = session.context, session.cache, session.engine.costs
    pinned = {line.text for line in session.memory.pinned}
    lines = []
    if context.preamble:
        lines.append(
            _line("system", "", context.preamble, [], session.engine.count([context.preamble])[0], "asked for")
        )
    for line, sentence in zip(context.lines, sentences_of(context), strict=True):
        fact = session.memory.facts.of(sentence) if session.strategy.keeps_facts else None
        part = "pinned" if line.text in pinned else "fact" if fact else "gist"
        why = "pinned by hand" if part == "pinned" else fact.kind if fact else f"by {session.gist_by}"
        turns = [turn + 1 for turn in line.sources or (line.turn,) if turn >= 0]
        lines.append(_line(part, sentence.speaker, line.text, turns, costs.line_cost(line), why))
    lines += [_turn("verbatim", turn, costs.turn_cost(turn), "one of the latest turns") for turn in context.turns]
    for line in context.found:
        words = session.shared_words(line.turn)
        why = f"shares {', '.join(words)}" if words else without_words(session)
        lines.append(_line("found", line.role, line.text, [line.turn + 1], costs.line_cost(line), why))
    lines.append(_turn("last", context.last, costs.turn_cost(context.last), "what is answered"))
    return {
        "strategy": session.strategy.name,
        "budget": session.budget,
        "tokens": context.tokens,
        "model": session.model.name,
        "made": time.time(),
        "lines": lines,
        "prompt": session.engine.prompt_text(context),
        "usage": {"prompt": cache.prompt, "cached": max(cache.prompt - cache.prefilled, 0), "written": cache.written},
        "ended": cache.ended,
        "notice": session.notice,
    }


def _turn(part: str, turn: RoleTurn, tokens: int, why: str) -> dict[str, Any]:
    return _line(part, turn.role, turn.text, [turn.first + 1], tokens, why)


def _line(part: str, speaker: str, text: str, turns: list[int], tokens: int, why: str) -> dict[str, Any]:
    return {"part": part, "speaker": speaker, "text": text, "turns": turns, "tokens": tokens, "why": why}
