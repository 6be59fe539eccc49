"""The comparisons of an evaluation in words: what is worse, better or not shown to differ, and how that was tested."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gistchat.context.strategies import STRATEGIES, is_control, shows_summary
from gistchat.evaluate.analysis import MAIN, RECALL, better, is_worse
from gistchat.evaluate.bootstrap import CONFIDENCE
from gistchat.evaluate.metrics import METRICS
from gistchat.report.tables import Entry, main_metric

MANY = 12  # comparisons that a terminal still shows one by one


def sentences(metrics: Entry) -> list[str]:
    """Every comparison as a sentence, what was in the prompt, then one sentence for each variant of the recipe."""
    lines = [line for family in WORDS for line in compared(metrics, family)]
    return lines + facts_in_prompt(metrics) + verdicts(metrics)


def main_sentences(metrics: Entry) -> list[str]:
    """What a terminal has room for: all strategies, facts and controls, or the outcome and the controls of models
    other than the base; and what was in the prompt."""
    lines = [line for family in ("strategy", "facts", "control") for line in compared(metrics, family)]
    if len(lines) > MANY:
        lines = [_sentence(metrics, pair) for pair in _subjects(metrics, "control")]
    return lines + facts_in_prompt(metrics) + verdicts(metrics)


def facts_in_prompt(metrics: Entry) -> list[str]:
    """Where planted facts were asked for: how many of them stood in the prompt, and how many of these were answered; a
    sentence for each budget of each model but the base."""
    systems: dict[tuple[str, str, int | None], list[Entry]] = {}
    for entry in metrics.get("probe", []):
        if entry["model"] != "base" and entry.get("by_question"):
            systems.setdefault((entry["variant"], entry["model"], entry["budget"]), []).append(entry)
    return [_facts_in_prompt(*key, entries) for key, entries in systems.items()]


def _facts_in_prompt(variant: str, model: str, budget: int | None, entries: Sequence[Entry]) -> str:
    def shares(of: str, among: str, *shared: bool) -> str:
        """A percentage of each strategy, over questions that share a word with what was told, or do not."""
        parts = []
        for entry in entries:
            groups = [group for group in entry["by_question"] if group["shared"] in shared]
            number, total = (sum(group[name] for group in groups) for name in (of, among))
            if total:
                parts.append(f"{entry['strategy']} {100 * number / total:.0f} %")
        return ", ".join(parts) or "-"

    of = f" of {variant}" if variant else ""
    size = f"at {budget} tokens" if budget is not None else "without a budget"
    return (
        f"Planted facts, {model} model{of} {size}: in the prompt where the question shares a word with what was told, "
        f"{shares('shown', 'items', True)}; where it shares none, {shares('shown', 'items', False)}. Answered of those "
        f"in the prompt, {shares('used', 'shown', True, False)}."
    )


def compared(metrics: Entry, family: str) -> list[str]:
    """The comparisons of one family: strategy | control | tuning | variant | facts."""
    return [_sentence(metrics, pair) for pair in _family(metrics, family)]


def verdicts(metrics: Entry) -> list[str]:
    """A sentence for each variant: at which budgets the model's gists are worse or better than the baseline; and for
    planted facts, where these were compared."""
    return [line for family in ("strategy", "facts") for line in _verdicts(metrics, family)]


def _verdicts(metrics: Entry, family: str) -> list[str]:
    pairs_of_all = _subjects(metrics, family)
    lines = []
    for variant, model in dict.fromkeys((pair["system"]["variant"], pair["system"]["model"]) for pair in pairs_of_all):
        names: dict[str, list[str]] = {}  # by verdict
        for name in filter(is_gist, STRATEGIES):
            system = {"variant": variant, "model": model, "strategy": name}
            if pairs := [pair for pair in pairs_of_all if system.items() <= pair["system"].items()]:
                names.setdefault(_verdict_by_budget(pairs), []).append(name)
        parts = [f"{_and(same)} {'are' if len(same) > 1 else 'is'} {verdict}" for verdict, same in names.items()]
        of = f" of {variant}" if variant else ""
        by = "" if pairs_of_all[0]["metric"] == MAIN else f" by {_title(pairs_of_all[0])}"
        if parts:
            lines.append(f"In short, the {model} model{of} against {metrics['baseline']}{by}: {'; '.join(parts)}.")
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
    main = METRICS[main_metric(metrics)]
    return (
        f"{_sample(metrics)} [95 % bootstrap interval, {metrics['resamples']:,} resamples by dialogue]; {main.better} "
        f"{main.title} is better. {_missing(metrics)}Systems are compared in pairs, on the same replies with the same "
        f"resamples.{tested}{pooled} Intervals are each by itself, not corrected. + or -: better or worse than "
        f"'{metrics['baseline']}' of the same model and budget{largest}, for {main.title} where Holm p < "
        f"{1 - CONFIDENCE:.2f}, elsewhere where the paired interval excludes zero. Bold: shown to be better than the "
        "next of the same model and budget."
    )


def _missing(metrics: Entry) -> str:
    """What is not there, where the model gave replies only."""
    if main_metric(metrics) == MAIN:
        return ""
    return (
        "The model gives replies but no likelihoods, so there are no perplexity and no ranks. Overlap with one gold "
        "reply says little of a chat: planted facts (evaluate.probe_items) and a judge (gistchat judge) say more. "
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


def _subjects(metrics: Entry, family: str) -> list[Entry]:
    """Those of the models that a report is about: not of the base, which is there to compare with."""
    return [pair for pair in _family(metrics, family) if pair["system"]["model"] != "base"]


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
        return f"{name} has the same {_title(pair)} as {other} on every reply."
    return _difference(pair, name, other)


def _variant(metrics: Entry, pair: Entry) -> str:
    """Both sides are named in full, as a counterpart may have another strategy or budget."""
    return _difference(pair, pair["of"], pair["minus"])


def _difference(pair: Entry, name: str, other: str) -> str:
    change = _change(pair)
    if not pair["significant"]:
        return f"{name} is not shown to differ from {other}: {_evidence(pair, change)}."
    way = "higher" if pair["value"] > 0 else "lower"
    return (
        f"{name} has {_amount(change)} {way} {_title(pair)} than {other} {_evidence(pair, change)}: it is "
        f"{_verdict(pair)}."
    )


def _facts(metrics: Entry, pair: Entry) -> str:
    return f"planted facts: {_strategy(metrics, pair)}"


def _control(metrics: Entry, pair: Entry) -> str:
    """`pair` is the own summary minus another dialogue's; the sentence is about the other's."""
    change = _change(pair).turned()
    model, verb = f"the {pair['system']['model']} model", "lowers" if pair["value"] > 0 else "raises"
    said = f"{verb} {_title(pair)} by {_amount(change)}"
    if not pair["significant"]:
        text = f"it is not shown that it matters to {model} whose summary it is: another dialogue's is"
    elif change.worse > 0:
        text = f"{model} reads the summary: another dialogue's {said}"
    else:
        text = f"{model} does better with another dialogue's summary: it {said}"
    return f"{text} {_evidence(pair, change)}."


def _tuning(metrics: Entry, pair: Entry) -> str:
    strategy, change = pair["system"]["strategy"], _change(pair)
    if not pair["significant"]:
        return f"tuning is not shown to change the {_title(pair)} of {strategy}: {_evidence(pair, change)}."
    verb = "raises" if pair["value"] > 0 else "lowers"
    return f"tuning {verb} the {_title(pair)} of {strategy} by {_amount(change)} {_evidence(pair, change)}."


WORDS: dict[str, Callable[[Entry, Entry], str]] = {
    "strategy": _strategy,
    "control": _control,
    "tuning": _tuning,
    "variant": _variant,
    "facts": _facts,
}


class Change(NamedTuple):
    """By how much something is worse, with its interval; below zero it is better."""

    worse: float
    low: float
    high: float
    unit: str

    def turned(self) -> "Change":
        """The same, seen from the other side."""
        if self.unit == "%":
            worse, high, low = (100 * (1 / (1 + value / 100) - 1) for value in self[:3])
        else:
            worse, high, low = (-value for value in self[:3])
        return Change(worse, low, high, self.unit)


def _change(pair: Entry) -> Change:
    """Likelihoods are compared by their ratio, in percent; what is a percentage itself, in points."""
    if better(pair) == "lower":
        return Change(*(100 * (pair[name] - 1) for name in ("ratio", "ratio_low", "ratio_high")), "%")
    return Change(-pair["value"], -pair["high"], -pair["low"], "points")


def _title(pair: Entry) -> str:
    return "recall of planted facts" if pair["metric"] == RECALL else METRICS[pair["metric"]].title


def _amount(change: Change, value: float | None = None) -> str:
    return f"{abs(change.worse if value is None else value):.1f} {change.unit}"


def _evidence(pair: Entry, change: Change) -> str:
    """The interval of a change, in its direction, or how large one that is not shown may be; and the p-value."""
    low, high, unit = change.low, change.high, change.unit
    if pair["significant"]:
        ends = [low, high] if change.worse >= 0 else [-high, -low]
        limits = f"[{ends[0]:.1f} {unit}, {ends[1]:.1f} {unit}]"
    elif low > 0:
        limits = f"{_amount(change, low)} to {_amount(change, high)} worse by itself, but not after the correction"
    elif high < 0:
        limits = f"{_amount(change, high)} to {_amount(change, low)} better by itself, but not after the correction"
    else:
        limits = f"at most {_amount(change, high)} worse, at most {_amount(change, low)} better"
    p = pair["p_holm"]
    return f"{limits}, Holm p < 0.001" if p < 0.001 else f"{limits}, Holm p = {p:.3g}"


def _verdict(pair: Entry) -> str:
    if not pair["significant"]:
        return "not shown to differ"
    return "worse" if is_worse(pair) else "better"


def _verdict_by_budget(pairs: Sequence[Entry]) -> str:
    budgets: dict[str, list[str]] = {}
    for pair in pairs:
        budgets.setdefault(_verdict(pair), []).append(str(pair["system"]["budget"]))
    if len(pairs) == 1:
        return next(iter(budgets))
    return ", ".join(f"{verdict} at {_and(values)} tokens" for verdict, values in budgets.items())


def _and(values: Sequence[str]) -> str:
    return " and ".join([", ".join(values[:-1]), values[-1]] if len(values) > 1 else values)
