"""The plots of a recall measurement: shares against tokens or places in a ranking, with bands for intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

from gistchat.context.strategies import STRATEGIES
from gistchat.evaluate.recall_rows import Row
from gistchat.report.plots import BLUE, GREY, INK, ORANGE, legend_below, new_figure, styled

COLOURS = (ORANGE, GREY, "#3f9b6b", BLUE, "#9a6bc2", "#c2506b")  # to be told on white and on black
COLUMNS = 2  # of panels


@styled
def plot_budgets(rows: Sequence[Row], strategies: Sequence[str]) -> Any:
    """The share of evidence in the prompt against the budget, a line for each strategy.

    Args:
        strategies: all of a measurement; their order gives the colours.
    """
    figure = new_figure(3.6)
    axes = figure.subplots()
    _lines(axes, rows, strategies)
    axes.set(xlabel="context budget (tokens)", ylabel="evidence in the prompt (%)")
    legend_below(figure, axes)
    return figure


@styled
def plot_categories(panels: Mapping[str, Sequence[Row]], strategies: Sequence[str]) -> Any:
    """The same for each category of questions, in a panel of its own."""
    height = -(-len(panels) // COLUMNS)
    figure = new_figure(1.1 + 1.9 * height)
    grid = list(figure.subplots(height, COLUMNS, sharey=True, squeeze=False).flat)
    for axes, (category, rows) in zip(grid, panels.items(), strict=False):
        _lines(axes, rows, strategies)
        axes.set_title(f"{category} ({rows[0].n:,})", fontsize="medium")
        axes.tick_params(axis="x", labelrotation=45)
    for axes in grid[len(panels) :]:  # what is left of the last row
        axes.set_axis_off()
    for axes in grid[max(0, len(panels) - COLUMNS) : len(panels)]:
        axes.set_xlabel("budget (tokens)")
    for axes in grid[::COLUMNS]:
        axes.set_ylabel("evidence (%)")
    legend_below(figure, grid[0])
    return figure


@styled
def plot_ranks(rows: Sequence[Row], strategies: Sequence[str], others: Mapping[int, float], name: str) -> Any:
    """R@k against k, beside published figures in percent."""
    figure = new_figure(3.6)
    axes = figure.subplots()
    _lines(axes, rows, strategies, _alike(rows))
    if others:
        axes.plot(*zip(*others.items(), strict=True), "*:", color=INK, label=name, markersize=6, linewidth=1.3)
    axes.set(xlabel="k (turns)", ylabel="R@k (%)")
    legend_below(figure, axes)
    return figure


def _lines(axes: Any, rows: Sequence[Row], strategies: Sequence[str], names: Mapping[str, str] | None = None) -> None:
    """Shares in percent against what they are measured at, on a logarithmic axis.

    Args:
        names: of the strategies that are drawn, as the legend has them; None: all.
    """
    for strategy, label in (names or {row.strategy: row.strategy for row in rows}).items():
        own = sorted((row for row in rows if row.strategy == strategy), key=lambda row: row.at)
        at, entry = [row.at for row in own], STRATEGIES.get(strategy)
        colour = COLOURS[strategies.index(strategy) % len(COLOURS)]
        look = {"marker": entry.marker if entry else "v", "linestyle": entry.line if entry else "-"}
        axes.fill_between(at, [100 * row.low for row in own], [100 * row.high for row in own], color=colour, alpha=0.18)
        axes.plot(at, [100 * row.share for row in own], label=label, color=colour, markersize=4, linewidth=1.3, **look)
    places = sorted({row.at for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{at:,}" for at in places])
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 102)


def _alike(rows: Sequence[Row]) -> dict[str, str]:
    """The first of each strategies with equal shares, as those of one search are, and the names of all of them."""
    alike: dict[tuple[tuple[int, float], ...], list[str]] = {}
    for strategy in dict.fromkeys(row.strategy for row in rows):
        shares = tuple((row.at, row.share) for row in rows if row.strategy == strategy)
        alike.setdefault(shares, []).append(strategy)
    return {strategies[0]: ", ".join(strategies) for strategies in alike.values()}
