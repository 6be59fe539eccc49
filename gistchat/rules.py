"""What becomes of one dialogue on its way in: cleaned, its turns merged, kept or dropped with a reason."""

import dataclasses
import hashlib
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from gistchat.dialogue import Dialogue, Item, LeftOut, Turn
from gistchat.normalize import clean_text, clean_texts, scrub
from gistchat.storage import fingerprint

MALFORMED = "malformed"
NOTHING = "nothing"  # no dialogue at all: what was left out after the last of a batch


@dataclass(frozen=True)
class Rules:
    """Which dialogues are kept, and whether addresses and numbers in them are replaced."""

    min_turns: int
    max_turn_chars: int  # 0: any
    scrub: bool


class Verdict(NamedTuple):
    """What became of a dialogue.

    Attributes:
        reason: why it was dropped; empty where it was kept.
        problem: where and why it is malformed, if that is the reason.
        line: the dialogue as a line of JSONL.
        split: its official split, where it has one.
        found: turns that it had as read; `turns`: that it has now; `replies`: how many of these may be scored.
        digest: equal for dialogues with the same texts.
        unit: dialogues with the same unit stay in one split.
        speakers: who speaks.
        scrubbed: addresses and numbers replaced.
        merged: turns joined to the turn before, by the same speaker.
        left_out: parts of it that are no turns, by what they are.
    """

    reason: str = ""
    problem: str = ""
    line: bytes = b""
    split: str = ""
    found: int = 0
    turns: int = 0
    replies: int = 0
    digest: int = 0
    unit: str = ""
    speakers: tuple[str, ...] = ()
    scrubbed: int = 0
    merged: int = 0
    left_out: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Batch:
    """What a reader found in one file: items, or units that `parse` makes items of."""

    found: list[Any]
    parse: Callable[[Any], Iterable[Item]] | None
    split: str  # of the file, for dialogues that name none
    mark: str  # where several corpora are mixed: goes before ids and instead of the corpus's name


def judge(rules: Rules, batch: Batch) -> list[Verdict]:
    """The verdicts on a batch, in order; parts that were left out are told with the dialogue after them."""
    items = itertools.chain.from_iterable(map(batch.parse, batch.found)) if batch.parse else batch.found
    verdicts = []
    left_out: list[tuple[str, int]] = []
    for item in items:
        if isinstance(item, LeftOut):
            left_out.append((item.what, item.count))
            continue
        verdict = _judge(rules, _marked(item, batch)) if isinstance(item, Dialogue) else _malformed(str(item))
        verdicts.append(verdict._replace(left_out=(*verdict.left_out, *left_out)) if left_out else verdict)
        left_out = []
    if left_out:
        verdicts.append(Verdict(NOTHING, left_out=tuple(left_out)))
    return verdicts


def _malformed(problem: str) -> Verdict:
    return Verdict(MALFORMED, problem)


def _marked(dialogue: Dialogue, batch: Batch) -> Dialogue:
    if batch.mark:
        dialogue = dataclasses.replace(dialogue, id=f"{batch.mark}/{dialogue.id}", corpus=batch.mark)
    if batch.split and not dialogue.split:
        dialogue = dataclasses.replace(dialogue, split=batch.split)
    return dialogue


def _judge(rules: Rules, dialogue: Dialogue) -> Verdict:
    found = len(dialogue.turns)
    turns = list(dialogue.turns)
    speakers, texts = [turn.speaker for turn in turns], [turn.text for turn in turns]
    try:
        cleaned = clean_texts(texts)
        names = {name: _clean_name(name) for name in set(speakers)}
    except (TypeError, AttributeError):
        return _malformed(f"dialogue {dialogue.id}: a turn that is not a text")  # rows hold what a column holds
    if cleaned is not texts or any(name != clean for name, clean in names.items()):
        turns = [Turn(names[speaker], text) for speaker, text in zip(speakers, cleaned, strict=True)]
    turns, merged, empty = merge(turns)
    left_out = (("turns without text", empty),) if empty else ()
    present = {turn.speaker for turn in turns}
    if reason := _unfit(turns, present, merged, rules):
        return Verdict(reason, found=found, left_out=left_out)
    digest = int.from_bytes(hashlib.sha256("\x1f".join([turn.text for turn in turns]).encode()).digest()[:8])
    scrubbed, meta, targets = 0, dialogue.meta, dialogue.targets
    if rules.scrub:
        pairs = [scrub(turn.text) for turn in turns]
        turns = [Turn(turn.speaker, text) for turn, (text, _) in zip(turns, pairs, strict=True)]
        scrubbed = sum(count for _, count in pairs)
        turns = [Turn(_scrub_name(turn.speaker), turn.text) for turn in turns]
        present = {turn.speaker for turn in turns}
        targets = targets and tuple(map(_scrub_name, targets))
    if gold := meta.get("gold"):
        meta = meta | {"gold": [line | {"text": _clean_line(line["text"], rules)} for line in gold]}
    if targets is not None:
        targets = tuple(map(_clean_name, targets))
    kept = Dialogue(dialogue.id, tuple(turns), dialogue.corpus, dialogue.split, targets, meta)
    try:
        line = kept.to_line()
    except ValueError as error:
        return _malformed(f"dialogue {dialogue.id!a}: {error}")
    return Verdict(
        line=line,
        split=kept.split,
        found=found,
        turns=len(turns),
        replies=len(turns) - 1 if targets is None else len(kept.reply_indices()),
        digest=digest,
        unit=str(meta.get("group") or digest),
        speakers=tuple(sorted(present)),
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


def _clean_line(text: str, rules: Rules) -> str:
    text = clean_text(text)
    return scrub(text)[0] if rules.scrub else text


def merge(turns: Sequence[Turn]) -> tuple[list[Turn], int, int]:
    """Join consecutive turns of one speaker; turns without text vanish.

    Returns:
        The turns, how many were joined to the one before, and how many vanished.
    """
    speakers = [turn.speaker for turn in turns]
    if all(map(operator.ne, speakers, speakers[1:])) and all(turn.text for turn in turns):
        return list(turns), 0, 0
    merged: list[Turn] = []
    joined = empty = 0
    for turn in turns:
        if not turn.text:
            empty += 1
        elif merged and merged[-1].speaker == turn.speaker:
            merged[-1] = Turn(turn.speaker, f"{merged[-1].text} {turn.text}")
            joined += 1
        else:
            merged.append(turn)
    return merged, joined, empty


def _unfit(turns: Sequence[Turn], names: set[str], joined: int, rules: Rules) -> str:
    if joined and len(turns) == 1:
        return "only one speaker"
    if len(turns) < rules.min_turns:
        return f"fewer than {rules.min_turns} turns"
    if "" in names:
        return "a turn without a speaker"
    if len(names) < 2:
        return "only one speaker"
    if rules.max_turn_chars and any(len(turn.text) > rules.max_turn_chars for turn in turns):
        return f"a turn over {rules.max_turn_chars:,} characters"
    return ""
