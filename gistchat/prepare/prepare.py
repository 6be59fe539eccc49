"""Stage 1: corpus files -> train.jsonl, validation.jsonl, test.jsonl and report.json.

Everything streams: files are read here, dialogues are cleaned on all cores, and what is kept waits on disk until all
of a corpus was seen and its splits can be told.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from gistchat.corpora.corpus import Corpus
from gistchat.corpora.kinds import sources_of
from gistchat.corpora.readers import CORPORA
from gistchat.corpora.sources import Source, estimate, raw_records
from gistchat.dialogue.turns import SPLITS, Dialogue, parse_dialogue
from gistchat.errors import UserError
from gistchat.files import file_hash, fingerprint, read_json, write_json
from gistchat.locks import locked
from gistchat.names import folder_to_write, require_plain_name
from gistchat.prepare.anonymous import Anonymous
from gistchat.prepare.choose import Choice
from gistchat.prepare.clean import MALFORMED, NO_DIALOGUE, Batch, Cleaned, CleaningRules, clean_batch
from gistchat.prepare.cut import cut
from gistchat.prepare.join import join
from gistchat.prepare.near_duplicates import find_near_duplicates, leaking
from gistchat.prepare.report import MOST_SKIPPED, Report, most_first
from gistchat.prepare.scrub import scrub_name
from gistchat.prepare.splits import SplitPlan, hash64
from gistchat.processes import ordered_map
from gistchat.progress import progress
from gistchat.recipe.schema import DataConfig, mix_of
from gistchat.stages import is_current, remade

SKIP = "--on-error skip, in a run --set data.on_error=skip"
VERSION = 8  # raise it when the same input would give other output, so that prepared folders are made again
BUFFER = 2**20  # bytes
TURNS_PER_BATCH = 8000
TURNS_PER_RECORD = 10  # a guess, for records that are not parsed yet
MOST_SPEAKERS = 1000  # that the report names, those who speak most
MOST_NAMED = 20  # in a message
BYTES_PER_TURN = 1000  # more than most have: only batches of very long records get smaller

Seen = dict[int, bool]  # by the digest of each kept dialogue, whether an official validation or test split holds it


@dataclass(frozen=True)
class Part:
    """A corpus with its files and rules."""

    name: str
    corpus: Corpus
    sources: list[Source]
    rules: CleaningRules
    options: dict[str, Any]  # what its reader takes besides the file


def default_folder(config: DataConfig) -> Path:
    """`data/CORPUS-KEY`: keyed by content and settings, so that neither corpora nor settings overwrite each other."""
    if config.folder:
        return folder_to_write(config.folder)
    parts = _parts(config)
    name = f"{'+'.join(part.name for part in parts)}-{_key(config, parts)[:8]}"
    return Path("data") / require_plain_name("data.mix", name, "; set data.folder")


def prepare(config: DataConfig, out: Path) -> tuple[dict[str, Any], bool]:
    """Write the three splits and `report.json` to `out`. Of several processes one does, the others find it done.

    Splits that were edited since are put aside and made anew: a run says which data it was trained on, and could not
    if they were taken for what the corpus gives. To train on them, name them as the source of `jsonl`.

    Returns:
        The report, and whether it was made now (False: the folder was current).
    Raises:
        UserError: bad input (file:line), or nothing left after the rules.
    """
    out = folder_to_write(out)
    parts = _parts(config)
    key = _key(config, parts)
    marker = out / "prepared.json"
    with locked(out):
        if is_current(marker, key) and not _lacks_split(config, report := read_json(out / "report.json")):
            return report, False
        if out.resolve() in {source.path.resolve().parent for part in parts for source in part.sources}:
            raise UserError(f"{out}: holds the input; give another folder, so that no file of yours is replaced")
        with remade(marker, key) as working:
            report = _prepare(config, parts, working)
            _check_written(working, report["splits"])
    return report, True


def _lacks_split(config: DataConfig, report: dict[str, Any]) -> bool:
    """Whether a version prepared it that cut nothing from train where an official split was missing."""
    count = {split: counts["dialogues"] for split, counts in report["splits"].items()}
    shares = {"test": config.test_share, "validation": config.validation_share}
    return (
        "cut" not in report
        and count["train"] >= len(SPLITS)
        and any(share and not count[split] for split, share in shares.items())
    )


def _check_written(working: Path, splits: dict[str, dict[str, int]]) -> None:
    """Raises UserError where a split has not as many lines as the report says."""
    for split, counts in splits.items():
        with (working / f"{split}.jsonl").open("rb", BUFFER) as file:
            lines = sum(1 for _ in file)
        if lines != counts["dialogues"]:
            raise UserError(
                f"{working / split}.jsonl has {lines:,} lines where {counts['dialogues']:,} were written; "
                "nothing was replaced, run it again"
            )


def _parts(config: DataConfig) -> list[Part]:
    parts = []
    for part in mix_of(config):
        corpus = CORPORA[part.corpus]
        rules = CleaningRules(
            config.min_turns or corpus.min_turns,
            config.max_turn_chars or corpus.max_turn_chars,
            corpus.scrub if config.scrub == "auto" else config.scrub == "yes",
            config.seed,
            corpus.tokenised,
            config.keep_lines,
            by_time=_split_by(config, corpus) == "time",
            choice=_choice(config, corpus),
        )
        parts.append(Part(part.name, corpus, sources_of(corpus, part.source), rules, _options(config, corpus)))
    return parts


def _options(config: DataConfig, corpus: Corpus) -> dict[str, Any]:
    """Raises UserError for a setting that the corpus's reader does not take."""
    columns = {part.strip(): name.strip() for part, name in (pair.split("=", 1) for pair in config.columns)}
    given = {name: value for name, value in (("stamp", config.stamp), ("columns", columns)) if value}
    if wrong := [name for name in given if name not in corpus.takes]:
        kinds = ", ".join(name for name, other in CORPORA.items() if wrong[0] in other.takes)
        raise UserError(f"data.{wrong[0]} (--{wrong[0]}) is for {kinds}, and this is {corpus.name}")
    return given


