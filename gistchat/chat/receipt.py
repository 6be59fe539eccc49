"""What was sent for a reply, line by line, and what it took."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from gistchat.chat.conversation import SPEAKERS
from gistchat.chat.describe import without_words
from gistchat.chat.session import ChatSession, sentences_of
from gistchat.context.types import Context, GistLine, RoleTurn, Sentence

Line = dict[str, Any]


def receipt(session: ChatSession) -> dict[str, Any]:
    """Of the session's latest reply, as plain values; turns are counted from 1, times are in seconds.

    Lines are in the order of the prompt. Their tokens, and `around`, which headings and the template take, add up to
    those of the prompt, where the engine's costs are exact.
    """
    context, cache = session.context, session.cache
    lines = list(_lines(session, context))
    # An answer that broke off has no count of its own.
    prompt = cache.prompt or session.engine.count_tokens(context)
    return {
        "strategy": session.strategy.name,
        "budget": session.budget,
        "tokens": context.tokens,
        "model": session.model.name,
        "made": time.time(),
        "lines": lines,
        "around": prompt - sum(line["tokens"] for line in lines),
        "prompt": session.engine.prompt_text(context),
        "usage": {"prompt": prompt, "cached": max(prompt - cache.prefilled, 0), "written": cache.written},
        "ended": cache.ended,
        "seconds": {part: round(seconds, 6) for part, seconds in session.seconds.items()},
        "not_sent": _not_sent(session, context),
        "notice": session.notice,
    }


def _lines(session: ChatSession, context: Context) -> Iterator[Line]:
    costs, count = session.engine.costs, session.engine.count
    if told := session.engine.told_first(context):
        why = "told first by who asks" if context.preamble else "told first, in every prompt"
        yield _line("system", "", told, [], count([told])[0], why)
    for line, sentence in zip(context.lines, sentences_of(context), strict=True):
        part, why = _gist_part(session, sentence)
        sources = [turn + 1 for turn in line.sources or (line.turn,) if turn >= 0]
        yield _line(part, sentence.speaker, line.text, sources, costs.line_cost(line), why)
    for turn, after in pairwise((*context.turns, context.last)):
        yield _turn("verbatim", turn, after.first, costs.turn_cost(turn), "one of the latest turns, word for word")
    for line in context.found:
        yield _line("found", _speaker(line), line.text, [line.turn + 1], costs.line_cost(line), _why(session, line))
    end = next(
        (number for number in range(context.last.first, len(session.turns)) if _is_answer(session, number)),
        len(session.turns),
    )
    yield _turn("last", context.last, end, costs.turn_cost(context.last), "the turn that is answered")


def _is_answer(session: ChatSession, number: int) -> bool:
    return session.turns[number].speaker == session.answerer


def _gist_part(session: ChatSession, sentence: Sentence) -> tuple[str, str]:
    """Which part of the prompt a line of the gist is, and why it is there."""
    if sentence.text in {line.text for line in session.memory.pinned}:
        return "pinned", "pinned by hand"
    if session.strategy.keeps_facts and (fact := session.memory.facts.of(sentence)):
        return "fact", f"a standing fact ({fact.kind})"
    return "gist", f"in the gist of turns 1 to {session.gist_end}, made by {session.gist_by}"


def _why(session: ChatSession, line: GistLine) -> str:
    words = session.shared_words(line.turn)
    return f"shares {', '.join(words)}" if words else without_words(session)


def _speaker(line: GistLine) -> str:
    return line.name or SPEAKERS[line.role]


def _turn(part: str, turn: RoleTurn, end: int, tokens: int, why: str) -> Line:
    """Of the turns up to `end`, those that are one in the prompt."""
    return _line(part, SPEAKERS[turn.role], turn.text, list(range(turn.first + 1, end + 1)), tokens, why)


def _line(part: str, speaker: str, text: str, turns: list[int], tokens: int, why: str) -> Line:
    return {"part": part, "speaker": speaker, "text": text, "turns": turns, "tokens": tokens, "why": why}


def _not_sent(session: ChatSession, context: Context) -> dict[str, Any]:
    """How many turns the model did not read word for word, and why."""
    found = {line.turn for line in context.found if session.turns[line.turn].text == line.text}
    left = len(set(range((*context.turns, context.last)[0].first)) - found)
    if not left:
        return {"turns": 0, "reason": ""}
    reason = f"not among what the strategy {session.strategy.name!r} sends within {session.budget} tokens"
    if session.strategy.has_gist and context.lines:
        reason += f"; the gist stands for turns 1 to {session.gist_end}"
    return {"turns": left, "reason": reason}
