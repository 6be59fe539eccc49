"""Commands that measure: evaluate, compare, judge."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from gistchat.cli.options import SEED, RunFolder, ServerModel, Set, Url, answering, within
from gistchat.errors import UserError
from gistchat.limits import MOST_ITEMS
from gistchat.names import checked_path, folder_to_write
from gistchat.progress import show


def evaluate(
    run_folder: Annotated[Path | None, Argument(parser=checked_path, metavar="[RUN]", help="A run's folder.")] = None,
    predictions: Annotated[
        Path | None,
        Option(parser=checked_path, metavar="FILE", help="Instead of a run: replies that any system wrote."),
    ] = None,
    references: Annotated[
        Path | None, Option(parser=checked_path, metavar="FILE", help="The gold replies, aligned by id, else by place.")
    ] = None,
    old_rouge: Annotated[
        bool, Option("--old-rouge", help="Also the paper's metric, to compare with it (extra paper).")
    ] = False,
    url: Url = None,
    model: ServerModel = None,
    gguf: Annotated[
        Path | None, Option(parser=checked_path, metavar="FILE", help="A GGUF file whose model answers instead.")
    ] = None,
    engine: Annotated[
        str | None, Option(help="llamacpp: the run's own replies by llama.cpp, without likelihoods. Default: torch.")
    ] = None,
    corpus: Annotated[
        str | None, Option(help="Other conversations than the run's own, of those that gistchat corpora lists.")
    ] = None,
    from_: Annotated[
        str, Option("--from", metavar="PLACE", help="Your file, folder or ZIP; with --corpus also hub, or hub:ID.")
    ] = "",
    set_: Set = None,
) -> None:
    """Score a run's checkpoint on held-out dialogues: predictions.jsonl, metrics.json, report.html.

    --set takes fields of evaluate, context and summary; data, model and training are the checkpoint's. With --corpus
    or --from the test split of other conversations is scored, into RUN/on/CORPUS; --set then also takes fields of data.
    With --url or --gguf another model answers in the run's place, with the same contexts: does a gist serve it as well
    as the history? Its results go to RUN/served/NAME.

    With --predictions and --references it scores a file of replies beside controls instead: JSONL with id and reply,
    or gold (a text, or a list of texts), or the paper's {"context": [...], "ans": [...]}.
    """
    if predictions or references:
        if run_folder or url or gguf or not (predictions and references):
            raise UserError("--predictions and --references go together, and without a run's folder")
        from gistchat.evaluate.external_predictions import score_predictions
        from gistchat.files import write_json
        from gistchat.locks import locked
        from gistchat.report.write import print_scores
        from gistchat.stages import keep_foreign

        path = predictions.with_name(f"{predictions.stem}.scores.json")
        with locked(path):
            scores = score_predictions(predictions, references, old=old_rouge)
            keep_foreign(path, "results")
            write_json(path, scores)
        print_scores(scores)
        show("", f"-> {path}")
        return
    if run_folder is None:
        raise UserError("name a run's folder, such as runs/demo, or give --predictions and --references")
    from gistchat.report.write import print_table

    answering(url, model)
    if url or gguf or engine not in (None, "auto", "torch"):
        if corpus or from_:
            raise UserError("--corpus goes with the run's own model in torch")
        folder, metrics = _evaluate_answerer(run_folder, url, model, gguf, engine, set_ or [])
    else:
        from gistchat.pipeline import open_run, run_evaluate

        workspace = open_run(run_folder, set_ or [], _other_data(corpus, from_))
        folder, metrics = workspace.folder, run_evaluate(workspace)
    print_table(metrics)
    show("", f"report: {folder / 'report.html'}")


def _other_data(corpus: str | None, place: str) -> Any:
    from gistchat.cli.data import guessed
    from gistchat.recipe.load import override
    from gistchat.recipe.schema import Recipe

    if not corpus and place:
        if not Path(place).exists():
            raise UserError(f"{place}: no such file or folder; what is not yours goes with --corpus")
        recipe = Recipe()
        return recipe.change(data=guessed([place], recipe.data)).data
    if not corpus:
        return None
    return override(Recipe(), [f"data.corpus={corpus}", f"data.source={place}"], "--corpus").data


def _evaluate_answerer(
    run_folder: Path, url: str | None, model: str | None, gguf: Path | None, engine: str | None, overrides: list[str]
) -> tuple[Path, dict[str, Any]]:
    """What a model other than the run's, or the run's in another engine, replies."""
    if sum(map(bool, (url, gguf, engine))) > 1:
        raise UserError("--url, --gguf and --engine each say who answers; give one of them")
    if engine not in (None, "llamacpp"):
        raise UserError(f"--engine {engine}: evaluation takes torch or llamacpp")
    from gistchat.answerers import evaluate_answerer, open_file, open_own, open_server
    from gistchat.pipeline import open_run

    server = open_server(url, model or "") if url else None  # first, as it is quick to find out
    workspace = open_run(run_folder, overrides)
    answerer = server or (open_file(gguf, workspace.recipe) if gguf else open_own(workspace))
    return evaluate_answerer(workspace, answerer)


def compare(
    runs: Annotated[list[Path], Argument(parser=checked_path, metavar="RUN RUN...", help="Folders of evaluated runs.")],
    out: Annotated[Path, Option(parser=folder_to_write, metavar="FOLDER", help="Where the report goes.")] = Path(
        "runs/comparison"
    ),
    baseline: Annotated[str, Option(help="The strategy that the others are compared with.")] = "recent",
) -> None:
    """Set evaluated runs side by side: one table, paired differences to the first of them, one report.

    Runs are paired on the replies that they share: give them the same data, seed and evaluate.items.
    """
    from gistchat.experiment import compare as compare_runs
    from gistchat.experiment import named_runs
    from gistchat.report.write import print_table

    if len(runs) < 2:
        raise UserError("compare takes two runs or more; a single one has its own report.html")
    print_table(compare_runs(named_runs(runs), out, " and ".join(path.name for path in runs), baseline))
    show("", f"report: {out / 'report.html'}")


def judge(
    run_folder: RunFolder,
    of: Annotated[str, Option("--of", metavar="SYSTEM", help='Such as "tuned hybrid", or "tuned hybrid 64".')],
    against: Annotated[str, Option("--against", metavar="SYSTEM", help='Such as "tuned recent".')],
    url: Annotated[str, Option(help="Of an OpenAI-compatible endpoint; its key: OPENAI_API_KEY.")],
    model: Annotated[str, Option(help="The judge, by the endpoint's name.")],
    items: Annotated[int, Option(callback=within(1, MOST_ITEMS), help="Replies that are judged, at most.")] = 50,
    seed: Annotated[int, Option(callback=SEED, help="Of which replies, and which stands first.")] = 0,
) -> None:
    """Let a language model judge the replies of two systems of a run: in pairs, each in both orders.

    Stopped, the same command goes on; what was judged is not asked again.
    """
    from gistchat.evaluate.judge import judge_lines, judge_run

    show(*judge_lines(judge_run(run_folder, of, against, url, model, items, seed)))
    show("", f"-> {run_folder / 'judge.json'}")
