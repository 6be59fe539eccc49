"""A checkpoint that a run replaces while others read it: no save fails, and every reader sees one whole version."""

import json
import multiprocessing
import os
import shutil
import time

import pytest

from gistchat.errors import UserError
from gistchat.files import atomic_folder, previous_version
from gistchat.models import checkpoint as checkpoint_module
from gistchat.models import checkpoint_folder
from gistchat.models.checkpoint import load_checkpoint
from gistchat.models.checkpoint_folder import METADATA, find_checkpoint, read_while_replaced

SAVES = 400
NAMES = ("a.safetensors", "b.safetensors", "tokenizer.json")


def save(run, number) -> None:
    with atomic_folder(run / "checkpoint", METADATA) as folder:
        for name in NAMES:
            (folder / name).write_text(f"{name} {number}")
        (folder / METADATA).write_text(json.dumps({"step": number}))


def read(folder) -> int:
    """The step of a version whose files agree."""
    step = json.loads((folder / METADATA).read_text())["step"]
    for name in NAMES:
        if (folder / name).read_text() != f"{name} {step}":
            raise UserError(f"{name} is not of step {step}")
    return step


def _read_on(run, seen, stop) -> None:
    steps = []
    try:
        while not stop.is_set():
            time.sleep(0.001)  # else two readers take all the time that there is
            steps.append(read_while_replaced(run, read))
            find_checkpoint(run)
        seen.put((len(steps), len(set(steps)), steps == sorted(steps)))
    except Exception as error:
        seen.put(repr(error))


def test_thousands_of_saves_and_readers_and_none_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # to have more saves in less time
    save(tmp_path, 0)
    context = multiprocessing.get_context("fork")
    seen, stop = context.Queue(), context.Event()
    places = tmp_path, tmp_path / "checkpoint"
    readers = [context.Process(target=_read_on, args=(place, seen, stop), daemon=True) for place in places]
    for reader in readers:
        reader.start()
    for number in range(1, SAVES + 1):
        save(tmp_path, number)
    stop.set()
    results = [seen.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(30)
    for result in results:
        assert isinstance(result, tuple), result
        count, versions, in_order = result
        assert count >= versions > 1
        assert in_order
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_in_the_gap_the_previous_version_is_read_and_left_where_it_is(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "checkpoint").rename(previous_version(tmp_path / "checkpoint"))
    for place in (tmp_path, tmp_path / "checkpoint"):
        assert read_while_replaced(place, read) == 1
    assert not (tmp_path / "checkpoint").exists()  # only a writer may move it: it may be about to
    save(tmp_path, 2)
    assert read_while_replaced(tmp_path, read) == 2
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("moment", NAMES)
def test_a_save_in_the_midst_of_reading_is_survived(tmp_path, moment):
    save(tmp_path, 1)
    tries = []

    def slowly(folder) -> int:
        tries.append(folder)
        step = json.loads((folder / METADATA).read_text())["step"]
        for name in NAMES:
            if name == moment and len(tries) == 1:
                save(tmp_path, 2)
            assert (folder / name).read_text()  # of either version: it is the metadata that tell
        return step

    assert read_while_replaced(tmp_path, slowly) == 2
    assert len(tries) == 2


def test_what_is_damaged_and_not_replaced_is_said_at_once(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "checkpoint" / "b.safetensors").write_text("x")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"b\.safetensors is not of step 1"):
        read_while_replaced(tmp_path, read)
    assert time.monotonic() - start < 2


def test_who_is_replaced_again_and_again_gives_up(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_folder, "RETRY_SECONDS", 0.2)
    save(tmp_path, 0)
    numbers = iter(range(1, 10_000))
    with pytest.raises(UserError, match="replaced again and again"):
        read_while_replaced(tmp_path, lambda folder: save(tmp_path, next(numbers)))


@pytest.mark.parametrize("moment", ["_load_tokenizer", "_load_weights"])
def test_a_real_checkpoint_is_loaded_of_one_version(run_folder, tmp_path, moment, monkeypatch):
    shutil.copytree(run_folder / "checkpoint", tmp_path / "checkpoint")
    metadata = json.loads((run_folder / "checkpoint" / METADATA).read_text())
    original, calls = getattr(checkpoint_module, moment), []

    def replaced_before(folder, *rest):
        if not calls:
            with atomic_folder(tmp_path / "checkpoint", METADATA) as working:
                for path in folder.iterdir():
                    shutil.copy(path, working)
                (working / METADATA).write_text(json.dumps({**metadata, "step": 77}))
        calls.append(folder)
        return original(folder, *rest)

    monkeypatch.setattr(checkpoint_module, moment, replaced_before)
    assert load_checkpoint(tmp_path).metadata == {**metadata, "step": 77}
    assert len(calls) == 2
