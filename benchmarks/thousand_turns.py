"""A chat of a thousand turns with the packaged model by llama.cpp: what a turn costs, early and late."""

import itertools
import statistics
import time
from pathlib import Path

from figures import Measurement

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.context.types import ASSISTANT, USER, Context, RoleTurn
from gistchat.dialogue.turns import Turn

PLOT = Path(__file__).parent.parent / "docs" / "chat_turn_1000.svg"
EARLY, LATE = 20, 1000  # turns

WORDS = [
    "I",
    "we",
    "you",
    "they",
    "saw",
    "had",
    "found",
    "lost",
    "a",
    "the",
    "my",
    "red",
    "old",
    "small",
    "dog",
    "house",
    "book",
    "train",
    "today",
    "again",
    "near",
    "with",
]


def script() -> itertools.count:
    """Turns of 12 words without an end, no two alike."""
    return (
        " ".join(WORDS[(n * 7 + j * (n % 11 + 1)) % len(WORDS)] for j in range(12)) + f" {n}."
        for n in itertools.count()
    )


def new_session() -> ChatSession:
    """With an engine of its own: one that is shared keeps the prompt of the conversation that it answered last."""
    settings = ["chat.max_reply_tokens=8", "chat.temperature=0", "context.budget=128"]
    return ChatSession(ChatModel.open(None, settings))


def first_token(session: ChatSession, text: str) -> float:
    """Seconds from a turn to the first piece of its answer; the answer is then read to its end."""
    pieces = session.reply(text)
    start = time.perf_counter()
    next(pieces)
    seconds = time.perf_counter() - start
    for _ in pieces:
        pass
    session.remember()
    return seconds


def hear(session: ChatSession, lines: itertools.count, turns: int) -> None:
    """Let a session hear turns that were said elsewhere, up to so many."""
    while len(session.turns) < turns:
        session.hear([Turn("user", next(lines)), Turn("model", next(lines))])


def resident_mb() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def growing_history(session: ChatSession, lines: itertools.count, until: int) -> list[tuple[int, float]]:
    """(turns, seconds to the first token) of the same engine where it reads the whole history for each reply."""
    engine, found, turns = session.engine, [], []
    for turn in range(1, until, 2):
        last = RoleTurn(USER, next(lines), turn)
        prompt = engine.format.encode(Context((), tuple(turns), last, 0, 0))
        if len(prompt) >= engine.limit:
            break
        turns += [last, RoleTurn(ASSISTANT, next(lines), turn + 1)]
        if turn % 20 != 1:
            continue
        start = time.perf_counter()
        engine.server.greedy(prompt.ids, 1)
        found.append((turn, time.perf_counter() - start))
    return found


def chat_ratio() -> float:
    """The larger of two ratios, late by early: time to the first token, and resident memory."""
    early, late = new_session(), new_session()
    lines = script()
    hear(early, lines, EARLY)
    by_turn = []
    for turn in range(EARLY, LATE + 1, 20):
        hear(late, lines, turn)
        by_turn.append((turn + 1, statistics.median(first_token(late, next(lines)) for _ in range(3))))
        if turn == EARLY:
            before = resident_mb()
    grown = resident_mb() - before
    memory = 1 + grown / before
    ratios = []
    for _ in range(40):
        line = next(lines)
        ratios.append((first_token(early, line), first_token(late, line)))
    seconds = statistics.median(b for _, b in ratios) / statistics.median(a for a, _ in ratios)
    plot(by_turn, growing_history(early, script(), LATE))
    print(f"turn {LATE} by turn {EARLY}: time to the first token {seconds:.3f}, memory {memory:.3f} ({grown:+.0f} MB)")
    return max(seconds, memory)


def plot(gist: list[tuple[int, float]], history: list[tuple[int, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([turn for turn, _ in gist], [seconds for _, seconds in gist], label="gist and latest turns (rolling)")
    axes.plot([turn for turn, _ in history], [seconds for _, seconds in history], label="growing history, plain")
    last, slowest = history[-1]
    axes.annotate("the model's limit", (last, slowest), (last + 30, slowest), va="center")
    axes.set_xlabel("turn")
    axes.set_ylabel("seconds to the first token")
    axes.set_ylim(0)
    axes.legend(frameon=False)
    figure.savefig(PLOT, format="svg", metadata={"Date": None})


CHAT = Measurement(
    "chat_turn_1000",
    "times",
    f"time to the first token at turn {LATE:,} by that at turn {EARLY} (medians of 40 turns, interleaved), "
    f"or resident memory at those turns, whichever is more; rolling gist, 128 tokens, packaged model by llama.cpp. "
    "docs/chat_turn_1000.svg shows it beside the growing history. The bound is what it must not exceed.",
    chat_ratio,
    1.15,
)
