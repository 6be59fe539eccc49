"""What an evaluation asks: which replies of the test dialogues are scored, and what a model is shown before each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gistchat.context.strategies import STRATEGIES
from gistchat.dialogue.turns import Dialogue
from gistchat.errors import UserError
from gistchat.examples.build import Example, ExampleBuilder, TooLong
from gistchat.examples.targets import Target, require_dialogues, sample_targets
from gistchat.progress import say
from gistchat.prompts.prompt import common_prefix
from gistchat.recipe.schema import Recipe, names_of


@dataclass(frozen=True)
class Condition:
    """What a model is tested with: a context strategy at a budget of tokens; None for those that have none."""

    strategy: str
    budget: int | None

    def __str__(self) -> str:
        return self.strategy if self.budget is None else f"{self.strategy}-{self.budget}"


@dataclass(frozen=True)
class Items:
    """The replies that are scored, the same for every model and condition."""

    targets: list[Target]  # that fit the model under every condition
    examples: dict[Condition, list[Example]]  # aligned with the targets
    # How many tokens of each prompt a chat would have in its cache: the prompt of the answerer's reply before begins
    # with them.
    reused: dict[Condition, list[int]]
    left_out: int  # how many the model cannot hold

    def first(self, number: int) -> "Items":
        """So many of them; 0: all."""
        end = number or None
        examples = {condition: all_examples[:end] for condition, all_examples in self.examples.items()}
        reused = {condition: counts[:end] for condition, counts in self.reused.items()}
        return Items(self.targets[:end], examples, reused, self.left_out)


def conditions(recipe: Recipe) -> list[Condition]:
    """Every strategy of the recipe at every budget."""
    config = recipe.evaluate
    budgets = config.budgets or [recipe.context.budget]
    unbudgeted = [Condition(name, None) for name in config.strategies if not STRATEGIES[name].budgeted]
    budgeted = [name for name in config.strategies if STRATEGIES[name].budgeted]
    return unbudgeted + [Condition(name, budget) for budget in budgets for name in budgeted]


def askable(wanted: Sequence[Condition]) -> list[Condition]:
    """Those that planted dialogues can serve, which have no summary of their own."""
    return [condition for condition in wanted if "gold_summary" not in STRATEGIES[condition.strategy].reads]


def choose_items(recipe: Recipe, test: Sequence[Dialogue]) -> list[Target]:
    """The test replies that are scored, the same for every model and strategy.

    Raises:
        UserError: no reply with enough history, or a strategy that these dialogues cannot serve.
    """
    config = recipe.evaluate
    require_dialogues("test", test)
    items = sample_targets(test, config.items, recipe.seed, config.min_history, config.turns)
    if not items and config.turns == "openings":
        raise UserError(
            "no test dialogue has several sessions (`session_turns` in `meta`, as in msc); evaluate.turns takes: one, "
            "last, all"
        )
    if not items:
        raise UserError(
            f"no test reply has {config.min_history} turns before it; lower evaluate.min_history or give more dialogues"
        )
    if len({item.dialogue.id for item in items}) < 2 and (name := _reading("other_summary", config.strategies)):
        raise UserError(
            f"the control {name!r} needs two test dialogues with enough history: give more dialogues, lower "
            f"evaluate.min_history, raise data.test_share, or leave {name!r} out of evaluate.strategies"
        )
    bare = [item for item in items if not item.dialogue.meta.get("gold")]
    if bare and (name := _reading("gold_summary", config.strategies)):
        raise UserError(
            f"the strategy {name!r} needs dialogues with a summary or personas of their own, and {bare[0].dialogue.id} "
            f"of {names_of(recipe.data)} has none; leave {name!r} out of evaluate.strategies"
        )
    return items


def _reading(source: str, strategies: Sequence[str]) -> str | None:
    """The first strategy that reads a source."""
    return next((name for name in strategies if source in STRATEGIES[name].reads), None)


def build_items(
    targets: Sequence[Target], wanted: Sequence[Condition], builders: Mapping[int, ExampleBuilder]
) -> Items:
    """Examples of every target under every condition; targets that the model cannot hold are left out and counted.

    Args:
        builders: by budget.
    """
    first = next(iter(builders.values()))
    by_condition = {condition: builders.get(condition.budget, first) for condition in wanted}
    by_target: list[list[Example]] = []
    for target in targets:
        try:
            by_target.append([builder.build(target, condition.strategy) for condition, builder in by_condition.items()])
        except TooLong as error:
            say(f"left out: {error}")
    if not by_target:
        raise UserError("every test item is longer than the model takes")
    examples = dict(zip(by_condition, map(list, zip(*by_target, strict=True)), strict=True))
    reused = {
        condition: [_reused(example, builder) for example in examples[condition]]
        for condition, builder in by_condition.items()
    }
    kept = [example.target for example, *_ in by_target]
    return Items(kept, examples, reused, len(targets) - len(kept))


def _reused(example: Example, builder: ExampleBuilder) -> int:
    """How many tokens the prompt shares with that of the answerer's reply before, that reply included."""
    dialogue, turn = example.target.dialogue, example.target.turn
    speaker = dialogue.turns[turn].speaker
    before = [i for i in dialogue.reply_indices() if i < turn and dialogue.turns[i].speaker == speaker]
    if not before:
        return 0
    try:
        earlier = builder.build(Target(dialogue, before[-1]), example.context.strategy)
    except TooLong:
        return 0
    return common_prefix(earlier.ids, example.prompt.ids[:-1])
