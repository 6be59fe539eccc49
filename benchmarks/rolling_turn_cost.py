"""Does a turn of the rolling memory cost more after 10,000 turns than after 100?"""

import copy
import itertools
import statistics
import tempfile
import time
from pathlib import Path

from figures import Measurement

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.memory.factory import MemoryFactory
from gistchat.memory.rolling import RollingMemory
from gistchat.memory.summarizers.extractive import Extractor
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prepare.prepare import prepare
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.schema import ContextConfig, DataConfig, SummaryConfig

EARLY, LATE = 100, 10_000
TURNS = 300  # of which the time is taken
REPEATS = 9
BOUND = 1.2


def take() -> float:
    """Median over the repeats of the time a turn takes late, by what the same turns take early."""
    context = ContextConfig()
    tokenizer = gpt2_tokenizer()
    extractor = Extractor("textrank")
    memory = MemoryFactory.of(SummaryConfig(), context, SpeakerTokens(tokenizer)).new_memory()
    turns = itertools.cycle(_chitchat_turns())
    early = None
    for said in range(LATE):
        if said == EARLY:
            early = copy.deepcopy(memory)
        _hear(memory, next(turns), extractor)
    measured = [next(turns) for _ in range(TURNS)]
    ratios = []
    for _ in range(REPEATS):
        first, late = (_seconds(copy.deepcopy(one), measured, extractor) for one in (early, memory))
        ratios.append(late / first)
    return statistics.median(ratios)


def _seconds(memory: RollingMemory, turns: list[Turn], extractor: Extractor) -> float:
    start = time.perf_counter()
    for turn in turns:
        _hear(memory, turn, extractor)
    return time.perf_counter() - start


def _hear(memory: RollingMemory, turn: Turn, extractor: Extractor) -> None:
    memory.add(turn)
    memory.refresh(extractor)


def _chitchat_turns() -> list[Turn]:
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder) / "chitchat")
        dialogues = load_dialogues(Path(folder) / "chitchat" / "test.jsonl")
    return [turn for dialogue in dialogues for turn in dialogue.turns]


FIGURE = Measurement(
    "rolling_turn_cost",
    "times",
    f"the rolling memory (TextRank, 96 tokens) hears {TURNS} turns of chitchat after {LATE:,} others and after "
    f"{EARLY}; the time it takes late by the time early, interleaved, median of {REPEATS}. The bound is what it must "
    "not exceed.",
    take,
    BOUND,
)
