"""Ten thousand scripted turns through `gistchat chat`: flat cost, and what was pinned at the start is answered."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Measurement

from gistchat.dialogue.jsonl import load_dialogues
from gistchat.prepare.prepare import prepare
from gistchat.recipe.schema import DataConfig

TURNS = 10_000  # of both
SOME = 500  # exchanges that are compared, early and late
FACTS = {
    "User: My dog is called Biscuit.": ("What is my dog called?", "Biscuit"),
    "User: I live in Lisbon.": ("Which city do I live in?", "Lisbon"),
}


def script() -> list[str]:
    """What people said in chitchat's conversations, in their order."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder))
        dialogues = load_dialogues(Path(folder) / "train.jsonl")
    texts = [" ".join(turn.text.split()) for dialogue in dialogues for turn in dialogue.turns[::2]]
    return [text for text in texts if text and not text.startswith("/") and len(text) < 200][: TURNS // 2]


def take() -> float:
    """Median seconds of an exchange among the last, by that among the first after the window filled."""
    lines = script()
    assert len(lines) == TURNS // 2
    pins = [f"/pin {fact}" for fact in FACTS]
    questions = [question for question, _ in FACTS.values()]
    options = ["--temperature", "0", "--max-reply-tokens", "8", "--seed", "0"]
    command = [sys.executable, "-m", "gistchat", "chat", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as chat:

        def ask(line: str) -> str:
            chat.stdin.write(line + "\n")
            chat.stdin.flush()
            return chat.stdout.readline().strip()

        for pin in pins:
            ask(pin)
        seconds = []
        for number, line in enumerate(lines, 1):
            start = time.perf_counter()
            ask(line)
            seconds.append(time.perf_counter() - start)
            if number % 500 == 0:
                print(f"{2 * number} turns, {statistics.median(seconds[-500:]):.3f} s an exchange", flush=True)
        answers = [ask(question) for question in questions]
        chat.stdin.close()
    right = sum(word in answer for (_, word), answer in zip(FACTS.values(), answers, strict=True))
    for question, answer in zip(questions, answers, strict=True):
        print(f"{question} -> {answer}")
    if right < len(FACTS):
        raise SystemExit(f"only {right} of {len(FACTS)} pinned facts were answered")
    return statistics.median(seconds[-SOME:]) / statistics.median(seconds[50 : 50 + SOME])


FIGURE = Measurement(
    "chat_10000_turns",
    "times",
    f"{TURNS:,} turns of chitchat through `gistchat chat` with the packaged adapter: the median time of an exchange "
    f"among the last {SOME} by that among the first; facts pinned at the start are asked for at the end, and the run "
    "fails where one is not answered. The bound is what it must not exceed.",
    take,
    1.15,
)
