"""What every engine tells of a reply that is over; and anybody can end one, also while its prompt is read."""

import dataclasses
import threading

import pytest
import torch
from fake_chat_server import ChatServer, begin, delta, event
from transformers import LlamaConfig, LlamaForCausalLM

from gistchat import trusted_hosts
from gistchat.context.types import USER, Context, RoleTurn
from gistchat.engines.engine import ConversationCache, stream_reply
from gistchat.engines.llama_server import LlamaServer
from gistchat.engines.llama_tokenizer import LlamaTokenizer
from gistchat.engines.llamacpp_engine import LlamaCppEngine
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_engine import open_server_engine
from gistchat.engines.torch_engine import PART, TorchEngine
from gistchat.models.export import write_checkpoint_gguf
from gistchat.models.gguf_header import read_header
from gistchat.prompts.formats import make_format

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
LENGTH = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def small(checkpoint):
    """A model that never learned anything, and holds long prompts."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=len(checkpoint.tokenizer)))
    return dataclasses.replace(checkpoint, model=model.eval())


@pytest.fixture(scope="module")
def llama(small, tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "x.gguf"
    write_checkpoint_gguf(small, path, "f16")
    server = LlamaServer(path, 4096)
    return LlamaCppEngine(server, make_format(small.format.name, LlamaTokenizer(read_header(path), server)))


@pytest.fixture(scope="module", params=["torch", "llamacpp"])
def engine(request, small, llama):
    return llama if request.param == "llamacpp" else TorchEngine(small.model, small.format)


class Steps:
    """Calls `at[n]` with step n of an engine, which is a forward pass, or what llama.cpp tells after one."""

    def __init__(self, engine, monkeypatch):
        self.count, self.at = 0, {}
        if engine.name == "torch":
            forward = engine._forward
            monkeypatch.setattr(engine, "_forward", lambda *given: self.took(forward(*given)))
        else:
            real, steps = engine.server._server, self

            class Counted:
                def handle_completions(self, request, take):
                    return real.handle_completions(request, lambda chunk: take(steps.took(chunk)))

            monkeypatch.setattr(engine.server, "_server", Counted())

    def took(self, value):
        self.count += 1
        self.at.get(self.count, int)()
        return value


@pytest.fixture
def steps(engine, monkeypatch):
    return Steps(engine, monkeypatch)


def saying(text):
    return Context((), (), RoleTurn(USER, text, 0), 0, 0)


HELLO = saying("what do you think about the small garden?")


def reply(engine, context=HELLO, sampling=LENGTH, cache=None):
    cache = cache or ConversationCache()
    return "".join(stream_reply(engine, context, sampling, cache)), cache


def test_an_engine_tells_how_a_reply_ended_and_what_it_took(engine):
    text, cache = reply(engine)
    assert (cache.ended, cache.written) == ("length", 12)
    assert cache.prompt == cache.prefilled == engine.count_tokens(HELLO)
    again, cache = reply(engine, cache=cache)
    assert (again, cache.prompt) == (text, engine.count_tokens(HELLO))
    assert cache.prefilled < cache.prompt
    stop = text[len(text) // 2 :][:4]
    cut, cache = reply(engine, sampling=Sampling(max_tokens=12, stop=(stop,)), cache=cache)
    assert cut == text[: text.find(stop)].rstrip()
    assert cache.ended == "stop"
    assert 0 < cache.written < 12
    assert reply(engine, sampling=Sampling(max_tokens=0), cache=cache)[1].ended == "length"
    assert cache.written == 0


def test_an_end_token_is_not_counted(engine, monkeypatch):
    stop = engine.format.stop_ids[0]
    if engine.name == "torch":
        forward = engine._forward
        bias = torch.zeros(len(engine.format.tokenizer)).index_fill(0, torch.tensor([stop]), 1e4)
        monkeypatch.setattr(engine, "_forward", lambda *given: forward(*given) + bias)
    else:
        request = engine._request
        monkeypatch.setattr(engine, "_request", lambda *given: request(*given) | {"logit_bias": [[stop, 100.0]]})
    text, cache = reply(engine)
    assert (text, cache.ended, cache.written) == ("", "end", 0)


def test_the_best_of_several_is_told_of_too(engine):
    _, cache = reply(engine, sampling=Sampling(max_tokens=5, temperature=1.0, n_best=3, seed=1))
    assert (cache.ended, cache.prompt) == ("length", engine.count_tokens(HELLO))
    assert 0 < cache.written <= 5


@pytest.mark.parametrize("n_best", [1, 3])
def test_a_reply_that_is_being_written_ends_within_two_steps(engine, steps, n_best):
    cache, before = ConversationCache(), 4
    steps.at[before] = cache.cancel.set
    text, _ = reply(engine, sampling=Sampling(max_tokens=400, temperature=1.0, n_best=n_best, seed=1), cache=cache)
    assert steps.count <= before + 2
    assert cache.ended == "cancel"
    assert len(text.split()) < 8
    whole, _ = reply(engine, cache=ConversationCache())
    assert whole


def test_a_long_prompt_that_is_being_read_is_left_within_two_steps(engine, steps):
    cache, before = ConversationCache(), 2
    long = saying("so " * 2000)
    assert engine.count_tokens(long) > 7 * PART
    steps.at[before] = cache.cancel.set
    text, _ = reply(engine, long, cache=cache)
    assert steps.count <= before + 2
    assert (text, cache.ended, cache.written) == ("", "cancel", 0)
    cache.cancel.clear()
    assert reply(engine, cache=cache) == (*reply(engine)[:1], cache)


def test_a_long_prompt_in_parts_is_answered_as_one_that_is_read_at_once(engine, monkeypatch):
    if engine.name != "torch":
        pytest.skip("llama.cpp always reads it in parts")
    long = saying("so " * 1000)
    text, _ = reply(engine, long)
    monkeypatch.setattr("gistchat.engines.torch_engine.PART", 10_000)
    assert text == reply(engine, long)[0]


def test_a_reply_that_was_cancelled_before_it_began_does_not_begin(engine, steps):
    cache = ConversationCache()
    cache.cancel.set()
    assert reply(engine, cache=cache)[0] == ""
    assert (cache.ended, cache.written) == ("cancel", 0)
    assert steps.count <= 1


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(trusted_hosts, "_trusted", set())
    made = ChatServer()
    yield made
    made.close()


def test_a_server_is_told_of_too(server):
    def answer(handler, body):
        begin(handler)
        delta(handler, "Well, fine")
        delta(handler, finish="length")
        event(handler, {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 3}})
        event(handler, b"[DONE]")

    server.answers = [answer]
    text, cache = reply(open_server_engine(server.url, "m"))
    assert (text, cache.ended, cache.written, cache.prompt) == ("Well, fine", "length", 3, 40)


@pytest.mark.parametrize("said", ["", "Well"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_server_that_is_silent_is_left_at_once(server, said, count):
    asked, released = threading.Event(), threading.Event()

    def answer(handler, body):
        begin(handler)
        if said:
            delta(handler, said)
        asked.set()
        released.wait(20)

    server.answers = [answer] * count
    engine, cache = open_server_engine(server.url, "m"), ConversationCache()
    threading.Thread(target=lambda: asked.wait(20) and cache.cancel.set(), daemon=True).start()
    if count == 1:
        text, ended = "".join(engine.stream(HELLO, LENGTH, cache)), cache.ended
    else:
        one, _ = engine.generate_batch([HELLO] * count, LENGTH, range(count), cache.cancel)
        text, ended = one.text, one.ended
    assert not released.is_set()
    released.set()
    assert text in {"", said}
    assert ended == "cancel"
