"""What `gistchat recall` measured, as tables on the terminal and as a page with plots."""

from collections.abc import Iterable, Mapping, Sequence
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
    what = "Share of the evidence of a question that is in the prompt, mean in %, by the tokens before the question"
    found = [
        Section("Evidence in the prompt", f"{what}, with 95 % intervals.", _main_table("tokens", budgets)),
        Section("By category", f"{what}: in whole turns.", _category_table("{:,}", budgets)),
    ]
    if ranks:
        others = published(results)
        what = "Share of a question's evidence among the k turns that the search ranks first, mean in %"
        note = f"{what}, with 95 % intervals. {SOURCE if others else ''}".strip()
        found += [
            Section("Ranking", note, _main_table("k", ranks, others)),
            Section("Ranking by category", f"{what}.", _category_table("R@{:,}", ranks)),
        ]
    return [section for section in found if section.table.rows]


def main_groups(rows: Sequence[Row]) -> list[str]:
    """All and answerable questions; the latter only where they are others."""
    sizes = {row.group: row.n for row in rows}
    return [name for name in GROUPS if name in sizes and (name == GROUPS[0] or sizes[name] < sizes[GROUPS[0]])]


def _main_table(unit: str, rows: Sequence[Row], others: Mapping[str, Mapping[int, float]] | None = None) -> Table:
    """A line for each budget or k and strategy; of equal lines, strategies share one."""
    groups = main_groups(rows)
    cells = {(row.at, row.strategy, row.group): row for row in rows}
    sizes = {row.group: row.n for row in rows}
    parts = unit == "tokens"  # turns may be there in part
    titles = [f"{'whole turns' if parts else ''}\n{group} ({sizes[group]:,})".strip() for group in groups]
    titles += [f"any part\n{group}" for group in groups if parts]
    lines, starts = [], []
    for at in sorted({row.at for row in rows}):
        starts.append(len(lines))
        texts: dict[tuple[str, ...], list[str]] = {}
        for strategy in dict.fromkeys(row.strategy for row in rows if row.at == at):
            own = [cells[at, strategy, group] for group in groups]
            figures = *map(_with_interval, own), *(_percent(row.any_part) for row in own if parts)
            texts.setdefault(figures, []).append(strategy)
        named = [(", ".join(strategies), figures) for figures, strategies in texts.items()]
        if others:
            named.append(
                (RETRIEVER, tuple(f"{others[name][at]:.1f}" if at in others[name] else "-" for name in groups))
            )
        lines += [[Cell(f"{at:,}"), Cell(name), *map(Cell, figures)] for name, figures in named]
    return Table([unit, "strategy", *titles], lines, 2, frozenset(starts[1:]))


def _category_table(title: str, rows: Sequence[Row]) -> Table:
    """A line for each category and strategy, a column for each budget or k."""
    rows = [row for row in rows if row.group not in GROUPS]
    places = sorted({row.at for row in rows})
    lines, starts = [], []
    for group in ordered_groups(rows):
        starts.append(len(lines))
        texts: dict[tuple[str, ...], list[str]] = {}
        for strategy in dict.fromkeys(row.strategy for row in rows):
            shares = {row.at: _percent(row.share) for row in rows if (row.group, row.strategy) == (group, strategy)}
            texts.setdefault(tuple(shares.get(at, "-") for at in places), []).append(strategy)
        count = next(row.n for row in rows if row.group == group)
        for figures, strategies in texts.items():
            lines.append([Cell(f"{group} ({count:,})"), Cell(", ".join(strategies)), *map(Cell, figures)])
    return Table(["category", "strategy", *map(title.format, places)], lines, 2, frozenset(starts[1:]))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _with_interval(row: Row) -> str:
    return f"{_percent(row.share)} [{_percent(row.low)}, {_percent(row.high)}]"


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
    told = {name: value for name, value in results.settings.items() if not isinstance(value, list) and value != ""}
    settings = ", ".join(f"{name} {value}" for name, value in told.items())
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
    strategies = list(dict.fromkeys(row.strategy for row in results.rows))
    band = "Whole turns; bands are 95 % intervals."
    for group in main_groups(budgets):
        rows = [row for row in budgets if row.group == group]
        title = f"Evidence in the prompt, {group} questions ({rows[0].n:,})"
        yield Plot(title, band, plot_budgets(rows, strategies))
    by_category = [row for row in budgets if row.group not in GROUPS]
    if by_category:
        panels = {name: [row for row in by_category if row.group == name] for name in ordered_groups(by_category)}
        yield Plot("Evidence in the prompt, by category", band, plot_categories(panels, strategies))
    for group in main_groups(ranks):
        rows = [row for row in ranks if row.group == group]
        others = published(results).get(group, {})
        caption = "Evidence among the first k turns; bands are 95 % intervals."
        title = f"Ranking, {group} questions ({rows[0].n:,})"
        yield Plot(title, f"{caption} {SOURCE}" if others else caption, plot_ranks(rows, strategies, others, RETRIEVER))
