"""What `gistchat recall` measured, as tables on the terminal and as a page with plots."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from gistchat.evaluate.recall_files import CATEGORIES, GROUPS, LOCOMO
from gistchat.evaluate.recall_rows import Results, Row
from gistchat.files import atomic_text
from gistchat.progress import show_sentences, show_table
from gistchat.report.plots import Plot
from gistchat.report.recall_plots import plot_budgets, plot_categories, plot_ranks
from gistchat.report.tables import Cell, Table
from gistchat.report.write import for_terminal

RETRIEVER = "DRAGON (published)"
# Recall of evidence by dialogue turns, in percent, by group and k. Of answerable questions: the mean of categories 1 to
# 4, weighted by their questions.
PUBLISHED = {
    "all": {5: 56.7, 10: 66.2, 25: 76.7, 50: 82.7},
    "answerable": {5: 60.4, 10: 69.6, 25: 79.7, 50: 85.6},
}
SOURCE = "DRAGON: Maharana et al., ACL 2024 (arXiv 2402.17753), Table 3, dialogue turns."


@dataclass(frozen=True)
class Section:
    """A heading, what the figures below it are, and their table."""

    title: str
    note: str
    table: Table


def published(results: Results) -> dict[str, dict[int, float]]:
    """Figures of others, in percent, by group of questions and k; nothing where they are of other conversations."""
    return PUBLISHED if results.layout == LOCOMO else {}


def sections(results: Results) -> list[Section]:
    """The tables, those without any row left out."""
    budgets, ranks = results.of("budget"), results.of("rank")
    whole = "Share of the evidence of a question that is in the prompt in whole turns, mean in %, by tokens before it."
    of_category = [row for row in budgets if row.group not in GROUPS]
    found = [
        Section("Whole turns", f"{whole} 95 % intervals.", _table(_main(budgets), "tokens", _with_interval)),
        Section("Any part", "The same, where any sentence of a turn counts.", _table(_main(budgets), "tokens", _any)),
        Section("By category", "Whole turns.", _table(of_category, "tokens", _plain)),
    ]
    if ranks:
        others = published(results)
        note = (
            "Share of a question's evidence among the k turns that the search ranks first, mean in %, 95 % intervals."
        )
        table = _table(ranks, "R@", _with_interval, others)
        found.append(Section("Ranking", f"{note} {SOURCE}" if others else note, table))
    return [section for section in found if section.table.rows]


def _main(rows: Sequence[Row]) -> list[Row]:
    """Of all and of answerable questions; the latter only where they are others."""
    sizes = {row.group: row.n for row in rows}
    same = sizes.get(GROUPS[0]) == sizes.get(GROUPS[1])
    return [row for row in rows if row.group in GROUPS[: 1 if same else 2]]


def _any(row: Row) -> str:
    return f"{100 * row.any_part:.1f}"


def _plain(row: Row) -> str:
    return f"{100 * row.share:.1f}"


def _with_interval(row: Row) -> str:
    return f"{_plain(row)} [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def _table(
    rows: Sequence[Row],
    unit: str,
    text: Callable[[Row], str],
    others: dict[str, dict[int, float]] | None = None,
) -> Table:
    """A row for each group and strategy, a column for each budget or k; strategies with equal rows share one."""
    places = sorted({row.at for row in rows})
    titles = [f"R@{at}" if unit == "R@" else f"{at:,} {unit}" for at in places]
    lines: list[list[Cell]] = []
    starts = set()
    for group in ordered_groups(rows):
        starts.add(len(lines))
        of_group = [row for row in rows if row.group == group]
        texts: dict[tuple[str, ...], list[str]] = {}
        for strategy in dict.fromkeys(row.strategy for row in of_group):
            cells = {row.at: text(row) for row in of_group if row.strategy == strategy}
            texts.setdefault(tuple(cells.get(at, "-") for at in places), []).append(strategy)
        named = [(", ".join(strategies), figures) for figures, strategies in texts.items()]
        if figures := (others or {}).get(group):
            named.append((RETRIEVER, tuple(f"{figures[at]:.1f}" if at in figures else "-" for at in places)))
        words = f"{group} ({of_group[0].n:,})"
        lines += [[Cell(words), Cell(name), *map(Cell, figures)] for name, figures in named]
    return Table(["questions", "strategy", *titles], lines, 2, frozenset(starts - {0}))


def ordered_groups(rows: Iterable[Row]) -> list[str]:
    """The groups of questions: all, answerable, then categories in LoCoMo's order or by name."""
    names = dict.fromkeys(row.group for row in rows)
    known = [*GROUPS, *CATEGORIES.values()]
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def print_results(results: Results) -> None:
    """All tables, and what was measured, on standard output."""
    for section in sections(results):
        show_sentences("", f"{section.title}. {section.note}")
        show_table(for_terminal(section.table))
    show_sentences(*facts(results))


def facts(results: Results) -> list[str]:
    """What was measured, in sentences."""
    settings = ", ".join(f"{name} {value}" for name, value in results.settings.items())
    left_out = [f"{count:,} {what}" for what, count in results.left_out.items()]
    left_out += [f"{results.unknown_ids:,} evidence ids of no turn"] * bool(results.unknown_ids)
    return [
        f"{results.file} ({results.layout}): {results.conversations:,} conversations, {results.turns:,} turns, "
        f"{results.questions:,} questions with evidence. Left out: {', '.join(left_out) or 'nothing'}.",
        f"Tokens are those of {results.tokens_of}. Intervals: {results.intervals}.",
        f"Seconds: {results.index_seconds:.3f} for the index of a conversation, {results.search_seconds:.4f} for the "
        f"search of a question, {results.seconds:.0f} in all.",
        f"Settings: {settings}.",
    ]


def write_page(path: Path, results: Results) -> None:
    """Write recall.html.

    Raises:
        UserError: matplotlib is not installed.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gistchat", "report"), autoescape=True, trim_blocks=True
    )
    html = environment.get_template("recall.html.j2").render(
        title=f"Recall: {results.file}", sections=sections(results), facts=facts(results), plots=list(_plots(results))
    )
    with atomic_text(path) as file:
        file.write(html)


def _plots(results: Results) -> Iterable[Plot]:
    budgets, ranks = results.of("budget"), results.of("rank")
    band = "Whole turns; bands are 95 % intervals."
    for group in dict.fromkeys(row.group for row in _main(budgets)):
        rows = [row for row in budgets if row.group == group]
        title = f"Evidence in the prompt, {group} questions ({rows[0].n:,})"
        yield Plot(title, band, plot_budgets(rows))
    by_category = [row for row in budgets if row.group not in GROUPS]
    if by_category:
        panels = {name: [row for row in by_category if row.group == name] for name in ordered_groups(by_category)}
        yield Plot("Evidence in the prompt, by category", band, plot_categories(panels))
    for group in dict.fromkeys(row.group for row in _main(ranks)):
        rows = [row for row in ranks if row.group == group]
        others = published(results).get(group, {})
        caption = "Evidence among the first k turns; bands are 95 % intervals."
        title = f"Ranking, {group} questions ({rows[0].n:,})"
        yield Plot(title, f"{caption} {SOURCE}" if others else caption, plot_ranks(rows, others, RETRIEVER))
