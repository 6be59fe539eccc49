"""Conversations as files: a dialogue that `gistchat prepare` reads, with the memory beside it; or a text to read."""

import dataclasses
from pathlib import Path
from typing import Any

from gistchat.chat import MODEL, PERSON, ChatSession
from gistchat.context import Gist, Sentence
from gistchat.dialogue import Dialogue, Malformed, Turn, read_jsonl, write_jsonl
from gistchat.errors import UserError
from gistchat.storage import atomic_text, fingerprint
from gistchat.summarize.rolling import Version

VERSION = 1  # of what stands under meta.session


def save(session: ChatSession, path: Path) -> None:
    """Write the conversation as one dialogue, with gist, pinned lines and earlier gists.

    Raises:
        UserError: nothing was said, another file of that name exists, or there is no such folder.
    """
    if len(session.turns) < 2:
        raise UserError("nothing to save yet")
    _require_free(path, session)
    name = fingerprint([[turn.speaker, turn.text] for turn in session.turns])
    gist = " ".join(line.text for line in session.memory.current().sentences)
    meta: dict[str, Any] = {"gist": gist} if gist else {}
    meta["session"] = _state(session)
    write_jsonl(path, [Dialogue(f"chat-{name}", tuple(session.turns), corpus="chat", meta=meta)])
    session.saved = path


def _require_free(path: Path, session: ChatSession) -> None:
    if path.exists() and path != session.saved:
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

    A file without a memory, or with one of another version, gives its turns; the memory is made anew.

    Raises:
        UserError: no such file, or not one conversation; the session is as it was.
    """
    dialogue = _only_dialogue(path)
    speakers = list(dict.fromkeys(turn.speaker for turn in dialogue.turns))
    roles = {name: name for name in (PERSON, MODEL)}
    if not set(speakers) <= set(roles):
        if len(speakers) != 2:
            raise UserError(f"{path}: a conversation of {len(speakers)} speakers; a chat has two")
        # The last to speak is taken for the model, so that the person goes on.
        roles = {name: PERSON for name in speakers} | {dialogue.turns[-1].speaker: MODEL}
    turns = [Turn(roles[speaker], text) for speaker, text in dialogue.turns]
    while turns and turns[-1].speaker == PERSON:
        turns.pop()
    said, problem = dialogue.meta.get("session"), ""
    session.reset()
    if said is None or (problem := _restore(session, turns, said)):
        session.reset()
        session.hear(turns)
    session.saved = path
    unanswered = len(dialogue.turns) - len(turns)
    notes = [problem, f"left out at the end, as nobody answered: {unanswered} turns" if unanswered else ""]
    return "; ".join(note for note in notes if note)


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


def _restore(session: ChatSession, turns: list[Turn], said: Any) -> str:
    """Take turns and memory as they were saved; returns why that is not possible."""
    try:
        if said["version"] != VERSION:
            return f"its memory is of version {said['version']}, this is {VERSION}: the gist was made anew"
        gist, pinned = _gist(said["gist"]), _sentences(said["pinned"])
        versions = [Version(_gist(one["gist"]), _sentences(one["pinned"])) for one in said["versions"]]
        session.draws, session.edited_up_to = int(said["draws"]), int(said["edited_up_to"])
        strategy = str(said["strategy"])
    except (KeyError, TypeError, ValueError):
        return "its memory cannot be read: the gist was made anew"
    memory = session.memory
    session.turns = turns
    memory.gist, memory.pinned = gist, pinned
    memory.versions.extend(versions)
    session.switch_strategy(strategy)
    if memory.rewind(turns):
        return "its gist is not of these turns: it was made anew"
    return ""


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
    _require_free(path, session)
    names = {PERSON: "You", MODEL: "Model"}
    with atomic_text(path) as file:
        for number, (speaker, text) in enumerate(session.turns, 1):
            file.write(f"{number}. {names[speaker]}: {text}\n")
        if lines := session.memory.current().sentences:
            file.write(f"\nGist of turns 1 to {session.memory.gist.end}:\n")
            file.writelines(f"- {line.text}\n" for line in lines)
