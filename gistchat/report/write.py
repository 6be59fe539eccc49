"""Stage 5: the tables on the terminal, and the report of a run or an experiment as one HTML page and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from gistchat.evaluate.analysis import MAIN
from gistchat.files import atomic_text
from gistchat.printable import printable
from gistchat.progress import show_sentences, show_table
from gistchat.report import tables
from gistchat.report.item_browser import embed
from gistchat.report.plots import all_plots
from gistchat.report.sentences import compared, explanation, facts_in_prompt, main_sentences, sentences, verdicts

WARNINGS = 5  # that a terminal shows
FAMILIES = {
    "strategy": "Strategies against the baseline",
    "control": "Does it matter whose summary it is?",
    "tuning": "What tuning does",
    "variant": "Variants against the first, in bits per byte, as tokenizers differ",
    "facts": "Planted facts: strategies against the baseline",
}
NOTES = {
    "Controls": "Replies that no model made, scored like the others: the gold reply, the turn that is answered, and "
    "another dialogue's gold reply.",
    "MAUVE": "How alike a system's replies and the gold ones are as sets, by a language model (Pillutla et al. 2021). "
    "One figure for all replies, which has no interval; more replies lower it, so compare only systems with as many.",
    "Costs": "Per reply, means. In the cache: what the prompt shares with that of the reply before, which a "
    "chat need not read again. Cache MB: keys and values of prompt and reply in 32-bit floats. Summary: making it anew "
    "from the whole history.",
    "Planted facts": "A fact told early in a generated dialogue is asked for at its end; answered: the word stands in "
    "the reply. By how many turns of small talk lie between, in percent answered.",
    "Planted facts in the prompt": "Percent of the facts that stood in the prompt / percent of these that were "
    "answered: by whether the question shares a content word with what was told, and by turns of small talk between.",
    "By depth": "Perplexity by how many turns lie before the reply.",
    "By seed": "Perplexity of each seed's model on its own replies.",
}


def print_table(metrics: dict[str, Any]) -> None:
    """Warnings, the main columns and the main comparisons on standard output; the report has all of them."""
    warnings = [f"warning: {line}" for line in metrics["warnings"][:WARNINGS]]
    if (rest := len(metrics["warnings"]) - WARNINGS) > 0:
        warnings.append(f"warning: {rest} more; the report has them")
    show_sentences(*warnings)
    for variant in tables.variants(metrics):
        if variant:
            show_sentences("", variant)
        show_table(for_terminal(tables.main_table(metrics, variant)))
        if tables.main_metric(metrics) != MAIN and (facts := tables.probe_table(metrics, variant, in_terminal=True)):
            show_table(for_terminal(facts))
    show_sentences(explanation(metrics), "", *main_sentences(metrics))


def print_scores(scores: dict[str, Any]) -> None:
    """The scores of a file of predictions beside its controls, on standard output."""
    results = scores["results"]
    rows = [
        [tables.Cell(metric), *(tables.Cell(tables.figure(values[metric])) for values in results.values())]
        for metric in results["predictions"]
    ]
    show_table(for_terminal(tables.Table(["metric", *results], rows, 1)))
    warnings = [f"warning: {line}" for line in scores["warnings"]]
    show_sentences(f"{scores['items']} replies. [95 % bootstrap interval].", *warnings)


def for_terminal(table: tables.Table) -> TerminalTable:
    shown = TerminalTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, title in enumerate(table.columns):
        shown.add_column(Text(printable(title, "\n")), justify="left" if i < table.words else "right", no_wrap=True)
    for i, row in enumerate(table.rows):
        cells = [Text(printable(cell.text), style="bold" if cell.bold else "") for cell in row]
        shown.add_row(*cells, end_section=i + 1 in table.starts)
    return shown


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
        comparisons=_compared(metrics),
        sections=sections,
        notes=NOTES,
        plots=all_plots(metrics, logs or {}),
        items=embed(rows),
        likelihoods=tables.main_metric(metrics) == MAIN,
    )
    with atomic_text(folder / "report.md") as file:
        file.write(_markdown(title, subtitle, metrics, sections))
    path = folder / "report.html"
    with atomic_text(path) as file:
        file.write(html)
    return path


def _compared(metrics: dict[str, Any]) -> dict[str, list[str]]:
    """Sentences by heading; headings without any are left out."""
    lines = {heading: compared(metrics, family) for family, heading in FAMILIES.items()}
    lines["Planted facts: in the prompt, and answered"] = facts_in_prompt(metrics)
    return {heading: said for heading, said in lines.items() if said}


def report_tables(metrics: dict[str, Any]) -> dict[str, dict[str, tables.Table]]:
    """The tables by section and there by variant; sections without any are left out."""

    def for_variants(make: Callable[[dict[str, Any], str], tables.Table | None]) -> dict[str, tables.Table]:
        return {variant: table for variant in tables.variants(metrics) if (table := make(metrics, variant))}

    controls = tables.control_table(metrics)
    sections = {
        "Results": for_variants(tables.result_table),
        "Controls": {"": controls} if controls else {},
        "MAUVE": for_variants(tables.mauve_table),
        "Costs": for_variants(tables.cost_table),
        "Planted facts": for_variants(tables.probe_table),
        "Planted facts in the prompt": for_variants(tables.probe_question_table),
        "By depth": for_variants(tables.depth_table),
        "By seed": for_variants(tables.seed_table),
    }
    return {section: by_variant for section, by_variant in sections.items() if by_variant}


def _markdown(title: str, subtitle: str, metrics: dict[str, Any], sections: dict[str, dict[str, tables.Table]]) -> str:
    lines = [f"# {title}", "", subtitle, ""]
    lines += [f"> **Warning:** {line}\n>" for line in metrics["warnings"]] + [""] * bool(metrics["warnings"])
    for section, by_variant in sections.items():
        lines += [f"## {section}", "", explanation(metrics) if section == "Results" else NOTES[section], ""]
        for variant, table in by_variant.items():
            lines += ([f"### {variant}", ""] if variant else []) + [*tables.markdown(table), ""]
        if section == "Results":
            lines += [*(f"- {line}" for line in sentences(metrics)), ""]
    lines.append("Every interval is in metrics.json, every reply in predictions.jsonl.")
    return "\n".join(lines) + "\n"
