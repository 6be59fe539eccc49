"""The conversations API: what is said, edited, answered again, forgotten and exported, alone and at the same time."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from conftest import gistchat
from server_fixtures import ScriptedEngine, Served, scripted_model, serving

KEYS = ("first-test-key", "second-test-key")
LONG = "The lighthouse was painted yellow again by the neighbours of the old harbour"


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def server(engine: ScriptedEngine, tmp_path: Path) -> Iterator[Served]:
    with serving(scripted_model(engine, "context.budget=60", "chat.strategy=memory"), tmp_path) as server:
        yield server


@pytest.fixture
def http(server: Served) -> Iterator[httpx2.Client]:
    with server.http() as http:
        yield http


class Talk:
    """A conversation over HTTP."""

    def __init__(self, http: httpx2.Client, **body) -> None:
        self.http = http
        answer = http.post("/api/conversations", json=body)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["id"]

    def ask(self, method: str, path: str, status: int | None = None, **options):
        answer = self.http.request(method, f"/api/conversations/{self.id}{path}", **options)
        assert answer.status_code == status if status else answer.is_success, answer.text
        return answer.json() if answer.content else None

    def say(self, text: str, **options) -> dict:
        return self.ask("POST", "/messages", 201, json={"text": text, **options})

    def messages(self, **query) -> list[dict]:
        return self.ask("GET", "/messages", params=query)["messages"]

    def texts(self) -> list[str]:
        return [message["text"] for message in self.messages()]

    def key(self, number: int) -> str:
        return self.messages()[number - 1]["key"]

    def memory(self) -> dict:
        return self.ask("GET", "/memory")

    def events(self, method: str, path: str, **body) -> list[dict]:
        answer = self.http.request(method, f"/api/conversations/{self.id}{path}", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
        return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]


def heard(turns: int) -> list[dict]:
    said = ((f"{LONG} {n}", f"I saw {n} boats there") for n in range(turns))
    return [{"speaker": who, "text": text} for pair in said for who, text in zip(("user", "model"), pair, strict=True)]


# ---- conversations


def test_conversations_are_begun_listed_renamed_and_deleted(http):
    talks = [Talk(http, title=f"Number {n}") for n in range(3)]
    page = http.get("/api/conversations", params={"limit": 2}).json()
    rest = http.get("/api/conversations", params={"limit": 2, "before": page["next"]}).json()
    assert [c["title"] for c in page["conversations"] + rest["conversations"]] == ["Number 2", "Number 1", "Number 0"]
    assert rest["next"] is None
    assert talks[0].ask("PATCH", "", json={"title": "  Harbour "})["title"] == "Harbour"
    found = http.get("/api/conversations", params={"search": "harbour"}).json()["conversations"]
    assert [c["id"] for c in found] == [talks[0].id]
    talks[0].ask("DELETE", "", 204)
    for path in ("", "/messages", "/memory", "/export"):
        assert talks[0].ask("GET", path, 404)["error"]["code"] == "conversation_not_found"
    assert http.get("/api/conversations", params={"before": "nonsense"}).status_code == 400


def test_strategy_and_budget_belong_to_the_conversation_and_stay(http, server):
    talk = Talk(http, strategy="recent", budget=30)
    talk.say("Hello")
    talk.ask("PATCH", "", json={"budget": 20})
    server.shared.live._places.clear()  # as after a restart
    assert (talk.memory()["strategy"], talk.memory()["budget"]) == ("recent", 20)
    assert talk.ask("GET", "")["budget"] == 20


def test_other_keys_conversations_are_not_there(tmp_path):
    with serving(scripted_model(ScriptedEngine()), tmp_path, api_keys=KEYS) as server:
        ours, theirs = (server.http(headers={"Authorization": f"Bearer {key}"}) for key in KEYS)
        with ours, theirs:
            talk = Talk(ours)
            answer = talk.say("A secret")["answer"]
            talk.http = theirs
            for method, path, body in (
                ("GET", "", None),
                ("DELETE", "", None),
                ("GET", "/messages", None),
                ("POST", "/messages", {"text": "Hi"}),
                ("POST", "/regenerate", {}),
                ("PATCH", f"/messages/{answer['key']}", {"text": "x"}),
                ("DELETE", f"/messages/{answer['key']}", None),
                ("POST", f"/messages/{answer['key']}/rating", {"value": 1}),
                ("POST", "/head", {"key": answer["key"]}),
                ("POST", "/undo", None),
                ("GET", "/memory", None),
                ("PUT", "/gist", {"text": "x"}),
                ("GET", "/search?q=secret", None),
                ("POST", "/compare", {"text": "x", "with": [{}, {}]}),
                ("GET", "/export", None),
            ):
                talk.ask(method, path, 404, **({"json": body} if body is not None else {}))
            assert theirs.get(f"/api/receipts/{answer['receipt']}").status_code == 404
            assert theirs.get("/api/conversations").json()["conversations"] == []
            assert ours.get(f"/api/receipts/{answer['receipt']}").status_code == 200


# ---- messages


def test_an_answer_comes_whole_or_as_a_stream_and_has_a_receipt(http):
    talk = Talk(http)
    said = talk.say("Hello there")
    assert said["answer"]["text"] == "(there) w1 w2 w3 w4 w5"
    assert [said["asked"]["number"], said["answer"]["number"]] == [1, 2]
    events = talk.events("POST", "/messages", text="And now", stream=True, max_tokens=2)
    assert [event["type"] for event in events] == ["asked", "piece", "piece", "piece", "done"]
    assert "".join(event["text"] for event in events[1:-1]) == events[-1]["message"]["text"] == "(now) w1 w2"
    assert talk.messages() == [said["asked"], said["answer"], events[0]["message"], events[-1]["message"]]
    receipt = http.get(f"/api/receipts/{events[-1]['message']['receipt']}").json()
    assert [line["text"] for line in receipt["lines"]][-1] == "And now"
    assert "Hello there" in [line["text"] for line in receipt["lines"]]
    assert talk.messages(first=-2, limit=1) == [events[0]["message"]]


def test_edit_regenerate_undo_and_branches_keep_both_ways(http):
    talk = Talk(http)
    talk.say("one")
    talk.say("two", max_tokens=1)
    second = talk.ask("POST", "/regenerate", 201, json={"max_tokens": 2})["answer"]
    assert talk.texts() == ["one", "(one) w1 w2 w3 w4 w5", "two", "(two) w1 w2"]
    first_answer = next(key for key in second["siblings"] if key != second["key"])

    talk.ask("POST", f"/messages/{talk.key(2)}/rating", json={"value": 1})
    talk.ask("PATCH", f"/messages/{talk.key(1)}", json={"text": "ONE"})
    assert [message["rating"] for message in talk.messages()] == [0, 1, 0, 0]
    receipts = [message["receipt"] for message in talk.messages() if message["speaker"] == "model"]
    assert http.get(f"/api/receipts/{receipts[1]}").json() == http.get(f"/api/receipts/{second['receipt']}").json()
    assert talk.texts() == ["ONE", "(one) w1 w2 w3 w4 w5", "two", "(two) w1 w2"]
    old_first = talk.messages()[0]["siblings"][0]
    talk.ask("POST", "/head", json={"key": first_answer})
    assert talk.texts() == ["one", "(one) w1 w2 w3 w4 w5", "two", "(two) w1"]

    talk.ask("PATCH", f"/messages/{old_first}", 201, json={"text": "three", "answer": True, "max_tokens": 1})
    assert talk.texts() == ["three", "(three) w1"]
    assert len(talk.messages()[0]["siblings"]) == 3
    assert talk.ask("POST", "/undo") == {"text": "three", "total": 0}
    assert talk.texts() == []
    talk.ask("POST", "/undo", 400)
    talk.ask("POST", "/head", json={"key": old_first})
    assert talk.texts()[-1] == "(two) w1 w2"  # what was written last below it


def test_a_branch_comes_back_with_its_own_memory(http):
    talk = Talk(http, turns=heard(8))
    talk.ask("POST", "/pins", json={"text": "answer in rhymes"})
    pinned = talk.memory()
    last = talk.key(16)
    talk.ask("PATCH", f"/messages/{talk.key(15)}", 201, json={"text": "something else", "answer": True})
    talk.ask("DELETE", "/pins/1")
    assert talk.memory()["pinned"] == []
    talk.ask("POST", "/head", json={"key": last})
    assert talk.memory()["pinned"] == [{"number": 1, "text": "answer in rhymes"}]
    assert talk.memory()["gist"]["lines"] == pinned["gist"]["lines"]


def test_a_turn_that_cannot_be_answered_leaves_everything_as_it_was(http, server):
    talk = Talk(http, turns=heard(2))
    before = talk.messages()
    for method, path, body in (
        ("POST", "/messages", {"text": "new"}),
        ("PATCH", f"/messages/{talk.key(3)}", {"text": "new", "answer": True}),
        ("POST", "/regenerate", {}),
    ):
        talk.ask(method, path, 400, json={**body, "max_tokens": 500})  # no room is left for a prompt
        assert [m["key"] for m in talk.messages()] == [m["key"] for m in before]
    talk.ask("PATCH", f"/messages/{talk.key(2)}", 400, json={"text": "not mine", "answer": True})
    assert server.shared.store.check() == []


def test_forgetting_reaches_copies_memory_receipts_and_the_search(http, server, tmp_path):
    talk = Talk(http)
    talk.say("hello")
    answer = talk.say("The password is swordfish")["answer"]
    talk.ask("PATCH", f"/messages/{talk.key(1)}", json={"text": "good day"})  # what follows is there twice now
    talk.ask("POST", "/pins", json={"text": "swordfish matters"})
    talk.ask("DELETE", "/pins/1")
    assert talk.ask("GET", "/search", params={"q": "swordfish"})["found"][0]["number"] == 3
    talk.ask("DELETE", f"/messages/{talk.key(3)}", 204)
    assert talk.texts()[2] == "…"
    talk.ask("POST", "/head", json={"key": answer["key"]})
    assert talk.texts()[2] == "…"
    assert all(
        "password" not in found["text"] for found in talk.ask("GET", "/search", params={"q": "password"})["found"]
    )
    assert "password" not in http.get(f"/api/receipts/{answer['receipt']}").text
    assert "password" not in json.dumps(talk.memory())
    talk.say("And?")
    assert "password" not in json.dumps(http.get(f"/api/receipts/{talk.messages()[-1]['receipt']}").json())
    assert server.shared.store.check() == []


def test_what_is_forgotten_in_another_branch_is_forgotten_in_this_one(http):
    talk = Talk(http)
    talk.say("hello")
    talk.say("The password is swordfish")
    there = talk.key(3)
    talk.ask("PATCH", f"/messages/{talk.key(1)}", json={"text": "good day"})
    talk.ask("DELETE", f"/messages/{there}", 204)
    assert talk.texts()[2] == "…"
    receipt = talk.say("And?")["answer"]["receipt"]
    assert "password" not in http.get(f"/api/receipts/{receipt}").text


def test_ratings(http):
    talk = Talk(http, turns=heard(1))
    talk.ask("POST", f"/messages/{talk.key(2)}/rating", json={"value": -1, "note": "too short"})
    assert [message["rating"] for message in talk.messages()] == [0, -1]
    talk.ask("POST", f"/messages/{talk.key(2)}/rating", json={"value": 0})
    assert talk.messages()[1]["rating"] == 0
    talk.ask("POST", f"/messages/{talk.key(2)}/rating", 400, json={"value": 2})
    talk.ask("POST", "/messages/unknown/rating", 404, json={"value": 1})


# ---- memory


def test_the_gist_is_seen_edited_dropped_and_gone_back_to(http):
    talk = Talk(http, turns=[{"speaker": "user", "text": "I live in Lisbon"}, *heard(8)[1:]])
    memory = talk.memory()
    assert memory["boundary"] > 0
    assert memory["gist"]["covers"] > 0
    assert memory["tokens"]["used"] == sum(memory["tokens"]["parts"].values())
    lines = memory["gist"]["lines"]
    assert lines[0]["turns"]
    fact = next(line for line in lines if line["fact"])
    assert (fact["text"], fact["fact"], fact["turns"]) == ("I live in Lisbon", "home", [1])
    dropped = talk.ask("DELETE", f"/gist/{fact['number']}")
    assert fact["text"] not in [line["text"] for line in dropped["next_gist_lines"]]
    written = talk.ask("PUT", "/gist", json={"text": "They like boats."})
    assert [line["text"] for line in written["next_gist_lines"]] == ["They like boats."]
    assert written["gist"]["made_by"] == "hand"
    back = talk.ask("POST", "/gist/back", json={"number": 2})
    assert "I live in Lisbon" in [line["text"] for line in back["next_gist_lines"]]
    talk.ask("DELETE", "/gist/999", 404)
    talk.ask("DELETE", "/pins/1", 404)
    talk.ask("POST", "/gist/back", 404, json={"number": 999})


def test_lines_are_pinned_by_number_also_after_the_conversation_was_closed(http, server):
    talk = Talk(http, turns=heard(8))
    talk.say("Which boats?")  # what the model read last is known from now on
    talk.ask("POST", "/pins", json={"text": "be kind"})
    line = talk.memory()["next_gist_lines"][-1]
    server.shared.live._places.clear()
    pinned = talk.ask("POST", "/pins", json={"line": line["number"]})["pinned"]
    assert [entry["text"] for entry in pinned] == ["be kind", line["text"]]
    talk.ask("POST", "/pins", 400, json={})
    talk.ask("POST", "/pins", 400, json={"text": "x " * 200})


# ---- two answers


def test_two_answers_are_compared_and_one_is_chosen(http):
    talk = Talk(http, turns=heard(8))
    before = talk.messages()
    events = talk.events(
        "POST", "/compare", text="Which boats?", **{"with": [{"strategy": "last"}, {"strategy": "memory"}]}
    )
    done = {event["side"]: event for event in events if event["type"] == "done"}
    assert {side: event["receipt"]["strategy"] for side, event in done.items()} == {0: "last", 1: "memory"}
    assert done[0]["receipt"]["tokens"] == 0 < done[1]["receipt"]["tokens"]
    assert talk.messages() == before
    choice = {
        "text": "Which boats?",
        "answer": done[1]["text"],
        "other": "None at all.",
        "chosen": {"strategy": "memory"},
    }
    chosen = talk.ask("POST", "/choose", 201, json=choice)["answer"]
    assert (chosen["text"], chosen["rating"]) == (done[1]["text"], 1)
    assert http.get(f"/api/receipts/{chosen['receipt']}").json()["strategy"] == "memory"
    other = next(key for key in chosen["siblings"] if key != chosen["key"])
    talk.ask("POST", "/head", json={"key": other})
    assert (talk.messages()[-1]["text"], talk.messages()[-1]["rating"]) == ("None at all.", -1)
    unknown = {"text": "x", "with": [{"model": "another"}, {}]}
    assert talk.ask("POST", "/compare", 404, json=unknown)["error"]["code"] == "model_not_found"


# ---- at the same time, and broken off


def test_two_turns_at_once_are_answered_one_after_the_other(http, server, engine):
    talk = Talk(http)
    engine.gate.clear()
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(talk.say(f"turn {n}"))) for n in range(4)]
    for thread in threads:
        thread.start()
    engine.gate.set()
    for thread in threads:
        thread.join(30)
    texts = talk.texts()
    assert sorted(texts[::2]) == [f"turn {n}" for n in range(4)]
    assert texts[1::2] == [f"({text[-1]}) w1 w2 w3 w4 w5" for text in texts[::2]]
    assert sorted(answer["answer"]["number"] for answer in answers) == [2, 4, 6, 8]


@pytest.mark.parametrize("stream", [True, False])
def test_what_was_said_is_kept_when_the_client_goes_away(server, engine, stream):
    engine.step = 0.02
    with server.http() as http:
        talk = Talk(http)
    threading.Thread(target=leave, args=(server, talk.id, stream, engine)).start()
    while engine.steps < 5:
        time.sleep(0.005)
    with server.http() as http:
        talk.http = http
        talk.memory()  # waits until nobody has the conversation
        asked, said = talk.texts()
        assert asked == "hello"
        assert said.startswith("(hello) w1 w2")
        assert engine.steps < 100
        assert talk.say("and", max_tokens=1)["answer"]["text"] == "(and) w1"


def leave(server: Served, id: str, stream: bool, engine: ScriptedEngine) -> None:
    """Ask, and go away after some steps of the answer."""
    body = json.dumps({"text": "hello", "stream": stream, "max_tokens": 400})
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        head = (
            f"POST /api/conversations/{id}/messages HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(body)}\r\n"
        )
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n{body}".encode())
        while engine.steps < 5:
            time.sleep(0.005)


# ---- export


def test_exports_are_prepared_again(http, tmp_path):
    lines = b""
    for number in range(6):
        talk = Talk(http, turns=[{"speaker": "user", "text": f"My number is {number}"}, *heard(number + 2)[1:]])
        answer = http.get(f"/api/conversations/{talk.id}/export")
        assert answer.headers["content-type"].startswith("application/jsonl")
        lines += answer.content
    (tmp_path / "talks.jsonl").write_bytes(lines)
    done = gistchat("prepare", "jsonl", "--from", "talks.jsonl", "--out", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "data" / "report.json").read_text())
    assert (report["read"], report["kept"]) == (6, 6)
    texts = "".join((tmp_path / "data" / f"{split}.jsonl").read_text() for split in ("train", "validation", "test"))
    assert all(f"My number is {number}" in texts for number in range(6))
    assert Talk(http).ask("GET", "/export", 400)["error"]["code"] == "empty_conversation"
