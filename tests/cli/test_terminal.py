"""The chat at a real terminal: line editing, streaming, typing ahead, and every way that it can end."""

import os
import pty
import re
import select
import signal
import sys
import termios
import time

import pytest
from conftest import FORKS

from gistchat.cli import main

WAIT = 300  # seconds


# Importing torch takes longer than a chat does: every process is a fork of one that has imported it.


def chat_at(terminal, cwd, words):
    """What a process does: the command line in a session of its own, with the terminal as the controlling one."""
    os.setsid()
    descriptor = os.open(terminal, os.O_RDWR)
    for standard in range(3):
        os.dup2(descriptor, standard)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in enumerate("rww"))
    places = {"XDG_STATE_HOME": str(cwd / "state"), "XDG_DATA_HOME": str(cwd / "data")}
    os.environ.update({"OMP_NUM_THREADS": "1", "TERM": "xterm", **places})
    os.chdir(cwd)
    sys.argv = words
    main()


class Terminal:
    """`gistchat chat` in a pseudo-terminal, which is the controlling one: keys send signals, and closing it, too."""

    def __init__(self, folder, cwd, *options):
        self.master, self.slave = pty.openpty()
        self.modes = termios.tcgetattr(self.slave)
        words = ["gistchat", "chat", *([str(folder)] if folder else []), *options]
        self.process = FORKS.Process(target=chat_at, args=(os.ttyname(self.slave), cwd, words))
        self.process.start()
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

    def ended(self):
        """The exit code, and the terminal's modes as they were before."""
        self.process.join(WAIT)
        code = self.process.exitcode
        assert termios.tcgetattr(self.slave) == self.modes
        return code

    def hang_up(self):
        os.close(self.master)
        self.master = None

    def close(self):
        self.process.kill()
        self.process.join()
        for end in filter(None, (self.master, self.slave)):
            os.close(end)


@pytest.fixture
def terminal(run_folder, tmp_path):
    opened = []

    def start(*options):
        folder = None if "--continue" in options else run_folder
        opened.append(Terminal(folder, tmp_path, *options))
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
    assert shell.ended() == 0
    assert (tmp_path / "talk.jsonl").exists()
    again = terminal("--load", "talk.jsonl")
    again.wait_for("loaded talk.jsonl: 2 turns")
    again.wait_for("you>")
    again.type("/quit\r")
    again.wait_for("bye")


LONG_REPLIES = ("--max-reply-tokens", "900", "--set", "chat.stop=[]", "--budget", "20", "--seed", "1")


def test_what_is_typed_ahead_waits_for_the_next_prompt(terminal):
    shell = terminal(*LONG_REPLIES)
    shell.wait_for("you>")
    shell.type("first turn\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.type("/turms\x7f\x7f")  # a typing error, mended with backspace
    time.sleep(0.5)
    shell.type("ns\r/pin ahead\r/tur")
    time.sleep(0.5)
    os.kill(shell.process.pid, signal.SIGINT)
    reply = shell.wait_for(r" \.\.\.\n")
    assert "/t" not in reply
    assert "/pin" not in reply
    shown = shell.wait_for(r"you> /turns[^y]*1\. you> first turn")  # mended by the prompt, as if typed there
    assert "turms" not in shown
    shell.wait_for(r"pinned: ahead")
    shell.wait_for(r"you> /tur")
    shell.type("ns 1\r")
    shell.wait_for(r"2\. bot> \S")
    shell.type("another\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.type("not yet sent\x03")  # Ctrl-C by its key stops the reply, and drops nothing
    assert "not yet" not in shell.wait_for(r" \.\.\.\n")
    shell.wait_for("you> not yet sent")
    shell.type("\x15/quit\r")
    shell.wait_for("bye; gistchat chat --continue goes on with this conversation")
    assert shell.ended() == 0


def test_a_conversation_goes_on_however_the_chat_before_it_ended(terminal, tmp_path):
    def turns(shell):
        """As `/turns` lists them."""
        shell.wait_for("you>")
        shell.type("/turns 99\r")
        return re.findall(r"^\d+\. (.*)$", shell.wait_for(r"2\. bot> .*\n(?:\d+\. .*\n)*you>"), re.M)

    shell = terminal(*LONG_REPLIES)
    shell.wait_for("you>")
    shell.type("I am Ann.\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.type("\x03")
    shell.wait_for("you>")
    shell.type("/pin Ann has a boat.\r")
    shell.wait_for("pinned")
    before = turns(shell)
    assert len(before) == 2
    shell.type("Where is it?\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.process.kill()  # while it answers
    shell.process.join()  # until it is gone it holds the conversation

    shell = terminal("--continue")
    shell.wait_for("your last turn had no answer yet, say it again: Where is it?")
    assert turns(shell) == before
    shell.type("/gist\r")
    shell.wait_for("Ann has a boat.")
    shell.type("Where is it now?\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.process.terminate()
    assert shell.ended() == 128 + signal.SIGTERM

    shell = terminal("--continue")
    assert (before := turns(shell))[2] == "you> Where is it now?"
    assert len(before) == 4  # with what had been said of the answer
    shell.process.terminate()  # at the prompt
    assert shell.ended() == 128 + signal.SIGTERM

    shell = terminal("--continue")
    assert turns(shell) == before
    shell.type("And today?\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.type("\x1c")  # Ctrl-\\
    assert shell.ended() == 128 + signal.SIGQUIT

    shell = terminal("--continue")
    assert (before := turns(shell))[4] == "you> And today?"
    shell.type("And tomorrow?\r")
    shell.wait_for(r"bot> \S+ \S+")
    shell.hang_up()
    shell.process.join(WAIT)
    assert shell.process.exitcode

    shell = terminal("--continue")
    assert len(before := turns(shell)) == 8
    shell.type("\x04")  # Ctrl-D
    shell.wait_for("bye")
    assert shell.ended() == 0
    history = tmp_path / "state" / "gistchat" / "chat-history"
    assert "Where is it now?" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600
