"""What training sees, in which order: target replies -> training rows -> batches of similar length."""

import dataclasses
import functools
import math
import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gistchat.dialogue.turns import Dialogue, is_group
from gistchat.errors import UserError
from gistchat.examples.build import Example, ExampleBuilder, TooLong
from gistchat.examples.fact_items import FactTarget, fact_targets
from gistchat.examples.targets import Target, require_dialogues, sample_targets
from gistchat.progress import progress, say
from gistchat.recipe.schema import TrainConfig

MEGABATCH = 16  # batches whose rows are sorted by length together


@dataclass(frozen=True)
class TrainingSet:
    """The replies to learn, and those that choose the best checkpoint."""

    train: list[Target]
    validation: list[Target]

    @property
    def dialogues(self) -> list[Dialogue]:
        """All whose summaries may be needed."""
        targets = self.train + self.validation
        near = (target.near for target in targets if isinstance(target, FactTarget) and target.near)
        return [target.dialogue for target in (*targets, *near)]


@dataclass(frozen=True)
class TrainingRow:
    """Token ids and labels of one row of a batch, of one reply or all of a dialogue's; see `likelihood.Labelled`."""

    id: str
    ids: array
    labels: array
    types: array | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_example(cls, example: Example) -> "TrainingRow":
        types = None if example.types is None else array("i", example.types)
        return cls(example.target.id, array("i", example.ids), array("i", example.labels), types)


