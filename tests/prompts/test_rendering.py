"""Templates that fail, never end or write without end: one line that names the template and where."""

import re
import signal
import threading

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gistchat.engines import openai_client
from gistchat.errors import UserError
from gistchat.memory.summarizers import endpoint
from gistchat.memory.summarizers.abstractive import Request
from gistchat.memory.summarizers.summary_prompt import SummaryPrompt
from gistchat.models.scratch import gpt2_tokenizer
from gistchat.prompts import formats, rendering
from gistchat.prompts.formats import make_format
from gistchat.prompts.rendering import Unbounded, fault_of, render_bounded

FOR_EVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DEEP = "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}"
BROKEN = {
    "not a template": ("a\n{% for %}", 2, "Expected"),
    "unknown name": ("a\nb\n{{ nobody }}", 3, "'nobody' is undefined"),
    "division": ("a\n{{ 1 / 0 }}", 2, "division by zero"),
    "kinds": ("{{ 'a' + 1 }}", 1, "can only concatenate str"),
    "no such filter": ("\n\n\n{{ 'a'|translate }}", 4, "No filter named 'translate'"),
    "too long a range": ("\n{% for a in range(10**9) %}{% endfor %}", 2, "Range too big"),
    "within itself": ("\n" + DEEP, 2, "maximum recursion depth"),
    "the insides of Python": ("a\n{{ ''.__class__.__mro__ }}", 2, "unsafe"),
    "for ever": ("\n\n" + FOR_EVER, 3, "takes more than 0.2 seconds"),
}


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(rendering, "MOST_SECONDS", 0.2)


@pytest.fixture
def prompt_file(tmp_path):
    return tmp_path / "prompt.txt"


@pytest.mark.parametrize(("text", "line", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_summary_prompt_that_fails_is_one_line_with_its_place(prompt_file, text, line, problem, short):
    prompt_file.write_text(text + "\n{{ dialogue }}")
    place = rf"^{re.escape(str(prompt_file))}:{line}: .*{re.escape(problem)}.*; a prompt knows "
    with pytest.raises(UserError, match=place) as error:
        SummaryPrompt(str(prompt_file), 20)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "line", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_prompt_that_fails_only_after_the_first_summary_is_refused_at_once(prompt_file, text, line, problem, short):
    prompt_file.write_text("{{ dialogue }}{% if summary %}" + text + "{% endif %}")
    with pytest.raises(UserError, match=rf"prompt\.txt:{line}: .*{re.escape(problem)}"):
        SummaryPrompt(str(prompt_file), 20)


def test_a_prompt_that_fails_in_the_middle_of_the_work(prompt_file, short):
    prompt_file.write_text("{{ dialogue }}\n{% if 'x' in dialogue %}{{ 1 / 0 }}{% endif %}")
    prompt = SummaryPrompt(str(prompt_file), 20)
    assert prompt.fill(Request("", "a: b")) == "a: b"
    with pytest.raises(UserError, match=r"prompt\.txt:2: division by zero"):
        prompt.fill(Request("", "a: x"))
    prompt_file.write_text("{% for a in dialogue %}{% for b in dialogue %}{% for c in dialogue %}"
                           "{% endfor %}{% endfor %}{% endfor %}{{ dialogue }}")  # fmt: skip
    prompt = SummaryPrompt(str(prompt_file), 20)
    with pytest.raises(UserError, match=r"prompt\.txt:1: takes more than 0\.2 seconds"):
        prompt.fill(Request("", "a: b " * 1000))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{{ dialogue }}" + "word " * 5000, "20,000 characters at most"),
        ("{{ dialogue }}{% for a in range(9999) %}word {% endfor %}", "20,000 characters at most"),
        ("{{ dialogue }}{% for a in range(99999) %}some more words {% endfor %}", "writes 1,600,"),
        ("{% if summary %}{{ summary }}{% else %}{{ dialogue }}{% endif %}", "where the dialogue goes"),
        ("{% if not summary %}{{ dialogue }}{% endif %}", "where the dialogue goes"),
    ],
)
def test_prompts_that_are_too_long_or_leave_the_dialogue_out(prompt_file, text, problem):
    prompt_file.write_text(text)
    with pytest.raises(UserError, match=rf"prompt\.txt.*: .*{problem}"):
        SummaryPrompt(str(prompt_file), 20)


