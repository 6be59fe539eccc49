"""An experiment: each variant of a recipe with each seed is a run of its own, and one comparison of them all."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gistchat.context.strategies import STRATEGIES
from gistchat.errors import UserError
from gistchat.evaluate.analysis import Row, analyse, analyse_probe
from gistchat.evaluate.rows import read_metrics, read_rows
from gistchat.files import fingerprint, read_json, write_json
from gistchat.locks import locked
from gistchat.models.checkpoint_folder import METADATA, read_while_replaced
from gistchat.names import repeated
from gistchat.pipeline import (
    check_evaluation,
    is_finished_run,
    is_first_process,
    open_parts_of,
    open_workspace,
    run,
    training_log,
)
from gistchat.progress import say
from gistchat.recipe.load import override
from gistchat.recipe.schema import ExperimentConfig, Recipe, VariantConfig
from gistchat.report.write import write_report
from gistchat.stages import remade

FACTS = ("summary_seconds", "cache_bytes_per_token")  # the same in each run of a variant, but for noise
COUNTS = ("items", "left_out")


@dataclass(frozen=True)
class Member:
    """A run of an experiment, or any run that is compared with others."""

    variant: str
    seed: int
    folder: Path


def members(recipe: Recipe, folder: Path) -> list[tuple[Member, Recipe]]:
    """The runs of an experiment with their recipes, in the order in which they are made: seed after seed.

    Raises:
        UserError: a variant without a name of its own, or settings that no recipe has.
    """
    config = recipe.experiment
    names = [variant.name for variant in config.variants]
    if "" in names or repeated(names):
        raise UserError("experiment.variants: each needs a name of its own")
    runs = [
        (Member(variant.name, seed, folder / run_recipe.name), run_recipe)
        for seed in config.seeds or [recipe.seed]
        for variant in config.variants or [VariantConfig(recipe.name)]
        for run_recipe in _recipes_of(recipe, variant, seed)
    ]
    if name := repeated([member.folder.name for member, _ in runs]):
        raise UserError(f"experiment.variants: each needs a name of its own; two runs would be called {name}")
    return runs


def _recipes_of(recipe: Recipe, variant: VariantConfig, seed: int) -> list[Recipe]:
    """A variant's run with a seed; several where each strategy has a specialist."""
    base = override(recipe.change(experiment=ExperimentConfig(), seed=seed), variant.set)
    name = "-".join([*variant.name.lower().split(), f"seed{seed}"])
    if not variant.specialists:
        return [base.change(name=name)]
    recipes = []
    for strategy in base.train.strategies:
        # Its controls show what the specialist has learned to read, borrowed from other dialogues.
        controls = [control for control in base.evaluate.strategies if STRATEGIES[control].control_of == strategy]
        evaluate = {"strategies": [strategy, *controls], "baseline": strategy}
        recipes.append(base.change(name=f"{name}-{strategy}", train={"strategies": [strategy]}, evaluate=evaluate))
    return recipes


def run_experiment(recipe: Recipe, folder: Path, force: bool = False) -> dict[str, Any]:
    """Run every member into its folder below `folder`, then compare them; returns the metrics.

    Stopped, the same command goes on. Members share prepared data, summaries and base models.
    """
    all_members = members(recipe, folder)
    _require_no_run(folder)
    _open_all(all_members)
    for number, (member, member_recipe) in enumerate(all_members, 1):
        say(f"--- run {number} of {len(all_members)}: {member.folder.name}")
        run(member_recipe, member.folder, force, opened=True)
    if not is_first_process():
        return {}
    return compare([member for member, _ in all_members], folder, recipe.name, recipe.evaluate.baseline)


def _open_all(runs: Sequence[tuple[Member, Recipe]]) -> None:
    """Open what the runs that are not finished need, models and data, before the first of them trains for hours.

    Raises:
        UserError: what cannot be had, with the run and the setting that name it.
    """
    waiting = {member.folder.name: (recipe, member.folder) for member, recipe in runs}
    waiting = {name: of_run for name, of_run in waiting.items() if not is_finished_run(of_run[1])}
    open_parts_of({name: recipe for name, (recipe, _) in waiting.items()})
    by_test: dict[str, str] = {}  # the first run of those that are tested in the same way
    for name, (recipe, _) in waiting.items():
        tested = asdict(recipe.evaluate) | {"strategies": [], "baseline": ""}
        by_test.setdefault(fingerprint([asdict(recipe.data), asdict(recipe.model), tested]), name)
    for name in by_test.values():
        try:
            check_evaluation(open_workspace(*waiting[name]))
        except UserError as error:
            raise UserError(f"{name}: {error}") from None


