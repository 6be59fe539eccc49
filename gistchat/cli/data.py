"""Commands on dialogues: prepare, summarize, corpora."""

import collections
import dataclasses
import itertools
import random
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from gistchat.cli.options import within
from gistchat.errors import UserError
from gistchat.limits import MOST_GENERATED, MOST_ITEMS
from gistchat.names import checked_path, folder_to_write
from gistchat.printable import printable
from gistchat.progress import show

if TYPE_CHECKING:
    from gistchat.recipe.schema import DataConfig

EXAMPLES, EXAMPLE_TURNS, EXAMPLE_WIDTH = 3, 6, 100  # dialogues that prepare shows, turns of each, characters of a turn


def prepare(
    corpus: Annotated[
        list[str],
        Argument(
            metavar="FILE | CORPUS[=PLACE]...",
            help="Your files, folders or ZIPs, whose kind is guessed; or of those that gistchat corpora lists. "
            "Several are put together.",
        ),
    ],
    out: Annotated[
        Path | None,
        Option(
            parser=folder_to_write,
            metavar="FOLDER",
            help="Where train, validation and test .jsonl go. Default: data/CORPUS-KEY.",
        ),
    ] = None,
    from_: Annotated[
        str,
        Option(
            "--from", metavar="PLACE", help="File or folder to read, hub, or hub:ID@REVISION. Default: the package."
        ),
    ] = "",
    seed: Annotated[int, Option(help="Fixes which speakers or dialogues are held out.")] = 0,
    min_turns: Annotated[int, Option(help="Drop shorter dialogues, in turns. 0: the corpus's default.")] = 0,
    max_turn_chars: Annotated[
        int, Option(help="Drop dialogues with a longer turn, in characters. 0: the corpus's default.")
    ] = 0,
    scrub: Annotated[str, Option(help="Replace phone numbers, e-mail, web addresses: auto | yes | no.")] = "auto",
    split_by: Annotated[
        str, Option(help="What may not straddle splits: auto | speaker | dialogue | time (the latest are held out).")
    ] = "auto",
    as_: Annotated[
        list[str] | None,
        Option("--as", metavar="NAME", help="Whose replies are learned and tested. Repeatable. Default: everybody's."),
    ] = None,
    rename: Annotated[
        list[str] | None, Option(metavar="OLD=NEW", help="Change a name; two with one new name are one person.")
    ] = None,
    anonymise: Annotated[
        bool, Option("--anonymise", help="Names become Person 1, Person 2 ..., in texts, too.")
    ] = False,
    speakers: Annotated[
        list[str] | None, Option(metavar="NAME", help="Keep only this speaker's turns. Repeatable.")
    ] = None,
    from_date: Annotated[str, Option(metavar="DAY", help="Leave out what was said before, as 2024-03-05.")] = "",
    gap: Annotated[
        float, Option(help="Hours without a message after which a messenger's chat is another dialogue. 0: never.")
    ] = 4,
    keep_lines: Annotated[
        bool, Option("--keep-lines", help="Messages that a speaker sends in a row stay lines of one turn.")
    ] = False,
    stamp: Annotated[
        str, Option(metavar="PATTERN", help="What stands before a name, as '%d.%m.%Y %H:%M - ', if it is not known.")
    ] = "",
    columns: Annotated[
        list[str] | None, Option(metavar="PART=NAME", help="A table's column for speaker, text, dialogue, date, order.")
    ] = None,
    audit: Annotated[bool, Option("--audit", help="Report near duplicates across splits.")] = False,
    drop_twins: Annotated[bool, Option("--drop-twins", help="Audit, and drop those in train.")] = False,
    on_error: Annotated[str, Option(help="At malformed input: stop | skip (and list it).")] = "stop",
) -> None:
    """Turn conversations into train.jsonl, validation.jsonl, test.jsonl and report.json, and show three of them.

    gistchat prepare chat.txt --as Ann    what WhatsApp exported, to learn Ann's replies
    """
    from gistchat.prepare.prepare import default_folder
    from gistchat.prepare.prepare import prepare as prepare_corpus
    from gistchat.prepare.report import report_lines
    from gistchat.recipe.load import override, recipe_from_dict
    from gistchat.recipe.schema import Recipe

    chosen = {"seed": seed, "min_turns": min_turns, "max_turn_chars": max_turn_chars, "on_error": on_error}
    chosen |= {"scrub": scrub, "split_by": split_by, "audit": "drop" if drop_twins else "report" if audit else "no"}
    recipe = override(Recipe(), [f"data.{name}={value}" for name, value in chosen.items()], "prepare")
    people = {"answer_as": as_ or [], "rename": rename or [], "speakers": speakers or [], "columns": columns or []}
    people |= {"anonymise": anonymise, "from_date": from_date, "gap": gap, "keep_lines": keep_lines, "stamp": stamp}
    values = dataclasses.asdict(recipe)
    recipe = recipe_from_dict(values | {"data": values["data"] | people}, "prepare")
    if from_ and len(corpus) > 1:
        raise UserError("--from goes with one corpus; for several write CORPUS=PLACE CORPUS=PLACE")
    recipe = recipe.change(data=guessed([f"{corpus[0]}={from_}"] if from_ else corpus, recipe.data))
    out = out or default_folder(recipe.data)
    report, new = prepare_corpus(recipe.data, out)
    show(*report_lines(report))
    show(*_examples(out))
    show(f"-> {out}" + ("" if new else " (done before, skipped)"))


