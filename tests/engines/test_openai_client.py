"""The client of OpenAI-compatible servers, against real ones that are strange, slow, endless or hostile."""

import contextlib
import json
import signal
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gistchat import trusted_hosts
from gistchat.engines import openai_client
from gistchat.engines.openai_answer import NoText
from gistchat.engines.openai_client import ChatClient
from gistchat.errors import UserError

ASKED = [{"role": "user", "content": "How are you?"}]
ENVIRONMENT = {
    "OPENAI_API_KEY": "secret-key",
    "OPENAI_ADMIN_KEY": "secret-admin",
    "OPENAI_ORG_ID": "secret-organisation",
    "OPENAI_PROJECT_ID": "secret-project",
    "OPENAI_CUSTOM_HEADERS": "X-Team: secret-team\nAuthorization: Bearer secret-other",
}


class Server:
    """A real server; `script` holds a function of the request's handler for each request, the last one for ever."""

    def __init__(self):
        self.script, self.asked = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append((self.path, headers, json.loads(body)))
                reply = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                with contextlib.suppress(OSError):  # whoever asked has given up
                    reply(self)

            do_GET = do_POST

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(trusted_hosts, "_trusted", set())
    for name, value in {"RETRIES": 0, "FIRST_WAIT": 0.01, "TIMEOUT": 30.0}.items():
        monkeypatch.setattr(openai_client, name, value)
    made = Server()
    yield made
    made.close()


def ask(server, max_tokens=20):
    return ChatClient(server.url, "m").ask(ASKED, max_tokens)


def raw(body, status=200, length=True, kind="application/json", **headers):
    """A reply with this body, whatever it is."""

    def reply(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def says(content, **choice):
    message = {"role": "assistant", "content": content} | choice.pop("message", {})
    return raw(json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message} | choice]}).encode())


def text(words):
    return {"type": "text", "text": words}


FINE = says("Fine.")


# ---- who gets what


def secrets(server):
    _, headers, body = server.asked[-1]
    assert body["messages"] == ASKED
    return sorted(value for value in headers.values() if "secret" in value)


def test_only_a_trusted_server_gets_key_organisation_and_headers(server, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    server.script = [FINE]
    assert ask(server) == "Fine."
    assert secrets(server) == []
    trusted_hosts.trust(server.url)
    assert ask(server) == "Fine."
    assert {"secret-organisation", "secret-project"} <= set(secrets(server))
    assert any(value.startswith("Bearer secret-") for value in secrets(server))


def test_a_stranger_gets_nothing_at_all(server, monkeypatch):
    monkeypatch.setattr(trusted_hosts, "_is_local", lambda host: False)
    with pytest.raises(UserError, match=r"answers by http://127\.0\.0\.1:.* comes from a recipe or a run"):
        ask(server)
    assert server.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server, monkeypatch, status):
    other = Server()
    other.script = [FINE]
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    trusted_hosts.trust(server.url)
    server.script = [raw(b"", status, Location=other.url)]
    with pytest.raises(UserError, match=f"answers {status} and points to {other.url}; if that is right"):
        ask(server)
    assert other.asked == []
    other.close()


def test_what_stays_on_this_machine_passes_no_proxy(server, monkeypatch):
    proxy = Server()
    proxy.script, server.script = [FINE], [FINE]
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    ask(server)
    assert (len(server.asked), proxy.asked) == (1, [])
    proxy.close()


@pytest.mark.parametrize("key", ["a\nkey", "schlüssel", "a\x00b"])
def test_a_key_that_cannot_be_sent_is_not_shown(server, monkeypatch, key):
    if "\0" not in key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    else:
        monkeypatch.setattr(openai_client.os, "environ", {"OPENAI_API_KEY": key})
    trusted_hosts._trusted.add(trusted_hosts.parse(server.url).origin)
    with pytest.raises(UserError, match="OPENAI_API_KEY is no key") as refused:
        ChatClient(server.url, "m")
    assert key not in str(refused.value)


