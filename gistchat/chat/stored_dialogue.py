"""A stored conversation outside of a chat: as a dialogue that `gistchat prepare` reads, or as a text to read."""

from collections.abc import Iterator
from typing import Any

from gistchat.chat.session_file import dialogue_of, text_lines
from gistchat.context.types import Sentence
from gistchat.dialogue.turns import Dialogue, Turn
from gistchat.errors import UserError
from gistchat.store.conversation_store import ConversationInfo, ConversationStore

PREAMBLES = ("system", "developer")  # roles of an API's messages that are no turns


def stored_dialogue(store: ConversationStore, info: ConversationInfo) -> Dialogue:
    """The conversation up to its head, with its memory, as `session_file.save` writes it.

    What an API's callers told the model first is `meta.system`; messages without text, such as calls of tools, are left
    out.

    Raises:
        UserError: it holds no turn.
    """
    path = store.path(info.id)
    told = [message.text for message in path if message.speaker in PREAMBLES and message.text]
    said = [message for message in path if message.speaker not in PREAMBLES and message.text]
    if not said:
        raise _nothing_said(info)
    turns = [Turn(message.speaker, message.text, message.date) for message in said]
    meta: dict[str, Any] = {"system": "\n\n".join(told)} if told else {}
    state = store.state(info.id, info.head)
    if state and len(said) == len(path):
        gist = " ".join(line.text for line in gist_of(state))
        meta |= {**({"gist": gist} if gist else {}), "session": state}
    return dialogue_of(turns, meta)


def stored_text(store: ConversationStore, info: ConversationInfo) -> Iterator[str]:
    """The lines of it, for people to read. Raises UserError: nothing was said in it."""
    turns = [Turn(message.speaker, message.text, message.date) for message in store.path(info.id)]
    if not turns:
        raise _nothing_said(info)
    return text_lines(turns, gist_of(store.state(info.id, info.head)))


def _nothing_said(info: ConversationInfo) -> UserError:
    return UserError(f"conversation {info.id}: nothing was said in it")


def gist_of(state: dict[str, Any] | None) -> list[Sentence]:
    """The lines that a memory holds, pinned ones first; none where it cannot be read."""
    try:
        lines = [*state["pinned"], *state["gist"]["sentences"]] if state else []
        return list(dict.fromkeys(map(Sentence.from_dict, lines)))
    except (KeyError, TypeError, ValueError):
        return []
