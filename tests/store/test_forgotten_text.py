"""What was forgotten or deleted is in no file of the database any more."""

import random
import sqlite3

import pytest

from gistchat.dialogue.turns import Turn
from gistchat.store.conversation_store import ConversationStore
from gistchat.store.database import Database, StoreUnavailable
from gistchat.store.forgetting import without_text
from gistchat.store.message_keys import FORGOTTEN

SECRET = "Xylophon8531"


@pytest.fixture
def database(tmp_path):
    database = Database.open(str(tmp_path / "conversations.db"), busy_seconds=0.2)
    yield database
    database.close()


def holds(database, text=SECRET):
    """The files that have a text in whatever case."""
    files = database.path.parent.iterdir()
    return [file.name for file in files if text.lower().encode() in file.read_bytes().lower()]


def tell(store, length, rounds=30):
    """A conversation in which a text of so many characters is said, and kept in all places; and its key."""
    rng = random.Random(length)
    id = store.create("page").id
    secret = f"{SECRET} " + "".join(rng.choices("abcdefgh ", k=length))
    head = store.append(id, "", [Turn("system", "Be kind.")])[0].key
    told = store.append(id, head, [Turn("user", secret), Turn("model", "Noted.")], [{"raw": secret}])
    store.add_receipt(id, told[1].key, {"lines": [], "prompt": f"user: {secret}"})
    head = told[1].key
    for number in range(rounds):  # each state is longer than the one that it replaces, so that rows move between pages
        turns = [Turn("user", f"Number {number} " * rng.randint(1, 300)), Turn("model", "Yes. " * rng.randint(1, 50))]
        state = {"gist": [secret] * (number % 7 + 1), "more": "word " * rng.randint(1, 2000)}
        head = store.append(id, head, turns, state=state)[-1].key
        line = {"part": "gist", "text": f"About {SECRET}.", "turns": [2, 3]}
        store.add_receipt(id, head, {"lines": [line], "prompt": f"About {SECRET}."})
    store.rate(id, head, -1, "not what I asked")
    store.append(id, told[0].parent, [Turn("user", "Edited"), Turn("model", "Noted.")], state={"gist": [secret]})
    return id, told[0].key


@pytest.mark.parametrize("length", [10, 3000, 50_000])
def test_forgotten_text_is_in_no_file(database, length):
    store = ConversationStore(database)
    told = [tell(store, length + number) for number in range(3)]
    assert holds(database)
    for id, key in told:
        store.forget(id, key)
    assert holds(database) == []
    assert store.check() == []
    assert store.search("number")  # what else was said is still there


def test_deleted_conversations_are_in_no_file(database):
    store = ConversationStore(database)
    told = [tell(store, 2000 + number)[0] for number in range(2)]
    for id in told:
        store.delete(id)
    assert holds(database) == []
    assert store.list() == []
    assert store.check() == []


def test_other_connections_do_not_keep_it(database):
    store, other = ConversationStore(database), Database.open(str(database.path))
    id, key = tell(store, 500)
    assert ConversationStore(other).path(id)
    store.forget(id, key)
    assert holds(database) == []
    assert ConversationStore(other).search(SECRET) == []
    other.close()


def test_a_reader_that_keeps_it_is_said_and_it_can_be_forgotten_again(database):
    store = ConversationStore(database)
    id, key = tell(store, 500)
    reader = sqlite3.connect(database.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM messages").fetchone()
    with pytest.raises(StoreUnavailable, match="forgotten is still in its log"):
        store.forget(id, key)
    assert store.search(SECRET) == []
    reader.close()
    store.forget(id, key)
    assert holds(database) == []


LINES = [
    {"part": "gist", "text": "Lives in Graz.", "turns": [1, 2]},
    {"part": "verbatim", "text": "I live in Graz", "turns": [1]},
    {"part": "verbatim", "text": "Nice", "turns": [2]},
    {"part": "last", "text": "And you? I live in Graz too", "turns": []},
]


class TestReceipts:
    def test_lines_of_the_turn_and_texts_that_hold_it_go(self):
        receipt = {"lines": LINES, "prompt": "gist: Lives in Graz. Nice", "tokens": 4, "seconds": {"reply": 0.5}}
        left = without_text(receipt, "I live in Graz", 1, FORGOTTEN)
        assert [line["text"] for line in left["lines"]] == [FORGOTTEN, FORGOTTEN, "Nice", FORGOTTEN]
        assert left["prompt"] == FORGOTTEN
        assert (left["tokens"], left["seconds"]) == (4, {"reply": 0.5})
        assert [line["turns"] for line in left["lines"]] == [line["turns"] for line in LINES]

    def test_a_text_goes_as_it_stands_in_json_too(self):
        call = {"arguments": '{"where": "Straße \\"1\\"\\n"}', "other": '{"where": "Stra\\u00dfe \\"1\\"\\n"}'}
        left = without_text({"prompt": [call]}, 'Straße "1"\n', 1, FORGOTTEN)
        assert left == {"prompt": [{"arguments": FORGOTTEN, "other": FORGOTTEN}]}

    def test_a_short_text_leaves_the_programs_own_words(self):
        receipt = {"strategy": "memory", "model": "me", "lines": [{"part": "gist", "text": "me"}], "ended": "me"}
        left = without_text(receipt, "me", 1, FORGOTTEN)
        assert left == receipt | {"lines": [{"part": "gist", "text": FORGOTTEN}]}

    @pytest.mark.parametrize("receipt", [{}, {"lines": None}, {"lines": [3, {"turns": None}]}, {"lines": "x"}])
    def test_a_receipt_of_another_form_stays_as_it_is(self, receipt):
        assert without_text(receipt, "I live in Graz", 1, FORGOTTEN) == receipt

    def test_a_receipt_without_it_stays_as_it_is(self):
        receipt = {"lines": LINES[2:3], "prompt": "Nice"}
        assert without_text(receipt, "I live in Graz", 1, FORGOTTEN) == receipt
