"""Conversations as files: a dialogue that `gistchat prepare` reads, with the memory beside it; or a text to read.

What of a conversation is written is decided by `ChatSession.to_dict`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession, SavedFile
from gistchat.chat.speakers import BOT, PERSON, cleaned
from gistchat.context.types import Sentence
from gistchat.dialogue.jsonl import read_jsonl, write_jsonl
from gistchat.dialogue.turns import Dialogue, Malformed, Turn, is_group
from gistchat.errors import UserError
from gistchat.files import atomic_text, file_hash, fingerprint
from gistchat.locks import locked

SECONDS = 10  # to wait for another chat that is writing the same file


def save(session: ChatSession, path: Path) -> None:
    """Write the conversation as one dialogue, with gist, pinned lines and earlier gists under `meta.session`.

    Raises:
        UserError: nothing was said, another file of that name exists, the conversation's own was changed by somebody
            else since it was loaded or saved here, or there is no such folder.
    """
    if len(session.turns) < 2:
        raise UserError("nothing to save yet")
    state = session.to_dict()
    del state["turns"]  # they are the dialogue's own
    gist = " ".join(line.text for line in session.next_gist_lines())
    dialogue = dialogue_of(session.turns, {**({"gist": gist} if gist else {}), "session": state})
    _require_savable(session, path)  # also before a lock file is made
    with locked(path, SECONDS):
        _require_savable(session, path)
        write_jsonl(path, [dialogue])
        session.saved = SavedFile(path.resolve(), file_hash(path))


def dialogue_of(turns: Sequence[Turn], meta: dict[str, Any]) -> Dialogue:
    """What is said in a chat, as a dialogue that `gistchat prepare` reads."""
    name = fingerprint([[turn.speaker, turn.text] for turn in turns])
    return Dialogue(f"chat-{name}", tuple(turns), corpus="chat", meta=meta)


def _require_savable(session: ChatSession, path: Path) -> None:
    saved = session.saved
    is_own = saved is not None and path.resolve() == saved.path and path.is_file()
    if is_own and file_hash(path) != saved.digest:
        raise UserError(f"{path} was changed since it was loaded or saved here, and stays so; give another name")
    require_free(path, path if is_own else None)


def rescue(session: ChatSession, path: Path) -> None:
    """Save after a defect: where gist and memory cannot be written, at least the turns.

    Raises UserError or OSError where not even they can.
    """
    try:
        save(session, path)
    except Exception:
        if not session.turns:
            raise UserError("nothing was said") from None
        require_free(path)
        write_jsonl(path, [dialogue_of(session.turns, {})])


def require_free(path: Path, replaceable: Path | None = None, hint: str = "") -> None:
    """Raises UserError where the file exists, unless it is the replaceable one, or there is no folder for it."""
    if path.exists() and path != replaceable:
        raise UserError(f"{path} exists; give another name{hint}")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder")


def load(model: ChatModel, path: Path, seed: int | None = None) -> ChatSession:
    """A session that goes on with a saved conversation; its notice says what the user should know.

    A file without a memory, or with one that cannot be used, gives its turns; the memory is made anew. Such a file is
    not written over by the next save.

    Raises:
        UserError: no such file, or not one conversation.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    digest = file_hash(path)  # before it is read: what another chat writes meanwhile is not written over later
    dialogue = _only_dialogue(path)
    turns = _turns(path, dialogue)
    unanswered = len(dialogue.turns) - len(turns)
    notices = [f"left out at the end, as nobody answered: {unanswered} turns"] if unanswered else []
    state = dialogue.meta.get("session")
    session, whole = restore(model, turns, state, path, seed)
    session.saved = SavedFile(path.resolve(), digest) if whole and not notices else None
    session.notice = "; ".join(filter(None, [*notices, session.notice]))
    return session


def restore(
    model: ChatModel, turns: Sequence[Turn], state: Any, place: Path | str, seed: int | None = None
) -> tuple[ChatSession, bool]:
    """A session with these turns and the memory that `ChatSession.to_dict` wrote down, and whether it could be read.

    Where there is none or it cannot be read, it is made anew; the session's notice then says so.

    Args:
        place: where they were read from, for the notice.
    """
    problems = []
    if state is not None:
        values = {**state, "turns": [turn.to_dict() for turn in turns]} if isinstance(state, dict) else {}
        try:
            return ChatSession.from_dict(model, values, seed), True
        except UserError as error:
            problems = [f"{place}: {error}: the gist was made anew"]
    session = ChatSession(model, seed, is_group(turns))
    if isinstance(state, dict):
        by_hand = {}
        for name in ("pinned", "dropped"):
            try:
                by_hand[name] = tuple(map(Sentence.from_dict, state.get(name, [])))
            except (KeyError, TypeError, ValueError):
                problems.append(f"{name} lines could not be read and are lost")
        session.memory.keep_by_hand(**by_hand)
    session.hear(turns)
    session.notice = "; ".join(filter(None, [*problems, session.notice]))
    return session, False


def _turns(path: Path, dialogue: Dialogue) -> list[Turn]:
    """The turns by PERSON and BOT, or by BOT and a group, up to the last that was answered."""
    said = cleaned(dialogue.turns)
    if silent := [number for number, turn in enumerate(said, 1) if not turn.text]:
        raise UserError(f"{path}: turn {silent[0]} has no text")
    speakers = {turn.speaker for turn in said}
    roles: dict[str, str] = {}
    if len(speakers) > 1:
        # The last to speak is taken for the model, so that the person goes on. In a group, the others keep their names.
        bot = BOT if BOT in speakers else said[-1].speaker
        others = speakers - {bot}
        roles = {bot: BOT} | (dict.fromkeys(others, PERSON) if len(others) == 1 else {})
    turns = [turn._replace(speaker=roles.get(turn.speaker, turn.speaker)) for turn in said]
    while turns and turns[-1].speaker != BOT:
        turns.pop()
    if not turns:
        raise UserError(f"{path}: nobody answered in this conversation")
    return turns


def _only_dialogue(path: Path) -> Dialogue:
    dialogues = list(read_jsonl(path))
    for dialogue in dialogues:
        if isinstance(dialogue, Malformed):
            raise UserError(f"{dialogue}; the conversation here goes on as it is")
    if len(dialogues) != 1:
        raise UserError(f"{path}: holds {len(dialogues)} conversations; a chat goes on from a file with one")
    return dialogues[0]


def export_text(session: ChatSession, path: Path) -> None:
    """Write the conversation for people to read: numbered turns, and the gist at the end.

    Raises:
        UserError: nothing was said, the file exists, or there is no such folder.
    """
    if not session.turns:
        raise UserError("nothing to export yet")
    require_free(path)
    with locked(path, SECONDS):
        require_free(path)
        _write_text(session, path)


def _write_text(session: ChatSession, path: Path) -> None:
    with atomic_text(path) as file:
        file.writelines(f"{line}\n" for line in text_lines(session.turns, session.next_gist_lines()))


def text_lines(turns: Sequence[Turn], gist: Sequence[Sentence]) -> Iterator[str]:
    """A conversation for people to read: numbered turns, and the gist."""
    names = {PERSON: "You", BOT: "Model"}
    for number, turn in enumerate(turns, 1):
        yield f"{number}. {names.get(turn.speaker, turn.speaker)}: {turn.text}"
    if gist:
        yield "\nGist, for the next reply:"
        yield from (f"- {line.text}" for line in gist)
