"""What the store keeps of conversations, with both kinds of database."""

import pytest

from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.store.conversation_store import NoSuchConversation, NoSuchMessage, NoSuchReceipt
from gistchat.store.message_keys import FORGOTTEN


@pytest.fixture
def store(conversation_store):
    return conversation_store


@pytest.fixture
def talk(store):
    """The id of a conversation of four turns, and their keys."""
    id = store.create("chat").id
    turns = [Turn("user", "I live in Graz."), Turn("model", "Nice!"), Turn("user", "And you?"), Turn("model", "Here.")]
    return id, [message.key for message in store.append(id, "", turns)]


def texts(store, id, head=None):
    return [message.text for message in store.path(id, head)]


class TestConversations:
    def test_a_conversation_is_as_it_was_created(self, store):
        made = store.create("api", "mine", "  About\nGraz ", {"strategy": "memory", "seed": None})
        assert store.info(made.id) == made
        assert (made.origin, made.namespace, made.title, made.head, made.messages) == (
            "api",
            "mine",
            "About Graz",
            "",
            0,
        )
        assert made.settings == {"strategy": "memory", "seed": None}
        assert made.created == made.updated
        assert len(made.id) >= 22
        assert store.path(made.id) == []

    def test_it_is_not_there_for_another_namespace(self, store):
        made = store.create("api", "mine")
        assert store.info(made.id, "mine") == store.info(made.id)
        with pytest.raises(NoSuchConversation):
            store.info(made.id, "yours")
        assert store.list("yours") == []
        assert [info.id for info in store.list()] == [made.id]

    @pytest.mark.parametrize(
        "ask",
        [
            lambda store: store.info("nowhere"),
            lambda store: store.path("nowhere"),
            lambda store: store.append("nowhere", "", [Turn("user", "Hi")]),
            lambda store: store.set_head("nowhere", ""),
            lambda store: store.keep_state("nowhere", "", {}),
            lambda store: store.state("nowhere", ""),
            lambda store: store.leaf_below("nowhere", ""),
            lambda store: store.siblings("nowhere", []),
            lambda store: store.settings("nowhere", {}),
            lambda store: store.rename("nowhere", "a"),
            lambda store: store.delete("nowhere"),
            lambda store: store.forget("nowhere", ""),
            lambda store: store.add_receipt("nowhere", "", {}),
            lambda store: store.receipts_of("nowhere", []),
            lambda store: store.rate("nowhere", "", 1),
            lambda store: store.ratings_of("nowhere", []),
            lambda store: store.info("\0\ud800"),
        ],
    )
    def test_what_is_not_there_is_said(self, store, ask):
        with pytest.raises(NoSuchConversation, match="no such conversation"):
            ask(store)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda store, id: store.path(id, "nothing"),
            lambda store, id: store.append(id, "nothing", [Turn("user", "Hi")]),
            lambda store, id: store.set_head(id, "nothing"),
            lambda store, id: store.keep_state(id, "nothing", {}),
            lambda store, id: store.leaf_below(id, "nothing"),
            lambda store, id: store.forget(id, "\ud800\0"),
            lambda store, id: store.add_receipt(id, "nothing", {}),
            lambda store, id: store.rate(id, "nothing", 1),
        ],
    )
    def test_a_message_that_is_not_there_is_said(self, store, talk, ask):
        with pytest.raises(NoSuchMessage):
            ask(store, talk[0])
        assert len(store.path(talk[0])) == 4

    def test_messages_of_another_conversation_are_not_its_own(self, store, talk):
        other = store.create("chat").id
        with pytest.raises(NoSuchMessage):
            store.set_head(other, talk[1][0])
        assert store.siblings(other, talk[1]) == {}

    def test_the_latest_come_first_page_by_page(self, store):
        ids = [store.create("chat", title=str(number)).id for number in range(7)]
        store.append(ids[2], "", [Turn("user", "Hi")])
        wanted = [ids[2], *(id for id in reversed(ids) if id != ids[2])]
        listed, before = [], None
        while page := store.list(limit=3, before=before):
            listed += [info.id for info in page]
            before = page[-1].updated, page[-1].id
        assert listed == wanted

    def test_settings_and_titles_change(self, store, talk):
        store.settings(talk[0], {"seed": 3})
        store.rename(talk[0], "Home")
        assert store.info(talk[0]).settings == {"seed": 3}
        assert store.info(talk[0]).title == "Home"
        assert [info.id for info in store.list(search="HOME")] == [talk[0]]

    def test_what_is_deleted_is_gone_with_all_beside_it(self, store, talk):
        id, keys = talk
        store.keep_state(id, keys[-1], {"gist": []})
        receipt = store.add_receipt(id, keys[-1], {"prompt": "x"})
        store.rate(id, keys[-1], 1)
        other = store.create("chat").id
        store.append(other, "", [Turn("user", "I live in Graz.")])
        store.delete(id)
        with pytest.raises(NoSuchReceipt):
            store.receipt(receipt)
        assert [info.id for info in store.list()] == [other]
        assert [info.id for info, _ in store.search("Graz")] == [other]
        assert store.find("", keys[0]) == [other]
        assert store.check() == []


