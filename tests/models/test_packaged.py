"""The adapter that comes with gistchat, on its real base."""

import dataclasses

import pytest
import torch
from conftest import gistchat
from safetensors.torch import load_file

from gistchat.chat.session import ChatSession
from gistchat.context.types import Context, RoleTurn
from gistchat.engines.ctranslate2_engine import sample_replies
from gistchat.engines.open import open_engine
from gistchat.engines.sampling import Sampling
from gistchat.models.base import load_model
from gistchat.models.checkpoint import PACKAGED, load_checkpoint
from gistchat.models.likelihood import ScoredReply, score_replies
from gistchat.models.resolve import resolve_base

ASKED = ["Hi there, how are you?", "What did you do on the weekend?", "I have a test tomorrow.", "Do you like dogs?"]


@pytest.fixture(scope="module")
def packaged():
    return load_checkpoint(PACKAGED)


CONTEXTS = [Context((), (), RoleTurn("user", text, 0), 0, 0) for text in ASKED]


def test_it_is_small_and_changes_its_base_for_the_better(packaged):
    weights = load_file(PACKAGED / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert sum(path.stat().st_size for path in PACKAGED.iterdir()) < 8e6
    base = load_model(resolve_base(packaged.recipe.model, 0))
    rows = [ScoredReply.of(prompt, reply) for prompt, reply in sample_replies(packaged.format)]
    tuned, before = (sum(score_replies(model, packaged.format, rows)) for model in (packaged.model, base))
    assert tuned < before


def test_chat_without_an_argument_talks_with_it(tmp_path):
    done = gistchat("chat", "--seed", "1", "--max-reply-tokens", "12", cwd=tmp_path, stdin="\n".join(ASKED[:2]) + "\n")
    assert done.returncode == 0, done.stderr
    replies = done.stdout.splitlines()
    assert len(replies) == 2
    assert all(len(reply.split()) > 1 for reply in replies)


def test_it_answers_from_what_is_pinned():
    session = ChatSession.open(None, ["chat.temperature=0", "chat.max_reply_tokens=16"])
    session.pin("User: My dog is called Biscuit.")
    session.say("It rained the whole day.")
    assert "Biscuit" in session.say("What is my dog called?")


def test_both_engines_give_its_greedy_replies(packaged):
    sampling = Sampling(max_tokens=12)
    replies = {}
    for name in ("torch", "ctranslate2"):
        recipe = dataclasses.replace(packaged.recipe, chat=dataclasses.replace(packaged.recipe.chat, engine=name))
        engine = open_engine(dataclasses.replace(packaged, recipe=recipe))
        replies[name] = [reply.ids for reply in engine.generate_batch(CONTEXTS, sampling, range(4))]
        assert replies[name] == [engine.generate_batch([context], sampling, [0])[0].ids for context in CONTEXTS]
    assert replies["torch"] == replies["ctranslate2"]
