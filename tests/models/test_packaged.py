"""The adapter that comes with gistchat, on its real base."""

import pytest
import torch
from conftest import gistchat
from safetensors.torch import load_file

from gistchat.chat.session import ChatSession
from gistchat.context.types import Context, RoleTurn
from gistchat.models.base import load_model
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import PACKAGED
from gistchat.models.likelihood import ScoredReply, score_replies
from gistchat.models.resolve import resolve_base

ASKED = ["Hi there, how are you?", "What did you do on the weekend?", "I have a test tomorrow.", "Do you like dogs?"]
ANSWERS = [
    "I'm fine, thanks! A bit tired, I worked until late.",
    "I repaired an old radio, and on Sunday we went to the sea.",
    "Don't worry, you have learned a lot. What is it about?",
    "Oh yes, but they need a walk even when it rains.",
]


@pytest.fixture(scope="module")
def packaged():
    return load_checkpoint(PACKAGED)


def answered(prompt_format):
    """Persons' turns as prompts, each with an answer to it."""
    contexts = [Context((), (), RoleTurn("user", text, 0), 0, 0) for text in ASKED]
    pairs = zip(contexts, ANSWERS, strict=True)
    return [ScoredReply.of(prompt_format.encode(one), prompt_format.encode_reply(answer)) for one, answer in pairs]


def test_it_is_small_and_changes_its_base_for_the_better(packaged):
    weights = load_file(PACKAGED / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert sum(path.stat().st_size for path in PACKAGED.iterdir()) < 8e6
    base = load_model(resolve_base(packaged.recipe.model, 0))
    rows = answered(packaged.format)
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