def guessed(places: list[str], config: "DataConfig") -> dict[str, Any]:
    """Settings of `data` for users' own files, folders or archives, whose kinds are told by the content, and said.

    With a stamp that somebody wrote down, a text is taken for what has such stamps; with columns, a CSV for a table.
    """
    return _settings([pair for place in places for pair in _pairs(place, config)])


def _pairs(named: str, config: "DataConfig") -> list[tuple[str, str]]:
    """Corpora and where to read them, for an argument: CORPUS, CORPUS=PLACE or a place."""
    from gistchat.corpora.kinds import kinds_at
    from gistchat.corpora.readers import CORPORA

    corpus, _, place = named.partition("=")
    if corpus in CORPORA or not Path(named).exists():
        if corpus not in CORPORA and {".", "/"} & set(named):
            raise UserError(f"{named}: no such file or folder")
        return [(corpus, place)]
    suffix = Path(named).suffix.lower()
    if config.stamp and suffix == ".txt":
        return [("whatsapp", named)]
    if config.columns and suffix in (".csv", ".tsv", ".parquet"):
        return [("table", named)]
    kinds = kinds_at(Path(named))
    for kind, files in kinds.items():
        several = f" ({len(files):,} files)" if len(files) > 1 else ""
        show(f"{named}: {CORPORA[kind].description}{several}")
    return [(kind, named) for kind in kinds]