def _split_by(config: DataConfig, corpus: Corpus) -> str:
    return corpus.split_by if config.split_by == "auto" else config.split_by


def _choice(config: DataConfig, corpus: Corpus) -> Choice:
    renamed = (tuple(map(str.strip, pair.split("=", 1))) for pair in config.rename)
    gap = config.gap if corpus.split_by == "time" else 0
    return Choice(gap, tuple(renamed), tuple(config.speakers), tuple(config.answer_as), config.from_date)


def _key(config: DataConfig, parts: list[Part]) -> str:
    places_of_files = ("folder", "source", "mix")
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in places_of_files}
    places = [(part, source) for part in parts for source in part.sources]
    hashes = [(part.name, source.path.name, source.split, file_hash(source.path)) for part, source in places]
    return fingerprint([VERSION, settings, [part.corpus.name for part in parts], hashes])


def _prepare(config: DataConfig, parts: list[Part], working: Path) -> dict[str, Any]:
    """Read all parts, place their dialogues and write splits and report to the folder `working`."""
    report = Report("+".join(part.name for part in parts))
    seen: Seen = {}
    plans = _read_all(config, parts, report, seen, working)
    anonymous = Anonymous(report.speakers, report.renamed) if config.anonymise else None
    report.splits = {split: {"dialogues": 0, "turns": 0, "replies": 0} for split in SPLITS}
    files = {split: (working / f"{split}.jsonl").open("wb", BUFFER) for split in SPLITS}
    for part, plan in zip(parts, plans, strict=True):
        plan.decide()
        report.cut |= {part.name: plan.missing} if plan.missing else {}
        kept = working / f"{part.name}.kept"
        for official, split, turns, replies, digest, line in _placed(kept, plan):
            if "train" in (official, split) and seen[digest]:
                report.drop("duplicate of a held-out dialogue")
                report.kept -= 1
                continue
            files[split].write(_without_names(line, anonymous) if anonymous else line)
            _count(report, split, 1, turns, replies)
        kept.unlink()
    for file in files.values():
        file.close()
    if config.audit != "no":
        _audit(working, config, report)
    report.speakers = dict(most_first(report.speakers)[:MOST_SPEAKERS])
    if anonymous:
        report.speakers = {anonymous.speaker(name): count for name, count in report.speakers.items()}
    values = dataclasses.asdict(report)
    del values["renamed"]
    write_json(working / "report.json", values)
    return values


def _read_all(config: DataConfig, parts: list[Part], report: Report, seen: Seen, working: Path) -> list[SplitPlan]:
    """Read the parts; what is kept of each waits in `working`, and how to place it is planned.

    Raises:
        UserError: nothing is left.
    """
    plans = []
    ids: dict[int, int] = {}
    for part in parts:
        plan = SplitPlan(_split_by(config, part.corpus), config.seed, config.test_share, config.validation_share)
        before = (report.read, report.kept)
        kept = working / f"{part.name}.kept"
        _read(part, config, report, plan, seen, ids, kept, len(parts) > 1)
        if plan.total < len(SPLITS) and config.gap and part.corpus.looks_like:
            plan = _cut(kept, plan, report, seen, config.gap)
        plans.append(plan)
        report.corpora[part.name] = {"read": report.read - before[0], "kept": report.kept - before[1]}
    if not report.read:
        raise UserError(f"no dialogue in {', '.join(report.read_from)}{_but_left_out(report)}")
    _require_speakers(config, report)
    if not report.kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in most_first(report.dropped))
        raise UserError(f"no dialogue is left of {report.read} read ({reasons}){_but_left_out(report)}")
    return plans


