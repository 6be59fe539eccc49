"""Stage 5: the tables on the terminal, and the report of a run or an experiment as one HTML page and as Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich import box
from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from gistchat.files import atomic_text
from gistchat.report.item_browser import embed
from gistchat.report.plots import all_plots
from gistchat.report.sentences import WORDS, compared, explanation, main_sentences, sentences, verdicts
from gistchat.report.tables import (
    Table,
    control_table,
    cost_table,
    depth_table,
    main_table,
    markdown,
    probe_table,
    result_table,
    seed_table,
    variants,
)

WARNINGS = 5  # that a terminal shows
FAMILIES = {
    "strategy": "Strategies against the baseline",
    "control": "Does it matter whose summary it is?",
    "tuning": "What tuning does",
    "variant": "Variants against the first, in bits per byte, as tokenizers differ",
}
NOTES = {
    "Controls": "Replies that no model made, scored like the others: the gold reply, the turn that is answered, and "
    "another dialogue's gold reply.",
    "Costs": "Per reply, means. In the cache: what the prompt shares with that of the reply before, which a "
    "chat need not read again. Cache MB: keys and values of prompt and reply in 32-bit floats. Summary: making it anew "
    "from the whole history.",
    "Planted facts": "A fact told early in a generated dialogue is asked for at its end; answered: the word stands in "
    "the reply. By how many turns of small talk lie between, in percent answered.",
    "By depth": "Perplexity by how many turns lie before the reply.",
    "By seed": "Perplexity of each seed's model on its own replies.",
}


def print_table(metrics: dict[str, Any]) -> None:
    """Warnings, the main columns and the main comparisons on standard output; the report has all of them."""
    console = Console()

    def write(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=not console.is_terminal)

    for line in metrics["warnings"][:WARNINGS]:
        write(f"warning: {line}")
    if (rest := len(metrics["warnings"]) - WARNINGS) > 0:
        write(f"warning: {rest} more; the report has them")
    for variant in variants(metrics):
        if variant:
            write(f"\n{variant}")
        console.print(_for_terminal(main_table(metrics, variant)))
    for line in [explanation(metrics), "", *main_sentences(metrics)]:
        write(line)


def _for_terminal(table: Table) -> TerminalTable:
    shown = TerminalTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, title in enumerate(table.columns):
        shown.add_column(title, justify="left" if i < table.words else "right", no_wrap=True)
    for i, row in enumerate(table.rows):
        cells = [Text(cell.text, style="bold" if cell.bold else "") for cell in row]
        shown.add_row(*cells, end_section=i + 1 in table.starts)
    return shown


def print_scores(found: dict[str, Any]) -> None:
    """The scores of a file of predictions beside its controls, on standard output."""
    table = TerminalTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
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


def write_report(
    folder: Path,
    title: str,
    subtitle: str,
    metrics: dict[str, Any],
    rows: Sequence[dict[str, Any]],
    logs: Mapping[str, Sequence[Sequence[dict[str, Any]]]] | None = None,
) -> Path:
    """Write report.html, whose path is returned, and report.md beside it, for a run or an experiment.

    Args:
        rows: of predictions.jsonl, for the item browser.
        logs: of training, by variant (an empty name for a single run), for each seed one.
    """
    sections = report_tables(metrics)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gistchat", "report"), autoescape=True, trim_blocks=True
    )
    html = environment.get_template("page.html.j2").render(
        title=title,
        subtitle=subtitle,
        metrics=metrics,
        explanation=explanation(metrics),
        verdicts=verdicts(metrics),
        comparisons={FAMILIES[family]: lines for family in WORDS if (lines := compared(metrics, family))},
        sections=sections,
        notes=NOTES,
        plots=all_plots(metrics, logs or {}),
        items=embed(rows),
    )
    with atomic_text(folder / "report.md") as file:
        file.write(_markdown(title, subtitle, metrics, sections))
    path = folder / "report.html"
    with atomic_text(path) as file:
        file.write(html)
    return path


def report_tables(metrics: dict[str, Any]) -> dict[str, dict[str, Table]]:
    """The tables by section and there by variant; sections without any are left out."""
    makers = {
        "Results": result_table,
        "Costs": cost_table,
        "Planted facts": probe_table,
        "By depth": depth_table,
        "By seed": seed_table,
    }
    found = {}
    for section, make in makers.items():
        made = {variant: make(metrics, variant) for variant in variants(metrics)}
        found[section] = {variant: table for variant, table in made.items() if table}
        if section == "Results" and (controls := control_table(metrics)):
            found["Controls"] = {"": controls}
    return {section: tables for section, tables in found.items() if tables}


def _markdown(title: str, subtitle: str, metrics: dict[str, Any], sections: dict[str, dict[str, Table]]) -> str:
    lines = [f"# {title}", "", subtitle, ""]
    lines += [f"> **Warning:** {line}\n>" for line in metrics["warnings"]] + [""] * bool(metrics["warnings"])
    for section, tables in sections.items():
        lines += [f"## {section}", "", explanation(metrics) if section == "Results" else NOTES[section], ""]
        for variant, table in tables.items():
            lines += ([f"### {variant}", ""] if variant else []) + [*markdown(table), ""]
        if section == "Results":
            lines += [*(f"- {line}" for line in sentences(metrics)), ""]
    lines.append("Every interval is in metrics.json, every reply in predictions.jsonl.")
    return "\n".join(lines) + "\n"