def compare(
    runs: Sequence[Member], folder: Path, title: str, baseline: str, resamples: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Set finished runs side by side: metrics.json, report.html and report.md in `folder`; returns the metrics.

    Runs of one variant are pooled: their replies, seed by seed. The base model of a variant is taken from wherever it
    was tested.

    Raises:
        UserError: a run that is not evaluated, or whose folder is given for the comparison, or two runs of one variant
            and seed with the same system.
    """
    _require_no_run(folder)
    rows: list[Row] = []
    answers: list[Row] = []
    mauve: list[Row] = []
    facts: dict[str, Any] = {}
    trained: dict[str, list[str]] = {}
    logs: dict[str, list[list[Row]]] = {}
    for member in runs:
        if not all((member.folder / name).exists() for name in ("metrics.json", "predictions.jsonl")):
            raise UserError(f"{member.folder}: not evaluated yet; gistchat evaluate {member.folder}")
        metrics = read_metrics(member.folder)
        mark = {"variant": member.variant, "seed": member.seed}
        rows += [row | mark for row in read_rows(member.folder / "predictions.jsonl")]
        answers += [row | mark for row in read_rows(member.folder / "probe.jsonl")]
        mauve += [entry | mark for entry in metrics.get("mauve", [])]
        sums = facts.setdefault(member.variant, {name: metrics.get(name) for name in FACTS} | dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            sums[name] += metrics.get(name) or 0
        metadata = read_while_replaced(member.folder, lambda checkpoint: read_json(checkpoint / METADATA))
        strategies = metadata["recipe"]["train"]["strategies"]
        trained[member.variant] = list(dict.fromkeys([*trained.get(member.variant, []), *strategies]))
        logs.setdefault(member.variant, []).append(training_log(member.folder))
        resamples = resamples or metrics["resamples"]
    rows, answers, mauve = _once(rows), _once(answers), _once(mauve)
    _check_golds(rows)
    values = analyse(rows, baseline, resamples, seed, trained)
    values["probe"] = analyse_probe(answers, resamples, seed)
    values |= {"mauve": mauve, "facts": facts, "runs": [str(member.folder) for member in runs]}
    with locked(folder), remade(folder / "compared.json", fingerprint(values["runs"])) as working:
        write_json(working / "metrics.json", values)
        write_report(working, title, f"{len(runs)} runs side by side.", values, rows, logs)
    return values


def _require_no_run(folder: Path) -> None:
    """Raises UserError where a comparison's report would replace that of a run."""
    if any((folder / name).exists() for name in ("trained.json", "evaluated.json", "checkpoint")):
        raise UserError(f"{folder}: holds a run, whose report would be replaced; give another folder with --out")


def _check_golds(rows: Sequence[Row]) -> None:
    """Raises UserError where two runs have other gold replies under the same name: they are of other data."""
    golds: dict[tuple[int, str], str] = {}
    for row in rows:
        if golds.setdefault((row["seed"], row["id"]), row["gold"]) != row["gold"]:
            problem = f"the reply {row['id']} is another one than in the runs before"
            raise UserError(f"{row['variant']}: {problem}; runs of other data cannot be compared")


def _once(rows: Sequence[Row]) -> list[Row]:
    """Each system's row for each reply and seed once: specialists of a variant share their base model."""
    first: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        first.setdefault(tuple(row.get(name) for name in ("variant", "seed", "model", "strategy", "budget", "id")), row)
    return list(first.values())


def named_runs(folders: Sequence[Path]) -> list[Member]:
    """Runs to be compared, each a variant under its folder's name."""
    names = [folder.resolve().name for folder in folders]
    if name := repeated(names):
        raise UserError(f"{folders[names.index(name)]}: two runs are called {name}; rename one of the folders")
    return [Member(name, 0, folder) for name, folder in zip(names, folders, strict=True)]
