"""The plots of a report: figures of matplotlib, made from the content of metrics.json."""

import functools
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from gistchat.context.strategies import STRATEGIES, is_control
from gistchat.errors import require
from gistchat.report.sentences import is_gist
from gistchat.report.tables import depth_name, grouped, groups, system_key, variants

Found = dict[str, Any]
INK = "#1f2933"  # text and axes; in a page they take the colour of its text
BLUE, ORANGE, GREY = "#3b7dc4", "#cf7a1c", "#8795a1"  # gists, the baseline, all else; to be told on white and on black
WIDTH = 5.6  # inches: what is read on a phone, too
STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "gistchat",
}


def _styled(plot: Callable[..., Any]) -> Callable[..., Any]:
    """Draw with the fonts and colours of all plots, and leave matplotlib's own settings alone."""

    @functools.wraps(plot)
    def drawn(*arguments: Any, **options: Any) -> Any:
        with require("matplotlib", "evaluate").rc_context(STYLE):
            return plot(*arguments, **options)

    return drawn


class Plot(NamedTuple):
    """A figure with what it shows, in words."""

    title: str
    caption: str
    figure: Any

    def svg(self) -> str:
        return svg(self.figure, self.title)


def all_plots(metrics: Found, logs: Mapping[str, Sequence[Sequence[Found]]]) -> dict[str, list[Plot]]:
    """By variant, every plot that the metrics and the logs of its training have something for."""
    found = {}
    for variant in variants(metrics):
        plots = _plots_of(metrics, variant)
        if any("loss" in entry for log in logs.get(variant, []) for entry in log):
            caption = "Loss on training and validation replies."
            plots.append(Plot("Training", caption, plot_training(logs[variant])))
        whose = f"{variant}: " if variant else ""
        found[variant] = [plot._replace(title=whose + plot.title) for plot in plots]
    return found


def _plots_of(metrics: Found, variant: str) -> list[Plot]:
    """Of what was evaluated, for one variant."""
    seeds = " Small dots: single seeds." if metrics["seeds"] else ""
    alone = "95 % intervals of each system alone, wider than those of paired differences; lower is better."
    found: list[Plot] = []
    if not _of(metrics["results"], variant, "tuned"):
        return found
    if len(metrics["budgets"]) > 1:
        caption = f"Tuned model. {alone} Level lines: no budget.{seeds}"
        found.append(Plot("Perplexity by budget", caption, plot_budgets(metrics, variant)))
    else:
        caption = f"{alone} Each model has an axis of its own.{seeds}"
        found.append(Plot("Perplexity by strategy", caption, plot_strategies(metrics, variant)))
    caption = (
        "Tuned model. Nothing is both cheaper and better than a system on the line; lower and further left is better."
    )
    found.append(Plot("Quality against cost", caption, plot_pareto(metrics, variant)))
    if len(_depths(metrics, variant, "tuned")) > 1:
        caption = f"Tuned model: does a strategy hold up in long conversations? {alone}"
        found.append(Plot("Perplexity by depth", caption, plot_depth(metrics, variant)))
    if _of(metrics.get("probe", []), variant, "tuned"):
        caption = "Tuned model: questions for a fact told earlier. The tick: how often the fact stood in the prompt."
        found.append(Plot("Planted facts", caption, plot_probe(metrics, variant)))
    return found


@_styled
def plot_strategies(metrics: Found, variant: str = "", name: str = "perplexity") -> Any:
    """A metric of every strategy with its interval, the models side by side with axes of their own."""
    sections = [[one for one in group if name in one["metrics"]] for group in groups(metrics, variant)]
    by_model: dict[str, list[Found]] = {}
    for result in (one for section in sections for one in section):
        by_model.setdefault(result["model"], []).append(result)
    order = list(dict.fromkeys(_label(metrics, one) for one in next(reversed(by_model.values()))))
    figure = _figure(0.9 + 0.3 * len(order))
    panels = figure.subplots(1, len(by_model), sharey=True, squeeze=False)[0]
    for axes, (model, results) in zip(panels, by_model.items(), strict=True):
        for result in results:
            y, found = order.index(_label(metrics, result)), result["metrics"][name]
            colour = _colour(metrics, result)
            axes.plot([found["low"], found["high"]], [y, y], color=colour, linewidth=2)
            axes.plot(found["value"], y, _marker(result), color=colour)
            if name == "perplexity":
                _seed_dots(axes, metrics, result, lambda value, y=y: (value, y + 0.25))
        axes.set_title(model, fontsize="medium")
        axes.margins(0.12, 0.12)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel(f"{name}, {found['unit']}" if found["unit"] else name)
        _plain(axes)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].invert_yaxis()
    return figure


