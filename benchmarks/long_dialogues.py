"""Does a turn of a very long dialogue, or an item of a large evaluation, cost more than one of a shorter or smaller?"""

import random
import time
from functools import partial

from figures import Measurement

from gistchat.dialogue.turns import Turn
from gistchat.evaluate.analysis import analyse
from gistchat.memory.summarizers.extractive import summarize_prefixes

WORDS = [f"word{i}" for i in range(5000)]
FEW_TURNS, MANY_TURNS = 5_000, 20_000
FEW_ITEMS, MANY_ITEMS = 500, 5_000
RESAMPLES = 10_000


def said(rng: random.Random, words: int = 8) -> str:
    """A sentence in which some words are much more frequent than others, as in any text."""
    return " ".join(WORDS[int(len(WORDS) * rng.random() ** 3)] for _ in range(words)) + "."


def summary_cost(method: str) -> float:
    """Processor time of the summaries of a long dialogue's prefixes per turn, by that of a shorter one."""
    few, many = (_summary_seconds(method, turns) / turns for turns in (FEW_TURNS, MANY_TURNS))
    return many / few


def _summary_seconds(method: str, turns: int) -> float:
    rng = random.Random(0)
    dialogue = [Turn("ab"[i % 2], said(rng)) for i in range(turns)]
    start = time.process_time()
    summarize_prefixes(dialogue, method, 96, lambda texts: [2 * len(text.split()) for text in texts])
    return time.process_time() - start


def analysis_cost() -> float:
    """Processor time of the analysis of a large evaluation per item, by that of a small one."""
    few, many = (_analysis_seconds(items) / items for items in (FEW_ITEMS, MANY_ITEMS))
    return many / few


def _analysis_seconds(items: int) -> float:
    rng = random.Random(0)
    golds = [said(rng, 12) for _ in range(items)]
    rows = [
        {"id": f"{i}", "dialogue": f"d{i // 3}", "turn": i % 60, "model": "tuned", "strategy": strategy, "budget": 96,
         "context": [{"role": "user", "text": golds[i - 1]}], "prompt_tokens": 90, "gold": gold, "gold_tokens": 20,
         "nats": rng.uniform(40, 80), "reply": said(rng, 12)}
        for strategy in ("recent", "summary", "hybrid")
        for i, gold in enumerate(golds)
    ]  # fmt: skip
    start = time.process_time()
    analyse(rows, "recent", RESAMPLES, 0)
    return time.process_time() - start


SUMMARIES = [
    Measurement(
        f"summarize_{MANY_TURNS // 1000}k_{method}",
        "times",
        f"summaries of all prefixes of a generated dialogue of {MANY_TURNS:,} turns by {method}: processor time per "
        f"turn, by that of {FEW_TURNS:,} turns. The bound is what it must not exceed.",
        partial(summary_cost, method),
        1.3,
    )
    for method in ("textrank", "lexrank", "lsa", "mmr")
]
ANALYSIS = Measurement(
    "analyse_5k_items",
    "times",
    f"analysis of {MANY_ITEMS:,} generated items with replies, three strategies, {RESAMPLES:,} resamples: processor "
    f"time per item, by that of {FEW_ITEMS:,} items. The bound is what it must not exceed.",
    analysis_cost,
    1.3,
)