def _but_left_out(report: Report) -> str:
    left_out = ", ".join(f"{count:,} {what}" for what, count in most_first(report.left_out) if count)
    return f"; left out: {left_out}" if left_out else ""


def _require_speakers(config: DataConfig, report: Report) -> None:
    """Raises UserError where somebody is named who does not speak."""
    for setting, names in (("answer_as (--as)", config.answer_as), ("speakers (--speakers)", config.speakers)):
        if strangers := [name for name in names if not {name, scrub_name(name)} & report.speakers.keys()]:
            there = ", ".join(name for name, _ in most_first(report.speakers)[:MOST_NAMED]) or "nobody"
            raise UserError(f"data.{setting}: {strangers[0]!r} does not speak; there are: {there}")
    old = [pair.partition("=")[0].strip() for pair in config.rename]
    if strangers := [name for name in old if name not in report.renamed]:
        there = ", ".join(name for name, _ in most_first(report.speakers)[:MOST_NAMED]) or "nobody"
        raise UserError(f"data.rename (--rename): {strangers[0]!r} does not speak; there are: {there}")


def _without_names(line: bytes, anonymous: Anonymous) -> bytes:
    return anonymous.dialogue(parse_dialogue(orjson.loads(line), "")).to_line()


def _count(report: Report, split: str, dialogues: int, turns: int, replies: int) -> None:
    counts = report.splits[split]
    counts["dialogues"] += dialogues
    counts["turns"] += turns
    counts["replies"] += replies


def _read(
    part: Part,
    config: DataConfig,
    report: Report,
    plan: SplitPlan,
    seen: Seen,
    ids: dict[int, int],
    kept: Path,
    mixed: bool,
) -> None:
    """Write the dialogues of a part that pass the rules to `kept`, and count all others by the first reason."""
    report.read_from += [str(source) for source in part.sources]
    total = sum(estimate(source.path, part.corpus.mark) for source in part.sources)
    batches = _batches(part, part.name if mixed else "")
    with progress(f"prepare {part.name}", total) as advance, kept.open("wb", BUFFER) as file:
        for outcomes in ordered_map(partial(clean_batch, part.rules), batches):
            for outcome in outcomes:
                _take(outcome, config, report, plan, seen, ids, file.write)
            advance(len(outcomes))


def _take(
    outcome: Cleaned,
    config: DataConfig,
    report: Report,
    plan: SplitPlan,
    seen: Seen,
    ids: dict[int, int],
    write: Callable[[bytes], Any],
) -> None:
    for what, count in outcome.left_out:
        report.left_out[what] = report.left_out.get(what, 0) + count
    if outcome.reason == NO_DIALOGUE:
        return
    report.renamed |= dict(outcome.renamed)
    for name in outcome.heard:
        report.speakers.setdefault(name, 0)  # also of chats that are not kept
    report.read += 1
    report.turns_read += outcome.turns_read
    if outcome.reason == MALFORMED:
        if config.on_error != "skip":
            raise UserError(f"{outcome.problem} (to leave such pieces out and list them: {SKIP})")
        if len(report.skipped) < MOST_SKIPPED:
            report.skipped.append(outcome.problem)
    held_out = outcome.split in ("validation", "test")  # official ones are left whole, for others' figures to compare
    if reason := outcome.reason or (outcome.digest in seen and not held_out and "duplicate"):
        report.drop(reason)
        return
    seen[outcome.digest] = held_out or seen.get(outcome.digest, False)
    outcome = _with_own_id(outcome, ids)
    for name, count in zip(outcome.speakers, outcome.said, strict=True):
        report.speakers[name] = report.speakers.get(name, 0) + count
    report.kept += 1
    report.scrubbed += outcome.scrubbed
    report.merged_turns += outcome.merged
    plan.add(outcome.split, outcome.rank, outcome.speakers)
    speakers = outcome.speakers if plan.by == "speaker" else ()
    write(_record(outcome.split, outcome.rank, outcome.turns, outcome.replies, outcome.digest, speakers, outcome.line))


def _cut(kept: Path, plan: SplitPlan, report: Report, seen: Seen, gap: float) -> SplitPlan:
    """Cut the few dialogues that were kept, so that they fill all splits. Returns the plan for their parts.

    Files that were given splits are left as they are.
    """
    with kept.open("rb", BUFFER) as file:
        dialogues = [parse_dialogue(orjson.loads(record.split(b"\t", 1)[1]), "") for record in file]
    parts = [part for dialogue in dialogues for part in cut(dialogue, gap)]
    if len(parts) == len(dialogues) or plan.official or plan.by == "speaker":
        return plan
    new = plan.anew()
    with kept.open("wb", BUFFER) as file:
        for number, part in enumerate(parts):
            rank = len(parts) - number  # the last are held out
            digest = hash64(part.id)
            seen[digest] = False
            new.add("", rank, ())
            file.write(_record("", rank, len(part.turns), len(part.reply_indices()), digest, (), part.to_line()))
    report.read += len(parts) - len(dialogues)
    report.kept += len(parts) - len(dialogues)
    report.left_out[f"too few dialogues for three splits: divided into {len(parts)}, one after another"] = 0
    return new


