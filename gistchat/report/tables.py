"""The tables of a report: sorted rows, marks against the baseline, and bold only for what is shown to be best."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Any

from gistchat.context.strategies import is_control, shows_summary
from gistchat.evaluate.analysis import MAIN, System, is_worse
from gistchat.evaluate.metrics import METRICS

Entry = dict[str, Any]  # all of metrics.json, or what it says of one system or comparison
MODELS = ("base", "tuned")
MARKS = {"better": " +", "worse": " -", "": ""}


@dataclass(frozen=True)
class Cell:
    """A figure as shown."""

    text: str
    interval: str = ""  # on demand, where it does not stand in the text
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Columns of words, then columns of figures.

    Attributes:
        words: how many columns of words there are.
        starts: the rows that begin a group.
    """

    columns: list[str]
    rows: list[list[Cell]]
    words: int
    starts: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls,
        names: Mapping[str, Callable[[Entry], str]],
        figures: Callable[[Entry], dict[str, Cell]],
        groups: Sequence[Sequence[Entry]],
    ) -> "Table":
        """A row for each entry: its names, then its figures by the titles of their columns."""
        rows = [
            {title: Cell(name(entry)) for title, name in names.items()} | figures(entry)
            for group in groups
            for entry in group
        ]
        ends = list(accumulate(map(len, groups)))
        cells = [list(row.values()) for row in rows]
        return cls(list(rows[0] if rows else names), cells, len(names), frozenset(ends[:-1]))


def variants(metrics: Entry) -> list[str]:
    """The variants of the recipe; an empty name in a single run."""
    return list(dict.fromkeys(result["variant"] for result in metrics["results"] if result["model"] != "control"))


def main_metric(metrics: Entry) -> str:
    """What systems are compared by: perplexity, or what takes its place where there are replies only."""
    return metrics.get("main", MAIN)


def groups(metrics: Entry, variant: str) -> list[list[Entry]]:
    """Results of the same model and budget, the best first, by the lowest perplexity.

    What has no budget follows after the budgets; where there is only one, it stands among its strategies.
    """
    by_group: dict[tuple[int, float], list[Entry]] = {}
    for result in metrics["results"]:
        if result["model"] != "control" and result["variant"] == variant:
            by_group.setdefault(_group(metrics, result), []).append(result)
    return [sorted(by_group[key], key=lambda result: _worst_last(metrics, result)) for key in sorted(by_group)]


def _group(metrics: Entry, system: Entry) -> tuple[int, float]:
    model = MODELS.index(system["model"]) if system["model"] in MODELS else len(MODELS)
    several = len(metrics["budgets"]) > 1
    return model, (float("inf") if system["budget"] is None else system["budget"]) if several else 0


def _worst_last(metrics: Entry, result: Entry) -> float:
    name = main_metric(metrics)
    if name not in result["metrics"]:
        return float("inf")
    value = result["metrics"][name]["value"]
    return value if METRICS[name].better == "lower" else -value


def best(metrics: Entry, group: Sequence[Entry]) -> Entry | None:
    """The result of a group that is shown to be better than the next, controls aside; most often there is none."""
    if len(group) < 2 or is_control(group[0]["strategy"]):
        return None
    first, *others = (result for result in group if not is_control(result["strategy"]))
    if first["strategy"] == metrics["baseline"]:
        shown = [_shown(metrics, result) == "worse" for result in others]
        return first if shown and all(shown) else None
    if others and others[0]["strategy"] == metrics["baseline"] and _shown(metrics, first) == "better":
        return first
    return None


def _shown(metrics: Entry, result: Entry, family: str = "strategy") -> str:
    """better | worse: how a result is shown to compare with the baseline; empty where nothing is shown."""
    system = system_key(result)
    for comparison in metrics["comparisons"]:
        if comparison["family"] == family and system_key(comparison["system"]) == system:
            return ("worse" if is_worse(comparison) else "better") if comparison["significant"] else ""
    return ""


def mark(metrics: Entry, result: Entry, name: str) -> str:
    """+ better, - worse than the baseline: for the main metric by the corrected p-value, else the paired interval."""
    main = main_metric(metrics)
    if name == main or (name == "bits_per_byte" and main == MAIN):  # two ways to write the same likelihoods
        return MARKS[_shown(metrics, result)]
    metric = result["metrics"][name]
    difference = metric.get("difference")
    if not difference or not metric["better"] or difference["low"] <= 0 <= difference["high"]:
        return ""
    return " +" if (difference["value"] > 0) == (metric["better"] == "higher") else " -"


def figure(value: Entry) -> str:
    """A value with its interval."""
    digits = 1 if value["high"] < 1000 else 0
    return f"{value['value']:.{digits}f} {_interval(value, digits)}"


def _interval(value: Entry, digits: int) -> str:
    return f"[{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def names(metrics: Entry) -> dict[str, Callable[[Entry], str]]:
    """The columns that say which system it is; the budget where there is more than one."""
    columns = {"model": lambda result: result["model"], "context": lambda result: result["strategy"]}
    if len(metrics["budgets"]) > 1:
        columns["budget"] = lambda result: "-" if result["budget"] is None else str(result["budget"])
    return columns


