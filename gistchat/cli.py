"""The command line: one command per stage. Heavy imports stay inside the commands, so that --help is instant."""

import collections
import errno
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from gistchat import __version__
from gistchat.errors import UserError

INTERRUPTED = 130  # exit code after Ctrl-C, by the shell's convention
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train, evaluate and run dialogue models that answer from the gist of a conversation.\n\n"
    "Start with: gistchat run recipes/demo.toml",
)

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="The recipe (fields: gistchat fields).")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/demo.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="The run's folder. Default: runs/NAME, or runs/NAME-MODEL with --model, --init or --size.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override any recipe field, e.g. train.steps=50. Repeatable."),
]
Model = Annotated[
    str | None,
    typer.Option(help="Base model: smollm2 (packaged), a hub id such as gpt2 or DialoGPT-small, or a folder."),
]
Init = Annotated[str | None, typer.Option(help="pretrained | scratch (random GPT-2). Default: the recipe's.")]
Size = Annotated[str | None, typer.Option(help="Of a scratch gpt2: tiny | mini | small | medium | large | xl.")]
Corpus = Annotated[str | None, typer.Option(help="Of those that gistchat corpora lists. Default: the recipe's.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="PLACE",
        help="Your dialogues: a file or folder, hub, or hub:ID. The kind of a file is guessed.",
    ),
]
ChatFolder = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run's folder. Default: the adapter that comes with gistchat."),
]
Temperature = Annotated[float | None, typer.Option(help="0 always says the likeliest. Default: the recipe's (0.8).")]
TopP = Annotated[float | None, typer.Option(help="Probability mass kept when sampling. Default: the recipe's (0.9).")]
ReplyTokens = Annotated[int | None, typer.Option(help="Longest reply, in tokens. Default: the recipe's.")]
Engine = Annotated[
    str | None, typer.Option(help="torch | ctranslate2 | ctranslate2-int8 (extra fast). Default: the recipe's (torch).")
]
Force = Annotated[
    bool, typer.Option("--force", help="Resume a stopped training also where its settings have changed since.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of examples, weights and data order. Default: the recipe's (0).")]


@app.command()
def run(
    recipe: RecipePath,
    from_: From = None,
    corpus: Corpus = None,
    model: Model = None,
    init: Init = None,
    size: Size = None,
    seed: Seed = None,
    out: Out = None,
    set_: Set = None,
    force: Force = False,
) -> None:
    """Go the whole way: prepare, summarize, train, evaluate, report.

    Stages whose output is current are skipped; an interrupted run goes on where it was.
    """
    from gistchat.report import print_table
    from gistchat.run import run as run_recipe

    loaded, folder = _load(recipe, from_, corpus, model, init, size, seed, out, set_)
    metrics = run_recipe(loaded, folder, force)
    if not metrics:
        return  # of several processes, the first evaluates
    print_table(metrics)
    print(f"\nreport:    {folder / 'report.html'}")
    print(f"talk to it: gistchat chat {folder}")