class TestTree:
    def test_messages_come_back_in_their_order(self, store, talk):
        id, keys = talk
        path = store.path(id)
        assert [message.key for message in path] == keys
        assert [message.parent for message in path] == ["", *keys[:-1]]
        assert [message.position for message in path] == [0, 1, 2, 3]
        assert [message.speaker for message in path] == ["user", "model"] * 2
        assert texts(store, id, keys[1]) == ["I live in Graz.", "Nice!"]
        info = store.info(id)
        assert (info.head, info.messages, info.title) == (keys[-1], 4, "I live in Graz.")

    def test_dates_and_extras_are_kept(self, store):
        id = store.create("api").id
        raw = {"content": [{"type": "image", "url": "data:,\u0000"}], "tool_call_id": None, "odd": "\ud83d"}
        stored = store.append(id, "", [Turn("user", "Look", "3 May 2023"), Turn("model", "Oh")], [raw])
        assert stored == store.path(id)
        assert (stored[0].date, stored[0].extra, stored[1].extra) == ("3 May 2023", raw, {})

    def test_a_turn_that_is_there_is_not_added_twice(self, store, talk):
        id, keys = talk
        again = store.append(id, keys[1], [Turn("user", "And you?"), Turn("model", "Elsewhere.")])
        assert again[0].key == keys[2]
        assert texts(store, id)[-1] == "Elsewhere."
        assert store.siblings(id, [keys[3], keys[2]]) == {keys[3]: [keys[3], again[1].key], keys[2]: [keys[2]]}

    def test_branches_stay_when_the_head_moves(self, store, talk):
        id, keys = talk
        other = store.append(id, keys[0], [Turn("model", "Which Graz?")])[0].key
        assert texts(store, id) == ["I live in Graz.", "Which Graz?"]
        assert store.siblings(id, [keys[1]]) == {keys[1]: [keys[1], other]}
        store.set_head(id, store.leaf_below(id, keys[1]))
        assert len(store.path(id)) == 4
        assert store.leaf_below(id, keys[0]) == other  # the newest
        assert store.leaf_below(id, "") == other
        assert store.leaf_below(id, keys[3]) == keys[3]

    def test_all_is_taken_back_and_begun_anew(self, store, talk):
        id, keys = talk
        store.set_head(id, "")
        assert store.path(id) == []
        assert store.info(id).messages == 0
        other = store.append(id, "", [Turn("user", "Hello")])[0].key
        assert store.siblings(id, [other]) == {other: [keys[0], other]}
        assert store.check() == []

    def test_no_turn_at_all_only_moves_the_head(self, store, talk):
        id, keys = talk
        assert store.append(id, keys[1], [], state={"gist": 1}) == []
        assert store.info(id).head == keys[1]
        assert store.state(id, keys[1]) == {"gist": 1}

    def test_versions_are_copies_and_what_was_said_instead(self, store, talk):
        id, keys = talk
        edited = store.append(id, keys[1], [Turn("user", "And they?")])[0].key
        copied = store.append(id, keys[0], [Turn("model", "Oh?"), Turn("user", "And you?"), Turn("model", "Here.")])
        assert set(store.versions(id, keys[2])) == {keys[2], edited, copied[1].key}
        assert set(store.versions(id, keys[1])) == {keys[1], copied[0].key}

    def test_what_was_kept_elsewhere_has_its_own_dates(self, store, talk):
        store.date(talk[0], 1000.5, 2000.25)
        info = store.info(talk[0])
        assert (info.created, info.updated) == (1000.5, 2000.25)

    def test_the_same_transcript_is_found_in_its_namespace(self, store):
        turns = [Turn("user", "Hi"), Turn("model", "Hello")]
        one, two, other = (store.create("proxy", name).id for name in ("a", "a", "b"))
        keys = store.keys(turns)
        for id in (one, two, other):
            assert [message.key for message in store.append(id, "", turns)] == keys
        store.append(two, keys[1], [Turn("user", "More")])
        assert store.find("a", keys[1]) == [two, one]
        assert store.find("b", keys[1]) == [other]
        assert store.find("a", store.keys([Turn("user", "Hi"), Turn("model", "Hello!")])[1]) == []

    def test_what_is_beside_the_text_makes_another_message(self, store):
        one = store.keys([Turn("user", "Look")], [{"image": 1, "detail": 2}])
        assert one == store.keys([Turn("user", "Look")], [{"detail": 2, "image": 1}])
        assert one != store.keys([Turn("user", "Look")])

    def test_text_that_no_database_can_hold_is_mended(self, store):
        id = store.create("proxy").id
        stored = store.append(id, "", [Turn("user", "a\0b\ud800c", "\0")])
        assert stored[0].text == "a\ufffdb\ufffdc"
        assert stored[0].key == store.keys([Turn("user", "a\0b\ud800c")])[0]
        assert store.append(id, "", [Turn("user", "a\0b\ud800c")]) == stored
        assert store.search("b\ud800C")[0][1] == stored[0]

    def test_ten_thousand_messages_are_appended_and_read(self, store):
        id = store.create("chat").id
        turns = [Turn(("user", "model")[number % 2], f"Number {number}") for number in range(10_000)]
        store.append(id, "", turns)
        path = store.path(id)
        assert [message.text for message in path] == [turn.text for turn in turns]
        assert len(store.siblings(id, [message.key for message in path])) == 10_000
        assert store.leaf_below(id, path[0].key) == path[-1].key


