"""Stage 4 for a model that gives replies only, such as one behind an address: predictions without likelihoods.

Contexts are those of `examples.build`, with the tokens that the model's engine counts. All of them are built before the
first is sent, so that they are the same when a stopped evaluation goes on.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from gistchat.context.types import Context
from gistchat.engines.engine import Engine, generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_engine import ServerEngine
from gistchat.errors import UserError
from gistchat.evaluate.items import Condition
from gistchat.evaluate.metrics import Row
from gistchat.evaluate.planted_facts import probe_row
from gistchat.examples.build import ContextBuilder, TooLong
from gistchat.examples.targets import Target
from gistchat.files import fingerprint
from gistchat.processes import batched
from gistchat.progress import progress, say
from gistchat.prompts.wording import render_gist
from gistchat.resumable import ResumableJsonl

CHUNK = 8  # replies that are made, and so at most lost, at a time
UNBATCHED = 2**40  # tokens: how many prompts are read at once is the engine's affair
COUNTED = 4  # items of which a short and a long prompt tell how a server counts
COUNTS = "counts"  # the key of what they told


class Asked(NamedTuple):
    """What a model is shown before one target under one condition."""

    target: Target
    condition: Condition
    context: Context

    @property
    def key(self) -> str:
        """Equal for conditions that come to the same context."""
        shown = asdict(self.context)
        return fingerprint([self.target.id, shown["lines"], shown["turns"], shown["last"]])


def ask_about(
    targets: Sequence[Target], wanted: Sequence[Condition], builders: Mapping[int, ContextBuilder]
) -> list[list[Asked]]:
    """By target, its contexts under every condition; targets that the model cannot hold are left out, which is said.

    Raises:
        UserError: it can hold none of them.
    """
    first = next(iter(builders.values()))
    by_target = []
    with progress("contexts", len(targets)) as advance:
        for target in targets:
            try:
                contexts = [builders.get(one.budget, first).context(target, one.strategy) for one in wanted]
                by_target.append([Asked(target, *pair) for pair in zip(wanted, contexts, strict=True)])
            except TooLong as error:
                say(f"left out: {error}")
            advance(1)
    if not by_target:
        raise UserError("every test item is longer than the model takes")
    return by_target


def settle_counts(
    engine: Engine, targets: Sequence[Target], builder: ContextBuilder, sampling: Sampling, answers: ResumableJsonl
) -> None:
    """Learn how a server counts tokens, then count like that to the end: else later contexts would hold more or less.

    What was learned is kept in `answers`, with the replies that it took.
    """
    if not isinstance(engine, ServerEngine):
        return
    if COUNTS not in answers:
        asked = []
        for target in targets[:COUNTED]:
            with contextlib.suppress(TooLong):
                asked += [Asked(target, Condition(name, None), builder.context(target, name)) for name in _SHORT_LONG]
        rows = _answer(engine, asked, sampling)
        learned = {"ratio": engine.costs.correction.ratio, "constant": engine.costs.correction.constant}
        answers.append([*rows, {"key": COUNTS, **learned}])
    learned = answers.get(COUNTS)
    engine.costs.stay(learned["ratio"], learned["constant"])


_SHORT_LONG = ("last", "recent")


def answer(
    engine: Engine, by_target: Sequence[Sequence[Asked]], sampling: Sampling, answers: ResumableJsonl, title: str
) -> None:
    """Have a reply to every context, condition by condition; those that stand in `answers` are not asked for again.

    Raises:
        UserError: no answer; what was answered before stands in `answers`.
    """
    keys = {asked.key for group in by_target for asked in group}
    with progress(title, len(keys), sum(key in answers for key in keys)) as advance:
        for of_condition in zip(*by_target, strict=True):  # apart from others, as replies are timed
            missing = {asked.key: asked for asked in of_condition if asked.key not in answers}
            for chunk in batched(missing.values(), CHUNK):
                answers.append(_answer(engine, chunk, sampling))
                advance(len(chunk))


def _answer(engine: Engine, asked: Sequence[Asked], sampling: Sampling) -> list[Row]:
    contexts = [one.context for one in asked]
    try:
        replies = generate_replies(engine, contexts, sampling, UNBATCHED)
    except UserError as error:
        raise UserError(f"{error}; what was answered is kept, and the same command goes on") from None
    return [
        {
            "key": one.key,
            "reply": reply.text,
            "reply_tokens": reply.tokens,
            "prompt_tokens": reply.prompt_tokens or engine.count_tokens(one.context),
            "seconds": reply.seconds,
            "prefill_seconds": reply.prefill,
        }
        for one, reply in zip(asked, replies, strict=True)
    ]


def prediction_rows(
    engine: Engine, model: str, by_target: Sequence[Sequence[Asked]], answers: ResumableJsonl
) -> list[Row]:
    """Rows of predictions.jsonl, condition by condition, of contexts that were answered; `model`: its name in them."""
    return [
        _row(engine, model, asked, answers) for of_condition in zip(*by_target, strict=True) for asked in of_condition
    ]


def _row(engine: Engine, model: str, asked: Asked, answers: ResumableJsonl) -> Row:
    target, condition, context = asked
    answered = answers.get(asked.key)
    del answered["key"]
    return {
        "id": target.id,
        "dialogue": target.dialogue.id,
        "turn": target.turn,
        "model": model,
        "strategy": condition.strategy,
        "budget": condition.budget,
        "gist": render_gist(context.lines),
        "boundary": context.boundary,
        "context": [{"role": turn.role, "text": turn.text} for turn in (*context.turns, context.last)],
        "prompt": engine.prompt_text(context),
        "context_tokens": context.tokens,
        "gold": target.gold,
        "gold_bytes": len(target.gold.encode()),
        **answered,
    }


def probe_rows(engine: Engine, model: str, by_target: Sequence[Sequence[Asked]], answers: ResumableJsonl) -> list[Row]:
    """Rows of probe.jsonl, as `prediction_rows`."""
    return [
        probe_row(
            model, asked.condition, asked.target, answers.get(asked.key)["reply"], engine.prompt_text(asked.context)
        )
        for of_condition in zip(*by_target, strict=True)
        for asked in of_condition
    ]