@app.command()
def prepare(
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS[=PLACE]...", help="Of those that gistchat corpora lists; several are put together."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where train, validation and test .jsonl go.")],
    from_: Annotated[
        str,
        typer.Option(
            "--from", metavar="PLACE", help="File or folder to read, hub, or hub:ID@REVISION. Default: the package."
        ),
    ] = "",
    seed: Annotated[int, typer.Option(help="Fixes which speakers or dialogues are held out.")] = 0,
    min_turns: Annotated[int, typer.Option(help="Drop shorter dialogues, in turns. 0: the corpus's default.")] = 0,
    max_turn_chars: Annotated[
        int, typer.Option(help="Drop dialogues with a longer turn, in characters. 0: the corpus's default.")
    ] = 0,
    scrub: Annotated[str, typer.Option(help="Replace phone numbers, e-mail, web addresses: auto | yes | no.")] = "auto",
    split_by: Annotated[str, typer.Option(help="What may not straddle splits: auto | speaker | dialogue.")] = "auto",
    audit: Annotated[bool, typer.Option("--audit", help="Report near duplicates across splits.")] = False,
    drop_twins: Annotated[bool, typer.Option("--drop-twins", help="Audit, and drop those in train.")] = False,
    on_error: Annotated[str, typer.Option(help="At malformed input: stop | skip (and list it).")] = "stop",
) -> None:
    """Turn a corpus into train.jsonl, validation.jsonl, test.jsonl and report.json."""
    from gistchat.prepare import MixConfig
    from gistchat.prepare import prepare as prepare_corpus
    from gistchat.prepare_report import report_lines
    from gistchat.recipe import Recipe, check

    recipe = Recipe()
    named = [name.partition("=") for name in corpus]
    if len(named) == 1:
        recipe.data.corpus, recipe.data.source = named[0][0], named[0][2] or from_
    elif from_:
        raise UserError("--from goes with one corpus; for several write CORPUS=PLACE CORPUS=PLACE")
    else:
        counts = collections.Counter()
        for name, _, place in named:
            counts[name] += 1
            recipe.data.mix.append(MixConfig(name, place, name if counts[name] == 1 else f"{name}-{counts[name]}"))
    recipe.data.seed = seed
    recipe.data.min_turns, recipe.data.max_turn_chars = min_turns, max_turn_chars
    recipe.data.scrub, recipe.data.split_by, recipe.data.on_error = scrub, split_by, on_error
    recipe.data.audit = "drop" if drop_twins else "report" if audit else "no"
    check(recipe)
    report, new = prepare_corpus(recipe.data, out)
    for line in report_lines(report):
        print(line)
    print(f"-> {out}" + ("" if new else " (done before, skipped)"))


@app.command()
def summarize(
    data: Annotated[Path, typer.Argument(metavar="FOLDER", help="A prepared folder.")],
    method: Annotated[
        str,
        typer.Option(
            help="Picks sentences: textrank | lexrank | lsa | mmr | lead | recent. A model writes: seq2seq | llm | "
            "endpoint. With --score several, as a,b,c."
        ),
    ] = "",
    with_: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="MODEL",
            help="What writes: a hub id or folder, or the endpoint's name of it. Default: "
            "philschmid/bart-large-cnn-samsum for seq2seq, smollm2 for llm.",
        ),
    ] = "",
    url: Annotated[str, typer.Option(help="Of an OpenAI-compatible endpoint; its key: OPENAI_API_KEY.")] = "",
    prompt: Annotated[str, typer.Option(metavar="FILE", help="A prompt of your own, for llm and endpoint.")] = "",
    recency: Annotated[
        float, typer.Option(help="Scores are multiplied by this for each turn that a sentence lies back.")
    ] = 1.0,
    tokens: Annotated[int, typer.Option(help="The budget in tokens of the model's tokenizer.")] = 96,
    model: Annotated[str, typer.Option(help="Whose tokenizer counts: smollm2, a hub id or a folder.")] = "smollm2",
    engine: Annotated[str, typer.Option(help="local (all cores) | ray (a cluster: RAY_ADDRESS, or this machine).")] = (
        "local"
    ),
    score: Annotated[
        bool, typer.Option("--score", help="Measure summarizers on whole dialogues instead; see docs/summarizers.md.")
    ] = False,
    items: Annotated[int, typer.Option(help="With --score: dialogues, drawn at random. 0: all.")] = 0,
    planted: Annotated[int, typer.Option(help="With --score: dialogues with planted facts. 0: none.")] = 20,
) -> None:
    """Summarise every prefix of every dialogue of a prepared folder, for all strategies up to this budget."""
    from gistchat.dialogue import SPLITS, load_dialogues
    from gistchat.models import load_tokenizer, resolve_base, tokenizer_fingerprint
    from gistchat.prompt import make_format
    from gistchat.recipe import Recipe, check
    from gistchat.summarize.engines import ENGINES
    from gistchat.summarize.store import SummaryStore

    recipe = Recipe()
    recipe.summary.recency, recipe.model.name, recipe.context.budget = recency, model, tokens
    recipe.summary.model, recipe.summary.url, recipe.summary.prompt = with_, url, prompt
    if tokens < 1:
        raise UserError("--tokens must be at least 1")
    if engine not in ENGINES:
        raise UserError(f"--engine: {engine!r} is not one of {', '.join(ENGINES)}")
    names = method.split(",") if method else []
    if len(names) > 1 and not score:
        raise UserError("several methods go with --score; without it, summarise with one after another")
    for name in names:
        recipe.summary.method = name
        check(recipe)
    dialogues = [dialogue for split in SPLITS for dialogue in load_dialogues(data / f"{split}.jsonl")]
    tokenizer = load_tokenizer(resolve_base(recipe.model, recipe.seed))
    if score:
        _score(recipe, names, dialogues, tokenizer, data, items, planted)
        return
    key = tokenizer_fingerprint(tokenizer)
    prompt_format = make_format(recipe.model.format, tokenizer)
    store = SummaryStore(data / "summaries", recipe.summary, recipe.context, prompt_format, key)
    made = store.add(dialogues, engine)
    print(f"{made:,} dialogues summarised, {len(dialogues) - made:,} stored before -> {store.path}")