def _result_titles() -> dict[str, str]:
    return {name: entry.title for name, entry in METRICS.items() if entry.in_results}


def _digits(name: str) -> int:
    return METRICS[name].digits if name in METRICS else 1  # reports of other versions may have other metrics


def _metric_cells(
    metrics: Entry, titles: Mapping[str, str], groups: Sequence[Sequence[Entry]]
) -> Callable[[Entry], dict[str, Cell]]:
    """The cells of those metrics that any result has, with their marks; the main one with its interval, too."""
    measured = {name for group in groups for result in group for name in result["metrics"]}
    winners = [id(best(metrics, group)) for group in groups]

    def cell(result: Entry, name: str) -> Cell:
        if name not in result["metrics"]:
            return Cell("-")
        value, digits = result["metrics"][name], _digits(name)
        if name == main_metric(metrics):
            return Cell(figure(value) + mark(metrics, result, name), "", id(result) in winners)
        return Cell(f"{value['value']:.{digits}f}" + mark(metrics, result, name), _interval(value, digits))

    return lambda result: {title: cell(result, name) for name, title in titles.items() if name in measured}


def result_table(metrics: Entry, variant: str, titles: Mapping[str, str] | None = None) -> Table:
    """The metrics of every system of a variant; those that none of them has are left out."""
    sections = groups(metrics, variant)
    return Table.of(names(metrics), _metric_cells(metrics, titles or _result_titles(), sections), sections)


def control_table(metrics: Entry) -> Table | None:
    """The reply metrics of what no model said; None where there are no replies."""
    rows = [result for result in metrics["results"] if result["model"] == "control"]
    if not rows:
        return None
    cells = _metric_cells(metrics, _result_titles(), [rows])
    return Table.of({"control": lambda result: result["strategy"]}, cells, [rows])


def main_table(metrics: Entry, variant: str) -> Table:
    """What a terminal shows; with several budgets, their column takes the room of distinct-2."""
    titles = {name: entry.terminal for name, entry in METRICS.items() if entry.terminal}
    if len(metrics["budgets"]) > 1:
        del titles["distinct2"]
    return result_table(metrics, variant, titles)


def cost_table(metrics: Entry, variant: str) -> Table:
    """What a reply of every system costs, as far as it is known."""
    facts = metrics.get("facts", {}).get(variant, metrics)  # of an experiment, by variant
    cache, summary = facts.get("cache_bytes_per_token"), facts.get("summary_seconds")

    def costs(result: Entry) -> dict[str, tuple[float | None, int]]:
        values = {name: metric["value"] for name, metric in result["metrics"].items()}
        prompt, reply, seconds, prefill = map(values.get, ("prompt_tokens", "reply_tokens", "seconds", "prefill"))
        return {
            "prompt tokens": (prompt, _digits("prompt_tokens")),
            "in the cache %": (values.get("reused"), _digits("reused")),
            "prefill s": (prefill, _digits("prefill")),
            "decode s": (None if None in (seconds, prefill) else seconds - prefill, 2),
            "s per reply": (seconds, _digits("seconds")),
            "reply tokens": (reply, _digits("reply_tokens")),
            "cache MB": (None if None in (cache, prompt, reply) else (prompt + reply) * cache / 1e6, 2),
            "summary s": (summary if shows_summary(result["strategy"]) else None, 3),
        }

    sections = groups(metrics, variant)
    known = {
        title for group in sections for one in group for title, (value, _) in costs(one).items() if value is not None
    }

    def cells(result: Entry) -> dict[str, Cell]:
        return {
            title: Cell("-" if value is None else f"{value:.{digits}f}")
            for title, (value, digits) in costs(result).items()
            if title in known
        }

    return Table.of(names(metrics), cells, sections)


def probe_table(metrics: Entry, variant: str, in_terminal: bool = False) -> Table | None:
    """The planted facts: answered, shown, and, where there is room, answered by how many turns ago they were told."""
    entries = [entry for entry in metrics.get("probe", []) if entry["variant"] == variant]
    if not entries:
        return None
    distances = dict.fromkeys(distance for entry in entries for distance in entry["by_distance"])

    def figures(entry: Entry) -> dict[str, Cell]:
        right = {distance: f"{answers['right']:.0f}" for distance, answers in entry["by_distance"].items()}
        shares = {
            "answered %": Cell(figure(entry["right"]) + MARKS[_shown(metrics, entry, "facts")]),
            "in the prompt %": Cell(figure(entry["shown"])),
        }
        if "used" in entry:  # older files do not say it
            shares["of these answered %"] = Cell(figure(entry["used"]) if entry["used"] else "-")
        if in_terminal:
            return shares
        by_distance = {f"after {distance} turns": Cell(right.get(distance, "-")) for distance in distances}
        return {"questions": Cell(str(entry["items"])), **shares, **by_distance}

    return Table.of(names(metrics), figures, grouped(metrics, entries))


