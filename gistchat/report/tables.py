"""The tables of a report: sorted rows, marks against the baseline, and bold only for what is shown to be best."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gistchat.context.strategies import is_control, shows_summary
from gistchat.evaluate.analysis import System
from gistchat.evaluate.metrics import METRICS

Found = dict[str, Any]
MODELS = ("base", "tuned")


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
    def of(cls, columns: dict[str, Callable[[Found], Cell]], groups: Sequence[Sequence[Found]], words: int) -> "Table":
        """A column for each function of a result."""
        rows = [[make(result) for make in columns.values()] for group in groups for result in group]
        lengths = [len(group) for group in groups]
        return cls(list(columns), rows, words, frozenset(sum(lengths[:i]) for i in range(1, len(groups))))


def variants(metrics: Found) -> list[str]:
    """The variants of the recipe; an empty name in a single run."""
    return list(dict.fromkeys(result["variant"] for result in metrics["results"] if result["model"] != "control"))


def groups(metrics: Found, variant: str) -> list[list[Found]]:
    """Results of the same model and budget, the lowest perplexity first.

    What has no budget follows after the budgets; where there is only one, it stands among its strategies.
    """
    found: dict[tuple[int, float], list[Found]] = {}
    for result in metrics["results"]:
        if result["model"] != "control" and result["variant"] == variant:
            found.setdefault(_group(metrics, result), []).append(result)
    return [sorted(found[key], key=_perplexity) for key in sorted(found)]


def _group(metrics: Found, system: Found) -> tuple[int, float]:
    model = MODELS.index(system["model"]) if system["model"] in MODELS else len(MODELS)
    several = len(metrics["budgets"]) > 1
    return model, (float("inf") if system["budget"] is None else system["budget"]) if several else 0


def _perplexity(result: Found) -> float:
    found = result["metrics"].get("perplexity")
    return found["value"] if found else float("inf")


def best(metrics: Found, group: Sequence[Found]) -> Found | None:
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


def comparison(metrics: Found, result: Found, family: str = "strategy") -> Found | None:
    """The result's comparison in a family, if it was made."""
    system = system_key(result)
    same = (one for one in metrics["comparisons"] if one["family"] == family and system_key(one["system"]) == system)
    return next(same, None)


def _shown(metrics: Found, result: Found) -> str:
    found = comparison(metrics, result)
    if not found or not found["significant"]:
        return ""
    return "worse" if found["value"] > 0 else "better"


def mark(metrics: Found, result: Found, name: str) -> str:
    """+ better, - worse than the baseline: for perplexity by the corrected p-value, else by the paired interval."""
    if name in ("perplexity", "bits_per_byte"):  # two ways to write the same likelihoods
        return {"better": " +", "worse": " -", "": ""}[_shown(metrics, result)]
    metric = result["metrics"][name]
    difference = metric.get("difference")
    if not difference or not metric["better"] or difference["low"] <= 0 <= difference["high"]:
        return ""
    return " +" if (difference["value"] > 0) == (metric["better"] == "higher") else " -"


def figure(value: Found) -> str:
    """A value with its interval."""
    digits = 1 if value["high"] < 1000 else 0
    return f"{value['value']:.{digits}f} {_interval(value, digits)}"


def _interval(value: Found, digits: int) -> str:
    return f"[{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def cell(metrics: Found, result: Found, name: str, bold: bool = False) -> Cell:
    """A metric of a result, with its mark; perplexity with its interval, too."""
    metric = result["metrics"].get(name)
    if metric is None:
        return Cell("-")
    if name == "perplexity":
        return Cell(figure(metric) + mark(metrics, result, name), "", bold)
    digits = _digits(name)
    return Cell(f"{metric['value']:.{digits}f}" + mark(metrics, result, name), _interval(metric, digits), bold)


def names(metrics: Found) -> dict[str, Callable[[Found], Cell]]:
    """The columns that say which system it is; the budget where there is more than one."""
    columns = {"model": lambda result: Cell(result["model"]), "context": lambda result: Cell(result["strategy"])}
    if len(metrics["budgets"]) > 1:
        columns["budget"] = lambda result: Cell("-" if result["budget"] is None else str(result["budget"]))
    return columns


def _result_columns() -> dict[str, str]:
    return {name: entry.title for name, entry in METRICS.items() if entry.in_results}


def _digits(name: str) -> int:
    return METRICS[name].digits if name in METRICS else 1  # reports of other versions may have other metrics


def result_table(metrics: Found, variant: str, wanted: dict[str, str] | None = None) -> Table:
    """The metrics of every system of a variant; those that none of them has are left out."""
    sections = groups(metrics, variant)
    winners = [id(best(metrics, section)) for section in sections]
    columns = names(metrics)
    words = len(columns)
    for name, title in (wanted or _result_columns()).items():
        if any(name in result["metrics"] for section in sections for result in section):
            columns[title] = _column(metrics, name, winners)
    return Table.of(columns, sections, words)


def _column(metrics: Found, name: str, winners: Sequence[int]) -> Callable[[Found], Cell]:
    return lambda result: cell(metrics, result, name, name == "perplexity" and id(result) in winners)


def control_table(metrics: Found) -> Table | None:
    """The reply metrics of what no model said; None where there are no replies."""
    rows = [result for result in metrics["results"] if result["model"] == "control"]
    if not rows:
        return None
    columns: dict[str, Callable[[Found], Cell]] = {"control": lambda result: Cell(result["strategy"])}
    for name, title in _result_columns().items():
        if any(name in result["metrics"] for result in rows):
            columns[title] = _column(metrics, name, ())
    return Table.of(columns, [rows], 1)


