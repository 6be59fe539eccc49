"""Bodies of chats by their own bytes, and where a list goes on in what is kept."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gistchat.dialogue.turns import Turn
from gistchat.errors import UserError
from gistchat.server.chat_body import ChatBody
from gistchat.server.identity import Transcripts, align
from gistchat.server.remembered import Said, read_message
from gistchat.store.message_keys import message_keys

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls", "x"]), VALUES), max_size=5
)
FIELDS = st.dictionaries(st.text(max_size=5).filter(lambda name: name != "messages"), VALUES, max_size=3)
STYLES = st.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


def transcripts() -> Transcripts:
    return Transcripts(lambda turns, extras, parent: message_keys(b"secret", parent, turns, extras))


@given(FIELDS, MESSAGES, FIELDS, STYLES)
def test_any_body_is_read_and_put_together_as_it_was(before, messages, after, style):
    text = json.dumps({**before, "messages": messages, **after}, **style)
    chat = ChatBody(text)
    values = json.loads(text)
    assert [message.value for message in chat.messages] == values.pop("messages")
    assert chat.fields == values
    rebuilt = chat.with_messages(message.json for message in chat.messages)
    assert json.loads(rebuilt) == json.loads(text)
    for message in chat.messages:
        assert message.json in text


@given(FIELDS, MESSAGES, MESSAGES, FIELDS)
def test_what_goes_on_from_an_earlier_body_is_read_alike(before, messages, more, after):
    earlier = ChatBody(json.dumps({**before, "messages": messages}))
    text = json.dumps({**before, "messages": messages + more, **after})
    if messages and text.startswith(earlier.beginning):
        chat, whole = ChatBody(text, earlier), ChatBody(text)
        assert (chat.messages, chat.fields, chat.beginning) == (whole.messages, whole.fields, whole.beginning)


@given(MESSAGES, MESSAGES)
def test_transcripts_do_not_depend_on_what_was_read_before(messages, more):
    reader, bodies = transcripts(), [json.dumps({"messages": part}).encode() for part in (messages, messages + more)]
    for body in (*bodies, *bodies):
        _, read = reader.read(body)
        _, anew = transcripts().read(body)
        assert [said.key for said in read.path] == [said.key for said in anew.path]
        assert (read.places, read.standing) == (anew.places, anew.standing)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"messages": [}', '{"messages": [{},]}', '{"messages": []} x', '{"messages": [], }', '{"a": 1}'],
)
def test_bodies_that_are_none(text):
    with pytest.raises(UserError):
        ChatBody(text)


def test_two_lists_in_a_body_are_none():
    with pytest.raises(UserError):
        ChatBody('{"messages": [{"role": "user"}], "messages": []}')


def path(*texts: str) -> list[Said]:
    """Turns of a person and, in upper case, of the model."""
    said: list[Said] = []
    for text in texts:
        message = {"role": "assistant" if text.isupper() else "user", "content": text}
        turn, extra = read_message(message, None)
        said.append(Said(said[-1] if said else None, text, turn, extra, len(said) + 1, 0))
    return said


KEPT = ("a", "B", "c", "D", "yes", "E")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ((*KEPT, "f"), (6, 6)),  # all of it
        (("D", "yes", "E", "f"), (6, 3)),  # without the beginning
        (("c", "D", "yes"), (5, 3)),  # without the beginning, to be answered again
        (("c", "D", "other"), (4, 2)),  # or edited
        (("a", "B", "other"), (2, 2)),  # whole, and edited
        (("f",), (6, 0)),  # the new message alone
        (("yes",), (6, 0)),  # also where it was said before
        (("a",), (1, 1)),  # but for the whole of a conversation that is asked again
        (("x", "Y", "z"), (6, 0)),  # nothing that is known
    ],
)
def test_where_a_list_goes_on(sent, expected):
    assert align(path(*KEPT), path(*sent)) == expected


def test_who_leaves_out_beginnings_says_the_first_words_again():
    assert align(path(*KEPT), path("a"), trims=True) == (6, 0)


def test_what_was_forgotten_is_passed_over():
    kept = path(*KEPT)
    kept[4] = Said(kept[3], "key", Turn("user", "…"), {}, 5, 0)
    assert align(kept, path("D", "yes", "E", "f")) == (6, 3)


def test_readers_share_what_they_know():
    reader, failed = transcripts(), []
    messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": str(n)} for n in range(200)]
    expected = [said.key for said in transcripts().read(json.dumps({"messages": messages}).encode())[1].path]

    def read() -> None:
        for end in range(1, 200, 7):
            _, transcript = reader.read(json.dumps({"messages": messages[:end]}).encode())
            if [said.key for said in transcript.path] != expected[:end]:
                failed.append(end)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
