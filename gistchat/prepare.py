"""Stage 1: corpus files -> train.jsonl, validation.jsonl, test.jsonl and report.json."""

import dataclasses
import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gistchat.audit import drop_from_train, find_twins
from gistchat.corpora import CORPORA, Corpus
from gistchat.corpora.sources import split_of_name
from gistchat.dialogue import SPLITS, Dialogue, Malformed, Turn, write_jsonl
from gistchat.errors import UserError
from gistchat.normalize import clean_text, scrub
from gistchat.progress import progress
from gistchat.storage import file_hash, fingerprint, is_current, mark_done, read_json, write_json

SKIP = "--on-error skip, in a run --set data.on_error=skip"
VERSION = 3  # raise it when the same input would give other output, so that prepared folders are made again


@dataclass
class DataConfig:
    """Which dialogues, and how they are cleaned and split."""

    corpus: str = field(default="chitchat", metadata={"help": f"one of: {', '.join(CORPORA)}"})
    source: str = field(default="", metadata={"help": "file or folder to read; empty: the installed package"})
    folder: str = field(default="", metadata={"help": "where prepared data goes; empty: data/CORPUS-KEY"})
    seed: int = field(default=0, metadata={"help": "fixes who is held out"})
    min_turns: int = field(default=0, metadata={"help": "shorter dialogues are dropped; 0: the corpus's default"})
    max_turn_chars: int = field(
        default=0, metadata={"help": "dialogues with a longer turn are dropped, in characters; 0: the corpus's default"}
    )
    scrub: str = field(
        default="auto", metadata={"help": "replace phone numbers, e-mail and web addresses: auto|yes|no"}
    )
    split_by: str = field(default="auto", metadata={"help": "what may not straddle splits: auto|speaker|dialogue"})
    test_share: float = field(default=0.10, metadata={"help": "share of speakers (or dialogues) held out for test"})
    validation_share: float = field(default=0.05, metadata={"help": "the same, for validation"})
    audit: str = field(default="no", metadata={"help": "near duplicates across splits: no|report|drop (from train)"})
    on_error: str = field(default="stop", metadata={"help": "at malformed input: stop|skip (skipped ones are listed)"})


@dataclass
class Report:
    """What became of everything that was read. `read` = `kept` + the sum of `dropped`."""

    corpus: str
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    scrubbed: int = 0
    merged_turns: int = 0
    skipped: list[str] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    twins: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def lines(self) -> list[str]:
        """The report in words, a line each."""
        lines = [f"read {self.read:,} dialogues, kept {self.kept:,}"]
        lines += [f"  dropped {count:,}: {reason}" for reason, count in _most_first(self.dropped)]
        lines += [f"  skipped {problem}" for problem in self.skipped]
        if self.scrubbed:
            lines.append(f"  replaced {self.scrubbed:,} phone numbers, e-mail and web addresses")
        if self.merged_turns:
            lines.append(f"  merged {self.merged_turns:,} turns with the turn before, by the same speaker")
        lines += [
            f"  {pair['first']} ({pair['first_split']}) and {pair['second']} ({pair['second_split']}) share "
            f"{pair['similarity']:.0%} of their word pairs"
            for pair in self.twins
        ]
        for split, counts in self.splits.items():
            words = (
                f"{counts['dialogues']:,} dialogues, {counts['turns']:,} turns, {counts['replies']:,} scored replies"
            )
            lines.append(f"  {split}: {words}")
        return lines


def default_folder(config: DataConfig) -> Path:
    """`data/CORPUS-KEY`: keyed by content and settings, so that neither corpora nor settings overwrite each other."""
    return Path(config.folder) if config.folder else Path("data") / f"{config.corpus}-{_key(config)[:8]}"


