"""Several replies at once by llama.cpp: each as it would be alone, what was read is kept, and a place is free soon."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gistchat.chat.model import ChatModel
from gistchat.chat.session import ChatSession
from gistchat.context.types import USER, Context, RoleTurn
from gistchat.engines.engine import ConversationCache, generate_replies
from gistchat.engines.llama_server import LlamaServer
from gistchat.engines.sampling import Sampling
from gistchat.errors import UserError
from gistchat.models.packaged_file import packaged_file

SLOTS = 3
TOPICS = ("the sea", "a dog", "chess", "Norway", "bread", "trains")
GREEDY = Sampling(max_tokens=8)
LONG = Sampling(max_tokens=2000, temperature=1.0, seed=1)


@pytest.fixture(scope="module")
def model():
    """The packaged base model, whose replies are longer than those of the adapter."""
    return ChatModel.open(packaged_file(), ["chat.temperature=0", "chat.max_reply_tokens=8"], slots=SLOTS)


@pytest.fixture
def engine(model):
    return model.engine


def about(topic, length=1):
    return Context((), (), RoleTurn(USER, f"Tell me a story about {topic}, please. " * length, 0), 0, 0)


CONTEXTS = [about(topic, 1 + number) for number, topic in enumerate(TOPICS)]


def reply(engine, context, cache=None):
    return "".join(engine.stream(context, GREEDY, cache or ConversationCache()))


class Watched:
    """llama.cpp's server; `running` is how many replies it writes now, `most` how many it ever did."""

    def __init__(self, server):
        self.server, self.running, self.most = server, 0, 0
        self.changed = threading.Condition()

    def handle_completions(self, request, take):
        self._count(1)
        try:
            return self.server.handle_completions(request, take)
        finally:
            self._count(-1)

    def _count(self, more):
        with self.changed:
            self.running += more
            self.most = max(self.most, self.running)
            self.changed.notify_all()

    def wait_for(self, running):
        with self.changed:
            assert self.changed.wait_for(lambda: self.running == running, 30)


@pytest.fixture
def watched(engine, monkeypatch):
    one = Watched(engine.server._server)
    monkeypatch.setattr(engine.server, "_server", one)
    return one


def test_replies_that_are_written_at_once_are_those_that_come_alone(engine, watched):
    alone = [reply(engine, context) for context in CONTEXTS]
    assert watched.most == 1
    with ThreadPoolExecutor(len(CONTEXTS)) as threads:
        assert list(threads.map(lambda context: reply(engine, context), CONTEXTS)) == alone
    assert watched.most == SLOTS
    assert len(set(alone)) == len(alone)


def test_a_batch_is_written_as_many_at_once_as_there_are_slots(engine, watched):
    alone = [reply(engine, context) for context in CONTEXTS]
    assert [one.text for one in generate_replies(engine, CONTEXTS, GREEDY)] == alone
    assert watched.most == SLOTS


def test_a_batch_of_which_one_fails_ends(engine, watched):
    too_long = about("x" * 9, 2000)
    with pytest.raises(UserError, match="do not fit"):
        engine.generate_batch([*CONTEXTS[:2], too_long, *CONTEXTS[2:]], LONG, range(7))
    assert watched.running == 0


def test_conversations_keep_what_was_read_of_them_also_when_there_are_more_than_slots(model):
    sessions = [ChatSession(model) for _ in range(2 * SLOTS)]
    for said in range(2):
        for session, topic in zip(sessions, TOPICS, strict=True):
            before = session.engine.count_tokens(session.context) if said else 0
            session.say(f"Tell me something about {topic}, please. " + f"I know {topic} well. " * 6)
            prompt, read = session.cache.prompt, session.cache.prefilled
            assert read <= prompt - before + 8, (said, topic)


def begin(engine, cache):
    """A long reply, in a thread."""
    thread = threading.Thread(target=lambda: list(engine.stream(about("the sea"), LONG, cache)), daemon=True)
    thread.start()
    return thread


def test_a_reply_that_nobody_wants_any_more_gives_its_slot_to_who_waits(engine, watched):
    caches = [ConversationCache() for _ in range(SLOTS)]
    threads = [begin(engine, cache) for cache in caches]
    watched.wait_for(SLOTS)
    leaving = ConversationCache()
    left = begin(engine, leaving)
    leaving.cancel.set()
    left.join(10)
    assert not left.is_alive()  # though all slots are taken
    assert leaving.ended == "cancel"
    with ThreadPoolExecutor(1) as waiting:
        answer = waiting.submit(reply, engine, CONTEXTS[0])
        assert watched.running == SLOTS
        caches[1].cancel.set()
        assert answer.result(30)
    threads[1].join(10)
    assert [thread.is_alive() for thread in threads] == [True, False, True]
    for cache in caches:
        cache.cancel.set()
    for thread in threads:
        thread.join(10)
    assert watched.most == SLOTS
    assert reply(engine, CONTEXTS[1])


def test_one_conversation_alone_keeps_nothing_of_others(monkeypatch):
    seen = []
    library = LlamaServer.__init__.__globals__["load_library"]()

    def server(params):
        seen.append((params.n_parallel, params.cache_ram_mib, params.n_ctx))
        return library.Server(params)

    class Library:
        CommonParams, CommonAdapterLoraInfo, Server = library.CommonParams, None, staticmethod(server)

    monkeypatch.setattr("gistchat.engines.llama_server.load_library", lambda: Library)
    LlamaServer(packaged_file(), 256)
    LlamaServer(packaged_file(), 256, slots=2)
    assert seen[0] == (1, 0, 256)
    assert seen[1][0] == 2
    assert 0 < seen[1][1] <= 512
    assert seen[1][2] == 512
