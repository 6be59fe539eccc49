"""The command `gistchat serve`: what it refuses to begin with, and how it ends."""

import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import httpx2
import pytest
from conftest import forked, gistchat

from gistchat.server.run import bound

ASK = {"messages": [{"role": "user", "content": "Tell me a long story."}]}


@pytest.fixture(autouse=True)
def own_database(tmp_path, monkeypatch):
    monkeypatch.setenv("GISTCHAT_DATABASE", f"sqlite:///{tmp_path}/conversations.db")
    monkeypatch.delenv("GISTCHAT_API_KEY", raising=False)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "needs a key: --api-key KEY, or GISTCHAT_API_KEY"),
        (["--host", "::"], "needs a key"),
        (["--host", "no.such.host.invalid", "--api-key", "long-enough-key"], "no such address"),
        (["--api-key", "short"], "at least 8 characters"),
        (["--api-key", "a key with spaces"], "at least 8 characters"),
        (["--allow-origin", "app.example"], "an origin is such as https://"),
        (["--port", "70000"], "--port must be between 0 and 65,535"),
        (["--slots", "0"], "--slots must be between"),
        (["nowhere"], "nowhere: no such folder"),
        (["--port", "0", "--database", "mysql://x"], "sqlite or postgresql"),
        (["--strategy", "nonsense", "--port", "0"], "nonsense"),
        (["--observe"], "--backend ADDRESS"),
        (["--backend", "http://127.0.0.1:1/v1", "some.gguf"], "leave MODEL and its options out"),
        (["--backend", "http://127.0.0.1:1/v1", "--temperature", "1"], "leave MODEL and its options out"),
        (["--backend", "http://127.0.0.1:1/v1", "--strategy", "nonsense", "--port", "0"], "nonsense"),
        (["--backend", "nonsense", "--port", "0"], "nonsense"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(tmp_path, words, told):
    result = gistchat("serve", *words, cwd=tmp_path)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_a_port_that_is_in_use_is_told_before_anything_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        begun = time.perf_counter()
        result = gistchat("serve", "--port", str(port), cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        1,
        f"error: port {port} is in use; end the program that has it, or give another: --port {port + 1}\n",
    )
    assert time.perf_counter() - begun < 5


def address_of(process) -> str:
    """Where it serves, once it does."""
    end, said = time.monotonic() + 60, ""
    while time.monotonic() < end and process.is_alive():
        said = process.files["err"].read_text(encoding="utf-8") if process.files["err"].exists() else ""
        if told := re.search(r"serving: (http://\S+) \(page\)", said):
            return told[1]
        time.sleep(0.01)
    raise AssertionError(said)


def test_after_sigterm_it_takes_no_new_work_ends_what_is_begun_and_leaves(tmp_path: Path):
    with forked("serve", "--port", "0", "--set", "chat.temperature=0", cwd=tmp_path) as process:
        url = address_of(process)
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
            body = {**ASK, "stream": True, "n": 2, "temperature": 1.5, "max_tokens": 60}
            with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                lines = answer.iter_lines()
                next(lines)
                os.kill(process.pid, signal.SIGTERM)
                with httpx2.Client(base_url=url, timeout=60, trust_env=False) as other:
                    while other.get("/health").status_code == 200:
                        pass
                    assert other.get("/health").json()["status"] == "stopping"
                    refused = other.post("/v1/chat/completions", json=ASK)
                    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
                said = list(lines)
        process.join(30)
        assert process.exitcode == 0
        assert said[-2:] == ["data: [DONE]", ""]
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(url, trust_env=False)
        errors = process.files["err"].read_text(encoding="utf-8")
        assert "stopping: replies have 30 seconds to end" in errors
        assert "story" not in errors


def test_a_second_signal_ends_it_at_once(tmp_path):
    with forked("serve", "--port", "0", cwd=tmp_path) as process:
        url = address_of(process)
        answers = []

        def ask() -> None:
            with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
                try:
                    body = {**ASK, "n": 8, "temperature": 2.0, "max_tokens": 1000}
                    answers.append(http.post("/v1/chat/completions", json=body).status_code)
                except httpx2.HTTPError:
                    answers.append(0)

        asking = threading.Thread(target=ask)
        asking.start()
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as http:
            while "gistchat_replies_running 1.0" not in http.get("/metrics").text:
                pass
            os.kill(process.pid, signal.SIGINT)
            while http.get("/health").status_code == 200:
                pass
        os.kill(process.pid, signal.SIGINT)
        begun = time.monotonic()
        process.join(20)
        assert process.exitcode == 0
        assert time.monotonic() - begun < 10
        asking.join(20)
        assert "Traceback" not in process.files["err"].read_text(encoding="utf-8")
        assert answers in ([0], [503])


def test_a_key_of_the_environment_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("GISTCHAT_API_KEY", "key-of-the-environment")
    with forked("serve", "--port", "0", cwd=tmp_path) as process:
        url = address_of(process)
        assert httpx2.get(f"{url}/v1/models", trust_env=False).status_code == 401
        key = {"Authorization": "Bearer key-of-the-environment"}
        assert httpx2.get(f"{url}/v1/models", headers=key, trust_env=False).json()["data"][0]["id"] == "gistchat"
        os.kill(process.pid, signal.SIGTERM)
        process.join(30)
        assert process.exitcode == 0


def test_answers_are_sent_at_once(tmp_path):
    """Of a socket without a protocol, asyncio would let each answer wait for the client's acknowledgement."""
    with bound("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP
