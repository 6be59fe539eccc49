"""The command that measures memory: recall."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from gistchat.cli.options import Set
from gistchat.errors import UserError
from gistchat.names import checked_path, folder_to_write
from gistchat.progress import say, show

STRATEGIES, BUDGETS = "recent,rolling,retrieval,memory", "96,256,512,1024,4096"


def recall(
    file: Annotated[
        Path,
        Argument(
            parser=checked_path,
            metavar="FILE",
            help="Conversations with questions, a file or a folder: LoCoMo, REALTALK, BEAM, or your own JSON or JSONL "
            "(docs/memory.md). Or a recall.json, to see its results again.",
        ),
    ],
    strategies: Annotated[
        str | None, Option(metavar="NAMES", help=f"Context strategies, with commas between. Default: {STRATEGIES}.")
    ] = None,
    budgets: Annotated[
        str | None,
        Option(metavar="TOKENS", help=f"Tokens before the question, with commas between. Default: {BUDGETS}."),
    ] = None,
    out: Annotated[
        Path | None,
        Option(parser=folder_to_write, metavar="FOLDER", help="Where recall.json and recall.html (with plots) go."),
    ] = None,
    set_: Set = None,
) -> None:
    """Measure what a memory keeps: how much of the evidence of questions is in the prompt. No model answers.

    Each question is asked at the end of its conversation. For every strategy and budget, the
    context that a chat would have is built, and the turns that hold the answer are looked for in
    it: as whole turns, and in any part. Where a strategy searches, R@k of its ranking is printed,
    too. Tokens are those of the packaged model, and settings those of its chat, such as
    summary.method and context.found_share, which --set changes.

    Such as: gistchat recall locomo10.json --out runs/locomo
    """
    from gistchat.evaluate.recall_rows import read_results
    from gistchat.report.recall import print_results

    if results := read_results(file):
        if strategies or budgets or set_:
            raise UserError(f"{file}: these are results; --strategies, --budgets and --set go with conversations")
    else:
        results = _measured(file, strategies or STRATEGIES, budgets or BUDGETS, set_ or [])
    written = _write(out, results) if out else []  # first, as nobody may read the output to its end
    print_results(results)
    show(*([""] if written else []), *(f"-> {path}" for path in written))


def _measured(file: Path, strategies: str, budgets: str, overrides: list[str]) -> Any:
    """What measuring finds; all that can be wrong is said before anything is loaded."""
    from gistchat.engines.open import open_answerer
    from gistchat.evaluate.recall import Plan, check_plan, measure_recall
    from gistchat.evaluate.recall_files import read_collection
    from gistchat.memory.factory import allow_endpoint
    from gistchat.recipe.load import override
    from gistchat.recipe.schema import Recipe

    names, tokens = _split(strategies), [_whole_number(text) for text in _split(budgets)]
    check_plan(names, tokens)
    for setting in overrides:
        if setting.partition("=")[0].strip() == "context.budget":
            raise UserError("--set context.budget: give --budgets")
    override(Recipe(), overrides)
    collection = read_collection(file)
    if left_out := collection.left_out.in_words():
        say(f"left out: {left_out}")
    opened = open_answerer(None, tuple(overrides))
    recipe, engine = opened.recipe, opened.engine
    allow_endpoint(recipe.summary)
    plan = Plan(
        strategies=names,
        budgets=tokens,
        context=recipe.context,
        summary=recipe.summary,
        costs=engine.costs,
        count=engine.count,
        limit=engine.limit,
        tokens_of=opened.name,
        resamples=recipe.evaluate.resamples,
        memory=recipe.memory,
    )
    return measure_recall(collection, plan, file.resolve().name)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole_number(text: str) -> int:
    if not text.removeprefix("-").isdecimal() or len(text) > 20:
        raise UserError(f"--budgets: {text[:40]!r} is not a whole number of tokens")
    return int(text)


def _write(folder: Path, results: Any) -> list[Path]:
    """The files that were written; without plots there is no page."""
    from dataclasses import asdict

    from gistchat.files import write_json
    from gistchat.locks import locked
    from gistchat.report.recall import write_page
    from gistchat.stages import keep_foreign

    path, page = folder / "recall.json", folder / "recall.html"
    with locked(path):
        keep_foreign(path, "kind")
        write_json(path, asdict(results))
        try:
            write_page(page, results)
        except UserError as error:
            say(f"no recall.html: {error}; then gistchat recall {path} --out {folder} writes it")
            return [path]
    return [path, page]
