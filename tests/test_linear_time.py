"""Twice the text takes about twice the time, whatever the text: a pasted blob must not stop a run."""

import contextlib
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from gistchat.context.budget import _beginning
from gistchat.corpora import empathetic_dialogues, personachat, transcript
from gistchat.dialogue import text_repair, visible, words
from gistchat.dialogue.turns import Dialogue, Turn, Unreadable
from gistchat.evaluate import judge, metrics
from gistchat.memory import sentences, standing_facts
from gistchat.memory.summarizers import faithfulness
from gistchat.prepare.near_duplicates import jaccard, word_pairs
from gistchat.prepare.scrub import scrub
from gistchat.printable import printable
from gistchat.recipe.load import _line_of

LENGTH = 10_000
SHORTER = {"bleu": 1500, "chrf": 2000, "split_sentences": 5000}  # linear, but slow
SECONDS = 1.5  # of processor time; what is linear takes a tenth
MARKS = [
    "-",
    "a-",
    "a.",
    "a_",
    "1",
    "1-1-1-",
    "+1 ",
    "(1",
    "1.1",
    "@",
    "a@",
    "a@a.",
    "http://",
    "www.",
    "a.com",
    "a.de/",
]
MARKS += [".", ". ", "...", " ", "a ", "A. ", "Mr. ", "U.S. ", "!", "?! ", "'", '"', "a' ", " ' ", "' s ", "``", " n't"]
MARKS += ["\n", "\r", " \n", "\t", "<", "<edited", "<edited>", "[", "[1", "[ ", "(", "```", "``` ", ":", "a:", ": "]
MARKS += [
    "- ",
    "1. ",
    "2) ",
    "• ",
    "…",
    ", ",
    "; a",
    "é",
    "Ã©",
    "é ",
    "日",
    "日本。",
    "。",
    "」",
    "ก",
    "ก ",
    "กa",
    "\u0301",
]
MARKS += [
    "日\u0301",
    "क\u094d",
    "\u200d",
    "\0",
    "\ud800",
    "\x85",
    "â€",
    "&amp;",
    "|",
    "α;",
    "ա:",
    "_",
    "\x1b[",
    "\u3000",
]
MARKS += ["[10:00] ", "1/1/20, 10:00 - ", "://", "\\", "=", "a=", "и ", "İ", "ß", "\u00a0", "-.-", ".-", "..-"]
ENDINGS = ["", "!@", "_ B", "/x>"]


def _transcript(text: str) -> None:
    for lines in (["Ann: hi", text], ["1/1/20, 10:00 - Ann: " + text], ["Ann: hi", *text.split(" ")], [text]):
        with contextlib.suppress(Unreadable):
            transcript.parse_lines(lines)


FUNCTIONS: dict[str, Callable[[str], Any]] = {
    "scrub": scrub,
    "clean_text": text_repair.clean_text,
    "clean_line": text_repair.clean_line,
    "join_tokens": text_repair.join_tokens,
    "separate_sentences": text_repair.separate_sentences,
    "words": words.words,
    "spaced": words.spaced,
    "count_unspaced": words.count_unspaced,
    "has_text": visible.has_text,
    "printable": printable,
    "whole_sentences": sentences.whole_sentences,
    "split_sentences": lambda text: sentences.split_sentences([Turn("a", text)]),
    "is_finished": sentences.is_finished,
    "content_words": sentences.content_words,
    "find_facts": lambda text: standing_facts.find_facts(0, Turn("a", "I love " + text)),
    "names_and_numbers": lambda text: faithfulness.names_and_numbers("A" + text + "B"),
    "fault": lambda text: faithfulness.fault(text, text),
    "transcript": _transcript,
    "personachat": lambda text: list(personachat._parse_lines("f", "n", [("f:1", "1 " + text)])),
    "empathetic": lambda text: empathetic_dialogues._fields(text.replace("\n", "").replace("\r", ""), 8),
    "verdict": judge.VERDICT.match,
    "line of a field": lambda text: _line_of("train.steps", text),
    "beginning": lambda text: _beginning(text, lambda part: len(part) < 50),
    "f1": lambda text: metrics.unigram_f1([text], [text]),
    "bleu": lambda text: metrics.bleu([text], [text]),
    "chrf": lambda text: metrics.chrf([text], [text]),
    "self_repetition": lambda text: metrics.self_repetition([text]),
    "near duplicates": lambda text: jaccard(*[word_pairs(Dialogue("d", (Turn("a", text),)))] * 2),
}


class TooSlow(BaseException):
    """Not an Exception, so that nothing takes it for one of its own."""


@pytest.fixture(autouse=True)
def _clock():
    def stop(*_):
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def seconds(function: Callable[[str], Any], text: str) -> float:
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    started = time.process_time()
    try:
        function(text)
    except TooSlow:
        return float("inf")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.process_time() - started


@pytest.mark.parametrize("name", FUNCTIONS)
def test_work_grows_with_the_length_of_a_text_and_no_faster(name):
    function = FUNCTIONS[name]
    seconds(function, "Warm up, é a.")  # what is loaded at the first call
    slow = []
    for number, mark in enumerate(MARKS):
        text = mark * (SHORTER.get(name, LENGTH) // len(mark)) + ENDINGS[number % len(ENDINGS)]
        if seconds(function, text) < 0.1:
            continue
        # The best of several, as other work on the machine adds to the time.
        half, whole = (min(seconds(function, text[start:]) for _ in range(4)) for start in (len(text) // 2, 0))
        if whole > SECONDS or (whole > 0.05 and whole > 3.2 * half):
            slow.append(f"{mark!r}: {half:.2f} s, {whole:.2f} s at twice the length")
    assert slow == []


def test_a_long_turn_of_many_lines_is_read_in_time():
    lines = ["Ann: hi", *["a line of a log, which names nobody and goes on"] * 40_000]
    assert seconds(transcript.parse_lines, lines) < SECONDS


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("a@b.c+d@e.fg", "[email][email]"),
        ("me+you@mail.example.org, ok", "[email], ok"),
        ("@@a@b", "@@a@b"),
        ("see...foo.com/x y", "see...[link] y"),
        ("-a.com --b.io.", "-[link] --[link]."),
        ("-.a.com", "-.[link]"),
        ("-www.io[", "-[link]"),
        ("x.com-.de/y", "[link]"),
        ("a.b.c.d.net/p?q rest", "[link] rest"),
        ("a.com-b.xyz", "[link]-b.xyz"),
        ("awww.foo bar", "a[link] bar"),
        ("1.5 e.g. i.e. a.m. no links.", "1.5 e.g. i.e. a.m. no links."),
    ],
)
def test_what_is_an_address_is_what_it_was(text, scrubbed):
    assert scrub(text)[0] == scrubbed
    assert scrub(text)[1] == scrubbed.count("[link]") + scrubbed.count("[email]")
