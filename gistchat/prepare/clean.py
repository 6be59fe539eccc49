"""Clean and filter dialogues: repair the text, merge turns of one speaker, keep the dialogue or say why not."""

import bisect
import dataclasses
import itertools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from gistchat.dialogue.lines import Parse, parse_records
from gistchat.dialogue.text_repair import clean_line, clean_texts, join_tokens
from gistchat.dialogue.turns import Dialogue, LeftOut, Malformed, Turn
from gistchat.prepare.choose import Choice, choose, clean_name, moment_of
from gistchat.prepare.scrub import scrub, scrub_name
from gistchat.prepare.splits import hash64

MALFORMED = "malformed"
NO_DIALOGUE = "no dialogue"  # carries what a reader left out after the last dialogue of a batch


@dataclass(frozen=True)
class CleaningRules:
    """Which dialogues are kept, and whether addresses and numbers in them are replaced."""

    min_turns: int
    max_turn_chars: int  # 0: any
    scrub: bool
    seed: int  # of the split
    tokenised: bool = False  # the corpus was cut into tokens, which are put together
    keep_lines: bool = False  # turns that are joined stand on lines of their own
    by_time: bool = False  # later dialogues have a lower rank, so that the latest are held out
    choice: Choice = field(default_factory=Choice)


class Cleaned(NamedTuple):
    """The outcome for one dialogue."""

    reason: str = ""  # why it was dropped; empty if it was kept
    problem: str = ""  # where and why it is malformed, if that is the reason
    line: bytes = b""  # the dialogue as a line of JSONL
    split: str = ""  # its official split, if it has one
    turns_read: int = 0  # before cleaning
    turns: int = 0  # after it
    replies: int = 0  # how many of these may be scored
    digest: int = 0  # equal for dialogues with the same texts but for white space
    rank: int = 0  # decides its split if there is no official one; dialogues that belong together have the same
    speakers: tuple[str, ...] = ()
    said: tuple[int, ...] = ()  # turns of each of them
    heard: tuple[str, ...] = ()  # who speaks in the chat that it is of, whether they were chosen or not
    renamed: tuple[tuple[str, str], ...] = ()  # of the names that are to be changed those in the chat, old and new
    id: str = ""
    scrubbed: int = 0  # addresses and numbers replaced
    merged: int = 0  # turns joined to the turn before, by the same speaker
    left_out: tuple[tuple[str, int], ...] = ()  # parts of it that are no turns, by what they are


@dataclass(frozen=True)
class Batch:
    """Part of a file: what its reader yields, or raw records that `parse` turns into the same."""

    entries: list[Any]
    parse: Parse | None
    file: str  # its name, without folder and suffix
    split: str  # of the file, for dialogues that name none
    label: str  # in a mix of corpora: prefixed to ids, and in place of the corpus's name


def clean_batch(rules: CleaningRules, batch: Batch) -> list[Cleaned]:
    """Clean the dialogues of a batch, in order; what a reader left out is counted with the dialogue after it."""
    read_results = parse_records(batch.parse, batch.file, batch.entries) if batch.parse else batch.entries
    cleaned = []
    left_out: list[tuple[str, int]] = []
    for entry in read_results:
        if isinstance(entry, LeftOut):
            left_out.append((entry.what, entry.count))
            continue
        if isinstance(entry, Malformed):
            outcomes = [Cleaned(MALFORMED, str(entry))]
        else:
            dialogues, not_chosen = choose(_relabelled(entry, batch), rules.choice)
            left_out += not_chosen.items()
            outcomes = [_clean_dialogue(rules, dialogue) for dialogue in dialogues]
            outcomes[0] = outcomes[0]._replace(heard=_heard(entry, rules), renamed=_renamed(entry, rules))
        if left_out:
            outcomes[0] = outcomes[0]._replace(left_out=(*outcomes[0].left_out, *left_out))
        cleaned += outcomes
        left_out = []
    if left_out:
        cleaned.append(Cleaned(NO_DIALOGUE, left_out=tuple(left_out)))
    return cleaned


