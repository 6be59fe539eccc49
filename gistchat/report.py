"""Stage 5: the result table, and one self-contained HTML report with plots and sample dialogues."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich import box
from rich.console import Console
from rich.table import Table

from gistchat.errors import require
from gistchat.recipe import Recipe
from gistchat.storage import atomic_text, read_json, read_json_lines

SAMPLES = 10
COLUMNS = {
    "perplexity": "perplexity",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "distinct1": "distinct-1",
    "distinct2": "distinct-2",
    "reply_tokens": "reply tokens",
    "empty": "empty %",
    "prompt_tokens": "prompt tokens",
    "seconds": "s/reply",
}
# What fits a terminal of eighty columns; the report has all of them.
MAIN_COLUMNS = {
    "perplexity": "perplexity",
    "rougeL": "ROUGE-L",
    "distinct2": "distinct-2",
    "reply_tokens": "reply\ntokens",
    "prompt_tokens": "prompt\ntokens",
}
COLOURS = {"base": "#9aa5b1", "tuned": "#2f6fb2"}


def cell(values: dict[str, Any], name: str) -> str:
    """A metric as shown in tables: value [interval] where it has one that matters, and a mark against the baseline."""
    if name not in values:
        return "-"
    metric = values[name]
    digits = 2 if name == "seconds" else 1
    text = f"{metric['value']:.{digits}f}"
    if name == "perplexity":
        digits = 1 if metric["high"] < 1000 else 0
        text = f"{metric['value']:.{digits}f} [{metric['low']:.{digits}f}, {metric['high']:.{digits}f}]"
    return text + mark(metric)


def hint(values: dict[str, Any], name: str) -> str:
    """The interval of a metric and its difference to the baseline, in words."""
    if name not in values:
        return ""
    metric = values[name]
    text = f"{metric['items']} items, 95 %: {metric['low']:.2f} to {metric['high']:.2f} {metric['unit']}"
    if difference := metric.get("difference"):
        text += (
            f"; minus the baseline: {difference['value']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}]"
        )
    return text


def mark(metric: dict[str, Any]) -> str:
    """+ better, - worse than the baseline with an interval that excludes zero; nothing otherwise."""
    difference = metric.get("difference")
    if not difference or not metric["better"] or difference["low"] <= 0 <= difference["high"]:
        return ""
    return " +" if (difference["value"] > 0) == (metric["better"] == "higher") else " -"


def explanation(metrics: dict[str, Any]) -> str:
    """What the table shows and its marks mean."""
    return (
        f"{metrics['items']} held-out replies (generation: {metrics['reply_items']}), context budget "
        f"{metrics['budget']} tokens. [95 % bootstrap interval]. + or -: better or worse than "
        f"'{metrics['baseline']}' of the same model, where the paired 95 % interval excludes zero."
    )


def sentences(metrics: dict[str, Any]) -> list[str]:
    """The comparisons in words."""
    lines = []
    for found in metrics["comparisons"]:
        shown = "" if found["significant"] else " (not significant)"
        lines.append(
            f"perplexity, {found['of']} minus {found['minus']}: {found['value']:+.1f} "
            f"[{found['low']:+.1f}, {found['high']:+.1f}]{shown}"
        )
    return lines


def print_table(metrics: dict[str, Any]) -> None:
    """The main columns on standard output; the report has all of them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    table.add_column("context", no_wrap=True)
    for title in MAIN_COLUMNS.values():
        table.add_column(title, justify="right", no_wrap=True)
    models = [result["model"] for result in metrics["results"]]
    for result, following in zip(metrics["results"], [*models[1:], ""], strict=True):
        cells = [cell(result["metrics"], name) for name in MAIN_COLUMNS]
        table.add_row(result["model"], result["strategy"], *cells, end_section=result["model"] != following)
    console = Console()
    console.print(table)
    for line in [explanation(metrics), "", *sentences(metrics)]:
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def print_scores(found: dict[str, Any]) -> None:
    """The scores of a file of predictions beside its controls, on standard output."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", no_wrap=True)
    for name in found["results"]:
        table.add_column(name, justify="right", no_wrap=True)
    for metric in found["results"]["predictions"]:
        cells = [values[metric] for values in found["results"].values()]
        table.add_row(metric, *(f"{one['value']:.1f} [{one['low']:.1f}, {one['high']:.1f}]" for one in cells))
    console = Console()
    console.print(table)
    console.print(f"{found['items']} replies. [95 % bootstrap interval].", highlight=False, markup=False)
    for line in found["warnings"]:
        console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=not console.is_terminal)


def write_report(folder: Path, recipe: Recipe, metrics: dict[str, Any]) -> Path:
    """Write report.html from the metrics, predictions.jsonl and the training history in the run's folder."""
    rows = read_json_lines(folder / "predictions.jsonl")
    history_path = folder / "train" / "history.json"
    history = read_json(history_path) if history_path.exists() else {"log": []}
    environment = jinja2.Environment(loader=jinja2.PackageLoader("gistchat", "."), autoescape=True, trim_blocks=True)
    html = environment.get_template("report.html.j2").render(
        recipe=recipe,
        metrics=metrics,
        columns=COLUMNS,
        cell=cell,
        hint=hint,
        explanation=explanation(metrics),
        sentences=sentences(metrics),
        plots=_plots(metrics, history["log"]),
        samples=samples(rows),
        history=history,
    )
    path = folder / "report.html"
    with atomic_text(path) as file:
        file.write(html)
    return path


