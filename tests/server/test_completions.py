"""Chat completions with the official client, of the packaged model and of one that a test scripts."""

import asyncio
import json
import threading
from pathlib import Path

import openai
import pytest
from server_fixtures import ScriptedEngine, Served, scripted_model, serving

from gistchat.store.database import StoreUnavailable

KEYS = ("first-test-key", "second-test-key")


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def scripted(engine: ScriptedEngine, tmp_path: Path):
    with serving(scripted_model(engine), tmp_path) as server:
        yield server


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def ask(server: Served, messages: list, **options):
    """The answer, and the headers that came with it."""
    raw = server.openai(options.pop("key", "none")).chat.completions.with_raw_response
    answer = raw.create(model=options.pop("model", server_model(server)), messages=messages, **options)
    return answer.parse(), answer.headers


def server_model(server: Served) -> str:
    return server.openai(KEYS[0]).models.list().data[0].id


def conversation(headers) -> str:
    return headers["x-gistchat-conversation"]


# ---- the packaged model


def test_an_answer_is_as_openai_gives_it(served):
    answer, headers = ask(served, [user("Hello, I am Ana.")], seed=3)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "gistchat"
    [choice] = answer.choices
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "stop")
    assert choice.message.content
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens > 10
    assert usage.completion_tokens > 0
    assert served.texts(conversation(headers)) == ["Hello, I am Ana.", choice.message.content]


def test_a_stream_says_the_same_as_an_answer(served):
    options = {"seed": 5, "temperature": 0.7}
    whole, _ = ask(served, [user("What is the sea like?")], **options)

    async def streamed() -> list:
        client = served.async_openai()
        async with client:
            stream = await client.chat.completions.create(
                model="gistchat",
                messages=[user("What is the sea like?")],
                stream=True,
                stream_options={"include_usage": True},
                **options,
            )
            return [chunk async for chunk in stream]

    chunks = asyncio.run(streamed())
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_limits_and_stop_texts_end_an_answer(served):
    greedy = {"temperature": 0}
    whole, _ = ask(served, [user("Tell me about your day.")], **greedy)
    said = whole.choices[0].message.content
    short, _ = ask(served, [user("Tell me about your day.")], max_tokens=2, **greedy)
    assert short.choices[0].finish_reason == "length"
    assert short.usage.completion_tokens == 2
    assert said.startswith(short.choices[0].message.content)
    word = said.split()[2]
    stopped, _ = ask(served, [user("Tell me about your day.")], stop=[word], **greedy)
    assert stopped.choices[0].finish_reason == "stop"
    assert stopped.choices[0].message.content == said.partition(word)[0].rstrip()


def test_several_choices_are_drawn_apart_and_repeatable(served):
    options = {"n": 3, "seed": 11, "temperature": 1.0}
    answer, _ = ask(served, [user("Say something unusual.")], **options)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    again, _ = ask(served, [user("Say something unusual.")], **options)
    assert [choice.message.content for choice in again.choices] == texts
    stream = served.openai().chat.completions.create(
        model="gistchat", messages=[user("Say something unusual.")], stream=True, **options
    )
    streamed = ["", "", ""]
    for chunk in stream:
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_a_list_goes_on_from_what_was_heard(served):
    messages = [user("My dog is called Rex.")]
    first, headers = ask(served, messages)
    messages += [first.choices[0].message, user("What is my dog called?")]
    second, again = ask(served, messages)
    assert conversation(again) == conversation(headers)
    assert second.usage.prompt_tokens_details.cached_tokens > 0
    assert len(served.texts(conversation(headers))) == 4


def test_a_list_of_any_length_is_condensed(served):
    messages = []
    for number in range(200):
        messages += [user(f"Note {number}: the boat {number} is painted."), reply(f"I see, boat {number}.")]
    answer, headers = ask(served, [*messages, user("Good evening!")])
    assert answer.usage.prompt_tokens < 250
    assert len(served.texts(conversation(headers))) == 402


def reply(text: str) -> dict:
    return {"role": "assistant", "content": text}


# ---- whose conversation