class TestTitles:
    def test_a_long_first_turn_is_cut_at_a_word(self, store):
        id = store.create("chat").id
        store.append(id, "", [Turn("system", "Be kind"), Turn("user", "word " * 50)])
        title = store.info(id).title
        assert title.endswith("word…")
        assert len(title) <= 61

    def test_a_title_that_was_given_stays(self, store):
        id = store.create("chat", title="Mine").id
        store.append(id, "", [Turn("user", "Hello")])
        assert store.info(id).title == "Mine"

    def test_a_person_with_a_name_gives_a_title(self, store):
        id = store.create("chat").id
        store.append(id, "", [Turn("Anna", "Hello all")])
        assert store.info(id).title == "Hello all"


class TestSearch:
    @pytest.mark.parametrize(
        "asked",
        ["graz", "GRAZ", "ra", "graz live", "ÄRGER", "a\u0308rger", "strasse", "ΣΊΣΥΦΟΣ", "100%", "a_b", "ＧＲＡＺ"],
    )
    def test_all_words_in_any_case(self, store, asked):
        id = store.create("chat").id
        text = "I live in Graz: Ärger in der Straße, Σίσυφος, 100% a_b."
        store.append(id, "", [Turn("user", text), Turn("model", "Something else")])
        assert [message.text for _, message in store.search(asked)] == [text]
        assert [info.id for info in store.list(search=asked)] == [id]

    @pytest.mark.parametrize("asked", ["", "  ", "graz vienna", "100_", "a%b", "\\"])
    def test_nothing_else_is_found(self, store, talk, asked):
        store.append(talk[0], "", [Turn("user", "100x acb")])
        assert store.search(asked) == []

    @pytest.mark.parametrize("asked", ["a " * 500, "a" * 1000, "\ufdfa" * 1000, " ".join(map(str, range(100)))])
    def test_much_is_searched_for(self, store, asked):  # U+FDFA is 18 letters when it is folded
        id = store.create("chat").id
        store.append(id, "", [Turn("user", asked)])
        assert [info.id for info in store.list(search=asked)] == [info.id for info, _ in store.search(asked)] == [id]

    @pytest.mark.parametrize("asked", ["a" * 1001, " ".join(map(str, range(101)))])
    def test_too_much_is_refused(self, store, asked):
        for ask in (store.search, lambda text: store.list(search=text)):
            with pytest.raises(UserError, match="at most 1,000 characters, and 100 words"):
                ask(asked)

    def test_the_latest_comes_first_and_branches_are_searched(self, store, talk):
        id, keys = talk
        store.append(id, keys[0], [Turn("model", "Graz!")])
        found = store.search("graz")
        assert [message.text for _, message in found] == ["Graz!", "I live in Graz."]
        assert {info.id for info, _ in found} == {id}
        assert len(store.search("graz", limit=1)) == 1
        assert store.search("graz", namespace="other") == []

    def test_a_conversation_is_found_by_its_title_or_a_message(self, store, talk):
        other = store.create("chat", title="Trip to Graz").id
        assert [info.id for info in store.list(search="graz")] == [other, talk[0]]
        assert [info.id for info in store.list(search="graz trip")] == [other]