def _score(
    recipe: Any, names: list[str], dialogues: list[Any], tokenizer: Any, data: Path, items: int, planted: int
) -> None:
    import dataclasses
    import random

    from gistchat.storage import write_json
    from gistchat.summarize.engines import token_counter
    from gistchat.summarize.extractive import METHODS
    from gistchat.summarize.score import score, score_table

    configs = {name: dataclasses.replace(recipe.summary, method=name) for name in names or METHODS}
    if items:
        dialogues = random.Random(recipe.seed).sample(dialogues, min(items, len(dialogues)))
    folder = data / "scores"
    values = score(dialogues, configs, recipe.context, token_counter(tokenizer), folder, planted)
    write_json(folder / "scores.json", values)
    print(score_table(values))
    print(f"\n-> {folder / 'scores.json'}")


@app.command()
def train(
    recipe: RecipePath,
    from_: From = None,
    corpus: Corpus = None,
    model: Model = None,
    init: Init = None,
    size: Size = None,
    seed: Seed = None,
    out: Out = None,
    set_: Set = None,
    force: Force = False,
) -> None:
    """Prepare, summarize and train, without evaluation."""
    from gistchat.run import is_first_process, open_workspace, run_train

    loaded, folder = _load(recipe, from_, corpus, model, init, size, seed, out, set_)
    run_train(open_workspace(loaded, folder), force)
    if is_first_process():
        print(f"checkpoint: {folder / 'checkpoint'}\nnext: gistchat evaluate {folder}")


@app.command()
def evaluate(
    run_folder: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="A run's folder.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of a run: replies that any system wrote.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The gold replies, aligned by id, else by place.")
    ] = None,
    old_rouge: Annotated[
        bool, typer.Option("--old-rouge", help="Also the paper's metric, to compare with it (extra paper).")
    ] = False,
    set_: Set = None,
) -> None:
    """Score a run's checkpoint on held-out dialogues: predictions.jsonl, metrics.json, report.html.

    --set takes fields of evaluate, context and summary; data, model and training are the checkpoint's. With
    --predictions and --references it scores a file of replies beside controls instead: JSONL with id and reply, or the
    paper's {"context": [...], "ans": [...]}.
    """
    if predictions or references:
        if run_folder or not (predictions and references):
            raise UserError("--predictions and --references go together, and without a run's folder")
        _score_file(predictions, references, old_rouge)
        return
    if run_folder is None:
        raise UserError("name a run's folder, such as runs/demo, or give --predictions and --references")
    from gistchat.report import print_table
    from gistchat.run import open_run, run_evaluate

    workspace = open_run(run_folder, set_ or [])
    print_table(run_evaluate(workspace))
    print(f"\nreport: {workspace.folder / 'report.html'}")


def _score_file(predictions: Path, references: Path, old_rouge: bool) -> None:
    from gistchat.predictions import score_predictions
    from gistchat.report import print_scores
    from gistchat.storage import write_json

    found = score_predictions(predictions, references, old=old_rouge)
    print_scores(found)
    out = predictions.with_name(f"{predictions.stem}.scores.json")
    write_json(out, found)
    print(f"\n-> {out}")