def samples(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ten items that have replies, each with what every strategy saw and said."""
    by_item: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["reply"] is not None and row["model"] == "tuned":
            by_item.setdefault(row["id"], []).append(row)
    return [{"id": name, "gold": group[0]["gold"], "rows": group} for name, group in list(by_item.items())[:SAMPLES]]


def _plots(metrics: dict[str, Any], log: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    plots = [
        {"title": COLUMNS[name], "svg": _bars(metrics, name)}
        for name in ("perplexity", "rougeL", "prompt_tokens")
        if all(name in result["metrics"] for result in metrics["results"])
    ]
    if any("loss" in entry for entry in log):
        plots.append({"title": "Training", "svg": _loss_curve(log)})
    return plots


def _bars(metrics: dict[str, Any], name: str) -> str:
    """One dot with its interval per strategy and model, strategies in the order of the tuned model's value."""
    figure, axes = _figure()
    models = list(dict.fromkeys(result["model"] for result in metrics["results"]))
    order = sorted(
        (result for result in metrics["results"] if result["model"] == models[-1]),
        key=lambda result: result["metrics"][name]["value"],
    )
    strategies = [result["strategy"] for result in order]
    for shift, model in enumerate(models):
        for result in metrics["results"]:
            if result["model"] == model:
                found = result["metrics"][name]
                y = strategies.index(result["strategy"]) + 0.12 * (shift * 2 - len(models) + 1)
                axes.plot([found["low"], found["high"]], [y, y], color=COLOURS.get(model, "black"), linewidth=2)
                label = model if result["strategy"] == strategies[0] else None
                axes.plot(found["value"], y, "o", color=COLOURS.get(model, "black"), label=label)
    axes.set_yticks(range(len(strategies)), strategies)
    axes.invert_yaxis()
    axes.set_xlabel(f"{COLUMNS[name]} with 95 % interval")
    axes.legend(frameon=False)
    return _svg(figure)


def _loss_curve(log: Sequence[dict[str, Any]]) -> str:
    figure, axes = _figure()
    train = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    validation = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
    axes.plot(*zip(*train, strict=True), color=COLOURS["base"], label="train")
    if validation:
        axes.plot(*zip(*validation, strict=True), "o-", color=COLOURS["tuned"], label="validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss per reply token (nats)")
    axes.legend(frameon=False)
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    figure = require("matplotlib.figure", "evaluate").Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
