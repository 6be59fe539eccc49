"""Rows of predictions -> every metric with its interval, paired comparisons in families, controls and warnings.

All intervals are 95 % bootstrap intervals over dialogues: replies of one dialogue are drawn together. Two systems are
compared on the replies that both have, with the same draws for both.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gistchat.context.strategies import controls_of, is_control
from gistchat.evaluate import bootstrap
from gistchat.evaluate.bootstrap import Metric, Sampled
from gistchat.evaluate.metrics import METRICS, Row, against_gold

Measured = dict[str, tuple[Metric, list[Row]]]  # by metric, with the rows that it is over
DEPTHS = (0, 12, 24, 48)  # turns before the reply: where the groups of the table by depth begin
MAIN = "perplexity"
FEW = 20  # dialogues; percentile intervals of small samples are too narrow (Hesterberg 2015)


class System(NamedTuple):
    """What is compared: a model of a variant of the recipe, under a context strategy with a budget."""

    variant: str  # empty for a single run
    model: str  # base | tuned | control
    strategy: str
    budget: int | None = None

    def name(self, budgets: bool) -> str:
        """In words; `budgets`: there is more than one, so that it has to be told."""
        told = budgets and self.budget is not None
        parts = [self.variant, self.model, self.strategy, str(self.budget) if told else ""]
        return " ".join(part for part in parts if part)


class Resampler:
    """Bootstrap draws by dialogue, the same whenever the same replies are asked for."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.resamples, self.seed = resamples, seed
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def weights(self, rows: Sequence[Row]) -> np.ndarray:
        """How often each row is drawn in each resample; shape (resamples, rows)."""
        dialogues = tuple(row["dialogue"] for row in rows)
        if dialogues not in self._known:
            numbers = {name: i for i, name in enumerate(dict.fromkeys(dialogues))}
            drawn = bootstrap.resample_weights(len(numbers), self.resamples, self.seed)
            self._known[dialogues] = drawn[:, [numbers[name] for name in dialogues]]
        return self._known[dialogues]


def system_of(row: Row) -> System:
    return System(row.get("variant", ""), row["model"], row["strategy"], row.get("budget"))


def place_of(row: Row) -> tuple[int, str]:
    """Which reply a row is for; seeds may draw the same one."""
    return row.get("seed", 0), row["id"]


def by_system(rows: Sequence[Row]) -> dict[System, list[Row]]:
    found: dict[System, list[Row]] = defaultdict(list)
    for row in rows:
        found[system_of(row)].append(row)
    return dict(found)


def measure(rows: Sequence[Row]) -> Measured:
    """All metrics of one system, each with the rows that it is over."""
    measured: Measured = {}
    for entry in METRICS.values():
        if with_value := [row for row in rows if row.get(entry.needs) is not None]:
            measured[entry.name] = entry.of(with_value), with_value
    return measured


def control_rows(rows: Sequence[Row]) -> list[Row]:
    """Replies that no model made: the gold one, the turn that is answered, and another dialogue's gold reply."""
    answered = list({place_of(row): row for row in rows if row.get("reply") is not None}.values())
    found = []
    for i, row in enumerate(answered):
        rest = (*answered[i + 1 :], *answered[:i])
        other = next((one["gold"] for one in rest if one["dialogue"] != row["dialogue"]), None)
        said = {"gold": row["gold"], "echo": row["context"][-1]["text"], "random-reply": other}
        common = {name: row[name] for name in ("id", "dialogue", "gold")} | {"seed": row.get("seed", 0)}
        found += [
            {**common, "model": "control", "strategy": name, "reply": reply}
            for name, reply in said.items()
            if reply is not None
        ]
    return found


class Comparer:
    """Values and paired differences of systems, with the same bootstrap draws throughout."""

    def __init__(self, rows: Sequence[Row], resamples: int, seed: int) -> None:
        self.rows = by_system(rows)
        self.measured = {system: measure(own) for system, own in self.rows.items()}
        self.draws = Resampler(resamples, seed)
        self._sampled: dict[int, Sampled] = {}
        self._shared: dict[tuple[System, System, Any], tuple[Measured, ...]] = {}

    def value(self, system: System, name: str) -> dict[str, Any]:
        """A metric over all replies of a system."""
        metric, rows = self.measured[system][name]
        found = self._sample(metric, rows).interval()
        if METRICS[name].share:
            found = bootstrap.exact_where_alike(found, _dialogues(rows))
        return {**vars(found), "items": len(rows), "unit": metric.unit, "better": metric.better}

    def _sample(self, metric: Metric, rows: Sequence[Row]) -> Sampled:
        """Kept, as each system is compared with several others."""
        if id(metric) not in self._sampled:
            self._sampled[id(metric)] = Sampled.of(metric, len(rows), self.draws.weights(rows))
        return self._sampled[id(metric)]

    def difference(self, one: System, other: System, name: str) -> dict[str, float] | None:
        """`one` minus `other` over the replies that both have the metric of; None where there is none."""
        if name not in self.measured[one] or name not in self.measured[other]:
            return None
        first, second = self._on_shared(one, other, name)
        return first and bootstrap.compared(self._sample(*first), self._sample(*second))

    def _on_shared(self, one: System, other: System, name: str) -> tuple[Any, Any]:
        """The metric of both with its rows; measured again where one of them has it of fewer replies."""
        mine, theirs = ({place_of(row): row for row in self.measured[system][name][1]} for system in (one, other))
        if list(mine) == list(theirs):
            return self.measured[one][name], self.measured[other][name]
        places = tuple(place for place in mine if place in theirs)
        if not places:
            return None, None
        if (one, other, places) not in self._shared:
            both = ([found[place] for place in places] for found in (mine, theirs))
            self._shared[one, other, places] = tuple(measure(rows) for rows in both)
        first, second = self._shared[one, other, places]
        return first[name], second[name]


