"""The plots of a report: figures of matplotlib, made from the content of metrics.json."""

import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from gistchat.context.strategies import STRATEGIES, is_control
from gistchat.errors import require
from gistchat.evaluate.analysis import MAIN
from gistchat.evaluate.metrics import METRICS
from gistchat.report.sentences import is_gist
from gistchat.report.tables import Entry, depth_name, grouped, groups, main_metric, system_key, variants

INK = "#1f2933"  # text and axes; in a page they take the colour of its text
BLUE, ORANGE, GREY = "#3b7dc4", "#cf7a1c", "#8795a1"  # gists, the baseline, all else; to be told on white and on black
WIDTH = 5.6  # inches: what is read on a phone, too
STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "gistchat",
}


def styled(plot: Callable[..., Any]) -> Callable[..., Any]:
    """Draw with the fonts and colours of all plots, and leave matplotlib's own settings alone."""

    @functools.wraps(plot)
    def drawn(*arguments: Any, **options: Any) -> Any:
        with require("matplotlib", "train").rc_context(STYLE):
            return plot(*arguments, **options)

    return drawn


FACTS = "Questions for a fact told earlier. The tick: how often the fact stood in the prompt."


class Plot(NamedTuple):
    """A figure with what it shows, in words."""

    title: str
    caption: str
    figure: Any

    def svg(self) -> str:
        return svg(self.figure, self.title)


def all_plots(metrics: Entry, logs: Mapping[str, Sequence[Sequence[Entry]]]) -> dict[str, list[Plot]]:
    """By variant, every plot that the metrics and the logs of its training have something for."""
    return {variant: list(_plots_of(metrics, logs.get(variant, []), variant)) for variant in variants(metrics)}


def _plots_of(metrics: Entry, logs: Sequence[Sequence[Entry]], variant: str) -> Iterator[Plot]:
    whose = f"{variant}: " if variant else ""
    seeds = " Small dots: single seeds." if metrics["seeds"] else ""
    alone = "95 % intervals of each system alone, wider than those of paired differences; lower is better."
    if (main := main_metric(metrics)) != MAIN:
        title = METRICS[main].title
        caption = alone.replace("lower", METRICS[main].better)
        yield Plot(f"{whose}{title} by strategy", caption, plot_strategies(metrics, variant, main))
        for model in dict.fromkeys(entry["model"] for entry in metrics.get("probe", [])):
            yield Plot(f"{whose}Planted facts", FACTS, plot_probe(metrics, variant, model))
    elif _of(metrics["results"], variant, "tuned"):
        if len(metrics["budgets"]) > 1:
            caption = f"Tuned model. {alone} Level lines: no budget.{seeds}"
            yield Plot(f"{whose}Perplexity by budget", caption, plot_budgets(metrics, variant))
        else:
            caption = f"{alone} Each model has an axis of its own.{seeds}"
            yield Plot(f"{whose}Perplexity by strategy", caption, plot_strategies(metrics, variant))
        caption = (
            "Tuned model. Nothing is both cheaper and better than a system on the front; lower and further left is "
            "better."
        )
        if len(metrics["budgets"]) > 1:
            caption += " The larger the mark, the larger the budget."
        yield Plot(f"{whose}Quality against cost", caption, plot_pareto(metrics, variant))
        if len(_depths(metrics, variant, "tuned")) > 1:
            caption = f"Tuned model: does a strategy hold up in long conversations? {alone}"
            yield Plot(f"{whose}Perplexity by depth", caption, plot_depth(metrics, variant))
        if _of(metrics.get("probe", []), variant, "tuned"):
            yield Plot(f"{whose}Planted facts", f"Tuned model. {FACTS}", plot_probe(metrics, variant))
    if any("loss" in entry for log in logs for entry in log):
        yield Plot(f"{whose}Training", "Loss on training and validation replies.", plot_training(logs))


@styled
def plot_strategies(metrics: Entry, variant: str = "", name: str = "perplexity") -> Any:
    """A metric of every strategy with its interval, the models side by side with axes of their own."""
    by_model: dict[str, list[Entry]] = {}
    for result in (result for group in groups(metrics, variant) for result in group if name in result["metrics"]):
        by_model.setdefault(result["model"], []).append(result)
    order = list(dict.fromkeys(_label(metrics, result) for result in next(reversed(by_model.values()))))
    figure = new_figure(0.9 + 0.3 * len(order))
    panels = figure.subplots(1, len(by_model), sharey=True, squeeze=False)[0]
    for axes, (model, results) in zip(panels, by_model.items(), strict=True):
        for result in results:
            y, value = order.index(_label(metrics, result)), result["metrics"][name]
            _level_interval(axes, metrics, result, value, y)
            if name == "perplexity":
                _seed_dots(axes, metrics, result, lambda seed, y=y: (seed, y + 0.25))
        axes.set_title(model, fontsize="medium")
        axes.margins(0.12, 0.12)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel(f"{name}, {value['unit']}" if value["unit"] else name)
    panels[0].set_yticks(range(len(order)), order)
    panels[0].invert_yaxis()
    return figure


