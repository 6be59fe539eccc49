"""The comparisons of an evaluation in words: what is worse, better or not shown to differ, and how that was tested."""

from collections.abc import Callable, Sequence

from gistchat.context.strategies import STRATEGIES, is_control, shows_summary
from gistchat.evaluate.bootstrap import CONFIDENCE
from gistchat.report.tables import Entry

MANY = 12  # comparisons that a terminal still shows one by one


def sentences(metrics: Entry) -> list[str]:
    """Every comparison as a sentence, then one sentence for each variant of the recipe."""
    return [line for family in WORDS for line in compared(metrics, family)] + verdicts(metrics)


def main_sentences(metrics: Entry) -> list[str]:
    """What a terminal has room for: all strategies and controls, or the outcome and the tuned models' controls."""
    lines = compared(metrics, "strategy") + compared(metrics, "control")
    if len(lines) > MANY:
        lines = [_sentence(metrics, pair) for pair in _tuned(metrics, "control")]
    return lines + verdicts(metrics)


def compared(metrics: Entry, family: str) -> list[str]:
    """The comparisons of one family: strategy | control | tuning | variant."""
    return [_sentence(metrics, pair) for pair in _family(metrics, family)]


def verdicts(metrics: Entry) -> list[str]:
    """One sentence for each variant: at which budgets the tuned model's gists are worse or better than the baseline."""
    tuned = _tuned(metrics, "strategy")
    lines = []
    for variant in dict.fromkeys(pair["system"]["variant"] for pair in tuned):
        names: dict[str, list[str]] = {}  # by verdict
        for name in filter(is_gist, STRATEGIES):
            system = {"variant": variant, "strategy": name}
            if pairs := [pair for pair in tuned if system.items() <= pair["system"].items()]:
                names.setdefault(_verdict_by_budget(pairs), []).append(name)
        parts = [f"{_and(same)} {'are' if len(same) > 1 else 'is'} {verdict}" for verdict, same in names.items()]
        of = f" of {variant}" if variant else ""
        if parts:
            lines.append(f"In short, the tuned model{of} against {metrics['baseline']}: {'; '.join(parts)}.")
    return lines


def is_gist(strategy: str) -> bool:
    """Whether it is one of the strategies that the question of a report is about."""
    return shows_summary(strategy) and not is_control(strategy)


def explanation(metrics: Entry) -> str:
    """What was measured, how the comparisons are tested, and what the marks in the tables mean."""
    counts = {family: len(_family(metrics, family)) for family in WORDS}
    families = ", ".join(f"{family} ({count})" for family, count in counts.items() if count)
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


def _sample(metrics: Entry) -> str:
    seeds = len({entry["seed"] for entry in metrics["seeds"]})
    parts = [f"{metrics['replies']:,} held-out replies of {metrics['dialogues']:,} dialogues"]
    if seeds:
        parts.append(f"{seeds} seeds")
    if "reply_items" in metrics:
        parts.append(f"{metrics['reply_items']:,} with a generated reply")
    if len(metrics["budgets"]) == 1:
        parts.append(f"context budget {metrics['budgets'][0]} tokens")
    facts = [metrics, *metrics.get("facts", {}).values()]
    if left_out := sum(fact.get("left_out") or 0 for fact in facts):
        parts.append(f"{left_out:,} left out as longer than the model takes")
    return ", ".join(parts) + "."


def _family(metrics: Entry, family: str) -> list[Entry]:
    return [pair for pair in metrics["comparisons"] if pair["family"] == family]


def _tuned(metrics: Entry, family: str) -> list[Entry]:
    return [pair for pair in _family(metrics, family) if pair["system"]["model"] == "tuned"]


def _sentence(metrics: Entry, pair: Entry) -> str:
    text = WORDS[pair["family"]](metrics, pair)
    if pair["family"] == "variant":
        return text
    place = _place(metrics, pair["system"])
    return f"{place}, {text}" if place else text[0].upper() + text[1:]


def _place(metrics: Entry, system: Entry) -> str:
    """Which variant and budget, where there is more than one to tell apart."""
    several = len(metrics["budgets"]) > 1 and system["budget"] is not None
    if system["variant"]:
        return f"With {system['variant']}" + (f" at {system['budget']} tokens" if several else "")
    return f"At {system['budget']} tokens" if several else ""


