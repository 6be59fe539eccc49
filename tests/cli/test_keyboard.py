"""What is typed while nobody asks for it, and the terminal's modes afterwards."""

import contextlib
import fcntl
import os
import pty
import struct
import sys
import termios
import time

import pytest

from gistchat.cli import keyboard
from gistchat.cli.keyboard import quiet_keyboard


@pytest.fixture
def terminal(monkeypatch):
    """The end that a person types at, and the program's end, which is standard input."""
    master, slave = pty.openpty()
    with os.fdopen(slave) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield master, slave
    os.close(master)


def arrived(terminal) -> int:
    """How many characters wait to be read."""
    return struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, bytes(4)))[0]


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_modes_are_as_before_however_the_block_ends(terminal, end):
    master, slave = terminal
    before = termios.tcgetattr(slave)
    with pytest.raises(end) if end else contextlib.nullcontext(), quiet_keyboard():
        assert termios.tcgetattr(slave) != before
        os.write(master, b"typed\x7f ahead")
        while arrived(slave) < len(b"typed\x7f ahead"):  # the kernel hands on what is typed in its own time
            time.sleep(0.01)
        if end:
            raise end
    assert termios.tcgetattr(slave) == before
    os.write(slave, b"said")
    assert os.read(master, 100) == b"said"  # nothing of what was typed


def test_keys_come_as_they_were_typed_once_they_are_asked_for(terminal):
    master, slave = terminal
    with quiet_keyboard():
        os.write(master, b"a\x7fb\x04\x1b[A")
        assert os.read(slave, 100) == b"a\x7fb\x04\x1b[A"


@pytest.mark.parametrize("missing", ["a terminal", "termios"])
def test_elsewhere_nothing_changes(terminal, monkeypatch, missing, tmp_path):
    _, slave = terminal
    before = termios.tcgetattr(slave)
    if missing == "termios":  # as on Windows
        monkeypatch.setattr(keyboard, "termios", None)
    else:
        (tmp_path / "input").touch()
        monkeypatch.setattr(sys, "stdin", (tmp_path / "input").open())
    with quiet_keyboard():
        assert termios.tcgetattr(slave) == before
