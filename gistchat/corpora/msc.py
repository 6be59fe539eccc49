"""Multi-Session Chat (Xu et al. 2022; CC BY 4.0): several sessions of the same two speakers, days apart.

A conversation's sessions, in order, are one dialogue; `meta["session_turns"]` tells how many turns each has.
The personas of its last session are `meta["gold"]`. Hub rows hold a session each; in ParlAI's own files (JSONL named
.txt) a line holds a session and all earlier ones, so one folder, such as session_5, is enough.
"""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import Source, find_sources, records
from gistchat.dialogue.lines import parse_records
from gistchat.dialogue.turns import Dialogue, Malformed, ReadResult, Turn
from gistchat.errors import UserError, shown

SPEAKERS = ("Speaker 1", "Speaker 2")

Session = list[tuple[str, str]]  # (speaker, text) of each turn


def find(place: str) -> list[Source]:
    """Raises UserError where several session folders are found: each holds the sessions of the ones before it."""
    sources = find_sources("msc", CORPUS.patterns, CORPUS.hub, place)
    folders = sorted({source.path.parent for source in sources if source.path.suffix == ".txt"})
    if len(folders) > 1:
        raise UserError(f"{place}: several sessions; a later one holds the earlier ones, so name one, as {folders[-1]}")
    return sources


def read(path: Path) -> Iterator[ReadResult]:
    return parse_records(_parse, path.stem, records(path), 1) if path.suffix == ".txt" else _read_rows(path)


def _read_rows(path: Path) -> Iterator[ReadResult]:
    """Rows of one conversation stand together."""

    def conversation(pair: tuple[str, Any]) -> Any:
        return pair[1].get("dialoug_id") if isinstance(pair[1], dict) else None  # the hub's own spelling

    for name, group in itertools.groupby(records(path), conversation):
        pairs = list(group)
        if name is None:
            for location, row in pairs:
                yield row if isinstance(row, Malformed) else Malformed(location, "no dialoug_id")
            continue
        try:
            rows = sorted((row for _, row in pairs), key=lambda row: row["session_id"])
            sessions = [list(zip(row["speaker"], row["dialogue"], strict=True)) for row in rows]
            yield _dialogue(f"{path.stem}-{name}", sessions, (rows[-1]["persona1"], rows[-1]["persona2"]))
        except (KeyError, TypeError, ValueError) as error:
            yield Malformed(pairs[0][0], f"unexpected layout ({shown(error)})")


def _parse(file: str, name: str, value: dict[str, Any]) -> Iterator[Dialogue]:
    # Earlier sessions come without speakers; each is begun by the first.
    sessions = [
        [(turn.get("id") or SPEAKERS[i % 2], turn["text"]) for i, turn in enumerate(part["dialog"])]
        for part in (*value.get("previous_dialogs", []), value)
    ]
    name = str(value.get("metadata", {}).get("initial_data_id") or name)
    yield _dialogue(name, sessions, value.get("personas") or value.get("init_personas") or [])


def _dialogue(name: str, sessions: list[Session], personas: Sequence[Sequence[str]]) -> Dialogue:
    named = zip(SPEAKERS, personas, strict=False)
    gold = [{"speaker": speaker, "text": text} for speaker, persona in named for text in persona]
    meta: dict[str, Any] = {"session_turns": [len(session) for session in sessions]}
    if gold:
        meta["gold"] = gold
    turns = tuple(Turn(speaker, text) for session in sessions for speaker, text in session)
    return Dialogue(name, turns, corpus="msc", meta=meta)


CORPUS = Corpus(
    name="msc",
    description="several sessions of the same two speakers, days apart (gold: personas)",
    read=read,
    find=find,
    patterns=("train.txt", "valid.txt", "test.txt", "*.parquet"),
    hub=("nayohan/multi_session_chat",),
    mark=b"\n",
    size="23,445 sessions on the hub",
    licence="CC BY 4.0",
    citation="Xu, Szlam, Weston (2022). Beyond Goldfish Memory: Long-Term Open-Domain Conversation. ACL.",
    link="https://aclanthology.org/2022.acl-long.356",
)
