"""The comparisons of an evaluation in words: what is worse, better or not shown to differ, and how that was tested."""

from collections.abc import Callable, Sequence
from typing import Any

from gistchat.context.strategies import STRATEGIES, is_control, shows_summary
from gistchat.evaluate.bootstrap import CONFIDENCE

Found = dict[str, Any]
MANY = 12  # comparisons that a terminal still shows one by one


def sentences(metrics: Found) -> list[str]:
    """Every comparison as a sentence, then one sentence for each variant of the recipe."""
    return [line for family in WORDS for line in compared(metrics, family)] + verdicts(metrics)


def main_sentences(metrics: Found) -> list[str]:
    """What a terminal has room for: all strategies and controls, or the outcome and the tuned models' controls."""
    lines = compared(metrics, "strategy") + compared(metrics, "control")
    if len(lines) > MANY:
        lines = [_sentence(metrics, found) for found in _family(metrics, "control") if _model(found) == "tuned"]
    return lines + verdicts(metrics)


def compared(metrics: Found, family: str) -> list[str]:
    """The comparisons of one family: strategy | control | tuning."""
    return [_sentence(metrics, found) for found in _family(metrics, family)]


def verdicts(metrics: Found) -> list[str]:
    """One sentence for each variant: at which budgets the tuned model's gists are worse or better than the baseline."""
    tuned = [found for found in _family(metrics, "strategy") if _model(found) == "tuned"]
    lines = []
    for variant in dict.fromkeys(found["system"]["variant"] for found in tuned):
        own = [found for found in tuned if found["system"]["variant"] == variant]
        of = f" of {variant}" if variant else ""
        if parts := _by_verdict(own):
            lines.append(f"In short, the tuned model{of} against {metrics['baseline']}: {'; '.join(parts)}.")
    return lines


def _by_verdict(own: Sequence[Found]) -> list[str]:
    """The gist strategies with what was found for them, those with the same verdicts together."""
    names: dict[str, list[str]] = {}
    for name in filter(is_gist, STRATEGIES):
        if some := [one for one in own if one["system"]["strategy"] == name]:
            names.setdefault(_verdict_by_budget(some), []).append(name)
    return [f"{_and(same)} {'are' if len(same) > 1 else 'is'} {verdict}" for verdict, same in names.items()]


def is_gist(strategy: str) -> bool:
    """Whether it is one of the strategies that the question of a report is about."""
    return shows_summary(strategy) and not is_control(strategy)


def explanation(metrics: Found) -> str:
    """What was measured, how the comparisons are tested, and what the marks in the tables mean."""
    families = ", ".join(f"{family} ({len(found)})" for family in WORDS if (found := list(_family(metrics, family))))
    pooled = " Seeds are pooled: no interval covers what another seed would give." if metrics["seeds"] else ""
    largest = " (the largest, for what has none)" if len(metrics["budgets"]) > 1 else ""
    tested = f" Holm-corrected within each family of comparisons: {families}." if families else ""
    return (
        f"{_sample(metrics)} [95 % bootstrap interval, {metrics['resamples']:,} resamples by dialogue]; lower "
        "perplexity is better. Systems are compared in pairs, on the same replies with the same resamples."
        f"{tested}{pooled} Intervals are each by itself, not corrected. + or -: better or worse than "
        f"'{metrics['baseline']}' of the same model and budget{largest}, for perplexity where Holm p < "
        f"{1 - CONFIDENCE:.2f}, elsewhere where the paired interval excludes zero. Bold: shown to be better than the "
        "next of the same model and budget."
    )


def _sample(metrics: Found) -> str:
    seeds = len({entry["seed"] for entry in metrics["seeds"]})
    parts = [f"{metrics['replies']:,} held-out replies of {metrics['dialogues']:,} dialogues"]
    if seeds:
        parts.append(f"{seeds} seeds")
    if "reply_items" in metrics:
        parts.append(f"{metrics['reply_items']:,} with a generated reply")
    if len(metrics["budgets"]) == 1:
        parts.append(f"context budget {metrics['budgets'][0]} tokens")
    facts = [metrics, *metrics.get("facts", {}).values()]
    if left_out := sum(found.get("left_out") or 0 for found in facts):
        parts.append(f"{left_out:,} left out as longer than the model takes")
    return ", ".join(parts) + "."


def _family(metrics: Found, family: str) -> Sequence[Found]:
    return [found for found in metrics["comparisons"] if found["family"] == family]


def _model(found: Found) -> str:
    return found["system"]["model"]


def _sentence(metrics: Found, found: Found) -> str:
    text = WORDS[found["family"]](metrics, found)
    if found["family"] == "variant":
        return text
    place = _place(metrics, found["system"])
    return f"{place}, {text}" if place else text[0].upper() + text[1:]