def _strategy(metrics: Entry, pair: Entry) -> str:
    system = pair["system"]
    name, other = (f"{system['model']} {strategy}" for strategy in (system["strategy"], metrics["baseline"]))
    if len(metrics["budgets"]) > 1 and system["budget"] is None and STRATEGIES[metrics["baseline"]].budgeted:
        other += f" at {metrics['budgets'][-1]} tokens"
    if pair["low"] == pair["high"] == 0:
        return f"{name} has the same perplexity as {other} on every reply."
    return _difference(pair, name, "perplexity", other)


def _variant(metrics: Entry, pair: Entry) -> str:
    """In bits per byte; both sides are named in full, as a counterpart may have another strategy or budget."""
    return _difference(pair, pair["of"], "bits per byte", pair["minus"])


def _difference(pair: Entry, name: str, measure: str, other: str) -> str:
    if not pair["significant"]:
        return f"{name} is not shown to differ from {other}: {_evidence(pair)}."
    change = f"{_percent(pair['ratio'])} {'higher' if pair['ratio'] > 1 else 'lower'} {measure}"
    return f"{name} has {change} than {other} {_evidence(pair)}: it is {_verdict(pair)}."


def _control(metrics: Entry, pair: Entry) -> str:
    """`pair` is the own summary minus another dialogue's; the sentence is about the other's."""
    turned = {**pair, "ratio": 1 / pair["ratio"]}
    turned |= {"ratio_low": 1 / pair["ratio_high"], "ratio_high": 1 / pair["ratio_low"]}
    model, change = f"the {pair['system']['model']} model", f"perplexity by {_percent(turned['ratio'])}"
    if not pair["significant"]:
        text = f"it is not shown that it matters to {model} whose summary it is: another dialogue's is"
    elif turned["ratio"] > 1:
        text = f"{model} reads the summary: another dialogue's raises {change}"
    else:
        text = f"{model} does better with another dialogue's summary: it lowers {change}"
    return f"{text} {_evidence(turned)}."


def _tuning(metrics: Entry, pair: Entry) -> str:
    strategy = pair["system"]["strategy"]
    if not pair["significant"]:
        return f"tuning is not shown to change the perplexity of {strategy}: {_evidence(pair)}."
    verb = "raises" if pair["ratio"] > 1 else "lowers"
    return f"tuning {verb} the perplexity of {strategy} by {_percent(pair['ratio'])} {_evidence(pair)}."


WORDS: dict[str, Callable[[Entry, Entry], str]] = {
    "strategy": _strategy,
    "control": _control,
    "tuning": _tuning,
    "variant": _variant,
}


def _percent(ratio: float) -> str:
    return f"{100 * abs(ratio - 1):.1f} %"


def _evidence(pair: Entry) -> str:
    """The interval of a change, in its direction, or how large one that is not shown may be; and the p-value."""
    low, high = pair["ratio_low"], pair["ratio_high"]
    if pair["significant"]:
        ends = [100 * (low - 1), 100 * (high - 1)] if pair["ratio"] >= 1 else [100 * (1 - high), 100 * (1 - low)]
        limits = f"[{ends[0]:.1f} %, {ends[1]:.1f} %]"
    elif low > 1:
        limits = f"{_percent(low)} to {_percent(high)} worse by itself, but not after the correction"
    elif high < 1:
        limits = f"{_percent(high)} to {_percent(low)} better by itself, but not after the correction"
    else:
        limits = f"at most {_percent(high)} worse, at most {_percent(low)} better"
    p = pair["p_holm"]
    return f"{limits}, Holm p < 0.001" if p < 0.001 else f"{limits}, Holm p = {p:.3g}"


def _verdict(pair: Entry) -> str:
    if not pair["significant"]:
        return "not shown to differ"
    return "worse" if pair["ratio"] > 1 else "better"


def _verdict_by_budget(pairs: Sequence[Entry]) -> str:
    budgets: dict[str, list[str]] = {}
    for pair in pairs:
        budgets.setdefault(_verdict(pair), []).append(str(pair["system"]["budget"]))
    if len(pairs) == 1:
        return next(iter(budgets))
    return ", ".join(f"{verdict} at {_and(values)} tokens" for verdict, values in budgets.items())


def _and(values: Sequence[str]) -> str:
    return " and ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)
