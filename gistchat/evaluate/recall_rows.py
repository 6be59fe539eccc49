"""What a recall measurement found: shares question by question, the rows that they make, and the file of results."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gistchat.errors import UserError
from gistchat.evaluate.bootstrap import Metric, interval, ratio_of_sums, resample_weights
from gistchat.evaluate.recall_files import GROUPS
from gistchat.files import read_json

KIND = "gistchat recall"  # what marks a file of results
INTERVALS = "95 %, bootstrap by conversation; by question where all of a group are of one conversation"

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Row:
    """A strategy at a budget (`at` tokens), or the ranking of its search down to a place (`at` = k), for a group of
    `n` questions: the mean share of a question's evidence that is there in whole turns, with its interval, and in any
    part."""

    strategy: str
    measure: Literal["budget", "rank"]
    at: Count
    group: str  # all | answerable | a category
    share: Share
    any_part: Share
    low: Share
    high: Share
    n: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Results:
    """The content of recall.json.

    Attributes:
        file: the name of what was read, without its place.
        left_out: what was in it and is not measured, counted.
        unknown_ids: evidence that names no turn.
        tokens_of: the model whose tokens are counted.
        index_seconds: for the index of a conversation, mean.
        search_seconds: for the search of a question, mean.
    """

    file: str
    layout: str
    conversations: Count
    turns: Count
    questions: Count
    left_out: dict[str, int]
    unknown_ids: Count
    tokens_of: str
    settings: dict[str, Any]
    index_seconds: Seconds
    search_seconds: Seconds
    seconds: Seconds
    rows: Annotated[list[Row], Field(min_length=1)]
    kind: Literal["gistchat recall"] = KIND
    version: str = ""
    intervals: str = INTERVALS

    def of(self, measure: str) -> list[Row]:
        return [row for row in self.rows if row.measure == measure]


class Tally:
    """Shares of evidence, question by question, and the rows that they make."""

    def __init__(self) -> None:
        self._groups: list[tuple[int, str, bool]] = []  # of each question: conversation, category, answerable
        self._shares: dict[tuple[str, str, int], list[tuple[float, float]]] = {}

    def ask(self, conversation: int, category: str, answerable: bool) -> None:
        """The next question, which the shares that follow are of."""
        self._groups.append((conversation, category, answerable))

    def add(self, strategy: str, measure: str, at: int, share: float, any_part: float) -> None:
        self._shares.setdefault((strategy, measure, at), []).append((share, any_part))

    def rows(self, resamples: int) -> list[Row]:
        """A row for each strategy, measure, budget or k, and group of questions."""
        groups = [_Group(name, chosen, self._conversations(chosen)) for name, chosen in self._members().items()]
        weights = {count: resample_weights(count, resamples, 0) for count in {group.units for group in groups}}
        return [
            group.row(strategy, measure, at, np.array(shares), weights[group.units])
            for (strategy, measure, at), shares in self._shares.items()
            for group in groups
        ]

    def _members(self) -> dict[str, np.ndarray]:
        """Which questions are in each group; groups without any are left out."""
        _, categories, answerable = map(np.array, zip(*self._groups, strict=True))
        members = {GROUPS[0]: np.ones(len(categories), bool), GROUPS[1]: answerable}
        members |= {str(name): categories == name for name in np.unique(categories) if name}
        return {name: chosen for name, chosen in members.items() if chosen.any()}

    def _conversations(self, chosen: np.ndarray) -> np.ndarray:
        return np.array([conversation for conversation, _, _ in self._groups])[chosen]


class _Group:
    """Questions of a group, and what is drawn in a resample: their conversations, or themselves where there is one.

    Attributes:
        units: how many may be drawn.
    """

    def __init__(self, name: str, chosen: np.ndarray, conversations: np.ndarray) -> None:
        self.name, self.chosen = name, chosen
        different, self._unit = np.unique(conversations, return_inverse=True)
        if len(different) == 1:
            self._unit = np.arange(len(conversations))
        self._sizes = np.bincount(self._unit)
        self.units = len(self._sizes)

    def row(self, strategy: str, measure: str, at: int, shares: np.ndarray, weights: np.ndarray) -> Row:
        """`shares`: of each question, those of the whole and of any part; float64 [questions, 2]."""
        whole, part = shares[self.chosen].T
        values = ratio_of_sums(np.bincount(self._unit, whole), self._sizes)
        found = interval(Metric("share", "", "higher", values), self.units, weights)
        # Resamples are added up in 32 bits, so where all are alike they may miss the share by a hair.
        low, high = max(0.0, min(found.low, found.value)), min(1.0, max(found.high, found.value))
        return Row(strategy, measure, at, self.name, found.value, float(part.mean()), low, high, len(whole))


def read_results(path: Path) -> Results | None:
    """What an earlier measurement wrote; None where a file is something else.

    Raises:
        UserError: it is damaged.
    """
    if path.suffix != ".json" or not path.is_file():
        return None
    try:
        value = read_json(path)
    except UserError:
        return None  # whoever reads it as conversations says what is wrong
    if not isinstance(value, dict) or value.get("kind") != KIND:
        return None
    try:
        return TypeAdapter(Results).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: damaged results of gistchat recall ({place}: {first['msg']})") from None