def test_who_edits_the_beginning_gets_a_branch(scripted):
    _, headers = ask(scripted, [user("a one")])
    said = reply("(one) w1 w2 w3 w4 w5")
    assert scripted.texts(conversation(headers)) == ["a one", said["content"]]
    ask(scripted, [user("a one"), said, user("b two")])
    _, branched = ask(scripted, [user("a one"), said, user("c three")])
    assert conversation(branched) == conversation(headers)
    assert scripted.texts(conversation(headers)) == ["a one", said["content"], "c three", "(three) w1 w2 w3 w4 w5"]
    _, other = ask(scripted, [user("another one"), said, user("b two")])
    assert conversation(other) != conversation(headers)


def test_a_branch_remembers_nothing_of_the_other(scripted, engine):
    said = reply("(one) w1 w2 w3 w4 w5")
    ask(scripted, [user("a one")])
    ask(scripted, [user("a one"), said, user("my secret two")])
    ask(scripted, [user("a one"), said, user("c three")])
    assert "secret" not in engine.prompt_text(engine.contexts[-1])


def test_two_keys_share_nothing(engine, tmp_path):
    with serving(scripted_model(engine), tmp_path, api_keys=KEYS) as server:
        said = reply("(one) w1 w2 w3 w4 w5")
        _, headers = ask(server, [user("a one")], key=KEYS[0])
        _, others = ask(server, [user("a one"), said, user("b two")], key=KEYS[1])
        _, own = ask(server, [user("a one"), said, user("b two")], key=KEYS[0])
        assert conversation(own) == conversation(headers) != conversation(others)
        with pytest.raises(openai.AuthenticationError):
            ask(server, [user("a one")], key="wrong-test-key", model="gistchat")


def test_the_same_list_twice_at_once_is_two_conversations(engine, tmp_path):
    with serving(scripted_model(engine), tmp_path, slots=2) as server:
        said = reply("(one) w1 w2 w3 w4 w5")
        _, headers = ask(server, [user("a one")])
        engine.gate.clear()
        ids: list[str] = []
        threads = [
            threading.Thread(
                target=lambda n=n: ids.append(conversation(ask(server, [user("a one"), said, user(n)])[1]))
            )
            for n in ("b two", "c three")
        ]
        threads[0].start()
        while not server.shared.live.is_busy(conversation(headers)):
            pass
        threads[1].start()
        while server.shared.generation.running < 2:
            pass
        engine.gate.set()
        for thread in threads:
            thread.join()
        assert len(set(ids)) == 2
        assert conversation(headers) in ids
        assert sorted(server.texts(id)[2] for id in ids) == ["b two", "c three"]


def test_a_conversation_that_was_closed_is_opened_again(engine, tmp_path):
    with serving(scripted_model(engine), tmp_path, open_conversations=1) as server:
        said = reply("(one) w1 w2 w3 w4 w5")
        _, headers = ask(server, [user("a one")])
        ask(server, [user("something else one")])
        assert len(server.shared.live) == 1
        _, again = ask(server, [user("a one"), said, user("b two")])
        assert conversation(again) == conversation(headers)
        assert "a one" in engine.prompt_text(engine.contexts[-1])


def test_who_names_the_conversation_goes_on_with_it(engine, tmp_path):
    with serving(scripted_model(engine), tmp_path, api_keys=KEYS) as server:
        said = reply("(one) w1 w2 w3 w4 w5")
        _, headers = ask(server, [user("a one")], key=KEYS[0])
        name = {"x-gistchat-conversation": conversation(headers)}
        _, again = ask(server, [user("another one"), said, user("b two")], key=KEYS[0], extra_headers=name)
        assert conversation(again) == conversation(headers)
        texts = ["another one", said["content"], "b two", "(two) w1 w2 w3 w4 w5"]
        assert server.texts(conversation(headers)) == texts
        assert "a one" not in engine.prompt_text(engine.contexts[-1])
        with pytest.raises(openai.NotFoundError):
            ask(server, [user("b two")], key=KEYS[1], extra_headers=name)


def test_what_was_forgotten_stays_so_when_it_is_sent_again(engine, tmp_path):
    with serving(scripted_model(engine), tmp_path) as server:
        _, headers = ask(server, [user("the secret one")])
        store, id = server.shared.store, conversation(headers)
        store.forget(id, store.path(id)[0].key)
    with serving(scripted_model(engine), tmp_path) as server:
        said = reply("(one) w1 w2 w3 w4 w5")
        _, again = ask(server, [user("the secret one"), said, user("b two")])
        assert conversation(again) == id
        assert "secret" not in engine.prompt_text(engine.contexts[-1])
        assert "secret" not in str(server.texts(id))