def prepare(config: DataConfig, out: Path) -> tuple[dict[str, Any], bool]:
    """Write the three splits and `report.json` to `out`.

    Returns:
        The report, and whether it was made now (False: the folder was current).
    Raises:
        UserError: bad input (file:line), or nothing left after the rules.
    """
    key = _key(config)
    marker = out / "prepared.json"
    if is_current(marker, key):
        return read_json(out / "report.json"), False
    corpus = _corpus(config)
    if out.resolve() in {path.resolve().parent for path in corpus.files(_source(config))}:
        raise UserError(f"{out}: holds the input; give another folder, so that no file of yours is replaced")
    report = Report(config.corpus)
    with progress(f"prepare {config.corpus}", _count(corpus, config)) as advance:
        kept = list(_keep(corpus, config, report, advance))
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in _most_first(report.dropped))
        raise UserError(f"no dialogue is left of {report.read} read ({reasons or 'the input is empty'})")
    split_dialogues = _split(kept, config, corpus)
    if config.audit != "no":
        split_dialogues = _audit(split_dialogues, config, report)
    marker.unlink(missing_ok=True)
    for split in SPLITS:
        dialogues = [dialogue for dialogue in split_dialogues if dialogue.split == split]
        write_jsonl(out / f"{split}.jsonl", dialogues)
        report.splits[split] = {
            "dialogues": len(dialogues),
            "turns": sum(len(dialogue.turns) for dialogue in dialogues),
            "replies": sum(len(dialogue.reply_indices()) for dialogue in dialogues),
        }
    values = dataclasses.asdict(report)
    write_json(out / "report.json", values)
    mark_done(marker, key, [out / f"{split}.jsonl" for split in SPLITS] + [out / "report.json"])
    return values, True


def _audit(dialogues: list[Dialogue], config: DataConfig, report: Report) -> list[Dialogue]:
    twins = find_twins(dialogues)
    report.twins = [dataclasses.asdict(pair) for pair in twins]
    if config.audit != "drop":
        return dialogues
    kept = drop_from_train(dialogues, twins)
    if len(kept) < len(dialogues):
        report.dropped["near duplicate of a held-out dialogue"] = len(dialogues) - len(kept)
        report.kept = len(kept)
    return kept


def report_lines(values: dict[str, Any]) -> list[str]:
    """The lines of a report read back from report.json."""
    return Report(**values).lines()


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])


def _corpus(config: DataConfig) -> Corpus:
    if config.corpus not in CORPORA:
        raise UserError(f"unknown corpus {config.corpus!r}; there are: {', '.join(CORPORA)}")
    return CORPORA[config.corpus]


def _source(config: DataConfig) -> Path | None:
    return Path(config.source) if config.source else None


def _key(config: DataConfig) -> str:
    settings = dataclasses.asdict(config)
    for name in ("folder", "source"):
        settings.pop(name)
    hashes = [(path.name, file_hash(path)) for path in _corpus(config).files(_source(config))]
    return fingerprint([VERSION, settings, hashes])


def _count(corpus: Corpus, config: DataConfig) -> int:
    """About how many dialogues there are to read."""
    return sum(path.read_bytes().count(corpus.item_mark) for path in corpus.files(_source(config)))


def _keep(corpus: Corpus, config: DataConfig, report: Report, advance: Callable[[int], None]) -> Iterator[Dialogue]:
    """The dialogues that pass the rules, cleaned; all others are counted in the report by the first reason."""
    seen: set[tuple[str, ...]] = set()
    min_turns = config.min_turns or corpus.min_turns
    max_chars = config.max_turn_chars or corpus.max_turn_chars
    do_scrub = corpus.scrub if config.scrub == "auto" else config.scrub == "yes"
    source = _source(config)
    # Names of files tell the official splits where there are several; a single file is cut by the shares.
    by_name = source is not None and source.is_dir()
    for path, item in ((file, item) for file in corpus.files(source) for item in corpus.read(file)):
        report.read += 1
        advance(1)
        if isinstance(item, Malformed):
            if config.on_error != "skip":
                raise UserError(f"{item} (to leave such lines out and list them: {SKIP})")
            report.drop("malformed")
            report.skipped.append(str(item))
            continue
        turns, merged = _merge([Turn(turn.speaker, clean_text(turn.text)) for turn in item.turns])
        texts = tuple(turn.text for turn in turns)
        if reason := _unfit(turns, min_turns, max_chars) or (texts in seen and "duplicate"):
            report.drop(reason)
            continue
        seen.add(texts)
        if do_scrub:
            pairs = [scrub(text) for text in texts]
            turns = [Turn(turn.speaker, text) for turn, (text, _) in zip(turns, pairs, strict=True)]
            report.scrubbed += sum(count for _, count in pairs)
        report.merged_turns += merged
        report.kept += 1
        split = item.split or (split_of_name(path) if by_name else "")
        yield dataclasses.replace(item, turns=tuple(turns), split=split)