def choose_targets(
    config: TrainConfig,
    train: Sequence[Dialogue],
    validation: Sequence[Dialogue],
    seed: int,
    weights: Mapping[str, float],
) -> TrainingSet:
    """Draw the replies to learn; where train.steps is set, no more than these steps take.

    Of these, `fact_items` are questions for facts, at random places; where rows are few, at most half of them.
    With targets = "all" a target is the last reply of a speaker in a dialogue, and stands for all before it.

    Args:
        weights: sampling weight of each corpus; 1 for those not listed.
    Raises:
        UserError: the train or validation split has no reply.
    """
    require_dialogues("validation", validation)
    drawn = sample_targets(train, 10**12, seed, weights=weights)
    if config.targets == "all":
        drawn = _last_of_each_speaker(drawn)
    if not drawn:
        raise UserError("the train split has no reply to learn from")
    held_out = sample_targets(validation, config.validation_items, seed, turns="one")
    if not held_out:
        raise UserError(
            "the validation split has no reply to choose the best checkpoint by; raise data.validation_share"
        )
    facts = fact_targets(config.fact_items, train, seed)
    needed = _rows_needed(config, len(drawn) + len(facts))
    if len(facts) > (room := max(needed // 2, needed - len(drawn))):
        say(f"train: {room:,} of {len(facts):,} fact items, half of the {needed:,} rows")
        facts = facts[:room]
    return TrainingSet(_mixed(drawn[: needed - len(facts)], facts, seed), held_out)


def _mixed(drawn: Sequence[Target], facts: Sequence[Target], seed: int) -> list[Target]:
    """Both in their orders, the facts at random places."""
    places = set(random.Random(f"{seed} facts").sample(range(len(drawn) + len(facts)), len(facts)))
    parts = iter(drawn), iter(facts)
    return [next(parts[place in places]) for place in range(len(drawn) + len(facts))]


def _rows_needed(config: TrainConfig, items: int) -> int:
    """Rows of the whole training, where one pass has `items`."""
    return config.steps * config.batch_size or items * config.epochs


def _last_of_each_speaker(targets: Sequence[Target]) -> list[Target]:
    """The last target of each speaker in each dialogue, in the order in which the speakers first occur."""
    last: dict[tuple[str, str], Target] = {}
    for target in targets:
        key = target.dialogue.content_hash, target.speaker
        last[key] = max(last.get(key, target), target, key=lambda target: target.turn)
    return list(last.values())


def build_rows(
    targets: Sequence[Target], config: TrainConfig, builders: Sequence[ExampleBuilder], seed: int
) -> tuple[list[TrainingRow], int]:
    """Training rows pass after pass over the targets, and how many were left out as too long.

    Passes after the first are shuffled. Rows cycle through the context strategies, and after each cycle through the
    builders, which differ by their budgets.
    """
    if config.targets == "all":
        return _build_whole_dialogues(targets, config, builders[0], seed)
    kinds = [(builder, strategy) for builder in builders for strategy in config.strategies]

    @functools.cache
    def row_of(number: int, kind: int) -> TrainingRow | None:
        builder, strategy = kinds[kind]
        try:
            return TrainingRow.from_example(_example(builder, targets[number], strategy))
        except TooLong:
            return None

    rows = []
    order = _passes(len(targets), _rows_needed(config, len(targets)), seed)
    with progress("build examples", len(order)) as advance:
        for i, number in enumerate(order):
            rows.append(row_of(number, i % len(kinds)))
            advance(1)
    fitting = [row for row in rows if row is not None]
    return fitting, len(rows) - len(fitting)


def _example(builder: ExampleBuilder, target: Target, strategy: str) -> Example:
    """The example of a target; of a question for a fact that the prompt does not hold, that of the same question asked
    soon after, or with the reply that says so: answers that nobody can know would be made up later."""
    example = builder.build(target, strategy)
    if not isinstance(target, FactTarget) or _is_known(example, target, builder):
        return example
    if target.near and _is_known(near := builder.build(target.near, strategy), target.near, builder):
        return near
    return builder.build(target.unknown(), strategy)


def _is_known(example: Example, target: FactTarget, builder: ExampleBuilder) -> bool:
    return target.is_known(builder.format.tokenizer.decode(example.prompt.ids))


def _build_whole_dialogues(
    targets: Sequence[Target], config: TrainConfig, builder: ExampleBuilder, seed: int
) -> tuple[list[TrainingRow], int]:
    rows, left_out = [], 0
    with progress("build examples", len(targets)) as advance:
        for target in targets:
            rows_of_dialogue, too_long = dialogue_rows(target, builder)
            rows += rows_of_dialogue
            left_out += too_long
            advance(1)
    return [rows[i] for i in _passes(len(rows), _rows_needed(config, len(rows)), seed)], left_out


def _passes(items: int, needed: int, seed: int) -> list[int]:
    """`needed` indices of items, pass after pass: the first in order, later ones shuffled."""
    order: list[int] = []
    for number in range(math.ceil(needed / items) if items else 0):
        indices = list(range(items))
        if number:
            random.Random(f"{seed} pass {number}").shuffle(indices)
        order += indices
    return order[:needed]


def dialogue_rows(target: Target, builder: ExampleBuilder) -> tuple[list[TrainingRow], int]:
    """All replies of one speaker up to the target, with their full history, in as few rows as the limit allows.

    A reply sees its row from the start. When a row is full, the next one starts with earlier turns that fill half of
    it, so that no reply is learned without a history.

    Returns:
        The rows, and how many replies were left out as too long.
    """
    dialogue, speaker = target.dialogue, target.speaker
    replies = [
        turn for turn in dialogue.reply_indices() if turn <= target.turn and dialogue.turns[turn].speaker == speaker
    ]
    rows: list[TrainingRow] = []
    start = left_out = 0
    open_row: TrainingRow | None = None
    for turn in replies:
        try:
            example = _build(dialogue, start, turn, builder)
            if example.context.boundary > 0:  # the row is full
                open_row = None
                start += _build(dialogue, start, turn, builder, budget=builder.limit // 2).context.boundary
                example = _build(dialogue, start, turn, builder)
        except TooLong:
            left_out += 1
            open_row = None
            continue
        row = TrainingRow.from_example(example)
        # The end token of the row's last reply is a label only: in its place the other speaker's turn follows.
        shared = len(open_row) - 1 if open_row else 0
        if open_row and array("i", example.prompt.ids[:shared]) == open_row.ids[:shared]:
            row.labels[: len(open_row)] = open_row.labels
            rows[-1] = row
        else:
            rows.append(row)
        open_row = row
    return rows, left_out


def _build(dialogue: Dialogue, start: int, turn: int, builder: ExampleBuilder, budget: int | None = None) -> Example:
    """The example of a reply whose history starts at the turn `start`."""
    rest = dataclasses.replace(dialogue, turns=dialogue.turns[start:])
    return builder.build(Target(rest, turn - start), "full", budget, is_group(dialogue.turns))


def order_rows(rows: Sequence[TrainingRow], batch_size: int, seed: int) -> list[TrainingRow]:
    """Batches of similar length, to save padding, in a random order that the seed fixes.

    Rows are sorted by length within runs of `MEGABATCH` batches, and the batches of a run are shuffled. A batch here is
    what one optimizer step sees, over all processes. A short last batch is filled up with rows from the start.
    """
    rng = random.Random(seed)
    rows = [*rows, *(rows[i % len(rows)] for i in range(-len(rows) % batch_size))]
    ordered: list[TrainingRow] = []
    for start in range(0, len(rows), batch_size * MEGABATCH):
        run = sorted(rows[start : start + batch_size * MEGABATCH], key=len, reverse=True)
        batches = [run[i : i + batch_size] for i in range(0, len(run), batch_size)]
        rng.shuffle(batches)
        ordered += [row for batch in batches for row in batch]
    return ordered