@_styled
def plot_budgets(metrics: Found, variant: str = "", model: str = "tuned") -> Any:
    """Perplexity by budget: a line for each strategy with intervals; level lines for strategies without a budget."""
    results = [result for result in _of(metrics["results"], variant, model) if "perplexity" in result["metrics"]]
    figure = _figure(3.6)
    axes = figure.subplots()
    held = _by_strategy(result for result in results if result["budget"])
    for place, (strategy, some) in enumerate(held.items()):
        shift = 2 ** (0.05 * (place - (len(held) - 1) / 2))  # so that intervals stand beside each other
        places = [result["budget"] * shift for result in some]
        _line(axes, metrics, strategy, places, [result["metrics"]["perplexity"] for result in some])
        for result, x in zip(some, places, strict=True):
            _seed_dots(axes, metrics, result, lambda value, x=x: (x * 1.02, value))
    for result in results:
        if not result["budget"]:
            _level(axes, result["strategy"], result["metrics"]["perplexity"]["value"])
    budgets = sorted({result["budget"] for result in results if result["budget"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("context budget (tokens)")
    axes.set_ylabel("perplexity (per token)")
    _plain(axes)
    _legend(figure, axes)
    return figure


@_styled
def plot_depth(metrics: Found, variant: str = "", model: str = "tuned") -> Any:
    """Perplexity by how many turns lie before the reply; a panel for each budget."""
    entries = _of(metrics["depth"], variant, model)
    depths = _depths(metrics, variant, model)
    budgets: list[int | None] = sorted({entry["budget"] for entry in entries if entry["budget"]}) or [None]
    figure = _figure(1.2 + 1.9 * len(budgets))
    panels = figure.subplots(len(budgets), 1, sharex=True, squeeze=False)[:, 0]
    for axes, budget in zip(panels, budgets, strict=True):
        lines = _by_strategy(entry for entry in entries if entry["budget"] in (budget, None))
        for place, (strategy, some) in enumerate(lines.items()):
            shift = 0.07 * (place - (len(lines) - 1) / 2)
            _line(axes, metrics, strategy, [depths.index(depth_name(entry)) + shift for entry in some], some)
        axes.set_ylabel("perplexity")
        if len(budgets) > 1:
            axes.set_title(f"{budget} tokens", fontsize="medium")
        _plain(axes)
    items = {depth_name(entry): entry["items"] for entry in entries}
    names = [depth.replace(" turns", "").replace(" or more", "+") for depth in depths]
    panels[-1].set_xticks(range(len(depths)), [f"{n}\n({items[d]:,})" for n, d in zip(names, depths, strict=True)])
    panels[-1].set_xlabel("turns before the reply (replies)")
    _legend(figure, panels[0])
    return figure


@_styled
def plot_pareto(metrics: Found, variant: str = "", model: str = "tuned") -> Any:
    """Perplexity against the mean length of the prompt, and the front of systems that no other one dominates."""
    results = [
        result
        for result in _of(metrics["results"], variant, model)
        if "perplexity" in result["metrics"] and not is_control(result["strategy"])
    ]
    points = [(one["metrics"]["prompt_tokens"]["value"], one["metrics"]["perplexity"]["value"]) for one in results]
    front = pareto_front(points)
    figure = _figure(3.6)
    axes = figure.subplots()
    axes.plot(*zip(*front, strict=True), drawstyle="steps-post", color=BLUE, linewidth=1, alpha=0.6, label="front")
    for result, point in zip(results, points, strict=True):
        axes.plot(*point, _marker(result), color=_colour(metrics, result), markersize=5)
    axes.margins(0.14, 0.14)
    costs = [tokens for tokens, _ in points]
    if max(costs) > 3 * min(costs):  # `full` would press all others together
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("prompt (tokens, mean)")
    axes.set_ylabel("perplexity (per token)")
    _plain(axes)
    _place_labels(figure, axes, points, [_label(metrics, result) for result in results])
    return figure


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one matches or undercuts in both values, in order."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(set(points)):
        if not front or value < front[-1][1]:
            front.append((cost, value))
    return front


@_styled
def plot_probe(metrics: Found, variant: str = "", model: str = "tuned") -> Any:
    """Planted facts that were answered, with intervals; ticks for those that stood in the prompt."""
    entries = [entry for group in grouped(metrics, _of(metrics["probe"], variant, model)) for entry in group]
    figure = _figure(1.1 + 0.24 * len(entries))
    axes = figure.subplots()
    for y, entry in enumerate(entries):
        right, colour = entry["right"], _colour(metrics, entry)
        axes.plot([right["low"], right["high"]], [y, y], color=colour, linewidth=2)
        axes.plot(right["value"], y, _marker(entry), color=colour)
        axes.plot(entry["shown"]["value"], y, "|", color=INK, markersize=12, markeredgewidth=2)
    axes.plot([], [], "|", color=INK, markersize=10, markeredgewidth=2, linestyle="none", label="stood in the prompt")
    axes.plot([], [], "o-", color=GREY, label="answered, 95 % interval")
    axes.set_yticks(range(len(entries)), [_label(metrics, entry) for entry in entries])
    axes.invert_yaxis()
    axes.set_xlim(-3, 103)
    axes.set_xlabel(f"% of {entries[0]['items']:,} questions")
    _plain(axes)
    _legend(figure, axes)
    return figure


@_styled
def plot_training(logs: Sequence[Sequence[Found]]) -> Any:
    """The loss of training and validation by step, for the logs of one seed or several."""
    figure = _figure(3.2)
    axes = figure.subplots()
    for i, log in enumerate(logs):
        train = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
        validation = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
        if train:
            axes.plot(*zip(*train, strict=True), color=GREY, linewidth=1, label=None if i else "training")
        if validation:
            axes.plot(*zip(*validation, strict=True), "o-", color=BLUE, label=None if i else "validation")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per reply token)")
    _plain(axes)
    axes.legend(frameon=False)
    return figure


def svg(figure: Any, title: str) -> str:
    """The figure to stand in a page: text stays text, and ink is the page's own colour."""
    buffer = io.StringIO()
    about = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # nothing about the file, which is none
    with require("matplotlib", "evaluate").rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    text = buffer.getvalue()
    drawn = text[text.index("<svg") :].replace(INK, "currentColor")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _figure(height: float) -> Any:
    return require("matplotlib.figure", "evaluate").Figure(figsize=(WIDTH, height), layout="constrained")


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, axes: Any) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)


