"""What a session tells a person about its memory."""

from gistchat.chat.session import ChatSession
from gistchat.chat.speakers import BOT, PERSON
from gistchat.context.types import GistLine, Sentence
from gistchat.memory.standing_facts import Fact
from gistchat.printable import printable
from gistchat.prompts.wording import render_line

LABELS = {PERSON: "User: ", BOT: "You: ", "": ""}  # as the model reads them
MOST_SHOWN = 5  # facts of each kind that is not in the gist


def describe_gist(session: ChatSession) -> str:
    """What the model saw before its last reply: gist, boundary and verbatim turns, with the turns each line is from."""
    context = session.context
    coming = session.next_gist_lines()
    seen = session.gist_lines() if context else []
    numbers = {line: number for number, line in enumerate(dict.fromkeys([*seen, *coming]), 1)}
    gist, upcoming = ([_line(session, line, numbers[line]) for line in lines] for lines in (seen, coming))
    unread = {line.text for line in session.memory.pinned} - {line.text for line in coming}
    notes = [f"pinned, but not read: {printable(text)}" for text in sorted(unread)] + _facts(session)
    if context is None:
        if not session.turns and not upcoming:
            return "nothing said yet"
        return "\n".join(["gist, for the next reply:", *(upcoming or ["  nothing"]), *notes])
    covers = f" of turns 1 to {session.gist_end}, by {printable(session.gist_by)}" if session.gist_end else ""
    empty = "no gist" if context.boundary else "no gist: nothing has left the verbatim window"
    lines = [f"gist{covers}:", *gist] if gist else [empty]
    if context.found:
        lines += ["found for your last turn:", *(_found(session, line) for line in context.found)]
    lines.append(f"verbatim, from turn {context.boundary + 1}:")
    lines += [
        f"  {'User' if turn.role == PERSON else 'You'}: {printable(turn.text)}"
        for turn in (*context.turns, context.last)
    ]
    read = f"; {session.cache.prefilled} of the prompt were new to the model" if session.cache.prefilled else ""
    lines.append(f"{context.tokens} of {session.budget} tokens used before the last turn{read}")
    if upcoming != gist:
        lines += ["gist since then, for the next reply:", *(upcoming or ["  nothing"])]
    return "\n".join([*lines, *notes])


def _line(session: ChatSession, line: Sentence, number: int) -> str:
    pinned = "  (pinned)" if line.text in {other.text for other in session.memory.pinned} else ""
    fact = session.memory.facts.of(line) if session.strategy.keeps_facts else None
    source = _of_fact(fact) if fact else _sources(line)
    return f"  {number}. {_said(line)}{source}{pinned}"


def _said(line: Sentence) -> str:
    return printable(LABELS.get(line.speaker, f"{line.speaker}: ") + line.text)


def _found(session: ChatSession, line: GistLine) -> str:
    words = session.shared_words(line.turn)
    why = f"shares {', '.join(words)}" if words else without_words(session)
    return f"  {printable(render_line(line))}  (turn {line.turn + 1}: {printable(why)})"


def without_words(session: ChatSession) -> str:
    """Why a turn is found that shares no word with what was asked."""
    near = "said shortly before, or beside one that matches"
    return f"alike in meaning, {near}" if session.searches_meaning else near


def _sources(line: Sentence) -> str:
    turns = [turn + 1 for turn in line.sources or (line.turn,)]
    if turns == [0]:
        return "  (by hand)"
    return f"  (turn{'s' if len(turns) > 1 else ''} {', '.join(map(str, turns))})"


def _of_fact(fact: Fact) -> str:
    until = "" if fact.until is None else f" until turn {fact.until + 1}"
    return f"  (turn {fact.turn + 1}, {fact.kind}{until})"


def _facts(session: ChatSession) -> list[str]:
    """Standing facts that are not in the gist: why, the latest ones, and how many more."""
    if not session.strategy.keeps_facts:
        return []
    memory, lines = session.memory, []
    unshown = sorted(memory.unshown_facts(), key=lambda fact: fact.turn)
    for title, facts in (
        ("facts without room in the gist, found when asked for", [f for f in unshown if f.turn < memory.gist.end]),
        ("facts for when their turns leave", [fact for fact in unshown if fact.turn >= memory.gist.end]),
        ("facts that ended", memory.facts.ended()),
    ):
        if facts:
            lines.append(f"{title}: {len(facts)}{f', the latest {MOST_SHOWN}' * (len(facts) > MOST_SHOWN)}")
            lines += [f"  {_said(fact.line)}{_of_fact(fact)}" for fact in facts[-MOST_SHOWN:]]
    return lines
