"""Search in old turns: what a turn costs at 100,000 turns, and how long the index takes, beside SQLite's FTS5."""

import sqlite3
import statistics
import tempfile
import time
from functools import cache
from pathlib import Path

from figures import Measurement, Pair

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.dialogue.jsonl import load_dialogues
from gistchat.dialogue.turns import Turn
from gistchat.memory.turn_index import TurnIndex, terms
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig

FEW, MANY = 1_000, 100_000  # turns
ASKED = 40  # turns that are answered, or searched for, at each length
SETTINGS = ("chat.strategy=memory", "chat.temperature=0", "chat.max_reply_tokens=8")


@cache
def real_turns() -> list[Turn]:
    """What people said in chitchat's conversations, in their order, two speakers in turn; again where it ends."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder))
        texts = [turn.text for talk in load_dialogues(Path(folder) / "train.jsonl") for turn in talk.turns]
    texts *= -(-(MANY + 2 * ASKED) // len(texts))
    return [Turn(("user", "model")[number % 2], text) for number, text in enumerate(texts)]


def questions() -> list[str]:
    return [turn.text for turn in real_turns()[MANY : MANY + 2 * ASKED : 2]]


# ---- a turn of a chat


@cache
def sessions() -> tuple[ChatSession, ChatSession, float]:
    """One of few turns and one of many, as a restart finds them, and the seconds that the second restart took.

    Only the last few turns of both go through a rolling gist, one by one: it costs the same after any number of turns,
    and would take an hour for many.
    """
    model, made = ChatModel.open(overrides=SETTINGS), []
    for length in (FEW, MANY):
        heard = ChatSession(model, seed=0)
        heard.switch_strategy("retrieval")
        heard.hear(real_turns()[: length - FEW])
        heard.switch_strategy("memory")
        heard.hear(real_turns()[length - FEW : length])
        values = heard.to_dict()
        start = time.perf_counter()
        made.append(ChatSession.from_dict(model, values, seed=0))
        made[-1].search("anything")
        seconds = time.perf_counter() - start
    return made[0], made[1], seconds


@cache
def turn_seconds() -> list[tuple[float, float]]:
    few, many, _ = sessions()
    found = []
    for text in questions():
        pair = []
        for session in (few, many):
            start = time.perf_counter()
            session.say(text)
            pair.append(time.perf_counter() - start)
        found.append((pair[0], pair[1]))
    return found


TURN = Measurement(
    "retrieval_turn_cost",
    "times",
    f"a turn of a chat with the strategy `memory`, packaged model, replies of 8 tokens: its seconds after {MANY:,} "
    f"real turns by those after {FEW:,}; the median of {ASKED} pairs. The bound is what it must not exceed.",
    lambda: statistics.median(many / few for few, many in turn_seconds()),
    1.5,
)
RESTART = Measurement(
    "retrieval_restart",
    "s",
    f"seconds until a conversation of {MANY:,} turns that was written down can be searched again, its index made anew. "
    "The bound is what it must not exceed.",
    lambda: sessions()[2],
    30,
)


# ---- the search alone


@cache
def index() -> TurnIndex:
    return TurnIndex(real_turns()[:MANY])


@cache
def fts5() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE turns USING fts5(text, tokenize='porter unicode61')")
    texts = ((turn.text,) for turn in real_turns()[:MANY])
    database.executemany("INSERT INTO turns(text) VALUES (?)", texts)
    return database


def search() -> float:
    """Median milliseconds of a search."""
    found, made = [], index()
    for text in questions():
        start = time.perf_counter()
        made.find(text, MANY)
        found.append(1000 * (time.perf_counter() - start))
    print(f"slowest of {ASKED}: {max(found):.1f} ms")
    return statistics.median(found)


SEARCH = Measurement(
    "retrieval_search",
    "ms",
    f"milliseconds of a search among {MANY:,} real turns, for what was said next; the median of {ASKED}. The bound is "
    "what it must not exceed.",
    search,
    10,
)


def both() -> tuple[TurnIndex, sqlite3.Connection]:
    return index(), fts5()


def many_turns() -> list[Turn]:
    return real_turns()[:MANY]


def search_by_fts5(made: tuple[TurnIndex, sqlite3.Connection]) -> int:
    query = "SELECT rowid FROM turns WHERE turns MATCH ? ORDER BY rank LIMIT 200"
    for text in questions():
        words = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms(text)))
        if words:
            made[1].execute(query, (words,)).fetchall()
    return ASKED


def search_by_index(made: tuple[TurnIndex, sqlite3.Connection]) -> int:
    for text in questions():
        made[0].find(text, MANY)
    return ASKED


BESIDE_FTS5 = Pair(
    "retrieval_vs_fts5",
    "searches/s",
    f"searches among {MANY:,} real turns: gistchat's index, neighbours of matching turns included, beside FTS5 of "
    "SQLite, which ranks matching turns alone.",
    both,
    search_by_fts5,
    search_by_index,
)


def index_by_fts5(turns: list[Turn]) -> int:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE turns USING fts5(text, tokenize='porter unicode61')")
    database.executemany("INSERT INTO turns(text) VALUES (?)", ((turn.text,) for turn in turns))
    return len(turns)


def index_by_ours(turns: list[Turn]) -> int:
    return len(TurnIndex(turns))


INDEXING = Pair(
    "retrieval_indexing",
    "turns/s",
    f"turns indexed in a second, of {MANY:,} real ones: gistchat's index beside FTS5 of SQLite.",
    many_turns,
    index_by_fts5,
    index_by_ours,
    repeats=3,
)
