"""The section [data]: which dialogues, and how they are cleaned and split."""

import dataclasses
from dataclasses import dataclass, field

from gistchat.corpora import CORPORA
from gistchat.errors import UserError


@dataclass
class MixConfig:
    """One corpus of a mix."""

    corpus: str = field(default="", metadata={"help": "one that gistchat corpora lists"})
    source: str = field(default="", metadata={"help": "file, folder or hub, as data.source"})
    name: str = field(default="", metadata={"help": "what its dialogues are marked with; default: the corpus"})
    weight: float = field(default=1.0, metadata={"help": "2: its replies are drawn twice as often, 0.5: half as often"})


@dataclass
class DataConfig:
    """Which dialogues, and how they are cleaned and split."""

    corpus: str = field(default="chitchat", metadata={"help": f"one of: {', '.join(CORPORA)}"})
    source: str = field(
        default="", metadata={"help": "file or folder to read, hub, or hub:ID@REVISION; empty: the installed package"}
    )
    mix: list[MixConfig] = field(
        default_factory=list, metadata={"help": "several corpora instead of one, each a table [[data.mix]]"}
    )
    folder: str = field(default="", metadata={"help": "where prepared data goes; empty: data/CORPUS-KEY"})
    seed: int = field(default=0, metadata={"help": "fixes who is held out"})
    min_turns: int = field(default=0, metadata={"help": "shorter dialogues are dropped; 0: the corpus's default"})
    max_turn_chars: int = field(
        default=0, metadata={"help": "dialogues with a longer turn are dropped, in characters; 0: the corpus's default"}
    )
    scrub: str = field(
        default="auto", metadata={"help": "replace phone numbers, e-mail and web addresses: auto|yes|no"}
    )
    split_by: str = field(default="auto", metadata={"help": "what may not straddle splits: auto|speaker|dialogue"})
    test_share: float = field(default=0.10, metadata={"help": "share of speakers (or dialogues) held out for test"})
    validation_share: float = field(default=0.05, metadata={"help": "the same, for validation"})
    audit: str = field(default="no", metadata={"help": "near duplicates across splits: no|report|drop (from train)"})
    on_error: str = field(default="stop", metadata={"help": "at malformed input: stop|skip (skipped ones are listed)"})


def mix_of(config: DataConfig) -> list[MixConfig]:
    """The corpora of a recipe: its mix, or the one that it names.

    Raises:
        UserError: both are given, or two corpora of the mix have the same name.
    """
    if not config.mix:
        return [MixConfig(config.corpus, config.source, config.corpus)]
    if config.source or config.corpus != DataConfig.corpus:
        raise UserError("give the corpora in data.mix or one in data.corpus and data.source, not both")
    mix = [dataclasses.replace(part, name=part.name or part.corpus) for part in config.mix]
    names = [part.name for part in mix]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UserError(f"data.mix: {', '.join(twice)} is there twice; give each a name of its own")
    return mix
