"""What a session tells a person about its memory."""

from gistchat.chat.session import ChatSession
from gistchat.chat.speakers import BOT, PERSON
from gistchat.context.types import GistLine, Sentence
from gistchat.printable import printable
from gistchat.prompts.wording import render_line

LABELS = {PERSON: "User: ", BOT: "You: ", "": ""}  # as the model reads them


def describe_gist(session: ChatSession) -> str:
    """What the model saw before its last reply: gist, boundary and verbatim turns, with the turns each line is from."""
    context = session.context
    coming = session.next_gist_lines()
    seen = session.gist_lines() if context else []
    numbers = {line: number for number, line in enumerate(dict.fromkeys([*seen, *coming]), 1)}
    gist, upcoming = ([_line(session, line, numbers[line]) for line in lines] for lines in (seen, coming))
    unread = {line.text for line in session.memory.pinned} - {line.text for line in coming}
    notes = [f"pinned, but not read: {printable(text)}" for text in sorted(unread)]
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
    label = LABELS.get(line.speaker, f"{line.speaker}: ")
    return f"  {number}. {printable(label + line.text)}{_sources(line)}{pinned}"


def _found(session: ChatSession, line: GistLine) -> str:
    words = session.shared_words(line.turn)
    why = f"shares {', '.join(words)}" if words else without_words(session)
    return f"  {printable(render_line(line))}  (turn {line.turn + 1}: {printable(why)})"


def without_words(session: ChatSession) -> str:
    """Why a turn is found that shares no word with what was asked."""
    return "alike in meaning, or beside one that matches" if session.searches_meaning else "beside one that matches"


def _sources(line: Sentence) -> str:
    turns = [turn + 1 for turn in line.sources or (line.turn,)]
    if turns == [0]:
        return "  (by hand)"
    return f"  (turn{'s' if len(turns) > 1 else ''} {', '.join(map(str, turns))})"
