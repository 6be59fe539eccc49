"""What was typed at the prompt: kept for this user alone, and not without end."""

import os
import stat

import pytest
from prompt_toolkit.history import FileHistory, InMemoryHistory

from gistchat.cli.history import MOST_BYTES, MOST_ENTRIES, open_history, shorten


def entries(path):
    """The oldest first."""
    return list(FileHistory(path).load_history_strings())[::-1]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("existing", [False, True])
def test_only_this_user_may_read_it(state, mask, existing):
    path = state / "chat-history"
    if existing:  # as earlier versions left it
        state.mkdir(parents=True)
        path.touch(mode=0o644)
    before = os.umask(mask)
    try:
        history = open_history()
        history.store_string("a secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert entries(path) == ["a secret"]


def test_the_latest_entries_stay(state):
    history = open_history()
    path = state / "chat-history"
    said = [f"turn {number}\nin two lines" for number in range(20)]
    for text in said:
        history.store_string(text)
    shorten(path)
    assert entries(path) == said
    shorten(path, most_entries=5)
    assert entries(path) == said[-5:]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shorten(path, most_bytes=200)
    assert entries(path) == said[-3:]
    assert path.stat().st_size <= 200
    shorten(path, most_bytes=10)
    assert entries(path) == []
    assert [file.name for file in state.iterdir()] == ["chat-history"]


def test_a_chat_begins_with_a_history_that_is_bounded(state):
    state.mkdir(parents=True)
    path = state / "chat-history"
    path.write_text("".join(f"\n# then\n+{number}\n" for number in range(3 * MOST_ENTRIES)))
    open_history()
    assert entries(path) == [str(number) for number in range(2 * MOST_ENTRIES, 3 * MOST_ENTRIES)]
    path.write_text("\n# then\n+" + "x" * MOST_BYTES + "\n" + "\n# then\n+short\n")
    open_history()
    assert entries(path) == ["short"]


@pytest.mark.parametrize("obstacle", ["", "chat-history"])
def test_a_state_folder_that_cannot_be_had_leaves_the_history_of_this_chat(state, obstacle):
    (state / obstacle).parent.mkdir(parents=True)
    if obstacle:
        (state / obstacle).mkdir()
    else:
        state.write_text("a file")
    assert isinstance(open_history(), InMemoryHistory)