# ---- what is asked for


def test_system_messages_are_the_preamble_and_parts_are_texts(scripted, engine):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "system", "content": "Speak like a sailor."},
        {"role": "user", "content": parts, "name": "Ana"},
        {"role": "assistant", "content": ""},
        {"role": "developer", "content": "Be brief."},
        user("three"),
    ]
    ask(scripted, messages)
    context = engine.contexts[-1]
    assert context.preamble == "Speak like a sailor.\n\nBe brief."
    assert [*(turn.text for turn in context.turns), context.last.text] == ["Ana: one\ntwo\nthree"]
    ask(scripted, [user("four")])
    assert engine.contexts[-1].preamble == ""


def test_clients_may_send_fields_that_ask_for_nothing(scripted):
    answer, _ = ask(
        scripted,
        [user("one")],
        tools=[],
        tool_choice="auto",
        frequency_penalty=0,
        logit_bias={},
        response_format={"type": "text"},
        user="ana",
        metadata={"a": "b"},
        extra_body={"top_k": 5},
    )
    assert answer.choices[0].message.content


SOMETHING = [user("one")]
IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
REFUSED = {
    "no messages": ({"messages": []}, "messages"),
    "messages are a text": ({"messages": "hello"}, "messages"),
    "a message is a text": ({"messages": ["hello"]}, "messages[0]"),
    "no role": ({"messages": [{"content": "x"}]}, "messages[0].role"),
    "an unknown role": ({"messages": [{"role": "king", "content": "x"}, *SOMETHING]}, "messages[0].role"),
    "an empty message": ({"messages": [user("one"), reply("x"), user(" ")]}, "messages[2].content"),
    "content is a number": ({"messages": [user(5)]}, "messages[0].content"),
    "an image": ({"messages": [user([IMAGE])]}, "messages[0].content[0]"),
    "half a character": ({"messages": [user("\ud83d")]}, "messages[0].content"),
    "only a system message": ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
    "the model's message last": ({"messages": [user("one"), reply("two")]}, "messages"),
    "a tool's message": (
        {"messages": [user("x"), {"role": "tool", "content": "5", "tool_call_id": "1"}]},
        "messages[1]",
    ),
    "tools": ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    "another format": ({"response_format": {"type": "json_object"}}, "response_format"),
    "penalties": ({"presence_penalty": 1}, "presence_penalty"),
    "a field that nobody knows": ({"colour": "red"}, "colour"),
    "a temperature that is too high": ({"temperature": 3}, "temperature"),
    "a temperature that is a text": ({"temperature": "hot"}, "temperature"),
    "no tokens": ({"max_tokens": 0}, "max_tokens"),
    "too many tokens": ({"max_completion_tokens": 100_000}, "max_completion_tokens"),
    "more tokens than the model holds": ({"max_tokens": 1000}, "max_tokens"),
    "too many choices": ({"n": 100}, "n"),
    "too many stop texts": ({"stop": list("abcde")}, "stop"),
    "an empty stop text": ({"stop": [""]}, "stop"),
    "a last message that is too long": ({"messages": [user("word " * 600)]}, "messages"),
    "a system message that is too long": (
        {"messages": [{"role": "system", "content": "word " * 600}, *SOMETHING]},
        "messages",
    ),
    "too many messages": ({"messages": SOMETHING * 101}, "messages"),
    "stream options that nobody knows": ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    with serving(scripted_model(ScriptedEngine()), tmp_path_factory.mktemp("strict"), messages=100) as server:
        yield server


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_its_field(strict, name, stream):
    changes, param = REFUSED[name]
    body = {"model": "gistchat", "messages": SOMETHING, "stream": stream, **changes}
    with strict.http() as http:
        answer = http.post("/v1/chat/completions", content=json.dumps(body), headers=JSON)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    assert error["type"] == "invalid_request_error"
    assert error["code"]


JSON = {"Content-Type": "application/json"}


def test_a_prompt_that_cannot_fit_is_told_in_tokens(strict):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(strict, [{"role": "system", "content": "a b c"}, user("word " * 600)])
    assert refused.value.code == "context_length_exceeded"
    for count in ("512", "(600)", "(3)"):
        assert count in refused.value.message


def test_another_model_is_not_found(strict):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(strict, SOMETHING, model="gpt-9")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        strict.openai().models.retrieve("gpt-9")
    assert strict.openai().models.retrieve(server_model(strict)).id == server_model(strict)
    with strict.http() as http:
        assert http.post("/v1/chat/completions", json={"messages": SOMETHING}).status_code == 200


def test_an_engine_that_fails_in_the_middle_ends_the_stream_with_an_error(scripted, engine, monkeypatch):
    def broken(context, sampling, cache):
        yield "half"
        raise RuntimeError("what somebody said")

    monkeypatch.setattr(engine, "stream", broken)
    stream = scripted.openai().chat.completions.create(model="gistchat", messages=SOMETHING, stream=True)
    with pytest.raises(openai.APIError) as failed:
        list(stream)
    assert "somebody" not in str(failed.value)
    with pytest.raises(openai.InternalServerError):
        ask(scripted, SOMETHING)
    assert scripted.shared.generation.running == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_receipt_tells_what_was_sent(scripted, stream):
    said = reply("(one) w1 w2 w3 w4 w5")
    raw = scripted.openai().chat.completions.with_raw_response.create(
        model="gistchat", messages=[user("a one"), said, user("b two")], stream=stream, n=2
    )
    if stream:
        list(raw.parse())
    with scripted.http() as http:
        receipt = http.get(raw.headers["x-gistchat-receipt"]).json()
    assert [(line["part"], line["text"], line["turns"]) for line in receipt["lines"]] == [
        ("verbatim", "a one", [1]),
        ("verbatim", said["content"], [2]),
        ("last", "b two", [3]),
    ]
    assert receipt["usage"]["prompt"] == int(raw.headers["x-gistchat-tokens-after"])


def test_what_shall_not_be_stored_is_not(scripted, engine):
    said = reply("(one) w1 w2 w3 w4 w5")
    answer, headers = ask(scripted, [user("a one"), said, user("b two")], store=False)
    assert answer.choices[0].message.content.startswith("(two)")
    assert "x-gistchat-conversation" not in headers
    assert "x-gistchat-receipt" not in headers
    assert scripted.shared.store.list() == []
    assert "a one" in engine.prompt_text(engine.contexts[-1])


def test_headers_tell_what_the_memory_saved(scripted, engine):
    messages = [message for n in range(40) for message in (user(f"number {n} " * 5), reply("yes " * 10))]
    answer, headers = ask(scripted, [*messages, user("and now")])
    assert int(headers["x-gistchat-tokens-after"]) == answer.usage.prompt_tokens < 120
    assert int(headers["x-gistchat-tokens-before"]) == 40 * (11 + 11) + 2 + 4
    stream = scripted.openai().chat.completions.with_raw_response.create(
        model="gistchat", messages=[user("short")], stream=True
    )
    assert stream.headers["x-gistchat-tokens-before"] == stream.headers["x-gistchat-tokens-after"] == "5"
    assert list(stream.parse())[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("method", ["append", "find"])
def test_a_database_that_is_away_is_said_and_nothing_is_lost(scripted, monkeypatch, method):
    said = reply("(one) w1 w2 w3 w4 w5")
    _, headers = ask(scripted, [user("a one")])

    def away(*args, **options):
        raise StoreUnavailable("the database cannot be reached")

    with monkeypatch.context() as broken:
        broken.setattr(scripted.shared.store, method, away)
        with pytest.raises(openai.InternalServerError) as failed:
            ask(scripted, [user("a one"), said, user("b two")])
        assert (failed.value.status_code, failed.value.code) == (503, "store_unavailable")
        with pytest.raises(openai.APIError) as failed:
            list(
                scripted.openai().chat.completions.create(
                    model="gistchat", messages=[user("a one"), said, user("b two")], stream=True
                )
            )
        assert failed.value.code == "store_unavailable"
    _, again = ask(scripted, [user("a one"), said, user("c three")])
    assert conversation(again) == conversation(headers)
    assert scripted.texts(conversation(headers)) == ["a one", said["content"], "c three", "(three) w1 w2 w3 w4 w5"]
