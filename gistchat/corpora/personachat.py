"""Persona-Chat / ConvAI2 (Zhang et al. 2018; CC BY 4.0): two strangers, each with a persona of a few sentences.

Three layouts: ParlAI's text files (`valid_self_original_no_cands.txt`: numbered lines, 1 begins a dialogue, then
"N your persona: ..." or "N turn<TAB>answer"), the JSON of Hugging Face (`personachat_self_original.json`), and its rows
on the hub. The personas go to `meta["gold"]` as sentences, each with the speaker it describes.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import first_character, json_entries, records
from gistchat.dialogue.lines import text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn

SILENCE = "__SILENCE__"
_NUMBERED = re.compile(r"(\d+) (.*)", re.S)
_PERSONA = re.compile(r"(your|partner's) persona: (.*)")
OTHER, SELF = "A", "B"  # ParlAI shows the exchange to the second speaker, whose persona is "your persona"


def read(path: Path) -> Iterator[ReadResult]:
    if path.suffix == ".txt":
        yield from _read_text(path)
    elif path.suffix == ".json" and first_character(path) == "{":
        for split, name in (("train", "train"), ("validation", "valid")):
            yield from _read_entries(json_entries(path, f"{name}.item"), split, split)
    else:
        yield from _read_entries(records(path), path.stem, "")


def _read_text(path: Path) -> Iterator[ReadResult]:
    """Numbered lines. Number 1 begins a dialogue; an exchange is two turns and, in some files, candidate replies."""
    turns: list[Turn] = []
    gold: list[dict[str, str]] = []
    problem: Malformed | None = None
    start = ""
    for location, line in text_lines(path):
        matched = None if isinstance(line, Malformed) else _NUMBERED.fullmatch(line)
        if matched is None:
            problem = problem or (line if isinstance(line, Malformed) else Malformed(location, "no line number"))
            continue
        number, text = matched.groups()
        if number == "1":
            if start:
                yield from _finished(path, start, turns, gold, problem)
            turns, gold, problem, start = [], [], None, location
        if persona := _PERSONA.fullmatch(text):
            gold.append({"speaker": SELF if persona[1] == "your" else OTHER, "text": persona[2]})
            continue
        columns = text.split("\t")
        if len(columns) < 2:
            problem = problem or Malformed(location, "expected a turn, a tab and its answer")
            continue
        turns += [Turn(OTHER, columns[0]), Turn(SELF, columns[1])]
    if start or problem:
        yield from _finished(path, start, turns, gold, problem)


def _finished(
    path: Path, start: str, turns: list[Turn], gold: list[dict[str, str]], problem: Malformed | None
) -> Iterator[ReadResult]:
    if problem:
        yield problem
    else:
        yield from _dialogue(f"{path.stem}-{start.rsplit(':', 1)[1]}", turns, gold, "")


def _read_entries(entries: Iterator[tuple[str, Any]], name: str, split: str) -> Iterator[ReadResult]:
    """Entries with `personality` and `utterances`."""
    for number, (location, entry) in enumerate(entries):
        if isinstance(entry, Malformed):
            yield entry
            continue
        try:
            turns, gold = _entry(entry)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            yield Malformed(location, f"unexpected layout ({error!r})")
            continue
        yield from _dialogue(f"{name}-{number}", turns, gold, split)


def _entry(entry: dict[str, Any]) -> tuple[list[Turn], list[dict[str, str]]]:
    """The last utterance's history is the whole conversation but its last reply, the last of the candidates."""
    last = max(entry["utterances"], key=lambda utterance: len(utterance["history"]))
    texts = [*last["history"], last["candidates"][-1]]
    gold = [{"speaker": SELF, "text": text} for text in entry.get("personality") or []]
    return [Turn((OTHER, SELF)[i % 2], text) for i, text in enumerate(texts)], gold


def _dialogue(name: str, turns: list[Turn], gold: list[dict[str, str]], split: str) -> Iterator[ReadResult]:
    """The dialogue without `SILENCE`, which stands in place of the first speaker's turn if the second one begins."""
    said = tuple(turn for turn in turns if turn.text.replace(" ", "") != SILENCE)
    if len(said) < len(turns):
        yield LeftOut("marks of silence", len(turns) - len(said))
    yield Dialogue(name, said, corpus="personachat", split=split, meta={"gold": gold} if gold else {})


CORPUS = Corpus(
    name="personachat",
    description="strangers with given personas (gold: personas)",
    read=read,
    patterns=("*_self_original*.txt", "*_both_original*.txt", "*_none_original*.txt", "personachat*.json", "*.parquet"),
    hub=("AlekseyKorshuk/persona-chat",),
    mark=b"\n1 ",
    size="18,878 dialogues in ConvAI2",
    licence="CC BY 4.0",
    citation="Zhang, Dinan, Urbanek, Szlam, Kiela, Weston (2018). Personalizing Dialogue Agents: I have a dog, do "
    "you have pets too? ACL.",
    link="https://aclanthology.org/P18-1205",
)