def _place(metrics: Found, system: Found) -> str:
    """Which variant and budget, where there is more than one to tell apart."""
    several = len(metrics["budgets"]) > 1 and system["budget"] is not None
    if system["variant"]:
        return f"With {system['variant']}" + (f" at {system['budget']} tokens" if several else "")
    return f"At {system['budget']} tokens" if several else ""


def _strategy(metrics: Found, found: Found) -> str:
    system = found["system"]
    name, other = (f"{system['model']} {strategy}" for strategy in (system["strategy"], metrics["baseline"]))
    if len(metrics["budgets"]) > 1 and system["budget"] is None and STRATEGIES[metrics["baseline"]].budgeted:
        other += f" at {metrics['budgets'][-1]} tokens"
    if found["low"] == found["high"] == 0:
        return f"{name} has the same perplexity as {other} on every reply."
    if found["significant"]:
        end = "worse" if found["ratio"] > 1 else "better"
        return f"{name} has {_change(found)} perplexity than {other} {_range(found)}, {_p(found)}: it is {end}."
    return f"{name} is not shown to differ from {other}: {_limits(found)}, {_p(found)}."


def _control(metrics: Found, found: Found) -> str:
    """`found` is the own summary minus another dialogue's; the sentence is about the other's."""
    turned = {**found, "ratio": 1 / found["ratio"]}
    turned |= {"ratio_low": 1 / found["ratio_high"], "ratio_high": 1 / found["ratio_low"]}
    model = f"the {_model(found)} model"
    if not found["significant"]:
        return (
            f"it is not shown that it matters to {model} whose summary it is: another dialogue's is "
            f"{_limits(turned)}, {_p(found)}."
        )
    if turned["ratio"] > 1:
        return (
            f"{model} reads the summary: another dialogue's raises perplexity by {_percent(turned['ratio'])} "
            f"{_range(turned)}, {_p(found)}."
        )
    return (
        f"{model} does better with another dialogue's summary: it lowers perplexity by {_percent(turned['ratio'])} "
        f"{_range(turned)}, {_p(found)}."
    )


def _tuning(metrics: Found, found: Found) -> str:
    strategy = found["system"]["strategy"]
    if not found["significant"]:
        return f"tuning is not shown to change the perplexity of {strategy}: {_limits(found)}, {_p(found)}."
    verb = "raises" if found["ratio"] > 1 else "lowers"
    return f"tuning {verb} the perplexity of {strategy} by {_percent(found['ratio'])} {_range(found)}, {_p(found)}."


def _variant(metrics: Found, found: Found) -> str:
    """In bits per byte; both sides are named in full, as a counterpart may have another strategy or budget."""
    if not found["significant"]:
        return f"{found['of']} is not shown to differ from {found['minus']}: {_limits(found)}, {_p(found)}."
    end = "worse" if found["ratio"] > 1 else "better"
    change = f"{_change(found)} bits per byte than {found['minus']} {_range(found)}"
    return f"{found['of']} has {change}, {_p(found)}: it is {end}."


WORDS: dict[str, Callable[[Found, Found], str]] = {
    "strategy": _strategy,
    "control": _control,
    "tuning": _tuning,
    "variant": _variant,
}


def _percent(ratio: float) -> str:
    return f"{100 * abs(ratio - 1):.1f} %"


def _change(found: Found) -> str:
    return f"{_percent(found['ratio'])} {'higher' if found['ratio'] > 1 else 'lower'}"


def _range(found: Found) -> str:
    """The interval of a change, in the direction of the change."""
    low, high = 100 * (found["ratio_low"] - 1), 100 * (found["ratio_high"] - 1)
    if found["ratio"] < 1:
        low, high = -high, -low
    return f"[{low:.1f} %, {high:.1f} %]"


def _limits(found: Found) -> str:
    """How large a difference may be that is not shown."""
    low, high = found["ratio_low"], found["ratio_high"]
    if low > 1:
        return f"{_percent(low)} to {_percent(high)} worse by itself, but not after the correction"
    if high < 1:
        return f"{_percent(high)} to {_percent(low)} better by itself, but not after the correction"
    return f"at most {_percent(high)} worse, at most {_percent(low)} better"


def _p(found: Found) -> str:
    p = found["p_holm"]
    return "Holm p < 0.001" if p < 0.001 else f"Holm p = {p:.3g}"


def _verdict_by_budget(some: Sequence[Found]) -> str:
    budgets: dict[str, list[str]] = {}
    for found in some:
        verdict = "not shown to differ"
        if found["significant"]:
            verdict = "worse" if found["ratio"] > 1 else "better"
        budgets.setdefault(verdict, []).append(str(found["system"]["budget"]))
    if len(some) == 1:
        return next(iter(budgets))
    return ", ".join(f"{verdict} at {_and(values)} tokens" for verdict, values in budgets.items())


def _and(values: Sequence[str]) -> str:
    return " and ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)
