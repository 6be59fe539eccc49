"""What training sees, in which order: replies to learn -> lessons -> batches of similar length."""

import dataclasses
import math
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError
from gistchat.examples.build import Example, ExampleBuilder, TooLong
from gistchat.examples.targets import Target, require_dialogues, sample_targets
from gistchat.models.likelihood import IGNORED
from gistchat.progress import progress
from gistchat.recipe.schema import TrainConfig

MEGABATCH = 16  # batches whose lessons are sorted by length together


@dataclass(frozen=True)
class TrainingSet:
    """The replies to learn, and those that choose the best checkpoint."""

    train: list[Target]
    validation: list[Target]


@dataclass(frozen=True)
class Lesson:
    """Token ids and labels of one row of a batch; see `likelihood.Labelled`. One reply, or all of a dialogue's."""

    id: str
    ids: array
    labels: array
    types: array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, example: Example) -> "Lesson":
        return cls(example.target.id, array("i", example.ids), array("i", example.labels), _types(example))


def choose_targets(
    config: TrainConfig,
    train: Sequence[Dialogue],
    validation: Sequence[Dialogue],
    seed: int,
    weights: Mapping[str, float],
) -> TrainingSet:
    """Draw the replies to learn; with `steps`, no more than these need.

    With targets = "all" a target is the last reply of a speaker in a dialogue, and stands for all before it.

    Args:
        weights: how often replies of each corpus are drawn; 1 where none is given.
    Raises:
        UserError: a split without a reply.
    """
    require_dialogues("validation", validation)
    drawn = sample_targets(train, 10**12, seed, weights=weights)
    if config.targets == "all":
        drawn = _last_of_each_speaker(drawn)
    if not drawn:
        raise UserError("the train split holds no reply to learn from")
    held_out = sample_targets(validation, config.validation_items, seed, turns="one")
    if not held_out:
        raise UserError(
            "the validation split holds no reply to choose the best checkpoint by; raise data.validation_share"
        )
    return TrainingSet(drawn[: _needed(config, len(drawn))], held_out)


def _needed(config: TrainConfig, items: int) -> int:
    """Lessons in all, where one pass has so many."""
    return config.steps * config.batch_size or items * config.epochs


def _last_of_each_speaker(targets: Sequence[Target]) -> list[Target]:
    """Of targets in random order, the last of each speaker in each dialogue, in the order of first occurrence."""
    last: dict[tuple[str, str], Target] = {}
    for target in targets:
        key = target.dialogue.content_hash, target.dialogue.turns[target.turn].speaker
        if key not in last or target.turn > last[key].turn:
            last[key] = target
    return list(last.values())


def build_lessons(
    targets: Sequence[Target], config: TrainConfig, builders: Sequence[ExampleBuilder], seed: int
) -> tuple[list[Lesson], int]:
    """The lessons in the order in which passes over the targets come to them, and how many were left out as too long.

    Each pass after the first has an order of its own. The context strategies take turns, and each time all of them had
    theirs, the next of the builders, which differ by their budgets, takes over.
    """
    if config.targets == "all":
        return _whole_dialogues(targets, config, builders[0], seed)
    kinds = [(builder, strategy) for builder in builders for strategy in config.strategies]
    known: dict[tuple[int, int], Lesson | None] = {}
    lessons: list[Lesson] = []
    left_out = 0
    order = _passes(len(targets), _needed(config, len(targets)), seed)
    with progress("build examples", len(order)) as advance:
        for i, number in enumerate(order):
            key = number, i % len(kinds)
            if key not in known:
                builder, strategy = kinds[key[1]]
                try:
                    known[key] = Lesson.of(builder.build(targets[number], strategy))
                except TooLong:
                    known[key] = None
            if (lesson := known[key]) is None:
                left_out += 1
            else:
                lessons.append(lesson)
            advance(1)
    return lessons, left_out


