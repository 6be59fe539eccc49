"""Two processes at one output: one works, the other is told."""

import multiprocessing
import time

import pytest

from gistchat.errors import UserError
from gistchat.locks import lock_path, locked


def _hold(path, held) -> None:
    with locked(path):
        held.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path/out` until it is killed."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "out", held))
    process.start()
    assert held.wait(30)
    yield process
    process.kill()
    process.join()


def test_who_does_not_wait_is_refused(holder, tmp_path):
    with pytest.raises(UserError, match=r"another process is writing to .*out"), locked(tmp_path / "out", seconds=0):
        pass


def test_who_waits_is_told_and_goes_on_when_the_other_is_killed(holder, tmp_path, monkeypatch):
    said = []

    def say(message: str) -> None:
        said.append(message)
        holder.kill()

    monkeypatch.setattr("gistchat.locks.say", say)
    with locked(tmp_path / "out", seconds=60):
        assert len(said) == 1
        assert "another process that is writing to" in said[0]


def test_an_output_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "out"):
        _ = 1 / 0
    with locked(tmp_path / "out", seconds=0):
        assert lock_path(tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), locked(tmp_path / "file" / "out"):
        pass
