"""Clean and filter dialogues: repair the text, merge turns of one speaker, keep the dialogue or say why not."""

import dataclasses
import hashlib
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from gistchat.dialogue.text_repair import clean_text, clean_texts
from gistchat.dialogue.turns import Dialogue, Item, LeftOut, columns, json_line
from gistchat.files import fingerprint
from gistchat.prepare.scrub import scrub
from gistchat.prepare.splits import rank_of

MALFORMED = "malformed"
NO_DIALOGUE = "no dialogue"  # carries what a reader left out after the last dialogue of a batch


@dataclass(frozen=True)
class CleaningRules:
    """Which dialogues are kept, and whether addresses and numbers in them are replaced."""

    min_turns: int
    max_turn_chars: int  # 0: any
    scrub: bool
    seed: int  # of the split


class Cleaned(NamedTuple):
    """The outcome for one dialogue.

    Attributes:
        reason: why it was dropped; empty where it was kept.
        problem: where and why it is malformed, if that is the reason.
        line: the dialogue as a line of JSONL.
        split: its official split, where it has one.
        turns_read: before cleaning; `turns`: after it; `replies`: how many of these may be scored.
        digest: equal for dialogues with the same texts.
        rank: a hash that places it where there is no official split; dialogues that belong together have the same.
        speakers: who speaks.
        scrubbed: addresses and numbers replaced.
        merged: turns joined to the turn before, by the same speaker.
        left_out: parts of it that are no turns, by what they are.
    """

    reason: str = ""
    problem: str = ""
    line: bytes = b""
    split: str = ""
    turns_read: int = 0
    turns: int = 0
    replies: int = 0
    digest: int = 0
    rank: int = 0
    speakers: tuple[str, ...] = ()
    scrubbed: int = 0
    merged: int = 0
    left_out: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Batch:
    """What a reader yields of one file: items, or units that `parse` turns into items."""

    units: list[Any]
    parse: Callable[[Any], Iterable[Item]] | None
    split: str  # of the file, for dialogues that name none
    label: str  # in a mix of corpora: prefixed to ids, and in place of the corpus's name


def clean_packed(rules: CleaningRules, batch: Batch) -> list[tuple[Any, ...]]:
    """`clean_batch` as columns of plain values, which cost a third to send between processes; see `unpack`."""
    return list(zip(*clean_batch(rules, batch), strict=True))


def unpack(columns: list[tuple[Any, ...]]) -> list[Cleaned]:
    return list(map(Cleaned._make, zip(*columns, strict=True)))


def clean_batch(rules: CleaningRules, batch: Batch) -> list[Cleaned]:
    """Clean the dialogues of a batch, in order; what a reader left out is counted with the dialogue after it."""
    items = itertools.chain.from_iterable(map(batch.parse, batch.units)) if batch.parse else batch.units
    cleaned = []
    left_out: list[tuple[str, int]] = []
    for item in items:
        if isinstance(item, LeftOut):
            left_out.append((item.what, item.count))
            continue
        outcome = (
            _clean_dialogue(rules, _relabelled(item, batch)) if isinstance(item, Dialogue) else _malformed(str(item))
        )
        cleaned.append(outcome._replace(left_out=(*outcome.left_out, *left_out)) if left_out else outcome)
        left_out = []
    if left_out:
        cleaned.append(Cleaned(NO_DIALOGUE, left_out=tuple(left_out)))
    return cleaned


def _malformed(problem: str) -> Cleaned:
    return Cleaned(MALFORMED, problem)


def _relabelled(dialogue: Dialogue, batch: Batch) -> Dialogue:
    if batch.label:
        dialogue = dataclasses.replace(dialogue, id=f"{batch.label}/{dialogue.id}", corpus=batch.label)
    if batch.split and not dialogue.split:
        dialogue = dataclasses.replace(dialogue, split=batch.split)
    return dialogue


