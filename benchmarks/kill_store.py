"""Kill a process that writes to the store of conversations, again and again: is all there that it said was kept?

    python benchmarks/kill_store.py --kills 50 [--database URL]

After each kill: every acknowledged message is on the path that ends with it, and the store's own check is clean.
Prints how many messages were acknowledged in all; ends with an error at the first that is missing.
"""

import argparse
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gistchat.dialogue.turns import Turn
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database

LONGEST_SECONDS = 0.3  # between a writer's first message and its end
START_SECONDS = 60
WRITER = """
import sys, threading
from gistchat.store.conversation_store import ConversationStore, Turn
from gistchat.store.database import Database

store = ConversationStore(Database.open(sys.argv[1]))
said = threading.Lock()

def write(id):
    parent, number = sys.argv[3] if id == sys.argv[2] else "", 0
    while True:
        turns = [Turn("user", f"{number} " + "word " * 300), Turn("model", "Yes.")]
        parent = store.append(id, parent, turns, state={"gist": "word " * 500, "turns": number})[-1].key
        number += 1
        with said:
            print(id, parent, flush=True)

for id in (sys.argv[2], store.create("api").id):
    threading.Thread(target=write, args=(id,)).start()
"""


def kill_writers(url: str, kills: int, seed: int = 0) -> list[int]:
    """How many appends each writer was told are kept before it was killed.

    Raises:
        AssertionError: one of them is not there, or the check of the store finds something.
    """
    rng = random.Random(seed)
    database = Database.open(url)
    store = ConversationStore(database)
    id = store.create("api").id
    head = store.append(id, "", [Turn("user", "Begin")])[0].key
    counts = []
    try:
        for _ in range(kills):
            acknowledged = _kill_one([url, id, head], rng.uniform(0, LONGEST_SECONDS))
            for written in {written for written, _ in acknowledged}:
                last = store.info(written).head
                there = {message.key for message in store.path(written)}
                missing = [key for id, key in acknowledged if id == written and key not in there]
                assert not missing, f"{len(missing)} are missing"
                assert store.state(written, last), f"{last} has no memory"
            assert not (problems := store.check()), problems
            head = store.info(id).head
            counts.append(len(acknowledged))
    finally:
        database.close()
    return counts


def _kill_one(arguments: list[str], seconds: float) -> list[tuple[str, str]]:
    """Conversation and message of each append that a writer was told is kept."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE)
    try:
        assert select.select([writer.stdout], [], [], START_SECONDS)[0], "the writer does not start"
        time.sleep(seconds)
    finally:
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate()
    lines = out.decode().rpartition("\n")[0].splitlines()  # the last may be cut off
    return [(written, key) for written, key in map(str.split, lines)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--database", help="URL; otherwise a file of SQLite that is removed afterwards")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = kill_writers(options.database or f"sqlite:///{Path(folder) / 'kill.db'}", options.kills)
    print(
        f"{len(counts)} writers killed; all of {sum(counts):,} acknowledged appends are there, and the check is clean"
    )


if __name__ == "__main__":
    main()