def _relabelled(dialogue: Dialogue, batch: Batch) -> Dialogue:
    if batch.label:
        dialogue = dataclasses.replace(dialogue, id=f"{batch.label}/{dialogue.id}", corpus=batch.label)
    if batch.split and not dialogue.split:
        dialogue = dataclasses.replace(dialogue, split=batch.split)
    return dialogue


def _heard(chat: Dialogue, rules: CleaningRules) -> tuple[str, ...]:
    """Who speaks in a chat, as dialogues of it name them."""
    try:
        names = dict.fromkeys(
            clean_name(rules.choice.name_of(speaker)) for speaker in {turn.speaker: 0 for turn in chat.turns}
        )
    except (TypeError, AttributeError):  # a column of a table may hold anything
        return ()
    return tuple(dict.fromkeys(map(scrub_name, names) if rules.scrub else names))


def _renamed(chat: Dialogue, rules: CleaningRules) -> tuple[tuple[str, str], ...]:
    if not rules.choice.renamed:
        return ()
    return tuple(rules.choice.renames({turn.speaker: 0 for turn in chat.turns}).items())


def _clean_dialogue(rules: CleaningRules, dialogue: Dialogue) -> Cleaned:
    try:
        texts = clean_texts([turn.text for turn in dialogue.turns])
        speakers = [clean_name(turn.speaker) for turn in dialogue.turns]
        if rules.tokenised:
            texts = list(map(join_tokens, texts))
    except (TypeError, AttributeError):  # a column of a table may hold anything
        return Cleaned(MALFORMED, f"dialogue {dialogue.id}: a turn that is not a text")
    unmerged = texts
    speakers, texts, firsts, empty = merge(speakers, texts, rules.keep_lines)
    merged = len(dialogue.turns) - empty - len(texts)
    left_out = (("turns without text", empty),) if empty else ()
    if reason := _reason_to_drop(speakers, texts, merged, rules):
        return Cleaned(reason, turns_read=len(dialogue.turns), left_out=left_out)
    digest = hash64("\x1f".join([" ".join(text.split()) for text in texts]))
    scored_speakers = None if dialogue.scored_speakers is None else tuple(map(clean_name, dialogue.scored_speakers))
    scrubbed = 0
    if rules.scrub:
        texts, counts = zip(*map(scrub, texts), strict=True)
        scrubbed = sum(counts)
        speakers = list(map(scrub_name, speakers))
        scored_speakers = scored_speakers and tuple(map(scrub_name, scored_speakers))
    if scored_speakers is not None:  # one of a chat's may be silent in this part of it
        scored_speakers = tuple(name for name in scored_speakers if name in speakers)
    try:
        meta = _clean_meta(dialogue, rules)
    except (TypeError, AttributeError):
        return Cleaned(MALFORMED, f"dialogue {dialogue.id}: a gold line that is not a text")
    if len(starts := dialogue.session_starts()) > 1:
        meta = meta | {"session_turns": _session_turns(starts, firsts)}
    dates = [date and clean_line(date) for date in (dialogue.turns[first].date for first in firsts)]
    turns = tuple(map(Turn, speakers, texts, dates))
    unscored = _unscored(dialogue.unscored, unmerged, firsts)
    cleaned = dataclasses.replace(dialogue, turns=turns, scored_speakers=scored_speakers, meta=meta, unscored=unscored)
    try:
        line = cleaned.to_line()
    except ValueError as error:
        return Cleaned(MALFORMED, f"dialogue {dialogue.id!a}: {error}")
    return Cleaned(
        line=line,
        split=dialogue.split,
        turns_read=len(dialogue.turns),
        turns=len(texts),
        replies=len(cleaned.reply_indices()),
        digest=digest,
        rank=_rank(rules, cleaned, digest),
        speakers=(names := tuple(sorted(set(speakers)))),
        said=tuple(map(speakers.count, names)),
        id=dialogue.id,
        scrubbed=scrubbed,
        merged=merged,
        left_out=left_out,
    )