@styled
def plot_budgets(metrics: Entry, variant: str = "", model: str = "tuned") -> Any:
    """Perplexity by budget: a line for each strategy with intervals; level lines for strategies without a budget."""
    results = [result for result in _of(metrics["results"], variant, model) if "perplexity" in result["metrics"]]
    figure = new_figure(3.6)
    axes = figure.subplots()
    lines = _by_strategy(result for result in results if result["budget"])
    for number, (strategy, systems) in enumerate(lines.items()):
        shift = 2 ** (0.05 * (number - (len(lines) - 1) / 2))  # so that intervals stand beside each other
        places = [result["budget"] * shift for result in systems]
        _line(axes, metrics, strategy, places, [result["metrics"]["perplexity"] for result in systems])
        for result, x in zip(systems, places, strict=True):
            _seed_dots(axes, metrics, result, lambda seed, x=x: (x * 1.02, seed))
    for result in results:
        if not result["budget"]:
            look = _look(metrics, result["strategy"]) | {"color": GREY, "marker": None}
            axes.axhline(result["metrics"]["perplexity"]["value"], label=result["strategy"], linewidth=1.3, **look)
    budgets = sorted({result["budget"] for result in results if result["budget"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="context budget (tokens)", ylabel="perplexity (per token)")
    legend_below(figure, axes)
    return figure


@styled
def plot_depth(metrics: Entry, variant: str = "", model: str = "tuned") -> Any:
    """Perplexity by how many turns lie before the reply; a panel for each budget."""
    entries = _of(metrics["depth"], variant, model)
    depths = _depths(metrics, variant, model)
    budgets: list[int | None] = sorted({entry["budget"] for entry in entries if entry["budget"]}) or [None]
    figure = new_figure(1.2 + 1.9 * len(budgets))
    panels = figure.subplots(len(budgets), 1, sharex=True, squeeze=False)[:, 0]
    for axes, budget in zip(panels, budgets, strict=True):
        lines = _by_strategy(entry for entry in entries if entry["budget"] in (budget, None))
        for number, (strategy, values) in enumerate(lines.items()):
            shift = 0.07 * (number - (len(lines) - 1) / 2)
            _line(axes, metrics, strategy, [depths.index(depth_name(value)) + shift for value in values], values)
        axes.set_ylabel("perplexity")
        if len(budgets) > 1:
            axes.set_title(f"{budget} tokens", fontsize="medium")
    items = {depth_name(entry): entry["items"] for entry in entries}
    names = [depth.replace(" turns", "").replace(" or more", "+") for depth in depths]
    panels[-1].set_xticks(range(len(depths)), [f"{n}\n({items[d]:,})" for n, d in zip(names, depths, strict=True)])
    panels[-1].set_xlabel("turns before the reply (replies)")
    legend_below(figure, panels[0])
    return figure


@styled
def plot_pareto(metrics: Entry, variant: str = "", model: str = "tuned") -> Any:
    """Perplexity against the mean length of the prompt, and the front of systems that no other one dominates."""
    results = [
        result
        for result in _of(metrics["results"], variant, model)
        if "perplexity" in result["metrics"] and not is_control(result["strategy"])
    ]
    figure = new_figure(3.6)
    axes = figure.subplots()
    points = []
    for strategy, systems in _by_strategy(results).items():
        costs = [system["metrics"]["prompt_tokens"]["value"] for system in systems]
        values = [system["metrics"]["perplexity"]["value"] for system in systems]
        look, sizes = _look(metrics, strategy), [20 * (i + 1) for i in range(len(systems))]  # the larger the budget
        axes.plot(costs, values, label=strategy, markersize=4, linewidth=0.6, **look)
        axes.scatter(costs, values, sizes, color=look["color"], marker=look["marker"])
        points += zip(costs, values, strict=True)
    front = zip(*pareto_front(points), strict=True)
    axes.plot(*front, drawstyle="steps-post", color=BLUE, linewidth=3, alpha=0.2, zorder=1, label="front")
    axes.margins(0.14, 0.14)
    costs = [tokens for tokens, _ in points]
    if max(costs) > 3 * min(costs):  # `full` would press all others together
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set(xlabel="prompt (tokens, mean)", ylabel="perplexity (per token)")
    legend_below(figure, axes)
    return figure


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one matches or undercuts in both values, in order."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(set(points)):
        if not front or value < front[-1][1]:
            front.append((cost, value))
    return front


@styled
def plot_probe(metrics: Entry, variant: str = "", model: str = "tuned") -> Any:
    """Planted facts that were answered, with intervals; ticks for those that stood in the prompt."""
    entries = [entry for group in grouped(metrics, _of(metrics["probe"], variant, model)) for entry in group]
    figure = new_figure(1.1 + 0.24 * len(entries))
    axes = figure.subplots()
    for y, entry in enumerate(entries):
        _level_interval(axes, metrics, entry, entry["right"], y)
        axes.plot(entry["shown"]["value"], y, "|", color=INK, markersize=12, markeredgewidth=2)
    axes.plot([], [], "|", color=INK, markersize=10, markeredgewidth=2, linestyle="none", label="stood in the prompt")
    axes.plot([], [], "o-", color=GREY, label="answered, 95 % interval")
    axes.set_yticks(range(len(entries)), [_label(metrics, entry) for entry in entries])
    axes.invert_yaxis()
    axes.set_xlim(-3, 103)
    axes.set_xlabel(f"% of {entries[0]['items']:,} questions")
    legend_below(figure, axes)
    return figure


@styled
def plot_training(logs: Sequence[Sequence[Entry]]) -> Any:
    """The loss of training and validation by step, for the logs of one seed or several."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    for i, log in enumerate(logs):
        train = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
        validation = [(entry["step"], entry["eval_loss"]) for entry in log if "eval_loss" in entry]
        if train:
            axes.plot(*zip(*train, strict=True), color=GREY, linewidth=1, label=None if i else "training")
        if validation:
            axes.plot(*zip(*validation, strict=True), "o-", color=BLUE, label=None if i else "validation")
    axes.set(xlabel="step", ylabel="loss (nats per reply token)")
    axes.legend()
    return figure


def svg(figure: Any, title: str) -> str:
    """The figure to stand in a page: text stays text, and ink is the page's own colour."""
    buffer = io.StringIO()
    about = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # nothing about the file, which is none
    with require("matplotlib", "train").rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata=about)
    text = buffer.getvalue()
    drawn = text[text.index("<svg") :].replace(INK, "currentColor")
    return drawn.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def new_figure(height: float) -> Any:
    return require("matplotlib.figure", "train").Figure(figsize=(WIDTH, height), layout="constrained")


def legend_below(figure: Any, axes: Any) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _of(entries: Iterable[Entry], variant: str, model: str) -> list[Entry]:
    return [entry for entry in entries if entry["variant"] == variant and entry["model"] == model]


def _depths(metrics: Entry, variant: str, model: str) -> list[str]:
    return list(dict.fromkeys(depth_name(entry) for entry in _of(metrics["depth"], variant, model)))


def _by_strategy(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The entries of each strategy, in the order of their budgets."""
    by_strategy: dict[str, list[Entry]] = {}
    for entry in entries:
        by_strategy.setdefault(entry["strategy"], []).append(entry)
    return {name: sorted(values, key=lambda entry: entry["budget"] or 0) for name, values in by_strategy.items()}


def _label(metrics: Entry, system: Entry) -> str:
    several = len(metrics["budgets"]) > 1 and system["budget"]
    return f"{system['strategy']} {system['budget']}" if several else system["strategy"]


def _look(metrics: Entry, strategy: str) -> dict[str, Any]:
    """How a strategy is drawn, also one that this version does not know."""
    entry = STRATEGIES.get(strategy)
    colour = ORANGE if strategy == metrics["baseline"] else BLUE if is_gist(strategy) else GREY
    return {"color": colour, "marker": entry.marker if entry else "v", "linestyle": entry.line if entry else "-"}


def _line(axes: Any, metrics: Entry, strategy: str, places: Sequence[float], values: Sequence[Entry]) -> None:
    """The values of a strategy with their intervals."""
    look = _look(metrics, strategy)
    lows, highs = ([value[end] for value in values] for end in ("low", "high"))
    axes.vlines(places, lows, highs, color=look["color"], linewidth=1, alpha=0.45)
    axes.plot(places, [value["value"] for value in values], label=strategy, markersize=4, linewidth=1.3, **look)


def _level_interval(axes: Any, metrics: Entry, system: Entry, value: Entry, y: float) -> None:
    look = _look(metrics, system["strategy"]) | {"linestyle": "-"}
    axes.plot([value["low"], value["value"], value["high"]], [y] * 3, linewidth=2, markevery=[1], **look)


def _seed_dots(axes: Any, metrics: Entry, system: Entry, place: Callable[[float], tuple[float, float]]) -> None:
    for entry in metrics["seeds"]:
        if system_key(entry) == system_key(system):
            axes.plot(*place(entry["value"]), ".", color=_look(metrics, system["strategy"])["color"], markersize=3)
