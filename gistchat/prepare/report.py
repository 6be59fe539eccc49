"""What the preparation of dialogues reports: all that was read, and what became of it."""

from dataclasses import dataclass, field
from typing import Any

MOST_SKIPPED = 1000  # malformed pieces that the report names; all are counted
MOST_SHOWN = 20
MOST_SPEAKERS_SHOWN = 10


@dataclass
class Report:
    """What became of everything that was read. `read` = `kept` + the sum of `dropped`."""

    corpus: str
    read_from: list[str] = field(default_factory=list)
    read: int = 0
    turns_read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    scrubbed: int = 0
    merged_turns: int = 0
    speakers: dict[str, int] = field(default_factory=dict)  # turns of each in what is kept, of those who speak most
    renamed: dict[str, str] = field(default_factory=dict)  # not written, as new names are also to hide the old ones
    skipped: list[str] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    cut: dict[str, list[str]] = field(default_factory=dict)  # by corpus, the splits that are no official ones
    corpora: dict[str, dict[str, int]] = field(default_factory=dict)
    twins: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


def report_lines(values: dict[str, Any]) -> list[str]:
    """What report.json holds in words, a line each."""
    report = Report(**values)
    lines = [f"read from {source}" for source in report.read_from]
    lines.append(f"read {report.read:,} dialogues with {report.turns_read:,} turns, kept {report.kept:,}")
    lines += [f"  dropped {count:,}: {reason}" for reason, count in most_first(report.dropped)]
    lines += [f"  skipped {problem}" for problem in report.skipped[:MOST_SHOWN]]
    if len(report.skipped) > MOST_SHOWN:
        more = report.dropped["malformed"] - MOST_SHOWN
        lines.append(f"  and {more:,} more (report.json names the first {MOST_SKIPPED:,})")
    notes = [what for what, count in report.left_out.items() if not count]  # what no turn was left out for
    lines += [f"  left out {count:,}: {what}" for what, count in most_first(report.left_out) if count]
    lines += [f"  note: {note}" for note in notes]
    if report.scrubbed:
        lines.append(f"  replaced {report.scrubbed:,} phone numbers, e-mail and web addresses")
    if report.merged_turns:
        lines.append(f"  merged {report.merged_turns:,} turns with the turn before, by the same speaker")
    twins = "  {first} ({first_split}) and {second} ({second_split}) share {similarity:.0%} of their word pairs"
    lines += [twins.format(**pair) for pair in report.twins[:MOST_SHOWN]]
    if len(report.twins) > MOST_SHOWN:
        lines.append(f"  and {len(report.twins) - MOST_SHOWN:,} more pairs (all in report.json)")
    if heard := [(name, count) for name, count in most_first(report.speakers) if count]:
        said = [f"{name} {count:,}" for name, count in heard[:MOST_SPEAKERS_SHOWN]]
        more = f" and {len(heard) - len(said):,} more" if len(heard) > len(said) else ""
        lines.append(f"  speakers, by turns: {', '.join(said)}{more}")
    for corpus, splits in report.cut.items():
        shares = " and ".join(f"data.{split}_share" for split in splits)
        lines.append(f"  {corpus} has no official {' and '.join(splits)} split: cut from train, by {shares}")
    sizes = "  {}: {dialogues:,} dialogues, {turns:,} turns, {replies:,} scored replies"
    lines += [sizes.format(split, **counts) for split, counts in report.splits.items()]
    if empty := [split for split, counts in report.splits.items() if not counts["dialogues"]]:
        lines.append(f"  {' and '.join(empty)} empty: a run needs a dialogue in each, better dozens")
    if len(report.corpora) > 1:
        parts = "  {}: read {read:,}, kept {kept:,}"
        lines += [parts.format(name, **counts) for name, counts in report.corpora.items()]
    return lines


def most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
