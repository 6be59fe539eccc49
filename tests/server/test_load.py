"""More work than there is room for, and clients that do not wait for it."""

import asyncio
import re
import time
from collections import Counter
from pathlib import Path

import anyio
import httpx2
import openai
import pytest
from server_fixtures import ScriptedEngine, Served, scripted_model, serving

BODY = {"messages": [{"role": "user", "content": "one"}], "max_tokens": 50}


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


def waited_for(condition, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(condition())


def is_free(server: Served) -> bool:
    return server.shared.idle and not server.shared.generation.running


def test_a_burst_is_answered_or_refused_and_nothing_else(engine: ScriptedEngine, tmp_path: Path):
    slots, queue = 2, 4
    engine.step = 0.001

    async def burst(server: Served) -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(base_url=server.url, timeout=60, limits=limits, trust_env=False) as http:
            posts = [
                http.post("/v1/chat/completions", json={**BODY, "stream": number % 2 == 0})
                for number in range(10 * (slots + queue))
            ]
            return await asyncio.gather(*posts)

    with serving(scripted_model(engine), tmp_path, slots=slots, queue=queue) as server:
        answers = asyncio.run(burst(server))
        statuses = Counter(answer.status_code for answer in answers)
        assert set(statuses) <= {200, 429, 503}
        assert statuses[200] >= slots + queue
        assert statuses[429] > 0
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["type"] == "rate_limit_error"
            else:
                assert "w50" in answer.text
        assert waited_for(lambda: is_free(server))
        assert server.http().post("/v1/chat/completions", json=BODY).status_code == 200
        counted = f'route="/v1/chat/completions",status="429"}} {statuses[429]:.1f}'
        assert counted in server.http().get("/metrics").text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot_within_two_steps(engine, tmp_path, stream):
    engine.step = 0.05

    async def leave(server: Served) -> int:
        body = {**BODY, "max_tokens": 400, "stream": stream}
        async with httpx2.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
            with anyio.CancelScope() as scope:
                async with http.stream("POST", "/v1/chat/completions", json=body), asyncio.TaskGroup() as group:

                    async def when_it_has_begun() -> None:
                        while engine.steps < 3:
                            await asyncio.sleep(0.005)
                        scope.cancel()

                    group.create_task(when_it_has_begun())
                    await asyncio.Event().wait()
        return engine.steps

    async def leave_unanswered(server: Served) -> int:
        _, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        content = httpx2.Request("POST", server.url, json={**BODY, "max_tokens": 400, "stream": stream}).content
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + content)
        while engine.steps < 3:
            await asyncio.sleep(0.005)
        writer.close()
        return engine.steps

    with serving(scripted_model(engine), tmp_path) as server:
        steps = asyncio.run(leave(server) if stream else leave_unanswered(server))
        assert waited_for(lambda: is_free(server), 2)
        assert engine.steps <= steps + 2


def test_who_leaves_the_queue_frees_a_place(engine, tmp_path):
    engine.gate.clear()

    async def fill_and_leave(server: Served) -> None:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as http:
            first = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
            while server.shared.generation.running < 1:
                await asyncio.sleep(0.002)
            second = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
            while server.shared.generation.waiting < 1:
                await asyncio.sleep(0.002)
            assert (await http.post("/v1/chat/completions", json=BODY)).status_code == 429
            second.cancel()
            while server.shared.generation.waiting:
                await asyncio.sleep(0.002)
            begun = time.perf_counter()
            assert (await http.get("/health")).status_code == 200  # while a reply is being written
            assert time.perf_counter() - begun < 1
            third = asyncio.create_task(http.post("/v1/chat/completions", json=BODY))
            while server.shared.generation.waiting < 1:
                await asyncio.sleep(0.002)
            engine.gate.set()
            assert {(await first).status_code, (await third).status_code} == {200}

    with serving(scripted_model(engine), tmp_path, slots=1, queue=1) as server:
        asyncio.run(asyncio.wait_for(fill_and_leave(server), 30))
        assert len(engine.contexts) == 2  # the one that left was never begun


def test_a_reply_that_takes_too_long_ends_where_it_is(engine, tmp_path):
    engine.step = 0.02
    with serving(scripted_model(engine), tmp_path, reply_seconds=0.2) as server:
        for stream in (False, True):
            client = server.openai().chat.completions
            answer = client.create(model="gistchat", stream=stream, max_tokens=400, messages=BODY["messages"])
            choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
            assert choices[-1].finish_reason == "length"
        assert engine.steps < 100
        assert waited_for(lambda: is_free(server))


def test_a_reply_that_waits_too_long_for_a_slot_is_refused(engine, tmp_path):
    engine.gate.clear()

    async def wait_in_vain(server: Served) -> None:
        async with server.async_openai() as client:
            ask = {"model": "gistchat", "messages": BODY["messages"], "max_tokens": 5}
            first = asyncio.create_task(client.chat.completions.create(**ask))
            while server.shared.generation.running < 1:
                await asyncio.sleep(0.002)
            with pytest.raises(openai.InternalServerError) as late:
                await client.chat.completions.create(**ask)
            assert late.value.status_code == 503
            assert late.value.code == "timeout"
            assert int(late.value.response.headers["retry-after"]) > 0
            engine.gate.set()
            assert (await first).choices[0].finish_reason == "length"

    with serving(scripted_model(engine), tmp_path, wait_seconds=0.2) as server:
        asyncio.run(asyncio.wait_for(wait_in_vain(server), 30))


def test_a_body_that_comes_too_slowly_is_refused(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("gistchat.server.security.BODY_SECONDS", 0.1)

    async def dawdle(server: Served) -> bytes:
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n")
        writer.write(b"Content-Type: application/json\r\n\r\n{")
        answer = await reader.read(1000)
        writer.close()
        return answer

    with serving(scripted_model(engine), tmp_path) as server:
        assert b"408" in asyncio.run(asyncio.wait_for(dawdle(server), 10)).splitlines()[0]


@pytest.mark.parametrize("first", ["I am {marker}", "hello"])
def test_each_of_many_clients_is_in_a_conversation_of_its_own(engine, tmp_path, first):
    engine.step = 0.001

    async def talk(server: Served, marker: str) -> list[str]:
        async with server.async_openai() as client:
            messages, ids = [], []
            for text in (first, "here is {marker}", "once more {marker}"):
                messages.append({"role": "user", "content": text.format(marker=marker)})
                raw = await client.chat.completions.with_raw_response.create(model="gistchat", messages=messages)
                messages.append(raw.parse().choices[0].message)
                ids.append(raw.headers["x-gistchat-conversation"])
                assert messages[-1].content.startswith(f"({messages[-2]['content'].split()[-1]})")
            assert server.texts(ids[-1]) == [m["content"] if isinstance(m, dict) else m.content for m in messages]
            return ids

    async def all_of_them(server: Served) -> list[list[str]]:
        return await asyncio.gather(*(talk(server, f"client{number}x") for number in range(12)))

    with serving(scripted_model(engine), tmp_path, slots=3) as server:
        ids = asyncio.run(all_of_them(server))
    assert len({own[-1] for own in ids}) == 12
    for context in engine.contexts:
        assert len(set(re.findall(r"client\d+x", engine.prompt_text(context)))) <= 1