def probe_question_table(metrics: Entry, variant: str) -> Table | None:
    """Of the planted facts, how many stood in the prompt, and of these, how many were answered: by whether the question
    shares a word with what was told, and by how many turns ago that was."""
    entries = [entry for entry in metrics.get("probe", []) if entry["variant"] == variant and entry.get("by_question")]
    if not entries:
        return None
    distances = sorted({group["distance"] for entry in entries for group in entry["by_question"]})
    titles = {distance: f"after {distance:,} turns" for distance in distances}

    def figures(row: Entry) -> dict[str, Cell]:
        by_distance = {group["distance"]: _shown_and_used([group]) for group in row["groups"]}
        cells = {title: Cell(by_distance.get(distance, "-")) for distance, title in titles.items()}
        return {**cells, "all": Cell(_shown_and_used(row["groups"]))}

    def rows(entry: Entry) -> Iterator[Entry]:
        for shared, words in ((True, "shares a word"), (False, "shares none")):
            if groups := [group for group in entry["by_question"] if group["shared"] == shared]:
                yield {**entry, "question": words, "groups": groups}

    columns = {**names(metrics), "question": itemgetter("question")}
    return Table.of(
        columns, figures, [[row for entry in group for row in rows(entry)] for group in grouped(metrics, entries)]
    )


def _shown_and_used(groups: Sequence[Entry]) -> str:
    """Percent in the prompt / percent of these that were answered."""
    items, shown, used = (sum(group[name] for group in groups) for name in ("items", "shown", "used"))
    return f"{100 * shown / items:.0f} / {100 * used / shown:.0f}" if shown else "0 / -"


def mauve_table(metrics: Entry, variant: str) -> Table | None:
    """MAUVE of every system, by seed where there are several; None where it was not asked for."""
    entries = [entry for entry in metrics.get("mauve", []) if entry["variant"] == variant]
    if not entries:
        return None
    seeds = sorted({entry.get("seed", 0) for entry in entries})
    values = {(system_key(entry), entry.get("seed", 0)): f"{entry['value']:.1f}" for entry in entries}

    def figures(entry: Entry) -> dict[str, Cell]:
        titles = {seed: f"MAUVE %, seed {seed}" if len(seeds) > 1 else "MAUVE %" for seed in seeds}
        scores = {title: Cell(values.get((system_key(entry), seed), "-")) for seed, title in titles.items()}
        return {"replies": Cell(str(entry.get("replies", "-")))} | scores

    return Table.of(names(metrics), figures, grouped(metrics, entries))


def depth_table(metrics: Entry, variant: str) -> Table | None:
    """Perplexity by how many turns lie before the reply."""
    return _spread(metrics, variant, "depth", depth_name, figure)


def depth_name(entry: Entry) -> str:
    """The group of replies that an entry by depth is about."""
    return f"{entry['from']} to {entry['to'] - 1} turns" if entry["to"] else f"{entry['from']} turns or more"


def seed_table(metrics: Entry, variant: str) -> Table | None:
    """Perplexity of every seed's model on its own replies; None in a run of one seed."""
    return _spread(
        metrics, variant, "seeds", lambda entry: f"seed {entry['seed']}", lambda entry: f"{entry['value']:.1f}"
    )


def _spread(
    metrics: Entry, variant: str, name: str, column: Callable[[Entry], str], text: Callable[[Entry], str]
) -> Table | None:
    """A row for each system, a column for each kind of its entries in a list of the metrics."""
    entries = [entry for entry in metrics[name] if entry["variant"] == variant and entry["model"] != "control"]
    if not entries:
        return None
    cells = {(system_key(entry), column(entry)): Cell(text(entry)) for entry in entries}
    titles = dict.fromkeys(column(entry) for entry in entries)

    def figures(entry: Entry) -> dict[str, Cell]:
        return {title: cells.get((system_key(entry), title), Cell("-")) for title in titles}

    return Table.of(names(metrics), figures, grouped(metrics, entries))


def system_key(entry: Entry) -> System:
    """Which system a result, or any other entry of the metrics, is of."""
    return System(*(entry[name] for name in System._fields))


def grouped(metrics: Entry, entries: Sequence[Entry]) -> list[list[Entry]]:
    """An entry for each system, in the order of the results of their variant."""
    by_system = {system_key(entry): entry for entry in entries}
    keys = [[system_key(result) for result in group] for group in groups(metrics, entries[0]["variant"])]
    entries_by_group = [[by_system[key] for key in group if key in by_system] for group in keys]
    return [group for group in entries_by_group if group]


def markdown(table: Table) -> list[str]:
    """The lines of a table in Markdown."""

    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(text.split()).replace("|", "\\|") for text in texts) + " |"

    rule = ["---"] * table.words + ["--:"] * (len(table.columns) - table.words)
    rows = [[f"**{cell.text}**" if cell.bold else cell.text for cell in row] for row in table.rows]
    return [line(table.columns), line(rule), *map(line, rows)]