def _whole_dialogues(
    targets: Sequence[Target], config: TrainConfig, builder: ExampleBuilder, seed: int
) -> tuple[list[Lesson], int]:
    found: list[Lesson] = []
    left_out = 0
    with progress("build examples", len(targets)) as advance:
        for target in targets:
            lessons, too_long = dialogue_lessons(target, builder)
            found += lessons
            left_out += too_long
            advance(1)
    return [found[i] for i in _passes(len(found), _needed(config, len(found)), seed)], left_out


def _passes(items: int, needed: int, seed: int) -> list[int]:
    """Indices of items, pass after pass: the first as they stand, later ones shuffled."""
    order: list[int] = []
    for number in range(math.ceil(needed / items) if items else 0):
        one = list(range(items))
        if number:
            random.Random(f"{seed} pass {number}").shuffle(one)
        order += one
    return order[:needed]


def dialogue_lessons(target: Target, builder: ExampleBuilder) -> tuple[list[Lesson], int]:
    """All replies of one speaker up to the target, with their full history: as few rows as the limit allows.

    What a reply sees begins where its row does. When a row is full, the next one begins with the turns that fill half
    of it, so that no reply is learned without a history.

    Returns:
        The rows, and how many replies were left out as too long.
    """
    dialogue = target.dialogue
    speaker = dialogue.turns[target.turn].speaker
    own = [turn for turn in dialogue.reply_indices() if dialogue.turns[turn].speaker == speaker]
    replies = [turn for turn in own if turn <= target.turn]
    rows: list[Lesson] = []
    start = left_out = 0
    open_row: Lesson | None = None
    for turn in replies:
        try:
            example = _from(dialogue, start, turn, builder)
            if example.context.boundary > 0:  # the row is full
                open_row = None
                start += _from(dialogue, start, turn, builder, budget=builder.limit // 2).context.boundary
                example = _from(dialogue, start, turn, builder)
        except TooLong:
            left_out += 1
            open_row = None
            continue
        row = _extended(open_row, example)
        if row is None:
            row = Lesson.of(example)
            rows.append(row)
        else:
            rows[-1] = row
        open_row = row
    return rows, left_out


def _from(dialogue: Dialogue, start: int, turn: int, builder: ExampleBuilder, budget: int | None = None) -> Example:
    """The example of a reply whose history begins at a turn."""
    rest = dataclasses.replace(dialogue, turns=dialogue.turns[start:])
    return builder.build(Target(rest, turn - start), "full", budget)


def _extended(row: Lesson | None, example: Example) -> Lesson | None:
    """The row with one more reply, where what it holds so far is how the example begins; else None."""
    if row is None:
        return None
    # The end of the row's last reply is a label only: there the other's turn follows.
    shared = len(row.ids) - 1
    if array("i", example.prompt.ids[:shared]) != row.ids[:shared]:
        return None
    labels = row.labels + array("i", [IGNORED]) * (len(example) - len(row))
    labels[len(example.prompt) :] = array("i", example.reply)
    return Lesson(example.target.id, array("i", example.ids), labels, _types(example))


def _types(example: Example) -> array | None:
    return None if example.types is None else array("i", example.types)


def order_lessons(lessons: Sequence[Lesson], batch_size: int, seed: int) -> list[Lesson]:
    """Batches of similar length in random order: less padding, and the order is fixed by the seed.

    Lessons are sorted by length within runs of `MEGABATCH` batches, and the batches of a run are shuffled. A batch
    here is what one optimizer step sees, whatever the number of processes. Where the last one would be short, it is
    filled up with lessons from the start.
    """
    rng = random.Random(seed)
    short = -len(lessons) % batch_size
    lessons = [*lessons, *(lessons[i % len(lessons)] for i in range(short))]
    ordered: list[Lesson] = []
    for start in range(0, len(lessons), batch_size * MEGABATCH):
        run = sorted(lessons[start : start + batch_size * MEGABATCH], key=len, reverse=True)
        batches = [run[i : i + batch_size] for i in range(0, len(run), batch_size)]
        rng.shuffle(batches)
        ordered += [lesson for batch in batches for lesson in batch]
    return ordered
