"""What the preparation of dialogues reports: all that was read, and what became of it."""

from dataclasses import dataclass, field
from typing import Any

MOST_SKIPPED = 1000  # malformed pieces that the report names; all are counted
MOST_SHOWN = 20


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
    skipped: list[str] = field(default_factory=list)
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    corpora: dict[str, dict[str, int]] = field(default_factory=dict)
    twins: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def lines(self) -> list[str]:
        """The report in words, a line each."""
        lines = [f"read from {source}" for source in self.read_from]
        lines.append(f"read {self.read:,} dialogues with {self.turns_read:,} turns, kept {self.kept:,}")
        lines += [f"  dropped {count:,}: {reason}" for reason, count in most_first(self.dropped)]
        lines += [f"  skipped {problem}" for problem in self.skipped[:MOST_SHOWN]]
        if len(self.skipped) > MOST_SHOWN:
            lines.append(
                f"  and {self.dropped['malformed'] - MOST_SHOWN:,} more (report.json names the first {MOST_SKIPPED:,})"
            )
        lines += [f"  left out {count:,}: {what}" for what, count in most_first(self.left_out)]
        if self.scrubbed:
            lines.append(f"  replaced {self.scrubbed:,} phone numbers, e-mail and web addresses")
        if self.merged_turns:
            lines.append(f"  merged {self.merged_turns:,} turns with the turn before, by the same speaker")
        lines += [
            f"  {pair['first']} ({pair['first_split']}) and {pair['second']} ({pair['second_split']}) share "
            f"{pair['similarity']:.0%} of their word pairs"
            for pair in self.twins[:MOST_SHOWN]
        ]
        if len(self.twins) > MOST_SHOWN:
            lines.append(f"  and {len(self.twins) - MOST_SHOWN:,} more pairs (all in report.json)")
        for split, counts in self.splits.items():
            words = (
                f"{counts['dialogues']:,} dialogues, {counts['turns']:,} turns, {counts['replies']:,} scored replies"
            )
            lines.append(f"  {split}: {words}")
        if empty := [split for split, counts in self.splits.items() if not counts["dialogues"]]:
            lines.append(f"  {' and '.join(empty)} empty: a run needs a dialogue in each, better dozens")
        if len(self.corpora) > 1:
            lines += [
                f"  {name}: read {counts['read']:,}, kept {counts['kept']:,}" for name, counts in self.corpora.items()
            ]
        return lines


def report_lines(values: dict[str, Any]) -> list[str]:
    """The lines of a report read back from report.json."""
    return Report(**values).lines()


def most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
