"""Rows of predictions -> every metric with its interval, paired comparisons in families, controls and warnings.

All intervals are 95 % bootstrap intervals over dialogues: replies of one dialogue are drawn together. Two systems are
compared on the replies that both have, with the same draws for both.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gistchat.context.strategies import controls_of, is_control
from gistchat.evaluate import bootstrap
from gistchat.evaluate.bootstrap import Metric, Sampled
from gistchat.evaluate.metrics import METRICS, Row, against_gold

Measured = dict[str, tuple[Metric, list[Row]]]  # by metric, with the rows that it is over
DEPTHS = (0, 12, 24, 48)  # turns before the reply: where the groups of the table by depth begin
MAIN = "perplexity"
WITHOUT_LIKELIHOOD = "rougeL"  # takes its place where a model gives replies only
RECALL = "recall"  # of planted facts: which of them were answered
FEW = 20  # dialogues; percentile intervals of small samples are too narrow (Hesterberg 2015)


class System(NamedTuple):
    """What is compared: a model of a variant of the recipe, under a context strategy with a budget."""

    variant: str  # empty for a single run
    model: str  # base | tuned | control
    strategy: str
    budget: int | None = None

    def __str__(self) -> str:
        return " ".join(str(part) for part in self if part not in ("", None))

    def name(self, budgets: bool) -> str:
        """In words; `budgets`: there is more than one, so that it has to be told."""
        return str(self if budgets else self._replace(budget=None))


class Resampler:
    """Bootstrap draws by dialogue, the same whenever the same replies are asked for."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.resamples, self.seed = resamples, seed
        self._weights: dict[tuple[str, ...], np.ndarray] = {}

    def weights(self, rows: Sequence[Row]) -> np.ndarray:
        """How often each row is drawn in each resample; shape (resamples, rows)."""
        dialogues = tuple(row["dialogue"] for row in rows)
        if dialogues not in self._weights:
            numbers = {name: i for i, name in enumerate(dict.fromkeys(dialogues))}
            drawn = bootstrap.resample_weights(len(numbers), self.resamples, self.seed)
            self._weights[dialogues] = drawn[:, [numbers[name] for name in dialogues]]
        return self._weights[dialogues]


def system_of(row: Row) -> System:
    return System(row.get("variant", ""), row["model"], row["strategy"], row.get("budget"))


def place_of(row: Row) -> tuple[int, str]:
    """Which reply a row is for; seeds may draw the same one."""
    return row.get("seed", 0), row["id"]


def by_system(rows: Sequence[Row]) -> dict[System, list[Row]]:
    systems: dict[System, list[Row]] = {}
    for row in rows:
        systems.setdefault(system_of(row), []).append(row)
    return systems


def measure(rows: Sequence[Row]) -> Measured:
    """All metrics of one system, each with the rows that it is over."""
    with_value = {entry.name: [row for row in rows if row.get(entry.needs) is not None] for entry in METRICS.values()}
    return {name: (METRICS[name].of(measurable), measurable) for name, measurable in with_value.items() if measurable}


def control_rows(rows: Sequence[Row]) -> list[Row]:
    """Replies that no model made: the gold one, the turn that is answered, and another dialogue's gold reply."""
    answered = list({place_of(row): row for row in rows if row.get("reply") is not None}.values())
    controls: list[Row] = []
    for row, other in zip(answered, _other_golds(answered), strict=True):
        replies = {"gold": row["gold"], "echo": row["context"][-1]["text"], "random-reply": other}
        common = {name: row[name] for name in ("id", "dialogue", "gold")} | {"seed": row.get("seed", 0)}
        common["model"] = "control"
        controls += [
            common | {"strategy": name, "reply": reply} for name, reply in replies.items() if reply is not None
        ]
    return controls


def _other_golds(rows: Sequence[Row]) -> list[str | None]:
    """For each row the gold reply of the next one of another dialogue, the first following the last; None without."""
    others: list[str | None] = []
    other = None
    for row, following in reversed(list(pairwise([*rows, *rows]))):
        other = following["gold"] if following["dialogue"] != row["dialogue"] else other
        others.append(other)
    return others[::-1][: len(rows)]


class Comparer:
    """Values and paired differences of systems, with the same bootstrap draws throughout."""

    def __init__(self, rows: Sequence[Row], resamples: int, seed: int) -> None:
        self.rows = by_system(rows)
        self.measured = {system: measure(system_rows) for system, system_rows in self.rows.items()}
        self.draws = Resampler(resamples, seed)
        self._sampled: dict[int, Sampled] = {}
        self._shared: dict[tuple[System, System, Any], list[Measured]] = {}

    def value(self, system: System, name: str) -> dict[str, Any]:
        """A metric over all replies of a system."""
        metric, rows = self.measured[system][name]
        interval = self._sample(metric, rows).interval()
        if METRICS[name].share:
            interval = bootstrap.exact_where_alike(interval, _dialogues(rows))
        return {**vars(interval), "items": len(rows), "unit": metric.unit, "better": metric.better}

    def _sample(self, metric: Metric, rows: Sequence[Row]) -> Sampled:
        """Kept, as each system is compared with several others."""
        if id(metric) not in self._sampled:
            self._sampled[id(metric)] = Sampled.of(metric, len(rows), self.draws.weights(rows))
        return self._sampled[id(metric)]

    def difference(self, system: System, other: System, name: str) -> dict[str, float] | None:
        """`system` minus `other` over the replies that both have the metric of; None where there is none.

        Where one of them has it of fewer replies, both are measured again on those that they share.
        """
        measured = [self.measured[system], self.measured[other]]
        if not all(name in metrics for metrics in measured):
            return None
        mine, theirs = ({place_of(row): row for row in metrics[name][1]} for metrics in measured)
        if list(mine) != list(theirs):
            places = tuple(place for place in mine if place in theirs)
            if not places:
                return None
            if (system, other, places) not in self._shared:
                shared = ([rows[place] for place in places] for rows in (mine, theirs))
                self._shared[system, other, places] = [measure(rows) for rows in shared]
            measured = self._shared[system, other, places]
        return bootstrap.compared(*(self._sample(*metrics[name]) for metrics in measured))