def _merge(turns: list[Turn]) -> tuple[list[Turn], int]:
    """Join consecutive turns of one speaker; turns with no text left vanish. Returns the turns and how many merged."""
    merged: list[Turn] = []
    count = 0
    for turn in turns:
        if not turn.text:
            continue
        if merged and merged[-1].speaker == turn.speaker:
            merged[-1] = Turn(turn.speaker, f"{merged[-1].text} {turn.text}")
            count += 1
        else:
            merged.append(turn)
    return merged, count


def _unfit(turns: list[Turn], min_turns: int, max_chars: int) -> str:
    if len(turns) < min_turns:
        return f"fewer than {min_turns} turns"
    if len({turn.speaker for turn in turns}) < 2:
        return "only one speaker"
    if max_chars and any(len(turn.text) > max_chars for turn in turns):
        return f"a turn over {max_chars:,} characters"
    return ""


def _split(dialogues: list[Dialogue], config: DataConfig, corpus: Corpus) -> list[Dialogue]:
    """Official splits where every dialogue has one; else held-out speakers, else held-out dialogues."""
    official = sum(bool(dialogue.split) for dialogue in dialogues)
    if official == len(dialogues):
        return dialogues
    if official:
        raise UserError(
            f"{official} of {len(dialogues)} dialogues have a split, by their field 'split' or their file's name; "
            "give it to all or to none"
        )
    by = corpus.split_by if config.split_by == "auto" else config.split_by
    if by == "speaker":
        return _split_by_speaker(dialogues, config)
    return _split_by_dialogue(dialogues, config)


def _held_out(names: list[str], config: DataConfig) -> dict[str, str]:
    """The split of each held-out name: the first of the list, and at least one of each where there are three."""
    least = 1 if len(names) >= len(SPLITS) else 0
    test = max(round(config.test_share * len(names)), least if config.test_share else 0)
    validation = max(round(config.validation_share * len(names)), least if config.validation_share else 0)
    return {name: "test" if i < test else "validation" for i, name in enumerate(names[: test + validation])}


def _split_by_speaker(dialogues: list[Dialogue], config: DataConfig) -> list[Dialogue]:
    """A dialogue goes where its held-out speakers are (test before validation), and only their replies are scored."""
    speakers = sorted({turn.speaker for dialogue in dialogues for turn in dialogue.turns})
    random.Random(config.seed).shuffle(speakers)
    held_out = _held_out(speakers, config)
    result = []
    for dialogue in dialogues:
        present = sorted({turn.speaker for turn in dialogue.turns})
        for split in ("test", "validation"):
            targets = tuple(name for name in present if held_out.get(name) == split)
            if targets:
                result.append(dataclasses.replace(dialogue, split=split, targets=targets))
                break
        else:
            result.append(dataclasses.replace(dialogue, split="train"))
    return result


def _split_by_dialogue(dialogues: list[Dialogue], config: DataConfig) -> list[Dialogue]:
    # Ordered by a hash of the content, so the order of the file does not matter; groups stay together.
    def unit(dialogue: Dialogue) -> str:
        return str(dialogue.meta.get("group") or dialogue.content_hash)

    def rank(name: str) -> str:
        return hashlib.sha256(f"{config.seed} {name}".encode()).hexdigest()

    held_out = _held_out(sorted({unit(dialogue) for dialogue in dialogues}, key=rank), config)
    return [dataclasses.replace(dialogue, split=held_out.get(unit(dialogue), "train")) for dialogue in dialogues]