class TestMemory:
    def test_a_state_moves_along_with_its_line(self, store, talk):
        id, keys = talk
        store.keep_state(id, keys[3], {"turns": 4})
        store.append(id, keys[3], [Turn("user", "a"), Turn("model", "b")], state={"turns": 6})
        head = store.info(id).head
        assert store.state(id, keys[3]) is None
        assert store.state(id, head) == {"turns": 6}

    def test_a_state_of_another_branch_stays(self, store, talk):
        id, keys = talk
        store.keep_state(id, keys[3], {"branch": 1})
        other = store.append(id, keys[2], [Turn("model", "There.")], state={"branch": 2})[0].key
        assert store.state(id, keys[3]) == {"branch": 1}
        assert store.state(id, other) == {"branch": 2}

    def test_a_state_is_replaced_some_turns_later(self, store, talk):
        id, keys = talk
        store.keep_state(id, keys[0], {"turns": 1})
        store.keep_state(id, keys[3], {"turns": 4})
        assert [store.state(id, key) for key in keys] == [None, None, None, {"turns": 4}]

    def test_before_the_first_turn_there_may_be_memory(self, store):
        id = store.create("page").id
        store.set_head(id, "", {"pinned": ["my name is Ada"]})
        assert store.state(id, "") == {"pinned": ["my name is Ada"]}
        store.append(id, "", [Turn("user", "Hi")], state={"pinned": []})
        assert store.state(id, "") is None


