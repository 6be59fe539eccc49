"""A stranger's recipe or run names an endpoint: whatever the command, nothing is sent until its host is trusted."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import TINY_TOML, gistchat, make_dialogue

from gistchat import progress, trusted_hosts
from gistchat.chat.session import ChatSession
from gistchat.errors import UserError
from gistchat.memory import workers
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.schema import ContextConfig, SummaryConfig

KEY = "secret-key"


@pytest.fixture
def stranger(monkeypatch, tmp_path):
    """A server on this machine that counts as one elsewhere; `asked` holds the key of every request."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Authorization"])
            choice = {"message": {"role": "assistant", "content": "They talked about a dog."}, "finish_reason": "stop"}
            body = json.dumps({"choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    server.asked, server.url = asked, f"http://127.0.0.1:{server.server_port}/v1"
    monkeypatch.setattr(trusted_hosts, "_is_local", lambda host: False)
    monkeypatch.setattr(trusted_hosts, "_trusted", set())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    progress.say_once.cache_clear()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def recipe(tiny_folder, stranger):
    """A stranger's recipe, tiny.toml."""
    summary = f'[summary]\nmethod = "endpoint"\nmodel = "m"\nurl = "{stranger.url}"\n'
    (tiny_folder / "tiny.toml").write_text(f"{TINY_TOML}\n{summary}")
    return tiny_folder


@pytest.fixture
def run(run_folder, tmp_path, stranger):
    """A stranger's run."""
    shutil.copytree(run_folder, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / "gistchat.json"
    values = json.loads(path.read_text())
    values["recipe"]["summary"] |= {"method": "endpoint", "model": "m", "url": stranger.url}
    path.write_text(json.dumps(values))
    return tmp_path / "run"


def refused(result, stranger):
    return (
        result.returncode == 1
        and result.stdout == ""
        and result.stderr.count("\n") == 1
        and result.stderr.startswith(f"error: summaries by {stranger.url.removesuffix('/v1')}: this address comes from")
        and stranger.asked == []
    )


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_strangers_recipe(recipe, stranger, command):
    result = gistchat(command, "./tiny.toml", cwd=recipe)
    assert refused(result, stranger), result.stderr
    assert not (recipe / "data").exists()  # before anything started


def test_a_strangers_experiment(tiny_folder, stranger):
    settings = ["summary.method=endpoint", "summary.model=m", f"summary.url={stranger.url}"]
    variants = f'[[experiment.variants]]\nname = "a"\n[[experiment.variants]]\nname = "b"\nset = {settings}\n'
    (tiny_folder / "tiny.toml").write_text(f"{TINY_TOML}\n{variants}")
    assert refused(gistchat("run", "./tiny.toml", cwd=tiny_folder), stranger)
    assert not (tiny_folder / "data").exists()
    offline = f"[experiment]\noffline = {settings}\n"
    (tiny_folder / "tiny.toml").write_text(f"{TINY_TOML}\n{offline}")
    assert refused(gistchat("run", "./tiny.toml", "--offline", cwd=tiny_folder), stranger)


@pytest.mark.parametrize("command", [["chat"], ["evaluate"], ["reply", "talks.jsonl", "replies.jsonl"]])
def test_a_strangers_run(run, stranger, dialogue_file, command):
    result = gistchat(*command, str(run), cwd=dialogue_file.parent, stdin="My name is Olga.\n")
    assert refused(result, stranger), result.stderr


def test_a_chat_goes_on_where_a_strangers_run_is_refused(run_folder, run, stranger):
    session = ChatSession.open(run_folder, ["chat.max_reply_tokens=4"], seed=1)
    session.say("My name is Olga.")
    with pytest.raises(UserError, match="comes from a recipe or a run"):
        session.switch_model(run)
    assert session.say("And yours?") is not None
    assert (len(session.turns), stranger.asked) == (4, [])


@pytest.mark.parametrize("how", ["--summary-url", "--set", "variable", "confirmed"])
def test_a_server_that_the_user_names_is_used_at_once_and_said_once(run, stranger, monkeypatch, how, tmp_path):
    origin = stranger.url.removesuffix("/v1")
    options = {"--summary-url": ["--summary-url", stranger.url], "--set": ["--set", f"summary.url={stranger.url}"]}.get(
        how, []
    )
    if how == "variable":
        monkeypatch.setenv(trusted_hosts.VARIABLE, origin)
    if how == "confirmed":
        trusted_hosts.memory_file().parent.mkdir(parents=True)
        trusted_hosts.memory_file().write_text(f"{origin}\n")
    turns = "I saw some ships near the harbour, and people talked about them for a long while.\n" * 4
    options += ["--max-reply-tokens", "4", "--seed", "1", "--budget", "60"]
    result = gistchat("chat", str(run), *options, cwd=tmp_path, stdin=turns)
    assert result.returncode == 0
    assert set(stranger.asked) == {f"Bearer {KEY}"}
    assert result.stderr.count(f"summaries are written by {origin}") == 1
    assert KEY not in result.stdout + result.stderr


def test_the_addresses_of_summarize_are_the_users_own(tmp_path, stranger):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.jsonl").write_bytes(make_dialogue(1, turns=30).to_line())
    words = ["summarize", ".", "--method", "endpoint", "--with", "m", "--tokens", "60", "--url"]
    result = gistchat(*words, stranger.url, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(stranger.asked) == {f"Bearer {KEY}"}


def test_a_worker_elsewhere_trusts_whom_the_user_trusts(stranger):
    config = SummaryConfig(method="endpoint", model="m", url=stranger.url)
    prompts = SpeakerTokens(gpt2_tokenizer())
    settings = workers.Settings(config, ContextConfig(budget=60), prompts.name, prompts.tokenizer)
    with pytest.raises(UserError, match="comes from a recipe or a run"):
        workers._written_apart(settings, frozenset(), [make_dialogue(1)])
    with pytest.raises(UserError, match="comes from a recipe or a run"):
        next(iter(workers.ray(settings, [[make_dialogue(1)]])))
    assert stranger.asked == []
    trusted_hosts.trust(stranger.url)
    here, trusted_hosts._trusted = trusted_hosts.trusted(), set()
    workers._written_apart(settings, here, [make_dialogue(1, turns=30)])
    assert set(stranger.asked) == {f"Bearer {KEY}"}
