"""Persona-Chat / ConvAI2 (Zhang et al. 2018; CC BY 4.0): two strangers, each with a persona of a few sentences.

Three layouts: ParlAI's text files (`valid_self_original_no_cands.txt`: numbered lines, 1 begins a dialogue, then
"N your persona: ..." or "N turn<TAB>answer"), the JSON of Hugging Face (`personachat_self_original.json`), and its rows
on the hub. The personas go to `meta["gold"]` as sentences, each with the speaker it describes.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.sources import first_character, json_entries, records
from gistchat.dialogue.lines import parse_records, text_lines
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, ReadResult, Turn

SILENCE = "__SILENCE__"
_NUMBERED = re.compile(r"\d+ (.*)", re.S)
_PERSONA = re.compile(r"(your|partner's) persona: (.*)")
OTHER, SELF = "A", "B"  # ParlAI shows the exchange to the second speaker, whose persona is "your persona"

Line = tuple[str, str | Malformed]  # with its location


def read(path: Path) -> Iterator[ReadResult]:
    if path.suffix == ".txt":
        yield from parse_records(_parse_lines, path.stem, _blocks(path))
    elif path.suffix == ".json" and first_character(path) == "{":
        for split, name in (("train", "train"), ("validation", "valid"), ("test", "test")):
            yield from parse_records(functools.partial(_parse, split), split, json_entries(path, f"{name}.item"), 0)
    else:
        yield from parse_records(functools.partial(_parse, ""), path.stem, records(path), 0)


def _blocks(path: Path) -> Iterator[tuple[str, list[Line]]]:
    """The lines of one dialogue each, with the location of the first, which has number 1."""
    block: list[Line] = []
    for location, line in text_lines(path):
        if block and isinstance(line, str) and line.startswith("1 "):
            yield block[0][0], block
            block = []
        block.append((location, line))
    if block:
        yield block[0][0], block


def _parse_lines(file: str, name: str, lines: list[Line]) -> Iterator[ReadResult]:
    """A persona's sentence a line, or an exchange: two turns and, in some files, candidate replies."""
    turns: list[Turn] = []
    gold: list[dict[str, str]] = []
    for location, line in lines:
        numbered = None if isinstance(line, Malformed) else _NUMBERED.fullmatch(line)
        if numbered is None:
            yield line if isinstance(line, Malformed) else Malformed(location, "no line number")
            return
        columns = numbered[1].split("\t")
        if persona := _PERSONA.fullmatch(numbered[1]):
            gold.append({"speaker": SELF if persona[1] == "your" else OTHER, "text": persona[2]})
        elif len(columns) < 2:
            yield Malformed(location, "expected a turn, a tab and its answer")
            return
        else:
            turns += [Turn(OTHER, columns[0]), Turn(SELF, columns[1])]
    yield from _dialogue(name, turns, gold, "")


def _parse(split: str, file: str, name: str, entry: dict[str, Any]) -> Iterator[ReadResult]:
    """The last utterance's history is the whole conversation but its last reply, the last of the candidates."""
    last = max(entry["utterances"], key=lambda utterance: len(utterance["history"]))
    texts = [*last["history"], last["candidates"][-1]]
    gold = [{"speaker": SELF, "text": text} for text in entry.get("personality") or []]
    return _dialogue(name, [Turn((OTHER, SELF)[i % 2], text) for i, text in enumerate(texts)], gold, split)


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
    tokenised=True,
    size="18,878 dialogues in ConvAI2",
    licence="CC BY 4.0",
    citation="Zhang, Dinan, Urbanek, Szlam, Kiela, Weston (2018). Personalizing Dialogue Agents: I have a dog, do "
    "you have pets too? ACL.",
    link="https://aclanthology.org/P18-1205",
)