@app.command()
def chat(
    run_folder: ChatFolder = None,
    load: Annotated[Path | None, typer.Option(metavar="FILE", help="Go on with a conversation from /save.")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="last | recent | full | summary | hybrid | rolling. Default: the recipe's (rolling)."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Of summaries: textrank | lexrank | lsa | mmr | lead | recent | seq2seq | llm | endpoint. "
            "Default: the recipe's."
        ),
    ] = None,
    with_: Annotated[
        str | None, typer.Option("--with", metavar="MODEL", help="What writes the summaries, as in summarize.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Of an OpenAI-compatible endpoint that writes the summaries.")] = None,
    prompt: Annotated[str | None, typer.Option(metavar="FILE", help="A prompt of your own for summaries.")] = None,
    budget: Annotated[int | None, typer.Option(help="Tokens before the last turn. Default: the recipe's (96).")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_reply_tokens: ReplyTokens = None,
    engine: Engine = None,
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(help="Makes the draws repeatable. Default: random.")] = None,
    end_command: Annotated[
        str | None, typer.Option(help="Ends the chat, besides /quit. Default: the recipe's (Abort!).")
    ] = None,
) -> None:
    """Talk to a trained model. /help in the chat lists its commands.

    When standard input is not a terminal, each line of it is a turn and each line of output a reply.
    """
    from gistchat.terminal import chat_in_terminal

    chosen = {
        "chat.strategy": strategy,
        "chat.temperature": temperature,
        "chat.top_p": top_p,
        "chat.max_reply_tokens": max_reply_tokens,
        "chat.engine": engine,
        "chat.end_command": end_command,
        "summary.method": method,
        "summary.model": with_,
        "summary.url": url,
        "summary.prompt": prompt,
        "context.budget": budget,
    }
    chat_in_terminal(run_folder, _named(chosen, set_), seed, load)


def _named(chosen: dict[str, Any], overrides: list[str] | None) -> list[str]:
    """Options that were given, as settings of recipe fields."""
    return [*(f"{name}={value}" for name, value in chosen.items() if value is not None), *(overrides or [])]