# ---- what an answer is


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (says(" Fine. "), "Fine."),
        (says([text("Fine"), text(", thanks.")]), "Fine, thanks."),
        (says([{"type": "thinking", "thinking": [text("Hm.")]}, text("Fine.")]), "Fine."),
        (says("Fine, but", finish_reason="length"), "Fine, but"),
        (says("Fine.", finish_reason=None, message={"refusal": None, "reasoning_content": "Hm."}), "Fine."),
        (raw(b'{"choices": [{"message": {"content": "Fine."}}]}', kind="text/plain"), "Fine."),
        (says("x" * 900_000), "x" * 20 * 32),  # no more than 20 tokens can be
    ],
)
def test_the_text_of_an_answer(server, reply, answer):
    server.script = [reply]
    assert ask(server) == answer


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says({"text": "Fine."}), "its content is an object"),
        (says(7), "its content is a number"),
        (says(True), "its content is true or false"),
        (says(None), "its content is null"),
        (says(["Fine."]), "its content is a list of other things than parts"),
        (says([[text("Fine.")]]), "its content is a list of other things than parts"),
        (says([]), "its content has no text"),
        (says([{"type": "image_url"}]), "its content has no text"),
        (says([text({"value": "Fine."})]), "a part of its content has no text"),
        (says([text("Fine."), text(None)]), "a part of its content has no text"),
        (raw(b""), "it is empty"),
        (
            raw(b"<html>\x1b[2JWelcome</html>", kind="text/html"),
            r"no JSON: <html> \[2JWelcome</html>; does the address",
        ),
        (raw(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'), "no JSON"),
        (raw(b'{"choices": [{"message": {"content": "\\ud800"}}]}'), "no JSON"),
        (raw(b'{"choices": ' + b"[" * 400_000), "no JSON"),
        (raw(b'{"choices": [{"message": {"content": ' + b"[" * 5000 + b"]" * 5000 + b"}}]}"), "no JSON"),
        (raw(b'{"choices": [{"message": {"content": ' + b"9" * 6000 + b"}}]}"), "its content is a number|no JSON"),
        (raw(b'{"error": {"message": "no such model\\u001b[2J"}}'), r"an error: no such model \[2J"),
        (raw(b'{"error": "overloaded"}'), "an error: overloaded"),
        (raw(b"[]"), "the whole: "),
        (raw(b"{}"), "choices: field required"),
        (raw(b'{"choices": []}'), "choices: list should have at least 1"),
        (raw(b'{"choices": [null]}'), r"choices\.0: "),
        (raw(b'{"choices": [{"message": "Fine."}]}'), r"choices\.0\.message: "),
    ],
)
def test_what_is_no_answer_is_refused_with_one_reason(server, reply, reason):
    server.script = [reply]
    with pytest.raises(UserError, match=rf"/v1: not the answer of a chat endpoint \(.*{reason}") as refused:
        ask(server)
    assert type(refused.value) is UserError
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says("I ca", finish_reason="content_filter"), "a filter of the endpoint withheld the answer"),
        (says(None, message={"refusal": "I cannot\nhelp."}), r"the model refused \(I cannot\)"),
        (says([{"type": "refusal", "refusal": "No."}]), r"the model refused \(No\.\)"),
        (says(""), "the answer is empty"),
        (says(" \n"), "the answer is empty"),
        (says([text(" ")]), "the answer is empty"),
    ],
)
def test_an_answer_that_says_nothing(server, reply, reason, capsys):
    server.script = [reply]
    with pytest.raises(NoText, match=reason):
        ask(server)
    server.script = [FINE, reply, FINE]
    assert sorted(ChatClient(server.url, "m").ask_all([ASKED] * 3, 20, 1)) == ["", "Fine.", "Fine."]
    assert reason.replace("\\", "") in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, ""])
def test_a_model_that_thinks_for_too_long(server, content):
    server.script = [says(content, finish_reason="length", message={"reasoning_content": "Hm."})]
    with pytest.raises(UserError, match="ended before it said anything, after 20 tokens; does the model think"):
        ask(server)


# ---- limits of time and size


def endless(status=200, piece=b"x" * 65536, pause=0.0, start=b""):
    """A reply whose body never ends."""

    def reply(handler):
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(start)
        for _ in range(10_000):
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause)

    return reply