def analyse(
    rows: Sequence[Row], baseline: str, resamples: int, seed: int, trained: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Everything that the tables, plots and sentences of a report are made of.

    Args:
        baseline: the strategy that the others are compared with, at the same budget.
        trained: by variant, the strategies that its model has learned. Variants of one strategy each are compared under
            the strategy of each.
    """
    comparer = Comparer([*rows, *control_rows(rows)], resamples, seed)
    budgets = len({system.budget for system in comparer.rows} - {None}) > 1
    comparisons = _comparisons(comparer, baseline, budgets, trained or {})
    results = []
    for system, found in comparer.measured.items():
        values = {name: comparer.value(system, name) for name in found}
        if against := _peer(system, baseline, comparer.rows):
            for name in values:
                if difference := comparer.difference(system, against, name):
                    values[name]["difference"] = difference
        results.append({**system._asdict(), "name": system.name(budgets), "metrics": values})
    return {
        "baseline": baseline,
        "confidence": bootstrap.CONFIDENCE,
        "resamples": resamples,
        "replies": len({row["id"] for row in rows}),
        "dialogues": len({row["dialogue"] for row in rows}),
        "budgets": sorted({system.budget for system in comparer.rows} - {None}),
        "results": results,
        "comparisons": comparisons,
        "depth": _by_depth(comparer),
        "seeds": _by_seed(comparer),
        "warnings": [
            *_too_few_resamples(comparisons, resamples),
            *_unlearned(comparisons, baseline, trained or {}),
            *_unread(comparisons),
            *_warnings(comparer, budgets),
        ],
    }


def _dialogues(rows: Iterable[Row]) -> int:
    return len({row["dialogue"] for row in rows})


def _too_few_resamples(comparisons: Sequence[Row], resamples: int) -> list[str]:
    """The least p-value that so many resamples can give must be able to pass the correction."""
    families = [row["family"] for row in comparisons]
    largest = max(map(families.count, families), default=0)
    if 2 * largest / (resamples + 1) < 1 - bootstrap.CONFIDENCE:
        return []
    return [
        f"{resamples:,} resamples can show no difference among {largest} comparisons; raise evaluate.resamples to "
        f"{100 * largest:,}"
    ]


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
    same = [one for one in systems if one[:2] == system[:2] and one.strategy == strategy]
    if system.budget is not None:
        same = [one for one in same if one.budget in (system.budget, None)]
    return max(same, key=lambda one: one.budget or 0, default=None)


def _comparisons(comparer: Comparer, baseline: str, budgets: bool, trained: Mapping[str, Sequence[str]]) -> list[Row]:
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
            families["variant"] += [(system, one) for one in _counterparts(system, systems, trained)]
    found = []
    for family, pairs in families.items():
        metric = "bits_per_byte" if family == "variant" else MAIN
        differences = [(one, other, comparer.difference(one, other, metric)) for one, other in pairs]
        differences = [pair for pair in differences if pair[2]]
        corrected = bootstrap.holm([difference["p"] for _, _, difference in differences])
        for (one, other, difference), p in zip(differences, corrected, strict=True):
            found.append(
                {
                    "family": family,
                    "metric": metric,
                    "system": one._asdict(),
                    "of": one.name(budgets),
                    "minus": other.name(budgets),
                    **difference,
                    "p_holm": p,
                    "significant": p < 1 - bootstrap.CONFIDENCE,
                }
            )
    return found


def _counterparts(system: System, systems: Sequence[System], trained: Mapping[str, Sequence[str]]) -> list[System]:
    """What a system of another variant is compared with: the first variant's, each with what it has learned."""
    first = systems[0].variant
    own, others = trained.get(system.variant, ()), trained.get(first, ())
    if len(own) == len(others) == 1:
        same = [one for one in systems if one[:3] == (first, system.model, others[0])]
        same = [one for one in same if one.budget == system.budget] or same
        return same[:1] if system.strategy == own[0] else []
    return [one for one in systems if one == system._replace(variant=first)]


def _by_depth(comparer: Comparer) -> list[Row]:
    """Perplexity by how many turns lie before the reply."""
    found = []
    for system, rows in comparer.rows.items():
        for first, end in zip(DEPTHS, (*DEPTHS[1:], None), strict=True):
            some = [
                r for r in rows if r.get("nats") is not None and r["turn"] >= first and (not end or r["turn"] < end)
            ]
            if len({row["dialogue"] for row in some}) > 1:
                metric = METRICS["perplexity"].of(some)
                interval = bootstrap.interval(metric, len(some), comparer.draws.weights(some))
                found.append({**system._asdict(), "from": first, "to": end, "items": len(some), **vars(interval)})
    return found


def analyse_probe(rows: Sequence[Row], resamples: int, seed: int) -> list[Row]:
    """Of planted facts, in percent: how many were answered (`right`), and how many stood in the prompt (`shown`)."""
    draws = Resampler(resamples, seed)
    found = []
    for system, own in by_system(rows).items():
        entry: Row = {**system._asdict(), "items": len(own)}
        for name in ("right", "shown"):
            metric = Metric(name, "%", "higher", bootstrap.mean([100.0 * row[name] for row in own]))
            found_now = bootstrap.interval(metric, len(own), draws.weights(own))
            entry[name] = vars(bootstrap.exact_where_alike(found_now, _dialogues(own)))
        by_distance: dict[int, list[Row]] = defaultdict(list)
        for row in own:
            by_distance[row["distance"]].append(row)
        entry["by_distance"] = {
            str(distance): {name: 100.0 * sum(row[name] for row in some) / len(some) for name in ("right", "shown")}
            | {"items": len(some)}
            for distance, some in sorted(by_distance.items())
        }
        found.append(entry)
    return found


def _by_seed(comparer: Comparer) -> list[Row]:
    """Perplexity of each seed's model on its own replies, where there is more than one seed."""
    found = []
    for system, rows in comparer.rows.items():
        seeds = sorted({row.get("seed", 0) for row in rows if row.get("nats") is not None})
        for seed in seeds if len(seeds) > 1 else []:
            own = [row for row in rows if row.get("seed", 0) == seed]
            metric = METRICS["perplexity"].of(own)
            value = float(metric.values(np.ones((1, len(own))))[0])
            found.append({**system._asdict(), "seed": seed, "items": len(own), "value": value})
    return found


def _unread(comparisons: Sequence[Row]) -> list[str]:
    """Tuned models whose likelihoods do not tell another dialogue's summary from the right one."""
    control = [row for row in comparisons if row["family"] == "control" and row["system"]["model"] == "tuned"]
    unread = [row["of"] for row in control if not row["significant"] or row["value"] > 0]
    if not unread:
        return []
    return [
        f"perplexity does not show that it matters whose summary it is for {_some(unread)}: what sets strategies apart "
        "there is not what a summary says"
    ]


def _warnings(comparer: Comparer, budgets: bool) -> list[str]:
    """Metrics that do not put systems and controls in the order that they must have, if the metric means anything."""
    lines = []
    if (dialogues := _dialogues(row for rows in comparer.rows.values() for row in rows)) < FEW:
        lines.append(
            f"replies of {dialogues} dialogues only: intervals from fewer than {FEW} are too narrow, so that "
            "differences look surer than they are; raise evaluate.items"
        )
    models = [system for system in comparer.rows if system.model != "control" and not is_control(system.strategy)]
    for control in ("random-reply", "echo"):
        lines += _not_above(control, comparer, models)
    gold = System("", "control", "gold")
    for name in against_gold():
        compared = [
            (system.name(budgets), difference)
            for system in models
            if gold in comparer.rows and (difference := comparer.difference(gold, system, name))
        ]
        if below := [of for of, difference in compared if difference["low"] <= 0]:
            lines.append(f"{name} does not put the gold replies above {_some(below)}: the metric is broken")
    return lines + _ranking_at_chance(comparer, models, budgets)


def _not_above(control: str, comparer: Comparer, models: Sequence[System]) -> list[str]:
    """Metrics by which not every system is shown to be above a control."""
    own = System("", "control", control)
    weak = []
    for name in against_gold() if own in comparer.rows else ():
        found = [difference for system in models if (difference := comparer.difference(system, own, name))]
        above = sum(difference["low"] > 0 for difference in found)
        weak += [f"{name} {above} of {len(found)}"] if above < len(found) else []
    if not weak:
        return []
    return [
        f"systems shown to be above the control '{control}': {', '.join(weak)}. Read no differences in these metrics"
    ]


def _ranking_at_chance(comparer: Comparer, models: Sequence[System], budgets: bool) -> list[str]:
    weak = []
    for system in models:
        if "hits1" in comparer.measured[system]:
            _, rows = comparer.measured[system]["hits1"]
            chance = 100 * sum(1 / row["candidates"] for row in rows) / len(rows)
            if comparer.value(system, "hits1")["low"] <= chance:
                weak.append(system.name(budgets))
    return [f"hits1 is not shown to be above chance for {_some(weak)}"] if weak else []


def _some(names: Sequence[str], most: int = 3) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