def _clean_dialogue(rules: CleaningRules, dialogue: Dialogue) -> Cleaned:
    speakers, texts = columns(dialogue.turns)
    try:
        texts = clean_texts(texts)
        names = {name: _clean_name(name) for name in set(speakers)}
    except (TypeError, AttributeError):
        return _malformed(f"dialogue {dialogue.id}: a turn that is not a text")  # rows hold what a column holds
    if any(name != clean for name, clean in names.items()):
        speakers = [names[speaker] for speaker in speakers]
    speakers, texts, merged, empty = merge(speakers, texts)
    left_out = (("turns without text", empty),) if empty else ()
    if reason := _reason_to_drop(speakers, texts, merged, rules):
        return Cleaned(reason, turns_read=len(dialogue.turns), left_out=left_out)
    digest = int.from_bytes(hashlib.sha256("\x1f".join(texts).encode()).digest()[:8])
    scored_speakers = None if dialogue.scored_speakers is None else tuple(map(_clean_name, dialogue.scored_speakers))
    scrubbed = 0
    if rules.scrub:
        texts, counts = zip(*map(scrub, texts), strict=True)
        scrubbed = sum(counts)
        speakers = list(map(_scrub_name, speakers))
        scored_speakers = scored_speakers and tuple(map(_scrub_name, scored_speakers))
    meta = dialogue.meta
    if gold := meta.get("gold"):
        meta = meta | {"gold": [line | {"text": _clean_line(line["text"], rules)} for line in gold]}
    try:
        line = json_line(dialogue.id, dialogue.corpus, dialogue.split, scored_speakers, meta, speakers, texts)
    except ValueError as error:
        return _malformed(f"dialogue {dialogue.id!a}: {error}")
    return Cleaned(
        line=line,
        split=dialogue.split,
        turns_read=len(dialogue.turns),
        turns=len(texts),
        replies=len(texts) - 1
        if scored_speakers is None
        else sum(speaker in scored_speakers for speaker in speakers[1:]),
        digest=digest,
        rank=rank_of(meta.get("group") or digest, rules.seed),
        speakers=tuple(sorted(set(speakers))),
        scrubbed=scrubbed,
        merged=merged,
        left_out=left_out,
    )


@lru_cache(maxsize=10_000)
def _clean_name(name: str) -> str:
    return clean_text(name)


@lru_cache(maxsize=10_000)
def _scrub_name(name: str) -> str:
    """A messenger calls people who are not in its address book by their number."""
    return name if scrub(name)[1] == 0 else f"person {fingerprint(name)[:6]}"


def _clean_line(text: str, rules: CleaningRules) -> str:
    text = clean_text(text)
    return scrub(text)[0] if rules.scrub else text


def merge(speakers: list[str], texts: list[str]) -> tuple[list[str], list[str], int, int]:
    """Join consecutive turns of one speaker; turns without text vanish.

    Returns:
        Speakers and texts, how many turns were joined to the one before, and how many vanished.
    """
    if all(map(operator.ne, speakers, speakers[1:])) and all(texts):
        return speakers, texts, 0, 0
    whose: list[str] = []
    merged: list[str] = []
    joined = empty = 0
    for speaker, text in zip(speakers, texts, strict=True):
        if not text:
            empty += 1
        elif whose and whose[-1] == speaker:
            merged[-1] += f" {text}"
            joined += 1
        else:
            whose.append(speaker)
            merged.append(text)
    return whose, merged, joined, empty


def _reason_to_drop(speakers: Sequence[str], texts: Sequence[str], joined: int, rules: CleaningRules) -> str:
    names = set(speakers)
    if joined and len(texts) == 1:
        return "only one speaker"
    if len(texts) < rules.min_turns:
        return f"fewer than {rules.min_turns} turns"
    if "" in names:
        return "a turn without a speaker"
    if len(names) < 2:
        return "only one speaker"
    if rules.max_turn_chars and max(map(len, texts)) > rules.max_turn_chars:
        return f"a turn over {rules.max_turn_chars:,} characters"
    return ""