def dripping_headers(handler):
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 2000:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("reply", "size"),
    [
        (raw(b"x" * 5_000_000), "1 MB"),
        (says("x" * 5_000_000), "1 MB"),
        (endless(), "1 MB"),
        (endless(404), "1 MB"),
        (endless(start=b'{"choices": [], "more": "'), "1 MB"),
    ],
)
def test_an_answer_that_does_not_end(server, reply, size):
    server.script = [reply]
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"answers \d+ with more than {size}"):
        ask(server)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "reply",
    [endless(piece=b" ", pause=0.02), endless(500, b" ", 0.02), dripping_headers, lambda handler: time.sleep(3)],
)
def test_an_answer_has_its_time_however_its_bytes_drip(server, reply, monkeypatch):
    monkeypatch.setattr(openai_client, "TIMEOUT", 0.4)
    monkeypatch.setattr(openai_client, "RETRIES", 4)
    server.script = [reply]
    start = time.monotonic()
    with pytest.raises(UserError, match=r"/v1: no answer within 0\.4 s, 2 times"):
        ask(server)
    assert time.monotonic() - start < 10
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [200, 503])
def test_a_packed_answer_is_not_unpacked(server, status):
    server.script = [raw(b"\x1f\x8b", status, Content_Encoding="gzip")]
    with pytest.raises(UserError, match=f"answers {status}, compressed, though it was asked not to"):
        ask(server)
    assert server.asked[0][1]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "reply",
    [
        lambda handler: handler.connection.close(),
        lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b"{", length=False, Content_Length="500"),
        raw(b"zz\r\n", length=False, Transfer_Encoding="chunked"),
    ],
)
def test_a_connection_that_breaks_is_tried_again(server, monkeypatch, reply):
    monkeypatch.setattr(openai_client, "RETRIES", 2)
    server.script = [reply, reply, FINE]
    assert ask(server) == "Fine."
    server.script = [reply]
    with pytest.raises(UserError, match=r"/v1: cannot be reached \(.+\)"):
        ask(server)
    assert len(server.asked) == 6


# ---- waiting


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({"Retry_After": "3600"}, "60 minutes, until "),
        ({"Retry_After": "1e400"}, "years, until "),
        ({"Retry_After": formatdate(time.time() + 90_000, usegmt=True)}, r"1\d\d\d minutes, until \d{4}-\d\d-\d\d "),
        ({"retry_after_ms": "3600000"}, "60 minutes, until "),
        ({"Retry_After": "Fri, 31 Dec 9999 23:59:59 GMT"}, "years, until "),
    ],
)
def test_who_asks_to_wait_for_too_long_is_not_waited_for(server, monkeypatch, headers, length):
    monkeypatch.setattr(openai_client, "RETRIES", 3)
    server.script = [raw(b'{"error": {"message": "slow down"}}', 429, **headers)]
    with pytest.raises(
        UserError, match=rf"answers 429 \(slow down\), and asks to wait {length}.*\d\d:\d\d; try again then"
    ):
        ask(server)
    assert len(server.asked) == 1


def test_what_a_server_asks_to_wait_is_waited_and_said_once(server, monkeypatch, capsys):
    monkeypatch.setattr(openai_client, "RETRIES", 1)
    monkeypatch.setattr(openai_client, "SAID_WAIT", 0.3)
    server.script = [*[raw(b"", 503, Retry_After="0.5")] * 4, FINE]
    start = time.monotonic()
    assert ChatClient(server.url, "m").ask_all([ASKED] * 4, 20, at_once=4) == ["Fine."] * 4
    assert time.monotonic() - start >= 0.5
    said = capsys.readouterr().err
    assert said.count("has too much to do or fails; trying again in ") == 1


@pytest.mark.parametrize(
    "wait", ["0", "-5", "nan", "soon", "", "Fri, 31 Feb 2025 25:00:00 GMT", formatdate(0, usegmt=True)]
)
def test_a_time_to_wait_that_means_nothing(server, monkeypatch, wait):
    monkeypatch.setattr(openai_client, "RETRIES", 2)
    server.script = [raw(b"", 429, Retry_After=wait), raw(b"<html>Bad gateway</html>", 502), FINE]
    assert ask(server) == "Fine."


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (
            400,
            b'{"error": {"message": "max_tokens is not supported"}}',
            r"answers 400 \(max_tokens is not supported\)$",
        ),
        (404, b'{"error": "no such model"}', r"answers 404 \(no such model\)$"),
        (404, b'{"error": {"message": 7}}', r"answers 404 \({.*}\)$"),
        (405, b"\xff\x1b[2J<html>", "answers 405 "),
        (413, b"", "answers 413$"),
        (403, b"", r"answers 403; is OPENAI_API_KEY set\? It was not sent, as only hosts that you name get it"),
    ],
)
def test_what_another_attempt_would_not_mend(server, monkeypatch, status, body, problem):
    monkeypatch.setattr(openai_client, "RETRIES", 3)
    server.script = [raw(body, status)]
    with pytest.raises(UserError, match=problem) as refused:
        ask(server)
    assert str(refused.value).isprintable()
    assert len(server.asked) == 1


def test_ctrl_c_ends_the_wait(server, monkeypatch):
    """As it does where a person waits for a summary: at once, and not when the time is over."""
    server.script = [lambda handler: time.sleep(5)]
    client = ChatClient(server.url, "m")
    main = threading.main_thread().ident
    threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        client.ask_all([ASKED] * 3, 20, at_once=2)
    assert time.monotonic() - start < 4
    server.script = [FINE]
    assert client.ask(ASKED, 20) == "Fine."
