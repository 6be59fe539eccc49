"""Memory in front of another model, whose answers a test scripts."""

import http.client
import itertools
import json
import re
import threading
import time
from pathlib import Path

import openai
import pytest
from fake_chat_server import ChatServer, begin, delta, event, refuses, send
from server_fixtures import Served, serving, settle

from gistchat.errors import UserError
from gistchat.server import proxy as proxy_module
from gistchat.store.database import StoreUnavailable

KEYS = ("first-test-key", "second-test-key")
CONVERSATION, ERROR, RECEIPT = "x-gistchat-conversation", "x-gistchat-error", "x-gistchat-receipt"
SYSTEM = {"role": "system", "content": "You know é and \u2028 well.", "priority": 1.50}


def says(text: str, **more):
    """Answers with a text, streamed where it is asked for."""

    def answer(handler, body):
        if body.get("stream"):
            begin(handler)
            for piece in re.findall(r"\S+\s*", text):
                delta(handler, piece)
            delta(handler, finish="stop")
            event(handler, b"[DONE]")
        else:
            message = {"role": "assistant", "content": text, **more}
            choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
            send(handler, {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    return answer


@pytest.fixture
def backend():
    server = ChatServer()
    server.answers = [says("Fine, thanks.")]
    yield server
    server.close()


@pytest.fixture
def served(backend: ChatServer, tmp_path: Path):
    with serving(None, tmp_path, backend=backend.url) as server:
        yield server


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def model(text: str) -> dict:
    return {"role": "assistant", "content": text}


def ask(server: Served, messages: list, headers: dict | None = None, key: str = "none", **options):
    """The answer's text, and the headers that came with it."""
    raw = server.openai(key).chat.completions.with_raw_response
    answer = raw.create(model="m", messages=messages, extra_headers=headers, **options)
    return answer.parse().choices[0].message.content, answer.headers


def long_talk(exchanges: int = 120) -> list[dict]:
    talk = [user("My dog is called Biscuit."), model("A fine name.")]
    for number in range(exchanges):
        talk += [user(f"I painted river number {number} near the old garden."), model(f"Nice, {number} is a lot.")]
    return talk


def sent(backend: ChatServer) -> list[dict]:
    return backend.chats[-1]["messages"]


# ---- what is sent on, and what comes back


def test_what_fits_goes_on_by_its_very_bytes(served, backend):
    body = (
        b'{ "model" : "m","seed":123456789012345678901234567890, "temperature":0.10, "x_unknown":{"a":[1e2]},\n'
        b'"messages":[ {"role":"user","content":"caf\\u00e9 \\ud83d\\ude00","x":null} ] ,"stream":false}'
    )
    answer = served.http().post("/v1/chat/completions", content=body)
    assert answer.status_code == 200
    assert backend.raws[-1] == body


@pytest.mark.parametrize("ends", [b"\n\n", b"\r\n\r\n"])
def test_a_stream_comes_back_by_its_very_bytes(served, backend, ends):
    first = b'{"choices":[{"index":0,"delta":{"content":"Fi","x_new":7}}]}'
    second = b'{"choices":[{"delta":{"content":"ne"}}]}'
    events = [b": a comment", b"event: note\ndata: {}", b"data: " + first, b"data: " + second, b"data:[DONE]"]
    stream = ends.join(events) + ends + b": after the end\n"

    def answer(handler, body):
        begin(handler)
        for place in range(0, len(stream), 7):
            handler.wfile.write(stream[place : place + 7])

    backend.answers = [answer]
    answer = served.http().post("/v1/chat/completions", json={"messages": [user("Hi")], "stream": True})
    assert answer.content == stream
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert served.texts(answer.headers[CONVERSATION]) == ["Hi", "Fine"]


def test_what_does_not_fit_is_remembered(served, backend):
    talk = long_talk()
    last = {"role": "user", "content": "What is my dog called? é", "x_mark": 2}
    text, headers = ask(served, [SYSTEM, *talk, last], extra_body={"x_unknown": True}, seed=5)
    assert text == "Fine, thanks."
    assert ERROR not in headers
    body, messages = backend.chats[-1], sent(backend)
    assert (body["x_unknown"], body["seed"], body["model"]) == (True, 5, "m")
    assert messages[0] == SYSTEM
    assert messages[-1] == last
    raw = backend.raws[-1].decode()
    assert '"content":"You know é and \u2028 well.","priority":1.5}' in raw
    notes = messages[-3:-1]
    assert [note["role"] for note in notes] == ["user", "assistant"]
    assert "User: My dog is called Biscuit." in notes[0]["content"]
    window = messages[1:-3]
    assert window == talk[-len(window) :]
    assert window[0]["role"] == "user"
    assert [message["role"] for message in messages[1:]] == ["user", "assistant"] * (len(messages) // 2 - 1) + ["user"]
    before, after = (int(headers[f"x-gistchat-tokens-{when}"]) for when in ("before", "after"))
    assert before > 3500
    assert 1000 < after < 2100
    # Nothing is said twice.
    said = [message["content"] for message in window] + re.findall(r"(?<=User: |.You: ).*", notes[0]["content"])
    assert len(set(said)) == len(said)


def test_the_callers_own_words_are_always_sent(served, backend):
    talk = long_talk()
    injected, late = {"role": "system", "content": "An early note."}, {"role": "developer", "content": "A late note."}
    ask(served, [SYSTEM, *talk[:40], injected, *talk[40:], late, user("And the dog?")])
    messages = sent(backend)
    assert messages[:2] == [SYSTEM, injected]
    assert messages[-4] == late
    assert messages[-1] == user("And the dog?")


def test_the_beginning_stays_the_same_from_request_to_request(served, backend):
    talk, beginnings = long_talk(), []
    for number in range(4):
        talk.append(user(f"Where was river number {number * 9}?"))
        text, _ = ask(served, [SYSTEM, *talk])
        talk.append(model(text))
        settle(served)
        beginnings.append([message["content"] for message in sent(backend)[:-3]])
    same = [later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(beginnings)]
    assert same.count(True) >= 2  # but for a new gist, which makes room


CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def test_calls_of_tools_stay_with_their_results(served, backend):
    talk = [user("My dog is called Biscuit."), model("A fine name.")]
    for number in range(80):
        call = {**CALL, "id": f"call-{number}"}
        talk += [
            user(f"What is the weather on day {number}?"),
            {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": f"other-{number}"}]},
            {"role": "tool", "tool_call_id": f"call-{number}", "content": f"{number} degrees"},
            {"role": "tool", "tool_call_id": f"other-{number}", "content": "and rain"},
            model(f"It has {number} degrees."),
        ]
    talk += [user("And my dog?"), {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    talk += [{"role": "tool", "tool_call_id": "call-1", "content": "cold for a dog"}]
    _, headers = ask(served, talk, tools=TOOLS)
    messages = sent(backend)
    assert len(messages) < len(talk) / 2
    assert messages[-3:] == talk[-3:]
    assert messages[0]["role"] == "user"
    asked: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in asked
        else:
            asked = {call["id"] for call in message.get("tool_calls") or ()}
    assert backend.chats[-1]["tools"] == TOOLS
    assert ERROR not in headers


def test_a_streamed_call_of_a_tool_is_kept_and_its_result_goes_on(served, backend):
    def calls(handler, body):
        begin(handler)
        first = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        delta(handler, role="assistant", tool_calls=[first])
        for part in ('{"city":', ' "Oslo"}'):
            delta(handler, tool_calls=[{"index": 0, "function": {"arguments": part}}])
        delta(handler, finish="tool_calls")
        event(handler, b"[DONE]")

    backend.answers = [calls]
    stream = served.openai().chat.completions.with_raw_response.create(
        model="m", messages=[user("Weather?")], tools=TOOLS, stream=True
    )
    for _ in stream.parse():
        pass
    backend.answers = [says("Cold.")]
    results = [{"role": "tool", "tool_call_id": "call-1", "content": "3 degrees"}]
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "annotations": []}
    _, headers = ask(served, [user("Weather?"), asked, *results])
    assert headers[CONVERSATION] == stream.headers[CONVERSATION]
    assert served.texts(headers[CONVERSATION]) == [
        "Weather?",
        '(calls weather({"city": "Oslo"}))',
        "(weather gave: 3 degrees)",
        "Cold.",
    ]


def test_images_go_on_and_count(served, backend):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    shown = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}
    _, headers = ask(served, [shown])
    assert sent(backend) == [shown]
    assert served.texts(headers[CONVERSATION])[0] == "What is this?\n(image)"
    assert int(headers["x-gistchat-tokens-before"]) > 800


def test_each_of_several_answers_can_be_gone_on_with(served, backend):
    def two(handler, body):
        choices = [{"index": i, "message": model(f"Answer {i}"), "finish_reason": "stop"} for i in (0, 1)]
        send(handler, {"choices": choices})

    backend.answers = [two]
    _, headers = ask(served, [user("Hi")], n=2)
    assert served.texts(headers[CONVERSATION]) == ["Hi", "Answer 0"]
    _, after = ask(served, [user("Hi"), model("Answer 1"), user("And?")])
    assert after[CONVERSATION] == headers[CONVERSATION]
    assert served.texts(headers[CONVERSATION]) == ["Hi", "Answer 1", "And?", "Answer 0"]


def test_thoughts_and_white_space_of_an_answer_do_not_count(served, backend):
    backend.answers = [says("<think>Hm.</think>\n\n  Well, yes. \n")]
    _, headers = ask(served, [user("Hi")])
    _, after = ask(served, [user("Hi"), model("Well, yes."), user("Good.")])
    assert after[CONVERSATION] == headers[CONVERSATION]


# ---- which conversation


def test_a_conversation_is_known_by_what_was_said(served, backend):
    text, headers = ask(served, [SYSTEM, user("Hi")])
    other = {"role": "system", "content": "It is five o'clock."}
    content = [{"type": "text", "text": "Hi"}]  # the same in another form
    _, after = ask(served, [other, {"role": "user", "content": content}, model(text), user("More")])
    assert after[CONVERSATION] == headers[CONVERSATION]
    assert served.texts(after[CONVERSATION]) == ["Hi", text, "More", text]


def test_regenerated_and_edited_are_branches(served, backend):
    talk = [user("Hi"), model("Fine, thanks."), user("One")]
    id = ask(served, talk[:1])[1][CONVERSATION]
    for said, asked in (("First.", talk), ("Second.", talk), ("Third.", [*talk[:2], user("Edited")])):
        backend.answers = [says(said)]
        assert ask(served, asked)[1][CONVERSATION] == id
    assert served.texts(id) == ["Hi", "Fine, thanks.", "Edited", "Third."]
    path = served.shared.store.path(id)
    [ones] = served.shared.store.siblings(id, [path[2].key]).values()
    assert len(ones) == 2
    backend.answers = [says("Go on.")]
    assert ask(served, [*talk, model("First."), user("More")])[1][CONVERSATION] == id
    assert served.texts(id) == ["Hi", "Fine, thanks.", "One", "First.", "More", "Go on."]


def test_two_with_the_same_opener_share_nothing(served, backend):
    text, first = ask(served, [user("Hi")])
    _, second = ask(served, [user("Hi")])
    assert first[CONVERSATION] != second[CONVERSATION]
    talk = [user("Hi"), model(text)]
    ids = [ask(served, [*talk, user(said)])[1][CONVERSATION] for said in ("I am Ann.", "I am Bob.")]
    assert len({*ids, first[CONVERSATION], second[CONVERSATION]}) == 4
    for said, id in zip(("I am Ann.", "I am Bob."), ids, strict=True):
        again = ask(served, [*talk, user(said), model(text), user("Who am I?")])[1]
        assert again[CONVERSATION] == id
        assert served.texts(id) == ["Hi", text, said, text, "Who am I?", text]


def test_the_same_greeting_of_a_character_is_no_conversation(served, backend):
    greeting = model("Welcome, traveller.")
    ids = {ask(served, [greeting, user(said)])[1][CONVERSATION] for said in ("I am Ann.", "I am Bob.")}
    assert len(ids) == 2


def test_answers_that_a_client_changes_do_not_begin_a_conversation_each_time(served, backend):
    talk, ids = [], []
    for number in range(6):
        talk.append(user(f"Question {number}"))
        text, headers = ask(served, talk)
        talk.append(model(f"{text} (changed {number})"))
        ids.append(headers[CONVERSATION])
    assert len(set(ids[2:])) == 1


def test_a_named_conversation_goes_on_whatever_of_it_is_sent(served, backend):
    talk = long_talk(30)
    _, headers = ask(served, [*talk, user("One")])
    id, name = headers[CONVERSATION], {CONVERSATION: headers[CONVERSATION]}
    kept = served.texts(id)
    # The new message alone; then a list that overlaps with the end; then one that leaves out the beginning and asks
    # for another answer.
    _, after = ask(served, [user("Two")], name)
    assert after[CONVERSATION] == id
    assert sent(backend)[: len(talk)] == talk
    kept += ["Two", "Fine, thanks."]
    assert served.texts(id) == kept
    tail = [*talk[-3:], user("One"), model("Fine, thanks."), user("Two"), model("Fine, thanks.")]
    ask(served, [SYSTEM, *tail, user("Three")], name)
    assert sent(backend)[0] == SYSTEM
    assert sent(backend)[1:] == [*talk[:-3], *tail, user("Three")]
    backend.answers = [says("Another.")]
    ask(served, [*tail, user("Three")], name)
    assert served.texts(id) == [*kept, "Three", "Another."]
    assert ask(served, [user("Two")], name)[1][CONVERSATION] == id  # said once more, not asked again
    assert served.texts(id) == [*kept, "Three", "Another.", "Two", "Another."]


def test_the_whole_list_of_a_named_conversation_can_be_asked_again(served, backend):
    _, headers = ask(served, [user("Hi")])
    backend.answers = [says("Hello.")]
    _, again = ask(served, [user("Hi")], {CONVERSATION: headers[CONVERSATION]})
    assert again[CONVERSATION] == headers[CONVERSATION]
    assert sent(backend) == [user("Hi")]
    assert served.texts(headers[CONVERSATION]) == ["Hi", "Hello."]


def test_a_guessed_id_tells_and_changes_nothing(backend, tmp_path):
    with serving(None, tmp_path, backend=backend.url, api_keys=KEYS) as served:
        _, own = ask(served, [user("My secret is a blue door.")], key=KEYS[0])
        answers = [
            ask(served, [user("What is my secret?")], {CONVERSATION: guess}, KEYS[1])[1]
            for guess in (own[CONVERSATION], "not-an-id", "")
        ]
        assert len({own[CONVERSATION], *(answer[CONVERSATION] for answer in answers)}) == 4
        assert len({answer[ERROR] for answer in answers}) == 1
        assert sent(backend) == [user("What is my secret?")]
        assert served.texts(own[CONVERSATION]) == ["My secret is a blue door.", "Fine, thanks."]
        # Nor is one found by its transcript.
        talk = [user("My secret is a blue door."), model("Fine, thanks."), user("And?")]
        assert ask(served, talk, key=KEYS[1])[1][CONVERSATION] != own[CONVERSATION]
        assert ask(served, talk, key=KEYS[0])[1][CONVERSATION] == own[CONVERSATION]


def test_memory_survives_a_restart(backend, tmp_path):
    talk = [*long_talk(), user("One")]
    with serving(None, tmp_path, backend=backend.url) as served:
        _, before = ask(served, talk)
        settle(served)
        state = served.shared.store.state(before[CONVERSATION], served.shared.store.info(before[CONVERSATION]).head)
        assert state["gist"]["end"] > 100
    with serving(None, tmp_path, backend=backend.url) as served:
        _, after = ask(served, [*talk, model("Fine, thanks."), user("What is my dog called?")])
        assert after[CONVERSATION] == before[CONVERSATION]
        assert "Biscuit" in sent(backend)[-3]["content"]


def test_what_is_changed_by_hand_reaches_the_next_request(served, backend):
    talk, api = [*long_talk(), user("One")], served.http()
    _, headers = ask(served, talk)
    settle(served)
    talk += [model("Fine, thanks."), user("What is my dog called?")]
    place = f"/api/conversations/{headers[CONVERSATION]}"
    ask(served, talk)
    assert "Biscuit" in backend.raws[-1].decode()
    settle(served)
    assert api.post(f"{place}/pins", json={"text": "Answers in rhymes."}).status_code == 200
    key = served.shared.store.path(headers[CONVERSATION])[0].key
    assert api.delete(f"{place}/messages/{key}").status_code == 204
    ask(served, [*talk[:-1], user("Is my dog called Rex?")])
    assert "Answers in rhymes." in sent(backend)[-3]["content"]
    assert "Biscuit" not in backend.raws[-1].decode()  # though the caller still sends it
    assert api.get(f"{place}/memory").json()["gist"]["lines"]
    refused = api.post(f"{place}/messages", json={"text": "Hi"})
    assert (refused.status_code, "backend" in refused.json()["error"]["message"]) == (400, True)
    assert api.delete(place).status_code == 204
    again = ask(served, talk)[1]
    assert again[CONVERSATION] != headers[CONVERSATION]
    assert ERROR not in again


# ---- keys


@pytest.mark.parametrize(
    ("settings", "given", "passed"),
    [
        ({}, "callers-own-key", "Bearer callers-own-key"),
        ({"backend_key": "operators"}, "callers-own-key", "Bearer operators"),
        ({"api_keys": KEYS}, KEYS[0], None),
        ({"api_keys": KEYS, "backend_key": "operators"}, KEYS[1], "Bearer operators"),
    ],
)
def test_which_key_the_backend_sees(backend, tmp_path, settings, given, passed):
    with serving(None, tmp_path, backend=backend.url, **settings) as served:
        extra = {"cookie": "session=1", "x-other": KEYS[0], "x-title": "chat", CONVERSATION: "nothing"}
        ask(served, [user("Hi")], extra, given)
        served.openai(given).models.list()
    for _, headers, _ in backend.asked:
        assert headers.get("authorization") == passed
        assert "cookie" not in headers
        assert CONVERSATION not in headers
        assert headers["accept-encoding"] == "identity"
        if "api_keys" in settings:
            assert not any(key in value for key in KEYS for value in headers.values())
    assert backend.asked[0][1]["x-title"] == "chat"


# ---- what goes wrong


def test_refusals_come_back_as_they_are(served, backend):
    backend.answers = [refuses("Too much.", 429, code="rate"), refuses("No such field", 400, param="x")]
    with pytest.raises(openai.RateLimitError) as refused:
        ask(served, [user("Hi")])
    assert refused.value.body == {"message": "Too much.", "code": "rate"}
    with pytest.raises(openai.BadRequestError) as refused:
        ask(served, [user("Hi")], stream=False)
    assert refused.value.param == "x"
    assert CONVERSATION not in refused.value.response.headers
    assert served.shared.store.list() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": 1}', b'{"messages": [1]}', b"\xff", b"[" * 5000])
def test_what_is_no_chat_is_the_backends_to_refuse(served, backend, body):
    backend.answers = [refuses("not a chat", 422)]
    answer = served.http().post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, "not a chat")
    assert backend.raws[-1] == body
    assert answer.headers[ERROR].startswith("no memory")


def test_nothing_answers(tmp_path):
    gone = ChatServer()
    gone.close()
    with serving(None, tmp_path, backend=gone.url) as served:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as refused:
                ask(served, [user("Hi")], stream=stream)
            assert (refused.value.status_code, refused.value.code) == (502, "backend_unreachable")
        assert served.http().get("/v1/models").status_code == 502
        assert served.shared.store.list() == []


def test_an_answer_that_does_not_come(backend, tmp_path):
    release = threading.Event()
    backend.answers = [lambda handler, body: release.wait(20)]
    with serving(None, tmp_path, backend=backend.url, backend_seconds=0.2) as served:
        with pytest.raises(openai.InternalServerError) as refused:
            ask(served, [user("Hi")])
        assert (refused.value.status_code, refused.value.code) == (504, "backend_timeout")
        release.set()


def test_a_stream_that_breaks_off_says_so(served, backend):
    def breaks(handler, body):
        begin(handler)
        delta(handler, "Half an ")
        delta(handler, "answer")
        handler.connection.shutdown(2)

    def chunked(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        data = b'data: {"choices": [{"index": 0, "delta": {"content": "Half"}}]}\n\n'
        handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        handler.wfile.flush()
        handler.connection.shutdown(2)

    backend.answers = [chunked]
    raw = served.openai().chat.completions.with_raw_response.create(model="m", messages=[user("Hi")], stream=True)
    stream = iter(raw.parse())
    assert next(stream).choices[0].delta.content == "Half"
    with pytest.raises(openai.APIError) as broken:
        next(stream)
    assert broken.value.code == "backend_broke_off"
    settle(served)
    assert served.texts(raw.headers[CONVERSATION]) == ["Hi", "Half"]
    backend.answers = [breaks]  # without a length, an end is an end
    stream = served.openai().chat.completions.create(model="m", messages=[user("Hi")], stream=True)
    assert "".join(chunk.choices[0].delta.content for chunk in stream) == "Half an answer"


def test_a_slow_stream_comes_piece_by_piece_and_ends_with_its_client(served, backend):
    go_on = threading.Event()

    def slow(handler, body):
        begin(handler)
        delta(handler, "One ")
        go_on.wait(20)
        for _ in range(1000):
            delta(handler, "two ")
            time.sleep(0.005)

    backend.answers = [slow]
    raw = served.openai().chat.completions.with_raw_response.create(model="m", messages=[user("Hi")], stream=True)
    stream = iter(raw.parse())
    assert next(stream).choices[0].delta.content == "One "
    go_on.set()
    assert next(stream).choices[0].delta.content == "two "
    raw.http_response.close()
    assert backend.gone.wait(10)
    settle(served)
    kept = served.texts(raw.headers[CONVERSATION])
    assert kept[0] == "Hi"
    assert kept[1].startswith("One two")
    # What the client kept of it is shorter or longer; it goes on there all the same.
    backend.answers = [says("Fine.")]
    _, headers = ask(served, [user("Hi"), model(kept[1]), user("Go on")])
    assert headers[CONVERSATION] == raw.headers[CONVERSATION]


def test_a_client_that_goes_away_before_an_answer_frees_the_backend(served, backend):
    asked, gone = threading.Event(), threading.Event()

    def waits(handler, body):
        asked.set()
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            gone.set()

    backend.answers = [waits]
    client = served.openai().with_options(timeout=0.5)
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="m", messages=[user("Hi")])
    assert asked.is_set()
    assert gone.wait(10)
    settle(served)


def test_without_its_store_the_request_goes_on_as_it_came(served, backend, monkeypatch):
    def away(*_, **__):
        raise StoreUnavailable("conversations.db: is locked by another process")

    talk = [*long_talk(), user("What is my dog called?")]
    for name in ("find", "create"):
        monkeypatch.setattr(served.shared.store, name, away)
    text, headers = ask(served, talk)
    assert text == "Fine, thanks."
    assert sent(backend) == talk
    assert "locked by another process" in headers[ERROR]
    assert CONVERSATION not in headers


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_kept_is_passed_on(served, backend, monkeypatch, stream):
    def full(*_, **__):
        raise StoreUnavailable("conversations.db: cannot be written: the disk is full")

    monkeypatch.setattr(served.shared.store, "append", full)
    answer = served.http().post("/v1/chat/completions", json={"messages": [user("Hi")], "stream": stream})
    assert answer.status_code == 200
    assert "thanks." in answer.text
    assert stream or "disk is full" in answer.headers[ERROR]


def test_a_memory_that_is_late_is_not_waited_for(backend, tmp_path, monkeypatch):
    release = threading.Event()
    recall = proxy_module.Memories.recall

    def late(*values):
        release.wait(20)
        return recall(*values)

    monkeypatch.setattr(proxy_module.Memories, "recall", late)
    talk = [*long_talk(), user("What is my dog called?")]
    with serving(None, tmp_path, backend=backend.url, memory_seconds=0.2) as served:
        _, headers = ask(served, talk)
        assert sent(backend) == talk
        assert headers[ERROR] == "no memory, the request went on as it came: not within 0.2 s"
        release.set()
        settle(served)
        assert served.texts(headers[CONVERSATION])[-1] == "Fine, thanks."  # it is kept all the same


def test_a_defect_of_the_memory_tells_nothing_that_was_said(served, backend, monkeypatch, caplog):
    def defect(*_):
        raise RuntimeError("My dog is called Biscuit.")

    monkeypatch.setattr(served.shared.proxy.memories, "recall", defect)
    talk = [*long_talk(), user("What is my dog called?")]
    _, headers = ask(served, talk)
    assert sent(backend) == talk
    assert headers[ERROR]
    assert "Biscuit" not in headers[ERROR] + caplog.text


def test_observed_chats_are_only_recorded(backend, tmp_path):
    talk = [*long_talk(), user("What is my dog called?")]
    with serving(None, tmp_path, backend=backend.url, observe=True) as served:
        _, headers = ask(served, talk)
        assert sent(backend) == talk
        assert headers["x-gistchat-tokens-before"] == headers["x-gistchat-tokens-after"]
        assert RECEIPT not in headers
        assert len(served.texts(headers[CONVERSATION])) == len(talk) + 1


# ---- other addresses


def test_all_else_under_v1_goes_through(served, backend):
    api = served.http()
    assert api.get("/v1/models").json() == {"object": "list", "data": [{"id": "m"}]}
    assert api.post("/v1/embeddings?x=%41&y", content=b'{ "input" : 1.50 }').status_code == 404
    path, _, _ = backend.asked[-1]
    assert path == "/v1/embeddings?x=%41&y"
    assert backend.raws[-1] == b'{ "input" : 1.50 }'
    assert api.get("/v2/models").status_code == 404
    assert len(backend.asked) == 2


OUTSIDE = ("/v1/../slots", "/v1/%2e%2e/slots", "/v1/a/..%2fb", "/v1/..%5cslots", "/v1/%252e%252e/x")


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_the_backends_api(served, backend, path):
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"))
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    assert [asked[0] for asked in backend.asked if not asked[0].startswith("/v1/")] == []


NO_ADDRESSES = ("localhost:1", "ftp://a/", "http://me:key@host/v1", "http://host/v1?x=1", "http:// a")


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_addresses_that_are_none(tmp_path, address):
    with pytest.raises(UserError), serving(None, tmp_path, backend=address):
        pass


# ---- receipts


def test_a_receipt_has_every_line_that_was_sent(served, backend):
    talk = [*long_talk(), user("What is my dog called?")]
    _, headers = ask(served, [SYSTEM, *talk])
    settle(served)
    receipt = served.shared.store.receipt(headers[RECEIPT].removeprefix("/api/receipts/"))
    messages = sent(backend)
    lines = receipt["lines"]
    parts = [line["part"] for line in lines]
    assert parts[0] == "system"
    assert parts[-1] == "last"
    assert {"verbatim", "gist"} <= set(parts)
    for line in lines:
        assert any(line["text"] in message["content"] for message in messages)
        assert line["why"]
        assert line["tokens"] > 0
        for number in line["turns"]:
            assert line["part"] == "gist" or line["text"] in talk[number - 1]["content"]
    dog = next(line for line in lines if "Biscuit" in line["text"])
    assert dog["turns"] == [1]
    assert receipt["not_sent"]["turns"] == len(talk) - parts.count("verbatim") - 1
    assert (receipt["strategy"], receipt["budget"], receipt["model"]) == ("memory", 2048, "m")
    json.dumps(receipt)
