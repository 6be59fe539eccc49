"""Two processes at one output: one works, the other is told."""

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gistchat.errors import UserError
from gistchat.locks import lock_path, locked, locked_by_first


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


def test_one_process_does_not_hold_an_output_twice_and_no_lock_file_stays(tmp_path):
    with locked(tmp_path / "out"):
        with pytest.raises(UserError, match="another process"), locked(tmp_path / "out", seconds=0):
            pass
        with pytest.raises(UserError, match="another process"):
            _in_a_thread(tmp_path / "out")
    _in_a_thread(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def _in_a_thread(path) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_take, path).result()


def _take(path) -> None:
    with locked(path, seconds=0):
        pass


def test_nobody_is_let_in_while_lock_files_come_and_go(tmp_path):
    inside, most = [], []

    def enter(_) -> None:
        with locked(tmp_path / "out", seconds=60):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(60)))
    assert most == [1] * 60


def test_of_the_processes_of_one_run_the_first_locks(tmp_path, monkeypatch):
    with locked_by_first(tmp_path / "out"):
        monkeypatch.setenv("RANK", "1")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: locked_by_first(tmp_path / "out").__enter__()).result()
        monkeypatch.setenv("RANK", "0")
        with pytest.raises(UserError, match="another process"), ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: locked_by_first(tmp_path / "out").__enter__()).result()