def _settings(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    from gistchat.recipe.schema import DEFAULT_CORPUS, MixConfig

    if len(pairs) == 1:
        [(corpus, place)] = pairs
        return {"corpus": corpus, "source": place, "mix": []}
    counts = collections.Counter()
    mix = []
    for corpus, place in pairs:
        counts[corpus] += 1
        mix.append(MixConfig(corpus, place, corpus if counts[corpus] == 1 else f"{corpus}-{counts[corpus]}"))
    return {"corpus": DEFAULT_CORPUS, "source": "", "mix": mix}


def _examples(folder: Path) -> list[str]:
    """The beginnings of some dialogues of a prepared folder, as people read them."""
    from gistchat.dialogue.jsonl import read_jsonl

    lines = []
    for dialogue in itertools.islice(read_jsonl(folder / "train.jsonl"), EXAMPLES):
        lines += ["", f"  {printable(dialogue.id)}"]
        for turn in dialogue.turns[:EXAMPLE_TURNS]:
            text = textwrap.shorten(printable(turn.text), EXAMPLE_WIDTH, placeholder=" ...")
            lines.append(f"    {printable(turn.speaker)}: {text}")
        if len(dialogue.turns) > EXAMPLE_TURNS:
            lines.append(f"    ... {len(dialogue.turns) - EXAMPLE_TURNS:,} more turns")
    return [*lines, ""] if lines else []


def summarize(
    data: Annotated[Path, Argument(parser=checked_path, metavar="FOLDER", help="A prepared folder.")],
    method: Annotated[
        str,
        Option(
            help="Picks sentences: textrank | lexrank | lsa | mmr | lead | recent. A model writes: seq2seq | llm | "
            "endpoint. With --score several, as a,b,c."
        ),
    ] = "",
    with_: Annotated[
        str,
        Option(
            "--with",
            metavar="MODEL",
            help="What writes: a hub id or folder, or the endpoint's name of it. Default: "
            "philschmid/bart-large-cnn-samsum for seq2seq, smollm2 for llm.",
        ),
    ] = "",
    url: Annotated[str, Option(help="Of an OpenAI-compatible endpoint; its key: OPENAI_API_KEY.")] = "",
    prompt: Annotated[str, Option(metavar="FILE", help="A prompt of your own, for llm and endpoint.")] = "",
    recency: Annotated[
        float, Option(help="Scores are multiplied by this for each turn that a sentence lies back.")
    ] = 1.0,
    tokens: Annotated[int, Option(help="The budget in tokens of the model's tokenizer.")] = 96,
    model: Annotated[str, Option(help="Whose tokenizer counts: smollm2, a hub id or a folder.")] = "smollm2",
    engine: Annotated[str, Option(help="local (all cores) | ray (a cluster: RAY_ADDRESS, or this machine).")] = (
        "local"
    ),
    score: Annotated[
        bool, Option("--score", help="Measure summarizers on whole dialogues instead; see docs/summarizers.md.")
    ] = False,
    items: Annotated[
        int, Option(callback=within(0, MOST_ITEMS), help="With --score: dialogues, drawn at random. 0: all.")
    ] = 0,
    planted: Annotated[
        int, Option(callback=within(0, MOST_GENERATED), help="With --score: dialogues with planted facts. 0: none.")
    ] = 20,
) -> None:
    """Summarise every prefix of every dialogue of a prepared folder, for all strategies up to this budget."""
    from gistchat.dialogue.jsonl import load_dialogues
    from gistchat.dialogue.turns import SPLITS
    from gistchat.memory.summary_store import SummaryStore
    from gistchat.memory.workers import ENGINES
    from gistchat.models.base import load_tokenizer, tokenizer_fingerprint
    from gistchat.models.resolve import resolve_base
    from gistchat.prompts.formats import make_format
    from gistchat.recipe.load import override
    from gistchat.recipe.schema import Recipe
    from gistchat.trusted_hosts import trust_those_in

    if tokens < 1:
        raise UserError("--tokens must be at least 1")
    if engine not in ENGINES:
        raise UserError(f"--engine: {engine!r} is not one of {', '.join(ENGINES)}")
    names = method.split(",") if method else []
    if len(names) > 1 and not score:
        raise UserError("several methods go with --score; without it, summarise with one after another")
    settings = [f"summary.recency={recency}", f"model.name={model}", f"context.budget={tokens}"]
    settings += [f"summary.model={with_}", f"summary.url={url}", f"summary.prompt={prompt}"]
    trust_those_in(settings)
    recipe = override(Recipe(), settings, "summarize")
    recipes = [override(recipe, [f"summary.method={name}"], "--method") for name in names] or [recipe]
    recipe = recipes[0]
    dialogues = [dialogue for split in SPLITS for dialogue in load_dialogues(data / f"{split}.jsonl")]
    base = resolve_base(recipe.model, recipe.seed)
    tokenizer = load_tokenizer(base)
    if score:
        from gistchat.evaluate.summarizer_scores import score as score_summarizers
        from gistchat.evaluate.summarizer_scores import score_table
        from gistchat.files import write_json
        from gistchat.locks import locked
        from gistchat.memory.summarizers.extractive import METHODS
        from gistchat.prompts.token_count import token_counter
        from gistchat.stages import keep_foreign

        if items:
            dialogues = random.Random(recipe.seed).sample(dialogues, min(items, len(dialogues)))
        configs = {name: replace(recipe.summary, method=name) for name in names or METHODS}
        path = data / "scores" / "scores.json"
        count = token_counter(tokenizer)
        with locked(path.parent):
            values = score_summarizers(dialogues, configs, recipe.context, count, path.parent, planted)
            keep_foreign(path, "rows")
            write_json(path, values)
        show(*score_table(values).split("\n"), "", f"-> {path}")
        return
    key = tokenizer_fingerprint(tokenizer, base)
    prompt_format = make_format(recipe.model.format, tokenizer)
    store = SummaryStore(data / "summaries", recipe.summary, recipe.context, prompt_format, key)
    added = store.add(dialogues, engine)
    show(f"{added:,} dialogues summarised, {len(dialogues) - added:,} stored before -> {store.path}")


def corpora(
    names: Annotated[list[str] | None, Argument(metavar="[CORPUS]...", help="Only these. Default: all.")] = None,
    offline: Annotated[bool, Option("--offline", help="Do not ask the hub what is reachable.")] = False,
) -> None:
    """List the corpora that prepare reads: size, licence, citation, files, and what can be reached now."""
    from gistchat.corpora.listing import describe

    for line in describe(names or [], offline):
        show(line)