class TestReceiptsAndRatings:
    def test_a_receipt_is_had_by_its_id_and_by_its_message(self, store, talk):
        id, keys = talk
        first = store.add_receipt(id, keys[1], {"tokens": 1})
        second = store.add_receipt(id, keys[1], {"tokens": 2})
        assert first != second
        assert store.receipt(first) == {"tokens": 1}
        assert store.receipts_of(id, keys) == {keys[1]: second}

    def test_a_receipt_is_not_there_for_another_namespace(self, store):
        id = store.create("api", "mine").id
        key = store.append(id, "", [Turn("user", "Hi")])[0].key
        receipt = store.add_receipt(id, key, {"tokens": 1})
        assert store.receipt(receipt, "mine") == {"tokens": 1}
        for asked, namespace in ((receipt, "yours"), ("\0", None)):
            with pytest.raises(NoSuchReceipt):
                store.receipt(asked, namespace)

    def test_ratings_are_given_changed_and_taken_back(self, store, talk):
        id, keys = talk
        store.rate(id, keys[1], 1, "short\0")
        store.rate(id, keys[3], -1)
        assert store.ratings_of(id, keys) == {keys[1]: (1, "short\ufffd"), keys[3]: (-1, "")}
        store.rate(id, keys[1], -1)
        store.rate(id, keys[3], 0)
        assert store.ratings_of(id, keys) == {keys[1]: (-1, "")}


SECRET = "the safe opens with 8531 at Xylophonstraße"


class TestForgetting:
    @pytest.fixture
    def told(self, store):
        """A conversation that holds the secret, and the keys of its messages."""
        id = store.create("chat").id
        turns = [Turn("user", SECRET, "today"), Turn("model", "Noted."), Turn("user", "Fine"), Turn("model", "Yes")]
        keys = [message.key for message in store.append(id, "", turns, [{"raw": SECRET}], state={"gist": SECRET})]
        lines = [
            {"part": "gist", "text": "A safe, 8531.", "turns": [1]},
            {"part": "verbatim", "text": "Noted.", "turns": [2]},
        ]
        store.add_receipt(id, keys[3], {"lines": lines, "prompt": "Gist: A safe, 8531.", "tokens": 9})
        store.add_receipt(id, keys[1], {"lines": [], "prompt": f"user: {SECRET}\nmodel:"})
        store.rate(id, keys[0], 1, "about a safe")
        store.rate(id, keys[1], -1, f"He said {SECRET}!")
        store.rate(id, keys[3], -1, "too short")
        return id, keys

    def test_nothing_of_it_can_be_read(self, store, told):
        id, keys = told
        store.forget(id, keys[0])
        path = store.path(id)
        assert [message.key for message in path] == keys
        assert (path[0].text, path[0].extra, path[0].speaker) == (FORGOTTEN, {}, "user")
        assert [message.text for message in path[1:]] == ["Noted.", "Fine", "Yes"]
        assert [store.state(id, key) for key in keys] == [None] * 4
        assert store.search("8531") == []
        assert store.list(search="8531") == []
        assert store.ratings_of(id, keys) == {keys[0]: (1, ""), keys[1]: (-1, ""), keys[3]: (-1, "too short")}
        assert store.info(id).title == ""
        receipts = store.receipts_of(id, keys)
        shown = store.receipt(receipts[keys[3]])
        assert [line["text"] for line in shown["lines"]] == [FORGOTTEN, "Noted."]
        assert (shown["prompt"], shown["tokens"]) == (FORGOTTEN, 9)
        assert store.receipt(receipts[keys[1]])["prompt"] == FORGOTTEN
        assert store.check() == []

    def test_what_is_said_again_stays_forgotten(self, store, told):
        id, keys = told
        store.forget(id, keys[0])
        store.forget(id, keys[0])
        assert store.append(id, "", [Turn("user", SECRET)], [{"raw": SECRET}])[0].text == FORGOTTEN

    def test_copies_in_other_branches_go_with_it(self, store, told):
        id, keys = told
        copied = store.append(id, keys[0], [Turn("model", "Edited"), Turn("user", SECRET), Turn("model", "Ok")])
        again = store.append(id, keys[0], [Turn("model", "Once more"), Turn("user", SECRET)])
        store.forget(id, again[1].key)
        assert texts(store, id, copied[2].key) == [SECRET, "Edited", FORGOTTEN, "Ok"]

    def test_other_conversations_keep_theirs(self, store, told):
        other = store.create("chat").id
        store.append(other, "", [Turn("user", SECRET)])
        store.forget(told[0], told[1][0])
        assert texts(store, other) == [SECRET]