@pytest.mark.parametrize("content", [b"\xff\xfea\0b\0", b"{{ dialogue }}\xe9", None])
def test_prompt_files_that_cannot_be_read(prompt_file, content):
    prompt_file.mkdir() if content is None else prompt_file.write_bytes(content)
    with pytest.raises(UserError, match=r"prompt\.txt: cannot be read as a prompt \((not UTF-8|Is a directory)\)"):
        SummaryPrompt(str(prompt_file), 20)


def test_an_endpoint_is_asked_nothing_when_one_of_its_prompts_fails(prompt_file, monkeypatch):
    asked = []

    def ask_all(client, chats, max_tokens, at_once):
        asked.append(chats)
        return ["A summary."] * len(chats)

    monkeypatch.setattr(openai_client.ChatClient, "ask_all", ask_all)
    prompt_file.write_text("{{ dialogue }}{% if 'x' in dialogue %}{{ 1 / 0 }}{% endif %}")
    writer = endpoint.EndpointWriter("http://127.0.0.1:9/v1", "m", 20, str(prompt_file))
    with pytest.raises(UserError, match=r"prompt\.txt:1: division by zero"):
        writer.write([Request("", "a: b"), Request("", "a: x")])
    assert asked == []
    assert writer.write([Request("", "a: b")] * 3) == ["A summary."] * 3


PER_MESSAGE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"


def tokenizer_with(template, name="models/hostile"):
    tokenizer = gpt2_tokenizer()
    tokenizer.chat_template, tokenizer.name_or_path = template, name
    return tokenizer


CHAT = {
    "not a template": ("a\n{% for %}", "line 2"),
    "division": (PER_MESSAGE + "\n\n{{ 1 / 0 }}", "division by zero, line 4"),
    "in the middle": (
        PER_MESSAGE + "\n{% if messages|length > 5 %}{{ 1 % 0 }}{% endif %}",
        r"refuses a conversation of \d turns \(.*by zero, line 3",
    ),
    "with a date": ("{{ strftime_now('%Y') }}\n" + PER_MESSAGE + "{{ 1 / 0 }}", "division by zero, line 3"),
    "within itself": (PER_MESSAGE + DEEP, "(recursion|takes more)"),
    "for ever": (PER_MESSAGE + FOR_EVER, r"takes more than 0\.2 seconds, line 2 for a conversation of 1 turn"),
    "for ever for longer talks": (
        PER_MESSAGE + "{% if messages|length > 20 %}" + FOR_EVER + "{% endif %}",
        r"takes more than 0\.2 seconds, line 2 for a conversation of 99 turns",
    ),
    "without end": (
        PER_MESSAGE + "{% for a in range(99999) %}some more words {% endfor %}",
        r"writes 1,600,\d+ characters for a conversation of 1 turn",
    ),
}


@pytest.mark.parametrize(("template", "problem"), CHAT.values(), ids=CHAT)
def test_a_chat_template_that_fails_is_named_and_auto_does_without_it(template, problem, short, capsys):
    with pytest.raises(UserError, match=rf"^this chat template \(of models/hostile\) .*{problem}") as error:
        make_format("chat-template", tokenizer_with(template))
    assert "\n" not in str(error.value)
    formats.say_once.cache_clear()
    assert make_format("auto", tokenizer_with(template)).name == "speaker-tokens"
    assert re.search(rf"^this chat template \(of models/hostile\) .*{problem}.*, so model", capsys.readouterr().err)


def test_the_limit_leaves_the_systems_timers_as_they_were(short):
    before = signal.getsignal(signal.SIGVTALRM)
    assert render_bounded(lambda: "text") == "text"
    template = ImmutableSandboxedEnvironment().from_string("\n" + FOR_EVER)
    with pytest.raises(Unbounded) as error:
        render_bounded(template.render)
    assert fault_of(error.value) == "takes more than 0.2 seconds, line 2"
    assert signal.getsignal(signal.SIGVTALRM) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_other_threads_render_too():
    texts = []
    thread = threading.Thread(target=lambda: texts.append(render_bounded(lambda: "text")))
    thread.start()
    thread.join()
    assert texts == ["text"]