def analyse(
    rows: Sequence[Row], baseline: str, resamples: int, seed: int, trained: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Everything that the tables, plots and sentences of a report are made of.

    Args:
        baseline: the strategy that the others are compared with, at the same budget.
        trained: by variant, the strategies that its model has learned. Variants of one strategy each are compared under
            the strategy of each.
    """
    trained = trained or {}
    comparer = Comparer([*rows, *control_rows(rows)], resamples, seed)
    budgets = sorted({system.budget for system in comparer.rows} - {None})
    scored = any(MAIN in measured for measured in comparer.measured.values())
    main = MAIN if scored else WITHOUT_LIKELIHOOD
    comparisons = _comparisons(comparer, main, baseline, len(budgets) > 1, trained)
    results = []
    for system, measured in comparer.measured.items():
        values = {name: comparer.value(system, name) for name in measured}
        if against := _peer(system, baseline, comparer.rows):
            for name in values:
                if difference := comparer.difference(system, against, name):
                    values[name]["difference"] = difference
        results.append({**system._asdict(), "name": system.name(len(budgets) > 1), "metrics": values})
    return {
        "baseline": baseline,
        "main": main,
        "confidence": bootstrap.CONFIDENCE,
        "resamples": resamples,
        "replies": len({row["id"] for row in rows}),
        "dialogues": _dialogues(rows),
        "budgets": budgets,
        "results": results,
        "comparisons": comparisons,
        "depth": _by_depth(comparer),
        "seeds": _by_seed(comparer),
        "warnings": [
            *_too_few_resamples(comparisons, resamples),
            *_unlearned(comparisons, baseline, trained),
            *_unread(comparisons),
            *_warnings(comparer, len(budgets) > 1),
        ],
    }


def _dialogues(rows: Iterable[Row]) -> int:
    return len({row["dialogue"] for row in rows})


def _too_few_resamples(comparisons: Sequence[Row], resamples: int) -> Iterator[str]:
    """The least p-value that so many resamples can give must be able to pass the correction."""
    largest = max(Counter(row["family"] for row in comparisons).values(), default=0)
    if 2 * largest / (resamples + 1) >= 1 - bootstrap.CONFIDENCE:
        yield (
            f"{resamples:,} resamples can show no difference among {largest} comparisons; raise evaluate.resamples to "
            f"{100 * largest:,}"
        )


def _unlearned(comparisons: Sequence[Row], baseline: str, trained: Mapping[str, Sequence[str]]) -> list[str]:
    """Models that never learned from the context that they are compared with."""
    compared = {row["system"]["variant"] for row in comparisons if row["family"] == "strategy"}
    return [
        f"{variant} has learned from {', '.join(strategies)} only: what it loses with '{baseline}' may be what it "
        "never learned to read"
        for variant, strategies in trained.items()
        if variant in compared and baseline not in strategies
    ]


def _peer(system: System, strategy: str, systems: Iterable[System]) -> System | None:
    """The same with another strategy, at the same budget; at the largest for a system that has none."""
    if system.strategy == strategy or system.model == "control":
        return None
    peers = [peer for peer in systems if peer[:3] == (*system[:2], strategy)]
    if system.budget is not None:
        peers = [peer for peer in peers if peer.budget in (system.budget, None)]
    return max(peers, key=lambda peer: peer.budget or 0, default=None)


def _comparisons(
    comparer: Comparer, main: str, baseline: str, budgets: bool, trained: Mapping[str, Sequence[str]]
) -> list[Row]:
    """The questions that a report answers, by families; p-values are corrected within each (Holm 1979).

    strategy: is it worse or better than the baseline at the same budget? control: does it matter whose summary it is?
    tuning: does it help? variant: how does it compare with the first variant? (in bits per byte, as tokenizers differ)
    """
    systems = [system for system in comparer.rows if system.model != "control"]
    families: dict[str, list[tuple[System, System]]] = {"strategy": [], "control": [], "tuning": [], "variant": []}
    for system in systems:
        if not is_control(system.strategy) and (peer := _peer(system, baseline, systems)):
            families["strategy"].append((system, peer))
        controls = (_peer(system, control, systems) for control in controls_of(system.strategy))
        families["control"] += [(system, control) for control in controls if control]
        if system.model == "tuned" and (untuned := system._replace(model="base")) in comparer.rows:
            families["tuning"].append((system, untuned))
        if system.variant != systems[0].variant:
            families["variant"] += [(system, first) for first in _counterparts(system, systems, trained)]
    comparisons = []
    for family, pairs in families.items():
        metric = "bits_per_byte" if family == "variant" and main == MAIN else main
        differences = [(*pair, paired) for pair in pairs if (paired := comparer.difference(*pair, metric))]
        comparisons += _corrected(family, metric, differences, budgets)
    return comparisons


def _corrected(
    family: str, metric: str, differences: Sequence[tuple[System, System, dict[str, float]]], budgets: bool
) -> list[Row]:
    """The comparisons of a family, their p-values corrected for how many there are."""
    corrected = bootstrap.holm([difference["p"] for _, _, difference in differences])
    return [
        {
            "family": family,
            "metric": metric,
            "system": system._asdict(),
            "of": system.name(budgets),
            "minus": other.name(budgets),
            **difference,
            "p_holm": p,
            "significant": p < 1 - bootstrap.CONFIDENCE,
        }
        for (system, other, difference), p in zip(differences, corrected, strict=True)
    ]


def _counterparts(system: System, systems: Sequence[System], trained: Mapping[str, Sequence[str]]) -> list[System]:
    """What a system of another variant is compared with: the first variant's, each with what it has learned."""
    first = systems[0].variant
    learned, learned_first = trained.get(system.variant, ()), trained.get(first, ())
    if len(learned) == len(learned_first) == 1:
        same = [other for other in systems if other[:3] == (first, system.model, learned_first[0])]
        same = [other for other in same if other.budget == system.budget] or same
        return same[:1] if system.strategy == learned[0] else []
    return [other for other in systems if other == system._replace(variant=first)]


def _by_depth(comparer: Comparer) -> list[Row]:
    """Perplexity by how many turns lie before the reply."""
    groups = []
    for system, rows in comparer.rows.items():
        scored = [row for row in rows if row.get("nats") is not None]
        for first, end in zip(DEPTHS, (*DEPTHS[1:], None), strict=True):
            group = [row for row in scored if first <= row["turn"] < (end or math.inf)]
            if _dialogues(group) > 1:
                interval = bootstrap.interval(METRICS[MAIN].of(group), len(group), comparer.draws.weights(group))
                groups.append({**system._asdict(), "from": first, "to": end, "items": len(group), **vars(interval)})
    return groups


def analyse_probe(rows: Sequence[Row], resamples: int, seed: int) -> list[Row]:
    """Of planted facts, in percent: how many were answered (`right`), how many stood in the prompt (`shown`), and how
    many of these were answered (`used`; None where none stood there)."""
    draws = Resampler(resamples, seed)
    entries = []
    for system, answers in by_system(rows).items():
        shown = [row for row in answers if row["shown"]]
        entry: Row = {**system._asdict(), "items": len(answers)}
        entry |= {name: _probe_share(name, answers, draws) for name in ("right", "shown")}
        entry["used"] = _probe_share("right", shown, draws) if shown else None
        entry["by_distance"] = {}
        for distance in sorted({row["distance"] for row in answers}):
            group = [row for row in answers if row["distance"] == distance]
            shares = {name: 100.0 * sum(row[name] for row in group) / len(group) for name in ("right", "shown")}
            entry["by_distance"][str(distance)] = shares | {"items": len(group)}
        entry["by_question"] = list(_by_question(answers))
        entries.append(entry)
    return entries


def _probe_share(name: str, answers: Sequence[Row], draws: Resampler) -> dict[str, float]:
    metric = Metric(name, "%", "higher", bootstrap.mean([100.0 * row[name] for row in answers]))
    interval = bootstrap.interval(metric, len(answers), draws.weights(answers))
    return vars(bootstrap.exact_where_alike(interval, _dialogues(answers)))


def _by_question(answers: Sequence[Row]) -> Iterator[Row]:
    """By whether the question shares a word with what was told, and by distance; older rows do not say it."""
    asked = [row for row in answers if "shared" in row]
    for unshared, distance in sorted({(not row["shared"], row["distance"]) for row in asked}):
        group = [row for row in asked if (not row["shared"], row["distance"]) == (unshared, distance)]
        seen = [row for row in group if row["shown"]]
        yield {
            "shared": not unshared,
            "distance": distance,
            "items": len(group),
            "shown": len(seen),
            "used": sum(row["right"] for row in seen),
        }


def compare_probe(rows: Sequence[Row], baseline: str, resamples: int, seed: int) -> list[Row]:
    """Every strategy's recall of planted facts against the baseline's at the same budget: the family `facts`."""
    draws, systems = Resampler(resamples, seed), by_system(rows)
    sampled = {system: _sampled_recall(answers, draws) for system, answers in systems.items()}
    pairs = [
        (system, peer)
        for system in systems
        if not is_control(system.strategy) and (peer := _peer(system, baseline, systems))
    ]
    differences = [(*pair, bootstrap.compared(*map(sampled.__getitem__, pair))) for pair in pairs]
    return _corrected("facts", RECALL, differences, len({system.budget for system in systems} - {None}) > 1)


def _sampled_recall(answers: Sequence[Row], draws: Resampler) -> Sampled:
    metric = Metric(RECALL, "%", "higher", bootstrap.mean([100.0 * row["right"] for row in answers]))
    return Sampled.of(metric, len(answers), draws.weights(answers))


def _by_seed(comparer: Comparer) -> list[Row]:
    """Perplexity of each seed's model on its own replies, where there is more than one seed."""
    values = []
    for system, rows in comparer.rows.items():
        seeds = sorted({row.get("seed", 0) for row in rows if row.get("nats") is not None})
        for seed in seeds if len(seeds) > 1 else []:
            group = [row for row in rows if row.get("seed", 0) == seed]
            value = float(METRICS[MAIN].of(group).values(np.ones((1, len(group))))[0])
            values.append({**system._asdict(), "seed": seed, "items": len(group), "value": value})
    return values


def better(comparison: Row) -> str:
    """lower | higher: which values of a comparison's metric are better."""
    return "higher" if comparison["metric"] == RECALL else METRICS[comparison["metric"]].better


def is_worse(comparison: Row) -> bool:
    """Whether the first system of a comparison comes out worse than the other."""
    return (comparison["value"] > 0) == (better(comparison) == "lower")


def _unread(comparisons: Sequence[Row]) -> Iterator[str]:
    """Models, other than the base, that are not shown to tell another dialogue's summary from the right one."""
    control = [row for row in comparisons if row["family"] == "control" and row["system"]["model"] != "base"]
    if unread := [row["of"] for row in control if not row["significant"] or is_worse(row)]:
        yield (
            f"{METRICS[control[0]['metric']].title} does not show that it matters whose summary it is for "
            f"{_listed(unread)}: what sets strategies apart there is not what a summary says"
        )


def _warnings(comparer: Comparer, budgets: bool) -> Iterator[str]:
    """Metrics that do not put systems and controls in the order that they must have, if the metric means anything."""
    if (dialogues := _dialogues(row for rows in comparer.rows.values() for row in rows)) < FEW:
        yield (
            f"replies of {dialogues} dialogues only: intervals from fewer than {FEW} are too narrow, so that "
            "differences look surer than they are; raise evaluate.items"
        )
    models = [system for system in comparer.rows if system.model != "control" and not is_control(system.strategy)]
    gold, random_reply, echo = (System("", "control", name) for name in ("gold", "random-reply", "echo"))
    for control in (random_reply, echo):
        if control in comparer.rows and (weak := list(_not_above(control, comparer, models))):
            yield (
                f"systems shown to be above the control '{control.strategy}': {', '.join(weak)}. Read no differences "
                "in these metrics"
            )
    for name in against_gold() if gold in comparer.rows else ():
        differences = ((system.name(budgets), comparer.difference(gold, system, name)) for system in models)
        if below := [of for of, difference in differences if difference and difference["low"] <= 0]:
            yield f"{name} does not put the gold replies above {_listed(below)}: the metric is broken"
    if at_chance := [system.name(budgets) for system in models if _ranks_at_chance(system, comparer)]:
        yield f"hits1 is not shown to be above chance for {_listed(at_chance)}"


def _not_above(control: System, comparer: Comparer, models: Sequence[System]) -> Iterator[str]:
    """Metrics by which not every system is shown to be above a control, with how many are."""
    for name in against_gold():
        differences = [paired for system in models if (paired := comparer.difference(system, control, name))]
        above = sum(difference["low"] > 0 for difference in differences)
        if above < len(differences):
            yield f"{name} {above} of {len(differences)}"


def _ranks_at_chance(system: System, comparer: Comparer) -> bool:
    if "hits1" not in comparer.measured[system]:
        return False
    _, rows = comparer.measured[system]["hits1"]
    chance = 100 * sum(1 / row["candidates"] for row in rows) / len(rows)
    return comparer.value(system, "hits1")["low"] <= chance


def _listed(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
