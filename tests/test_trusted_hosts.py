"""Which server may get the turns and the key: how addresses are read, who counts as trusted, and how one is asked."""

import contextlib
import io
import os
import pty
import re
import stat
import subprocess
import sys

import pytest

from gistchat import trusted_hosts
from gistchat.errors import UserError
from gistchat.trusted_hosts import VARIABLE, allow, memory_file, parse, trust, trust_those_in

STRANGER = "https://evil.example/v1"


@pytest.fixture(autouse=True)
def new_user(tmp_path, monkeypatch):
    """Someone who has trusted nobody yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(trusted_hosts, "_trusted", set())


@pytest.fixture
def terminal(monkeypatch):
    """A person at a terminal who types the given lines."""

    def types(text):
        monkeypatch.setattr(trusted_hosts, "_can_ask", lambda: True)
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return types


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com"),
        ("HTTPS://API.OpenAI.com:443/v1", "https://api.openai.com"),
        ("https://api.openai.com./v1", "https://api.openai.com"),
        ("https://api.openai.com:/v1", "https://api.openai.com"),
        ("https://ａｐｉ.openai。com/v1", "https://api.openai.com"),  # letters and a full stop of full width
        ("http://api.openai.com:443/v1", "http://api.openai.com:443"),
        ("http://api.openai.com:80/v1", "http://api.openai.com"),
        ("https://api.openai.com:8443", "https://api.openai.com:8443"),
        ("https://api.openai.com.evil.example/v1", "https://api.openai.com.evil.example"),
        ("https://evil.example/@api.openai.com", "https://evil.example"),
        ("https://evil.example?@api.openai.com", "https://evil.example"),
        ("https://evil.example#@api.openai.com", "https://evil.example"),
        ("https://аpi.openai.com/v1", "https://xn--pi-6kc.openai.com"),  # the first letter is Cyrillic
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]:8000/v1", "http://[::1]:8000"),
        ("http://model_server:8000/v1", "http://model_server:8000"),
    ],
)
def test_a_server_is_its_scheme_host_and_port(url, origin):
    server = parse(url)
    assert server.origin == origin
    assert server.url.startswith(origin)  # what is called is what was compared
    assert parse(server.url) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://a/v1",
        "https://",
        "https:///v1",
        "https://a:x/v1",
        "https://a:99999/v1",
        "https://a..b/v1",
        "http://api.openai.com@evil.example/",
        "http://user:secret@evil.example/",
        "https://api.openai.com\\@evil.example",
        "https://api.openai.com /v1",
        "https://api.op\tenai.com/v1",
        "https://a\n.b/v1",
        "https://a\x1b[2J.b",
        "https://a\u202e.b",
        "https://a%2eb/v1",
        "https://[::1/v1",
        "https://[fe80::1%25eth0]/v1",
        "https://evil.example／.openai.com",
        "https://-a.b",
        f"https://{'a' * 64}.b/v1",
        "https://$(id).b/v1",
    ],
)
def test_what_is_no_plain_address_is_refused(url):
    with pytest.raises(UserError, match="is no server address") as refused:
        parse(url)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "url",
    ["http://localhost:11434/v1", "http://127.0.0.1:8000", "http://127.9.9.9", "http://[::1]", "http://LOCALHOST."],
)
def test_a_server_on_this_machine_gets_the_turns_unasked_and_the_key_once_it_is_named(url):
    assert not allow(url, "summaries").gets_key
    trust(url)
    assert allow(url, "summaries").gets_key


@pytest.mark.parametrize(
    "url",
    [
        STRANGER,
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://0.0.0.0:80",
        "http://10.0.0.1",
    ],
)
def test_a_stranger_is_refused_where_nobody_can_be_asked(url):
    with pytest.raises(UserError) as refused:
        allow(url, "summaries")
    message = str(refused.value)
    assert message.startswith(f"summaries by {parse(url).origin}: this address comes from a recipe or a run")
    assert "--url ADDRESS" in message
    assert f"{VARIABLE}={parse(url).origin}" in message
    assert not memory_file().exists()


def test_who_is_named_is_trusted_and_nobody_else():
    trust_those_in(["summary.method=endpoint", " summary.url = https://mine.example/v1 ", "summary.url="])
    assert allow("https://mine.example:443/other", "summaries").gets_key
    for other in ("http://mine.example/v1", "https://mine.example:8443/v1", "https://sub.mine.example", STRANGER):
        with pytest.raises(UserError, match="comes from a recipe or a run"):
            allow(other, "summaries")
    assert not memory_file().exists()  # named once is not for ever


@pytest.mark.parametrize(
    "value", ["a.example, evil.example", "https://evil.example:443/v1", "b.example\nEVIL.example."]
)
def test_servers_of_the_environment_variable(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    assert allow(STRANGER, "summaries").gets_key
    with pytest.raises(UserError, match="comes from a recipe or a run"):
        allow("http://evil.example/v1", "summaries")


def test_one_is_asked_once_for_each_server(terminal, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    terminal("y\n")
    assert allow(STRANGER, "summaries").gets_key
    asked = capsys.readouterr().err
    assert "summaries written by https://evil.example, which gets what is said and your OPENAI_API_KEY." in asked
    assert "[y/N]" in asked
    assert "secret" not in asked
    assert stat.S_IMODE(memory_file().stat().st_mode) == 0o600
    monkeypatch.setattr(trusted_hosts, "_trusted", set())  # another process, later
    terminal("")
    assert allow(STRANGER, "summaries").gets_key
    assert capsys.readouterr().err == ""
    terminal("YES\n")
    allow("http://other.example", "summaries")
    assert "unencrypted" in capsys.readouterr().err
    assert memory_file().read_text().split() == ["https://evil.example", "http://other.example"]


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "Yes, I moved to Lisbon.\n", "yy\n"])
def test_whatever_is_not_yes_is_no(terminal, typed):
    terminal(typed)
    with pytest.raises(UserError, match="not allowed; nothing was sent there"):
        allow(STRANGER, "summaries")
    assert not memory_file().exists()


def test_what_cannot_be_remembered_is_said(terminal, capsys, tmp_path):
    (tmp_path / "config").write_text("a file in the folder's place")
    terminal("y\n")
    assert allow(STRANGER, "summaries").gets_key
    assert "cannot be written" in capsys.readouterr().err


def test_a_list_that_cannot_be_read(monkeypatch):
    memory_file().parent.mkdir(parents=True)
    memory_file().write_bytes(b"https://a.example\n\n\xff\xfe\n")
    assert allow("https://a.example/v1", "summaries").gets_key
    with pytest.raises(UserError, match=r"trusted-hosts:3: .* is no server address"):
        allow(STRANGER, "summaries")
    monkeypatch.setenv(VARIABLE, "me@evil.example")
    with pytest.raises(UserError, match=f"{VARIABLE}: .* is no server address"):
        allow(STRANGER, "summaries")


@pytest.mark.parametrize(("rank", "terminal"), [("1", True), ("0", True), ("", False)])
def test_nobody_is_asked_by_several_processes_nor_without_a_terminal(monkeypatch, rank, terminal):
    monkeypatch.setattr(type(trusted_hosts.console), "is_terminal", True)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)
    if rank:
        monkeypatch.setenv("RANK", rank)
    with pytest.raises(UserError, match="comes from a recipe or a run"):
        allow(STRANGER, "summaries")


def test_the_question_at_a_real_terminal(tmp_path):
    def run(typed):
        """What a terminal shows of a process that asks for leave."""
        program = f"from gistchat.trusted_hosts import allow; print('key', allow({STRANGER!r}, 'summaries').gets_key)"
        master, slave = pty.openpty()
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm"}
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=slave, stdout=slave, stderr=slave, env=environment
        )
        os.close(slave)
        seen = ""
        with contextlib.suppress(OSError):  # the process has ended
            while True:
                seen += os.read(master, 65536).decode()
                if "[y/N]" in seen and typed:
                    os.write(master, typed)
                    typed = b""
        os.close(master)
        process.wait()
        return seen

    assert re.search(r"written by https://evil.example.*\[y/N\] y\s+key True", run(b"y\n"), re.DOTALL)
    assert run(b"").split() == ["key", "True"]  # asked once