def _record(
    split: str, rank: int, turns: int, replies: int, digest: int, speakers: tuple[str, ...], line: bytes
) -> bytes:
    """A line of a file of what is kept: what places the dialogue, a tab, and its line."""
    return b"%b\t%b" % (orjson.dumps((split, rank, turns, replies, digest, speakers)), line)


def _with_own_id(outcome: Cleaned, ids: dict[int, int]) -> Cleaned:
    """With an id that no dialogue before it has: of equal ones, evaluation would take several for one dialogue.

    Args:
        ids: how often each was there, by hash.
    """
    key = hash64(outcome.id)
    ids[key] = number = ids.get(key, 0) + 1
    if number == 1:
        return outcome
    own = f"{outcome.id}~{number}"
    line = outcome.line.replace(orjson.dumps(outcome.id), orjson.dumps(own), 1)  # the line begins with it
    return outcome._replace(id=own, line=line)


def _batches(part: Part, label: str) -> Iterator[Batch]:
    """The content of the part's files, in batches of one file each, or of a chat's files, and of bounded size."""
    for sources in _together(part):
        entries: list[Any] = []
        turns = 0
        about = (part.corpus.parse, sources[0].path.stem, sources[0].split, label)
        for entry in _entries(part, sources):
            entries.append(entry)
            turns += len(entry.turns) if isinstance(entry, Dialogue) else _turns_of(entry)
            if turns >= TURNS_PER_BATCH:
                yield Batch(entries, *about)
                entries, turns = [], 0
        yield Batch(entries, *about)


def _together(part: Part) -> Iterator[list[Source]]:
    """The part's files, those in one folder together where chats may go on from file to file."""
    if part.corpus.split_by != "time":
        yield from ([source] for source in part.sources)
        return
    for _, files in itertools.groupby(part.sources, key=lambda source: source.path.parent):
        yield list(files)


def _entries(part: Part, sources: list[Source]) -> Iterator[Any]:
    if part.corpus.parse:
        return itertools.chain.from_iterable(raw_records(source.path) for source in sources)
    files = [part.corpus.read(source.path, **part.options) for source in sources]
    return iter(files[0]) if len(files) == 1 else join(files)


def _turns_of(record: Any) -> int:
    """About how many turns a record holds that is not parsed yet, so that batches of long ones stay small."""
    raw = record[1] if isinstance(record, tuple) else None
    return max(TURNS_PER_RECORD, len(raw) // BYTES_PER_TURN) if isinstance(raw, bytes) else TURNS_PER_RECORD


def _placed(kept: Path, plan: SplitPlan) -> Iterator[tuple[str, str, int, int, int, bytes]]:
    """(official split, split, turns, scored replies, digest, line) of each kept dialogue."""
    with kept.open("rb", BUFFER) as file:
        for record in file:
            header, line = record.split(b"\t", 1)
            official, rank, turns, replies, digest, speakers = orjson.loads(header)
            split, scored_speakers = plan.assign(official, rank, speakers)
            if scored_speakers is not None:
                dialogue = parse_dialogue(orjson.loads(line), "")
                dialogue = dataclasses.replace(dialogue, split=split, scored_speakers=tuple(scored_speakers))
                replies, line = len(dialogue.reply_indices()), dialogue.to_line()
            elif split != official:
                # The first thing after id and corpus; quotes inside of these are escaped, so nothing else matches.
                line = line.replace(f'"split":"{official}"'.encode(), f'"split":"{split}"'.encode(), 1)
            yield official, split, turns, replies, digest, line


def _audit(working: Path, config: DataConfig, report: Report) -> None:
    pairs = find_near_duplicates([working / f"{split}.jsonl" for split in SPLITS])
    report.twins = [pair._asdict() for pair in pairs]
    names = leaking(pairs)
    if config.audit != "drop" or not names:
        return
    train, rest = working / "train.jsonl", working / "rest.jsonl"
    with train.open("rb") as old, rest.open("wb") as new:
        for line in old:
            dialogue = parse_dialogue(orjson.loads(line), "")
            if dialogue.id not in names:
                new.write(line)
                continue
            _count(report, "train", -1, -len(dialogue.turns), -len(dialogue.reply_indices()))
            report.drop("near duplicate of a held-out dialogue")
            report.kept -= 1
    rest.replace(train)