def main_table(metrics: Found, variant: str) -> Table:
    """What a terminal shows; with several budgets, their column takes the room of distinct-2."""
    wanted = {name: entry.terminal for name, entry in METRICS.items() if entry.terminal}
    if len(metrics["budgets"]) > 1:
        del wanted["distinct2"]
    return result_table(metrics, variant, wanted)


def fact(metrics: Found, name: str, variant: str) -> float | None:
    """A number that holds for a whole run; in an experiment, one for each variant."""
    return metrics.get("facts", {}).get(variant, metrics).get(name)


def cost_table(metrics: Found, variant: str) -> Table:
    """What a reply of every system costs."""
    cache = fact(metrics, "cache_bytes_per_token", variant)
    summary = fact(metrics, "summary_seconds", variant)

    def value(result: Found, name: str) -> float | None:
        found = result["metrics"].get(name)
        return found and found["value"]

    def decode(result: Found) -> Cell:
        seconds, prefill = value(result, "seconds"), value(result, "prefill")
        return Cell("-" if seconds is None or prefill is None else f"{seconds - prefill:.2f}")

    def memory(result: Found) -> Cell:
        prompt, reply = value(result, "prompt_tokens"), value(result, "reply_tokens")
        known = None not in (cache, prompt, reply)
        return Cell(f"{(prompt + reply) * cache / 1e6:.2f}" if known else "-")

    def made(result: Found) -> Cell:
        return Cell(f"{summary:.3f}" if summary is not None and shows_summary(result["strategy"]) else "-")

    def measured(name: str) -> Callable[[Found], Cell]:
        def make(result: Found) -> Cell:
            found = value(result, name)
            return Cell("-" if found is None else f"{found:.{_digits(name)}f}")

        return make

    own = {
        "prompt tokens": measured("prompt_tokens"),
        "in the cache %": measured("reused"),
        "prefill s": measured("prefill"),
        "decode s": decode,
        "s per reply": measured("seconds"),
        "reply tokens": measured("reply_tokens"),
        "cache MB": memory,
        "summary s": made,
    }
    columns = names(metrics)
    return Table.of(columns | own, groups(metrics, variant), len(columns))


def probe_table(metrics: Found, variant: str) -> Table | None:
    """The planted facts: answered, shown, and answered by how many turns ago they were told."""
    entries = [entry for entry in metrics.get("probe", []) if entry["variant"] == variant]
    if not entries:
        return None
    columns = names(metrics)
    words = len(columns)
    columns |= {
        "questions": lambda entry: Cell(str(entry["items"])),
        "answered %": lambda entry: Cell(figure(entry["right"])),
        "in the prompt %": lambda entry: Cell(figure(entry["shown"])),
    }
    for distance in dict.fromkeys(distance for entry in entries for distance in entry["by_distance"]):
        columns[f"after {distance} turns"] = _answered(distance)
    return Table.of(columns, list(grouped(metrics, entries)), words)


def _answered(distance: str) -> Callable[[Found], Cell]:
    def make(entry: Found) -> Cell:
        found = entry["by_distance"].get(distance)
        return Cell(f"{found['right']:.0f}" if found else "-")

    return make


def depth_table(metrics: Found, variant: str) -> Table | None:
    """Perplexity by how many turns lie before the reply."""
    return _spread(metrics, variant, "depth", depth_name, figure)


def depth_name(entry: Found) -> str:
    """The group of replies that an entry by depth is about."""
    return f"{entry['from']} to {entry['to'] - 1} turns" if entry["to"] else f"{entry['from']} turns or more"


def seed_table(metrics: Found, variant: str) -> Table | None:
    """Perplexity of every seed's model on its own replies; None in a run of one seed."""
    return _spread(
        metrics, variant, "seeds", lambda entry: f"seed {entry['seed']}", lambda entry: f"{entry['value']:.1f}"
    )


def _spread(
    metrics: Found, variant: str, name: str, column: Callable[[Found], str], text: Callable[[Found], str]
) -> Table | None:
    """A row for each system, a column for each kind of its entries in a list of the metrics."""
    entries = [entry for entry in metrics[name] if entry["variant"] == variant and entry["model"] != "control"]
    if not entries:
        return None
    cells = {(system_key(entry), column(entry)): text(entry) for entry in entries}
    columns = names(metrics)
    words = len(columns)
    for title in dict.fromkeys(column(entry) for entry in entries):
        columns[title] = lambda entry, title=title: Cell(cells.get((system_key(entry), title), "-"))
    systems = list({system_key(entry): entry for entry in entries}.values())
    return Table.of(columns, list(grouped(metrics, systems)), words)


def system_key(entry: Found) -> System:
    """Which system a result, or any other entry of the metrics, is of."""
    return System(*(entry[name] for name in System._fields))


def grouped(metrics: Found, entries: Sequence[Found]) -> Iterator[list[Found]]:
    """Entries in the order of the results of their variant."""
    by_system = {system_key(entry): entry for entry in entries}
    for group in groups(metrics, entries[0]["variant"]):
        if some := [by_system[system_key(result)] for result in group if system_key(result) in by_system]:
            yield some


def markdown(table: Table) -> list[str]:
    """The lines of a table in Markdown."""

    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(" ".join(text.split()).replace("|", "\\|") for text in texts) + " |"

    rule = ["---"] * table.words + ["--:"] * (len(table.columns) - table.words)
    rows = [[f"**{one.text}**" if one.bold else one.text for one in row] for row in table.rows]
    return [line(table.columns), line(rule), *map(line, rows)]
