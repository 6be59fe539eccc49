"""The chat at a real terminal: line editing, streaming, Ctrl-C, and what must not drive the terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

WAIT = 120  # seconds


class Terminal:
    """`gistchat chat` in a pseudo-terminal."""

    def __init__(self, folder, cwd, *options):
        self.master, slave = pty.openpty()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "XDG_STATE_HOME": str(cwd / "state")}
        command = [sys.executable, "-m", "gistchat", "chat", str(folder), *options]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, pattern, wait=WAIT):
        """What was written up to where the pattern ends, without the terminal's control sequences."""
        until = time.monotonic() + wait
        while not (found := re.search(pattern, self.plain)):
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                data = os.read(self.master, 65536).decode(errors="replace")
                self.seen += data
                if "\x1b[6n" in data:  # where is the cursor?
                    os.write(self.master, b"\x1b[1;1R")
            assert time.monotonic() < until, f"no {pattern!r} in:\n{self.plain[-2000:]}"
        before = self.plain[: found.end()]
        self.seen = self.seen[-1:] if found.end() == len(self.plain) else self.plain[found.end() :]
        return before

    @property
    def plain(self):
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r", "", self.seen)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(run_folder, tmp_path):
    opened = []

    def start(*options):
        opened.append(Terminal(run_folder, tmp_path, *options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_person_at_a_terminal(terminal, tmp_path):
    shell = terminal("--seed", "1", "--max-reply-tokens", "900", "--set", "chat.stop=[]", "--budget", "20")
    shell.wait_for(r"/help lists them|/help lists commands")
    shell.wait_for("you>")
    shell.type("hello therf\x7fe\r")  # a typing error and backspace
    shell.wait_for("bot> ")
    time.sleep(1)
    os.kill(shell.process.pid, signal.SIGINT)  # the reply would be 900 tokens long
    shell.wait_for(r" \.\.\.")
    shell.wait_for("you>")
    shell.type("/turns\r")
    shown = shell.wait_for(r"2\. bot> \S")
    assert "1. you> hello there" in shown
    shell.wait_for("you>")
    shell.type("\x1b[A\r")  # arrow up: the command of before
    shell.wait_for(r"1\. you> hello there")
    shell.wait_for("you>")
    shell.type("/save talk.jsonl\r")
    shell.wait_for("saved talk.jsonl")
    shell.wait_for("you>")
    shell.type("\x04")
    shell.wait_for("bye")
    assert shell.process.wait(WAIT) == 0
    assert (tmp_path / "talk.jsonl").exists()
    again = terminal("--load", "talk.jsonl")
    again.wait_for("loaded talk.jsonl: 2 turns")
    again.wait_for("you>")
    again.type("/quit\r")
    again.wait_for("bye")
