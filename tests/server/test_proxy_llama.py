"""Memory in front of llama.cpp's own server, with the official client."""

import json
from pathlib import Path

import openai
import pytest
from llama_backend import KEY, llama_backend
from server_fixtures import Served, serving, settle

CONVERSATION = "x-gistchat-conversation"
THINGS = ("cat", "river", "garden", "violin", "bicycle", "teacher", "mountain", "kitchen", "library", "engine")
FACTS = {
    "My dog is called Biscuit.": "What is the name of my dog?",
    "My sister is called Martha.": "What is the name of my sister?",
}
REPLIES = ("How lovely!", "Really? Tell me more.", "I like that, too.", "That sounds like fun.", "Was it far away?")


@pytest.fixture(scope="module")
def llama():
    with llama_backend() as url:
        yield url


@pytest.fixture
def served(llama: str, tmp_path: Path):
    with serving(None, tmp_path, backend=llama, backend_key=KEY, memory=("context.budget=256",)) as server:
        yield server


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def model(text: str) -> dict:
    return {"role": "assistant", "content": text}


def create(server: Served, messages: list, **options):
    options = {"model": "smollm2", "max_tokens": 8, "temperature": 0, **options}
    return server.openai().chat.completions.with_raw_response.create(messages=messages, **options)


def test_an_answer_is_the_same_as_without(served, llama):
    messages = [{"role": "system", "content": "You are a helpful assistant."}, user("Hello, I am Ann.")]
    straight = openai.OpenAI(base_url=llama, api_key=KEY)
    expected = straight.chat.completions.create(model="m", messages=messages, max_tokens=8, temperature=0)
    raw = create(served, messages)
    answer = raw.parse()
    assert answer.choices == expected.choices
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens
    stream = create(served, messages, stream=True, stream_options={"include_usage": True})
    chunks = list(stream.parse())
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == expected.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == expected.usage.completion_tokens
    assert served.openai().models.list().data[0].id == straight.models.list().data[0].id
    for headers in (raw.headers, stream.headers):
        assert served.texts(headers[CONVERSATION]) == ["Hello, I am Ann.", text]


def test_the_first_facts_of_2000_messages_are_answered(served, llama):
    talk = [message for fact in FACTS for message in (user(fact), model("Good to know."))]
    for number in range(len(FACTS), 1000):
        one, other = THINGS[number % 10], THINGS[number // 10 % 10]
        talk += [user(f"I saw a {one} near the {other}, number {number}."), model(REPLIES[number % 5])]
    assert len(talk) == 2000
    with pytest.raises(openai.BadRequestError, match="context size"):
        openai.OpenAI(base_url=llama, api_key=KEY).chat.completions.create(model="m", messages=talk)
    answers, ids = [], set()
    for fact, question in FACTS.items():
        raw = create(served, [*talk, user(question)], max_tokens=12)
        answers.append(raw.parse().choices[0].message.content)
        assert raw.parse().usage.prompt_tokens < 450
        assert "x-gistchat-error" not in raw.headers
        settle(served)
        receipt = served.shared.store.receipt(raw.headers["x-gistchat-receipt"].removeprefix("/api/receipts/"))
        assert fact in [line["text"] for line in receipt["lines"]]
        ids.add(raw.headers[CONVERSATION])
        talk += [user(question), model(answers[-1])]
    assert "Biscuit" in answers[0]  # so small a model does not make something of every fact that it is told
    assert len(ids) == 1
    assert len(served.texts(ids.pop())) == len(talk)
    assert served.shared.store.check() == []


def test_what_the_backend_refuses_comes_back(served):
    with pytest.raises(openai.BadRequestError) as refused:
        create(served, [user("one two three " * 2000)])
    assert "exceeds the available context size" in refused.value.message
    answer = served.http().post("/v1/completions", json={"prompt": "Hello", "max_tokens": 3})
    assert answer.status_code == 200
    assert json.loads(answer.content)["choices"]
    assert served.http().get("/v1/nowhere").status_code == 404
