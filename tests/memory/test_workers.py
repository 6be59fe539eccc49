"""Where summaries are made: several processes, a Ray cluster, and what is stored when something fails."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import make_dialogue

from gistchat import cli
from gistchat.errors import UserError
from gistchat.examples.build import ExampleBuilder
from gistchat.examples.targets import Target
from gistchat.memory import factory as summarizers
from gistchat.memory import summary_store as store_module
from gistchat.memory import workers as engines
from gistchat.memory.summarizers.abstractive import Abstractive
from gistchat.memory.summarizers.extractive import Extractor
from gistchat.memory.summary_store import SummaryStore, Written
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts.speaker_tokens import SpeakerTokens
from gistchat.recipe.schema import ContextConfig, SummaryConfig

FORMAT = SpeakerTokens(gpt2_tokenizer())
CONTEXT = ContextConfig(budget=96)
DIALOGUES = [make_dialogue(i, turns=14) for i in range(30)]


def open_store(folder, method="textrank"):
    return SummaryStore(folder, SummaryConfig(method), CONTEXT, FORMAT, "t")


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(store_module, "CHUNK", 4)


def test_all_cores_write_the_bytes_of_one(tmp_path, monkeypatch, small_chunks):
    together = open_store(tmp_path / "a")
    assert together.add(DIALOGUES) == 30
    monkeypatch.setattr("gistchat.processes.cores", lambda: 1)
    monkeypatch.setattr(engines, "ordered_map", map)
    alone = open_store(tmp_path / "b")
    alone.add(DIALOGUES[:4])
    alone.add(DIALOGUES)
    assert together.path.read_bytes() == alone.path.read_bytes()
    assert len(alone.path.read_bytes().splitlines()) == 30


class Writer:
    """Writes some words of what it reads; fails at the request that it is told to."""

    room = 400

    def __init__(self, fails_at=10**9):
        self.left = fails_at

    def count(self, texts):
        return [len(text.split()) for text in texts]

    def write(self, requests):
        self.left -= len(requests)
        if self.left < 0:
            raise UserError("the endpoint is down")
        return [" ".join(request.dialogue.split(": ", 1)[1].split()[1:9:2]) + "." for request in requests]


@pytest.fixture
def writer(monkeypatch):
    writer = Writer()
    made = Abstractive(writer, Extractor("textrank"), 32)
    monkeypatch.setattr(summarizers, "make_summarizer", lambda config, budget: made)
    return writer


def test_written_summaries_are_stored_as_they_came_and_read_back(tmp_path, writer):
    store = open_store(tmp_path, "llm")
    assert store.add(DIALOGUES[:3]) == 3
    found = open_store(tmp_path, "llm").get(DIALOGUES[0])
    assert isinstance(found, Written)
    said, gist = found.history.gists[-1]
    assert gist.end < said < 14
    assert gist.made_by == "llm"
    assert all(sentence.speaker == "" and sentence.sources for sentence in gist.sentences)
    # Of a prefix: the gist, then what was said since, latest first.
    lines = found.of_prefix(said)
    assert lines[: len(gist.sentences)] == list(gist.sentences)
    assert lines[len(gist.sentences)].turn == said - 1
    assert {line.turn for line in lines[len(gist.sentences) :]} == set(range(gist.end, said))
    builder = ExampleBuilder(FORMAT, CONTEXT, store, 512, DIALOGUES[:3])
    for strategy in ("summary", "hybrid", "rolling", "shuffled"):
        context = builder.build(Target(DIALOGUES[0], 13), strategy).context
        assert context.lines
        assert context.tokens <= 96


def test_what_was_finished_before_a_failure_is_stored_and_not_made_again(tmp_path, writer, small_chunks):
    store = open_store(tmp_path, "llm")
    writer.left = 20
    with pytest.raises(UserError, match="down"):
        store.add(DIALOGUES)
    stored = sum(dialogue in store for dialogue in DIALOGUES)
    assert stored in range(4, 30, 4)
    writer.left = 10**9
    again = open_store(tmp_path, "llm")
    assert again.add(DIALOGUES) == 30 - stored
    whole = open_store(tmp_path / "other", "llm")
    whole.add(DIALOGUES)
    assert again.path.read_bytes() == whole.path.read_bytes()


def test_rolling_examples_need_no_stored_chain(tmp_path):
    store = open_store(tmp_path)
    store.add(DIALOGUES[:1])
    builder = ExampleBuilder(FORMAT, CONTEXT, store, 512)
    context = builder.build(Target(DIALOGUES[0], 13), "rolling").context
    assert context.lines
    assert 0 < context.boundary < 12
    assert context.tokens <= 96


RAY_SCRIPT = """
import functools, sys
sys.path[:0] = [{tests!r}, {root!r}]
import ray
path = {{"env_vars": {{"PYTHONPATH": {tests!r} + ":" + {root!r}}}}}
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=path)
from gistchat.errors import UserError
from gistchat.memory.workers import map_in_order
from killed_worker import kill_once
from pathlib import Path
parts = [[i, i + 1] for i in range(0, 20, 2)]
found = list(map_in_order(functools.partial(kill_once, {flag!r}), parts))
assert Path({flag!r}).exists(), "no worker was killed"
assert found == [[i * i, (i + 1) ** 2] for i in range(0, 20, 2)], found
try:
    list(map_in_order(functools.partial(kill_once, {flag!r}), [[1], [-1]]))
except UserError as error:
    assert str(error) == "no such model"
else:
    raise AssertionError("the error of a worker was lost")
from test_workers import DIALOGUES, open_store, store_module
store_module.CHUNK = 4
for engine in ("local", "ray"):
    store = open_store(Path({folder!r}) / engine)
    assert store.add(DIALOGUES, engine) == 30
    assert store.add(DIALOGUES, engine) == 0
"""


def test_ray_writes_the_bytes_of_the_local_engine_and_outlives_a_killed_worker(tmp_path):
    """In a process of its own, as a cluster outlives the test otherwise."""
    script = tmp_path / "on_ray.py"
    here = Path(__file__).parent
    places = {"tests": str(here), "root": str(here.parent), "flag": str(tmp_path / "flag"), "folder": str(tmp_path)}
    script.write_text(RAY_SCRIPT.format(**places))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    [local], [ray] = ((tmp_path / engine).glob("*.jsonl") for engine in ("local", "ray"))
    assert local.read_bytes() == ray.read_bytes()
    assert local.name == ray.name


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"engine": "dask"}, "'dask' is not one of local, ray"),
        ({"method": "gpt"}, "'gpt' is not one of"),
        ({"method": "endpoint"}, "needs summary.url and summary.model"),
        ({"method": "lead,recent"}, "several methods go with --score"),
        ({"tokens": 0}, "--tokens must be at least 1"),
    ],
)
def test_settings_that_no_summarizer_can_work_with_are_refused(tmp_path, options, problem):
    with pytest.raises(UserError, match=problem):
        cli.summarize(tmp_path, **options)