def _of(entries: Iterable[Found], variant: str, model: str) -> list[Found]:
    return [entry for entry in entries if entry["variant"] == variant and entry["model"] == model]


def _depths(metrics: Found, variant: str, model: str) -> list[str]:
    return list(dict.fromkeys(depth_name(entry) for entry in _of(metrics["depth"], variant, model)))


def _by_strategy(entries: Iterable[Found]) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for entry in entries:
        found.setdefault(entry["strategy"], []).append(entry)
    return {strategy: sorted(some, key=lambda entry: entry["budget"] or 0) for strategy, some in found.items()}


def _label(metrics: Found, system: Found) -> str:
    several = len(metrics["budgets"]) > 1 and system["budget"]
    return f"{system['strategy']} {system['budget']}" if several else system["strategy"]


def _colour(metrics: Found, system: Found) -> str:
    if system["strategy"] == metrics["baseline"]:
        return ORANGE
    return BLUE if is_gist(system["strategy"]) else GREY


def _marker(system: Found) -> str:
    strategy = STRATEGIES.get(system["strategy"])
    return strategy.marker if strategy else "v"


def _linestyle(strategy: str) -> str:
    return STRATEGIES[strategy].line if strategy in STRATEGIES else "-"


def _line(axes: Any, metrics: Found, strategy: str, places: Sequence[float], values: Sequence[Found]) -> None:
    system = {"strategy": strategy}
    colour = _colour(metrics, system)
    for x, one in zip(places, values, strict=True):
        axes.plot([x, x], [one["low"], one["high"]], color=colour, linewidth=1, alpha=0.45)
    axes.plot(
        places,
        [one["value"] for one in values],
        color=colour,
        marker=_marker(system),
        linestyle=_linestyle(strategy),
        markersize=4,
        linewidth=1.3,
        label=strategy,
    )


def _level(axes: Any, strategy: str, value: float) -> None:
    axes.axhline(value, color=GREY, linestyle=_linestyle(strategy), linewidth=1.3, label=strategy)


def _seed_dots(axes: Any, metrics: Found, system: Found, place: Callable[[float], tuple[float, float]]) -> None:
    for entry in metrics["seeds"]:
        if system_key(entry) == system_key(system):
            axes.plot(*place(entry["value"]), ".", color=_colour(metrics, system), markersize=3)


def _place_labels(figure: Any, axes: Any, points: Sequence[tuple[float, float]], labels: Sequence[str]) -> None:
    """Write each label beside its point, where it covers the fewest others."""
    figure.draw_without_rendering()  # the layout decides where points stand
    scale = figure.dpi / 72
    spots = axes.transData.transform(points)
    frame = axes.get_window_extent()
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in spots]
    for (x, y), label, point in zip(spots, labels, points, strict=True):
        width, height = 4.6 * len(label) * scale, 9 * scale
        best = None
        for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1), (1, 2), (-1, -2)):
            left = x + 6 * scale * right - (width / 2 if not right else width if right < 0 else 0)
            low = y + 9 * scale * up - height / 2
            box = (left, low, left + width, low + height)
            outside = box[0] < frame.x0 or box[2] > frame.x1 + 10 * scale or box[1] < frame.y0
            covered = sum(_overlap(box, other) for other in taken) + outside * width * height
            if best is None or covered < best[0]:
                best = covered, box, right, up
        _, box, right, up = best
        taken.append(box)
        axes.annotate(
            label,
            point,
            (6 * right, 9 * up),
            textcoords="offset points",
            ha={1: "left", -1: "right", 0: "center"}[right],
            va="center",
            fontsize=8,
        )


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)
