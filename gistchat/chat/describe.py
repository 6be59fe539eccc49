"""What a session tells a person about its memory."""

from gistchat.chat.session import BOT, PERSON, ChatSession
from gistchat.context.types import Sentence
from gistchat.printable import printable

LABELS = {PERSON: "User: ", BOT: "You: ", "": ""}  # as the model reads them


def describe_gist(session: ChatSession) -> str:
    """What the model saw before its last reply: gist, boundary and verbatim turns, with the turns each line is from."""
    context = session.context
    pinned = {line.text for line in session.memory.pinned}
    gist = [
        f"  {number}. {LABELS[line.speaker]}{printable(line.text)}{_sources(line)}"
        + ("  (pinned)" if line.text in pinned else "")
        for number, line in enumerate(session.gist_lines(), 1)
    ]
    if context is None:
        if not session.turns and not gist:
            return "nothing said yet"
        title = f"gist of turns 1 to {session.memory.gist.end}, for the next reply:" if session.turns else "gist:"
        return "\n".join([title, *(gist or ["  nothing"])])
    covers = f" of turns 1 to {session.gist_end}, by {printable(session.gist_by)}" if session.gist_end else ""
    empty = "no gist" if context.boundary else "no gist: nothing has left the verbatim window"
    lines = [f"gist{covers}:", *gist] if gist else [empty]
    unread = pinned - {line.text for line in context.lines}
    lines += [f"edited or pinned since: {printable(text)}" for text in sorted(unread)]
    lines.append(f"verbatim, from turn {context.boundary + 1}:")
    lines += [
        f"  {'User' if turn.role == PERSON else 'You'}: {printable(turn.text)}"
        for turn in (*context.turns, context.last)
    ]
    read = f"; {session.cache.prefilled} of the prompt were new to the model" if session.cache.prefilled else ""
    lines.append(f"{context.tokens} of {session.budget} tokens used before the last turn{read}")
    return "\n".join(lines)


def _sources(line: Sentence) -> str:
    turns = [turn + 1 for turn in line.sources or (line.turn,)]
    if turns == [0]:
        return "  (by hand)"
    return f"  (turn{'s' if len(turns) > 1 else ''} {', '.join(map(str, turns))})"