def _rank(rules: CleaningRules, dialogue: Dialogue, digest: int) -> int:
    """What decides the split of a dialogue: by time, the later the lower."""
    begun = moment_of(dialogue.turns[0]) if rules.by_time else None
    if begun:
        return 2**63 - int((begun - datetime.min).total_seconds())
    return hash64(f"{rules.seed} {dialogue.meta.get('group') or digest}")


def _clean_meta(dialogue: Dialogue, rules: CleaningRules) -> dict[str, Any]:
    """Raises TypeError or AttributeError for a gold line that is no text."""
    meta = dialogue.meta
    if gold := meta.get("gold"):
        meta = meta | {"gold": [_clean_gold(line, rules) for line in gold]}
    if dialogue.preamble:
        [text] = clean_texts([dialogue.preamble])
        meta = meta | {"system": scrub(text)[0] if rules.scrub else text}
    return meta


def _clean_gold(line: dict[str, Any], rules: CleaningRules) -> dict[str, Any]:
    """A gold line in the words, and under the name, that the turns have after cleaning."""
    speaker = clean_name(line["speaker"])
    return line | {
        "speaker": scrub_name(speaker) if rules.scrub else speaker,
        "text": _clean_line(line["text"], rules),
    }


def _clean_line(text: str, rules: CleaningRules) -> str:
    text = clean_line(text)
    if rules.tokenised:
        text = join_tokens(text)
    return scrub(text)[0] if rules.scrub else text


def merge(
    speakers: list[str], texts: list[str], keep_lines: bool = False
) -> tuple[list[str], list[str], Sequence[int], int]:
    """Join consecutive turns of one speaker by a space, or by a line end where one of them has lines, such as code.

    Turns without text vanish.

    Args:
        keep_lines: join all of them by line ends.

    Returns:
        Speakers, texts, and of each of these turns the index that its first part had; and how many turns vanished.
    """
    if all(texts) and all(map(operator.ne, speakers, speakers[1:])):  # most dialogues
        return speakers, texts, range(len(texts)), 0
    spoken = [i for i, text in enumerate(texts) if text]
    runs = [list(run) for _, run in itertools.groupby(spoken, speakers.__getitem__)]
    parts = [[texts[i] for i in run] for run in runs]
    merged = [("\n" if keep_lines or any("\n" in text for text in part) else " ").join(part) for part in parts]
    firsts = [run[0] for run in runs]
    return [speakers[i] for i in firsts], merged, firsts, len(texts) - len(spoken)


def _unscored(indices: Sequence[int], texts: Sequence[str], firsts: Sequence[int]) -> tuple[int, ...]:
    """Indices after merging of the turns that are not scored: those whose last part with text is not.

    Args:
        indices: of turns that are not scored, before merging.
        texts: before merging.
        firsts: see `merge`.
    """
    if not indices:
        return ()
    lasts = [i - 1 for i in firsts[1:]] + [len(texts) - 1]
    spoken = [next(i for i in range(last, -1, -1) if texts[i]) for last in lasts]
    return tuple(place for place, last in enumerate(spoken) if last in indices)


def _session_turns(starts: Sequence[int], firsts: Sequence[int]) -> list[int]:
    """How many turns each session has after merging; a turn is of the session that it begins in.

    Args:
        starts: index of the first turn of each session before merging.
        firsts: see `merge`.
    """
    places = [*(bisect.bisect_left(firsts, start) for start in starts), len(firsts)]
    return [end - start for start, end in itertools.pairwise(places)]


def _reason_to_drop(speakers: Sequence[str], texts: Sequence[str], joined: int, rules: CleaningRules) -> str:
    names = set(speakers)
    if not texts:
        return "no turns with text"
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
