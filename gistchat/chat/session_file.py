"""Conversations as files: a dialogue that `gistchat prepare` reads, with the memory beside it; or a text to read."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

from gistchat.chat.session import MODEL, PERSON, ChatSession, new_memory
from gistchat.context.types import Gist, Sentence
from gistchat.dialogue.jsonl import read_jsonl, write_jsonl
from gistchat.dialogue.text_repair import clean_text
from gistchat.dialogue.turns import Dialogue, Malformed, Turn
from gistchat.errors import UserError
from gistchat.files import atomic_text, fingerprint
from gistchat.memory.rolling import RollingMemory, Version
from gistchat.recipe.load import apply_overrides

VERSION = 1  # of what stands under meta.session


def save(session: ChatSession, path: Path) -> None:
    """Write the conversation as one dialogue, with gist, pinned lines and earlier gists.

    Raises:
        UserError: nothing was said, another file of that name exists, or there is no such folder.
    """
    if len(session.turns) < 2:
        raise UserError("nothing to save yet")
    _require_free(path, session.saved)
    name = fingerprint([[turn.speaker, turn.text] for turn in session.turns])
    gist = " ".join(line.text for line in session.memory.current().sentences)
    meta: dict[str, Any] = {"gist": gist} if gist else {}
    meta["session"] = _state(session)
    write_jsonl(path, [Dialogue(f"chat-{name}", tuple(session.turns), corpus="chat", meta=meta)])
    session.saved = path


def _require_free(path: Path, own: Path | None = None) -> None:
    if path.exists() and path != own:
        raise UserError(f"{path} exists; give another name")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder")


def _state(session: ChatSession) -> dict[str, Any]:
    memory = session.memory
    return {
        "version": VERSION,
        "strategy": session.recipe.chat.strategy,
        "draws": session.draws,
        "edited_up_to": session.edited_up_to,
        "gist": dataclasses.asdict(memory.gist),
        "pinned": [dataclasses.asdict(line) for line in memory.pinned],
        "versions": [
            {"gist": dataclasses.asdict(gist), "pinned": [dataclasses.asdict(line) for line in pinned]}
            for gist, pinned in memory.versions
        ],
    }


def load(session: ChatSession, path: Path) -> str:
    """Go on with a saved conversation; returns what the user should know of it, or nothing.

    A file without a memory, or with one that cannot be used, gives its turns; the memory is made anew. Such a file is
    not written over by the next save.

    Raises:
        UserError: no such file, or not one conversation; the session is as it was.
    """
    dialogue = _only_dialogue(path)
    turns = _turns(path, dialogue)
    unanswered = len(dialogue.turns) - len(turns)
    notes = [f"left out at the end, as nobody answered: {unanswered} turns"] if unanswered else []
    said, memory = dialogue.meta.get("session"), None
    if said is not None:
        try:
            memory = _memory(session, turns, said)
        except UserError as error:
            notes.append(f"{error}: the gist was made anew")
    if memory is None:
        fresh = copy.copy(session)  # hears it first, so that what is interrupted leaves this one as it was
        fresh.reset()
        fresh.memory.pinned = _pinned(said)
        fresh.hear(turns)
        session.reset()
        session.turns, session.memory = fresh.turns, fresh.memory
        return "; ".join([*notes, *filter(None, [fresh.notice])])
    session.reset()
    session.turns, session.memory = turns, memory
    session.draws, session.edited_up_to = int(said["draws"]), int(said["edited_up_to"])
    if not any(setting.startswith("chat.strategy=") for setting in session.overrides):
        session.switch_strategy(said["strategy"])
    session.saved = None if notes else path
    return "; ".join(notes)


def _turns(path: Path, dialogue: Dialogue) -> list[Turn]:
    """The turns by PERSON and MODEL, up to the last that was answered."""
    speakers = list(dict.fromkeys(turn.speaker for turn in dialogue.turns))
    roles = {name: name for name in (PERSON, MODEL)}
    if not set(speakers) <= set(roles):
        if len(speakers) != 2:
            raise UserError(f"{path}: a conversation of {len(speakers)} speakers; a chat has two")
        # The last to speak is taken for the model, so that the person goes on.
        roles = {name: PERSON for name in speakers} | {dialogue.turns[-1].speaker: MODEL}
    turns = [Turn(roles[speaker], clean_text(text)) for speaker, text in dialogue.turns]
    while turns and turns[-1].speaker == PERSON:
        turns.pop()
    if not turns:
        raise UserError(f"{path}: nobody answered in this conversation")
    return turns


def _only_dialogue(path: Path) -> Dialogue:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    found = list(read_jsonl(path))
    for dialogue in found:
        if isinstance(dialogue, Malformed):
            raise UserError(f"{dialogue}; the conversation here goes on as it is")
    if len(found) != 1:
        raise UserError(f"{path}: holds {len(found)} conversations; a chat goes on from a file with one")
    return found[0]


def _memory(session: ChatSession, turns: list[Turn], said: Any) -> RollingMemory:
    """The memory as it was saved; of turns that were edited in the file, the gist goes, and pinned lines stay.

    Raises:
        UserError: it cannot be used.
    """
    memory = new_memory(session.checkpoint)
    try:
        if said["version"] != VERSION:
            raise UserError(f"its memory is of version {said['version']}, this is {VERSION}")
        memory.gist, memory.pinned = _gist(said["gist"]), _sentences(said["pinned"])
        memory.versions.extend(Version(_gist(one["gist"]), _sentences(one["pinned"])) for one in said["versions"])
        apply_overrides(copy.deepcopy(session.recipe), [f"chat.strategy={said['strategy']}"])
        _ = int(said["draws"]), int(said["edited_up_to"])
    except (KeyError, TypeError, ValueError):
        raise UserError("its memory cannot be read") from None
    memory.rewind(turns, session.summarizer)
    return memory


def _pinned(said: Any) -> tuple[Sentence, ...]:
    """The lines by hand of a memory that cannot be used, where they can be read."""
    try:
        return _sentences(said["pinned"])
    except (KeyError, TypeError, ValueError):
        return ()


def _gist(value: dict[str, Any]) -> Gist:
    return Gist(_sentences(value["sentences"]), int(value["end"]), str(value["digest"]), str(value["made_by"]))


def _sentences(values: list[dict[str, Any]]) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(int(one["turn"]), str(one["speaker"]), str(one["text"]), tuple(map(int, one["sources"])))
        for one in values
    )


def export_text(session: ChatSession, path: Path) -> None:
    """Write the conversation for people to read: numbered turns, and the gist at the end.

    Raises:
        UserError: nothing was said, the file exists, or there is no such folder.
    """
    if not session.turns:
        raise UserError("nothing to export yet")
    _require_free(path)
    names = {PERSON: "You", MODEL: "Model"}
    with atomic_text(path) as file:
        for number, (speaker, text) in enumerate(session.turns, 1):
            file.write(f"{number}. {names[speaker]}: {text}\n")
        if lines := session.memory.current().sentences:
            file.write(f"\nGist of turns 1 to {session.memory.gist.end}:\n")
            file.writelines(f"- {line.text}\n" for line in lines)