@app.command()
def reply(
    source: Annotated[Path, typer.Argument(metavar="IN.jsonl", help="Dialogues, one a line, as prepare writes them.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="One reply a line: what answers the last turn.")],
    run_folder: ChatFolder = None,
    strategy: Annotated[str | None, typer.Option(help="Context strategy. Default: the recipe's (rolling).")] = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    max_reply_tokens: ReplyTokens = None,
    engine: Engine = None,
    set_: Set = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Write OUT.jsonl anew where it exists.")] = False,
) -> None:
    """Answer the last turn of every dialogue of a file, as the chat would.

    Stopped, the same command goes on. With torchrun, several processes share the work.
    """
    from gistchat.chat import ChatSession
    from gistchat.reply import reply_to_file
    from gistchat.run import is_first_process

    chosen = {
        "chat.strategy": strategy,
        "chat.temperature": temperature,
        "chat.top_p": top_p,
        "chat.max_reply_tokens": max_reply_tokens,
        "chat.engine": engine,
    }
    session = ChatSession.open(run_folder, _named(chosen, set_), seed)
    count = reply_to_file(session, source, out, force)
    if is_first_process():
        print(f"{count:,} replies -> {out}")


@app.command()
def export(
    run_folder: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the weights.")],
    to: Annotated[
        str, typer.Option(help="transformers | ctranslate2 | ctranslate2-int8 (extra fast).")
    ] = "transformers",
    push: Annotated[str, typer.Option(metavar="HUB_ID", help="Also upload it there (hf auth login first).")] = "",
) -> None:
    """Write a checkpoint as a folder that plain transformers loads; a LoRA adapter is merged into its base."""
    from gistchat.export import export as export_run
    from gistchat.export import push as push_folder

    print(f"exported: {export_run(run_folder, out, to)}")
    if push:
        print(f"pushed: {push_folder(out, push)}")


@app.command(name="import-ckpt")
def import_ckpt(
    source: Annotated[
        str,
        typer.Argument(metavar="CKPT", help="A .ckpt of the paper's code, or a model of its parent: folder or hub id."),
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The run's folder that is made.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="The layout that it was trained with: paper (with a summary) | paper-turns (its multi-turn parent). "
            "Default: paper for a .ckpt, paper-turns for a folder or hub id.",
        ),
    ] = "",
) -> None:
    """Turn a checkpoint of the paper's code into one that gistchat chats with and evaluates."""
    from gistchat.import_checkpoint import import_checkpoint

    print(f"checkpoint: {import_checkpoint(source, out, format_)}\ntalk to it: gistchat chat {out}")


@app.command()
def corpora(
    names: Annotated[list[str] | None, typer.Argument(metavar="[CORPUS]...", help="Only these. Default: all.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask the hub what is reachable.")] = False,
) -> None:
    """List the corpora that prepare reads: size, licence, citation, files, and what can be reached now."""
    from gistchat.corpora.listing import describe

    for line in describe(names or [], offline):
        print(line)


@app.command()
def fields() -> None:
    """List every recipe field with its type, default and meaning."""
    from gistchat.recipe import fields as recipe_fields

    for name, kind, default, text in recipe_fields():
        print(f"{name} ({kind}, default {default!r})\n    {text}")


@app.command()
def env() -> None:
    """Print versions, threads, devices and cache folders."""
    import platform

    import torch

    from gistchat.checkpoint import versions
    from gistchat.models import cache_dir

    for name, value in versions().items():
        print(f"{name:14} {value}")
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    print(f"{'platform':14} {platform.platform()}, {os.cpu_count()} cores")
    print(f"{'threads':14} {torch.get_num_threads()} (OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')})")
    print(f"{'cpu features':14} {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'devices':14} {', '.join(devices) or 'cpu'}")
    print(f"{'model cache':14} {cache_dir() / 'models'}")
    print(f"{'hub cache':14} {os.environ.get('HF_HOME', Path.home() / '.cache' / 'huggingface')}")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(f"gistchat {__version__}")
        raise typer.Exit


def _load(
    path: Path,
    from_: str | None,
    corpus: str | None,
    model: str | None,
    init: str | None,
    size: str | None,
    seed: int | None,
    out: Path | None,
    overrides: list[str] | None,
) -> tuple[Any, Path]:
    from gistchat.recipe import load_recipe

    if from_ and not corpus and Path(from_).is_file():
        from gistchat.corpora.sources import kind_of_file

        corpus = kind_of_file(Path(from_))
    chosen = {"data.source": from_, "data.corpus": corpus}
    chosen |= {"model.name": model, "model.init": init, "model.size": size, "seed": seed}
    named = [f"{name}={value}" for name, value in chosen.items() if value is not None]
    recipe = load_recipe(path, [*named, *(overrides or [])])
    # Another model gets a folder of its own, so that it does not replace the recipe's run.
    parts = [recipe.name, *(Path(value).name for value in (model, init, size) if value)]
    return recipe, out or Path("runs") / "-".join(parts)


def main() -> None:
    """Entry point. A mistake of the user becomes one line on standard error; anything else is a defect and shows."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.|peft\.|torch\.")
    try:
        app()
    except UserError as error:
        _fail(str(error))
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _fail("interrupted; the same command goes on, what is finished is kept", INTERRUPTED)
        raise
    except Exception as error:
        if _is_full_disk(error):
            _fail(f"disk full ({error}); make room, and the same command goes on from what is finished")
        if isinstance(error, OSError) and error.filename:
            _fail(f"{error.filename}: {error.strerror}")
        raise


def _is_full_disk(error: BaseException) -> bool:
    """Also where a library wraps the system's error in one of its own: the writers of weights do."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return True
    if any(f"os error {number}" in str(error) for number in FULL_DISK) or "PytorchStreamWriter failed" in str(error):
        return True
    return error.__cause__ is not None and _is_full_disk(error.__cause__)


def _fail(message: str, code: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
