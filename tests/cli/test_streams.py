"""What reaches the terminal: nothing that drives it; closed and narrow streams; a reader that is gone."""

import ast
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from conftest import gistchat
from rich.console import Console

import gistchat as package
from gistchat import progress
from gistchat.cli import _fail
from gistchat.cli.chat_terminal import Terminal
from gistchat.cli.streams import prepare_streams
from gistchat.files import read_json
from gistchat.report.write import print_scores

HOSTILE = {
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "title": "\x1b]0;evil\x1b\\",
    "colour": "\x1b[31m",
    "cursor": "\x1b[2J\x1b[H\r\b",
    "C1": "\x9b31m\x9d52;c;ZXZpbA==\x9c",
    "direction": "\u202eevil\u2066",
    "lines": "x\nerror: posing as another\x0b\x0c\x85\u2028y",
    "surrogate": "\udc9b",
}
ALL = "".join(HOSTILE.values())
DRIVES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def harmless(done) -> bool:
    return not DRIVES.search(done.stdout + done.stderr)


def one_error(done) -> bool:
    return done.returncode == 1 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_no_module_but_one_prints():
    bare = []
    for path in Path(package.__file__).parent.rglob("*.py"):
        if path.name == "progress.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if re.search(
                r"(^|\.)(print|echo|secho|Console)$|(stdout|stderr)\.write|^(print_exc|traceback\.print_)", name
            ):
                bare.append(f"{path.name}:{node.lineno}: {name}")
    assert not bare


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("function", ["say", "say_error", "show", "show_part", "show_sentences"])
def test_what_is_printed_drives_nothing(function, kind, capsys):
    getattr(progress, function)(f"before {HOSTILE[kind]} after", *([] if function == "show_part" else ["[bold]:cat:"]))
    printed = "".join(capsys.readouterr())
    assert not DRIVES.search(printed)
    assert "before" in printed
    if function != "show_part":
        assert printed.splitlines()[1] == "[bold]:cat:"  # as it is: no markup, and one line for each


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_drives_nothing_by_its_title_and_note(kind, terminal, monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, color_system=None, width=200)
    monkeypatch.setattr(progress, "console", console)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    hostile = f"[red]{HOSTILE[kind]}"
    with progress.progress(hostile, 2) as advance:
        advance(1, hostile)
    shown = re.sub(r"\x1b\[(\?25[lh]|2K|1A|\d*[mAK])|\r", "", out.getvalue())  # of the bar itself
    assert not DRIVES.search(shown)
    assert "[red]" in shown


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_error_is_one_line_whatever_its_text(kind, capsys):
    with pytest.raises(SystemExit) as end:
        _fail(f"a{HOSTILE[kind]}b")
    assert end.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a")
    assert not DRIVES.search(line)
    with pytest.raises(SystemExit):
        _fail("other settings:\n  a: 1 -> 2\n  b: 3 -> 4")
    assert capsys.readouterr().err == "error: other settings:\n  a: 1 -> 2\n  b: 3 -> 4\n"


def test_tables_drive_nothing(run_folder, capsys):
    value = {"value": 1.0, "low": 0.5, "high": 1.5}
    print_scores({"results": {ALL: {"bleu": value}, "predictions": {"bleu": value}}, "items": 1, "warnings": [ALL]})
    assert not DRIVES.search(capsys.readouterr().out)


JSON = json.dumps(ALL)
HEADER = ALL.replace("\n", "").replace("\x0b", "").replace("\x0c", "").replace("\x85", "").replace("\u2028", "")
HEADER = HEADER.replace("\r", "").replace("\udc9b", "")
NO_SURROGATE = ALL.replace("\udc9b", "")
FILES = {
    "key.jsonl": f'{{"id": "a", {JSON}: 1}}\n',
    "id.jsonl": f'{{"id": {JSON}, "turns": []}}\n',
    "speaker.jsonl": f'{{"id": "a", "turns": [{{"speaker": {JSON}, "text": 7}}]}}\n',
    "twice.jsonl": 2
    * f'{{"id": {JSON}, "turns": [{{"speaker": "x", "text": "y"}}, {{"speaker": "z", "text": "y"}}]}}\n',
    "header.csv": f"{HEADER},b,c\n1,2,3\n",
    "talk.txt": f"{HEADER}\nno speaker {HEADER}\n",
    "export.json": f"{{{JSON}: {JSON}}}",
}
CORPUS_OF = {".jsonl": "jsonl", ".csv": "table", ".txt": "transcript", ".json": "export"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_files_of_strangers_drive_nothing(name, on_error, tmp_path):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    from gistchat.corpora.readers import CORPORA

    for corpus in CORPORA:
        done = gistchat("prepare", corpus, "--from", name, "--out", "o", "--on-error", on_error, cwd=tmp_path)
        assert harmless(done), (corpus, done)
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
        shutil.rmtree(tmp_path / "o", ignore_errors=True)


TOML = NO_SURROGATE.encode("unicode_escape").decode().replace("\\x", "\\u00").replace("\\n", "\\n")
RECIPES = {
    "key": f'"{TOML}" = 1\n',
    "value": f'[train]\nmethod = "{TOML}"\n',
    "name": f'name = "{TOML}"\n',
    "corpus": f'[data]\ncorpus = "{TOML}"\n',
    "source": f'[data]\ncorpus = "jsonl"\nsource = "{TOML}"\n',
    "variant": f'[[experiment.variants]]\nname = "{TOML}"\n',
    "setting": f'[[experiment.variants]]\nname = "a"\nset = ["{TOML}=1"]\n',
    "model": f'[data]\ncorpus = "jsonl"\nsource = "talks.jsonl"\n[model]\nname = "./{TOML}"\n',
    "broken": "name = \x1b[31m\n",
}


@pytest.mark.parametrize("kind", RECIPES)
def test_recipes_of_strangers_drive_nothing(kind, tiny_folder):
    (tiny_folder / "r.toml").write_text(RECIPES[kind], encoding="utf-8")
    done = gistchat("run", "r.toml", cwd=tiny_folder)
    assert done.returncode == 1
    assert harmless(done), done
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in done.stderr
    assert harmless(gistchat("recipes", "--show", "./r.toml", cwd=tiny_folder))


@pytest.mark.parametrize("name", ["clipboard", "colour", "C1", "direction"])
def test_file_names_drive_nothing(name, tiny_folder):
    hostile = f"a{HOSTILE[name].replace('/', '')}b"
    folder = tiny_folder / hostile
    folder.mkdir()
    shutil.copy(tiny_folder / "talks.jsonl", folder / "talks.jsonl")
    for words in (
        ["prepare", "jsonl", "--from", f"{hostile}/talks.jsonl", "--out", f"{hostile}/data"],
        ["prepare", "jsonl", "--from", f"{hostile}/none.jsonl", "--out", "o"],
        ["run", f"{hostile}/none.toml"],
        ["evaluate", hostile],
        ["chat", hostile],
        ["compare", hostile, "b"],
        ["evaluate", "--predictions", hostile, "--references", hostile],
        ["run", "none.toml", "--set", hostile],
    ):
        done = gistchat(*words, cwd=tiny_folder)
        assert harmless(done), done
        assert done.returncode == 0 or one_error(done), done


def test_a_strangers_checkpoint_drives_nothing(run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    path = run / "checkpoint" / "gistchat.json"
    for changes in ({"format": ALL}, {"recipe": {ALL: 1}}, {"weights": {NO_SURROGATE.replace("/", ""): "0"}}):
        changed = read_json(run_folder / "checkpoint" / "gistchat.json") | changes
        path.write_text(json.dumps(changed))
        done = gistchat("chat", "run", cwd=tmp_path)
        assert one_error(done), done
        assert harmless(done)


class Scripted:
    """A session whose every text is hostile."""

    def __init__(self, session):
        self.session, self.notice = session, ALL

    def __getattr__(self, name):
        return getattr(self.session, name)

    def reply(self, text):
        yield from ("\x1b", "]52;c;ZXZpbA==", "\x07", *HOSTILE.values())

    def remember(self):
        pass


@pytest.mark.parametrize("interactive", [True, False])
def test_the_chat_drives_nothing(interactive, session, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(Scripted(session), lambda prompt: "", interactive)
    commands = ["hello", f"/{ALL}", f"/pin {ALL}", "/gist", f"/gist edit {ALL}", "/gist back", f"/load {NO_SURROGATE}"]
    for line in (*commands, f"/save {ALL}/x", f"/export {ALL}", f"/model {ALL}", f"/strategy {ALL}", "/turns", "/help"):
        terminal._obey(line.replace("\n", " "))
    printed = "".join(capsys.readouterr())
    assert not DRIVES.search(printed)
    assert "52;c;ZXZpbA==" in printed


def test_messages_of_libraries_drive_nothing(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    before = logging.getLogRecordFactory()
    try:
        prepare_streams()
        logger = logging.getLogger("some library")
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.error("cannot read %s", ALL)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning(UserWarning(ALL), UserWarning, "file.py", 7)
    finally:
        logging.setLogRecordFactory(before)
    printed = capsys.readouterr().err
    assert not DRIVES.search(printed)
    assert "file.py:7: UserWarning" in printed


@pytest.mark.parametrize("error", [ValueError(ALL), KeyError(ALL), OSError(2, "none", ALL)])
def test_a_defect_shows_without_driving_anything(error, monkeypatch, tmp_path):
    def broken(*_):
        raise error

    monkeypatch.setattr("gistchat.recipe.load.fields", broken)
    done = gistchat("fields", cwd=tmp_path)
    assert done.returncode == 1
    assert harmless(done)
    assert ("Traceback" in done.stderr) != isinstance(error, OSError)


CLOSED = [">&-", "2>&-", "<&- >&- 2>&-"]


def shell(command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """A command of the shell, where `gistchat` is the command line."""
    start = f'gistchat() {{ "{sys.executable}" -m gistchat "$@"; }}; '
    environment = {**os.environ, "PYTHONPATH": str(Path(package.__file__).parent.parent), **environment}
    return subprocess.run(
        ["bash", "-c", start + command], cwd=cwd, capture_output=True, text=True, env=environment, timeout=280
    )


@pytest.mark.parametrize("closed", CLOSED)
def test_closed_streams_harm_nothing(closed, tiny_folder):
    done = shell(f"gistchat prepare jsonl --from talks.jsonl --out o {closed}; echo code $?", tiny_folder)
    assert "code 0" in done.stdout
    assert "Traceback" not in done.stderr
    # Nothing that was meant for a closed stream is in a file that got its number.
    assert sorted(os.listdir(tiny_folder / "o")) == [
        "prepared.json",
        "report.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    assert "read 20 dialogues" not in "".join(path.read_text() for path in (tiny_folder / "o").iterdir())


def test_a_chat_without_standard_input_ends(run_folder, tmp_path):
    done = shell(f"gistchat chat {run_folder} <&-; echo code $?", tmp_path)
    assert done.stdout == "code 0\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "iso8859-5:strict"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_consoles_of_ascii_show_what_they_can(environment, tmp_path):
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks" / "für 対話.jsonl").write_text("[]\n")
    (tmp_path / "r.toml").write_text('[data]\ncorpus = "jsonl"\nsource = "für 対話"\n', encoding="utf-8")
    done = shell(
        "gistchat prepare jsonl --from talks --out o; gistchat recipes --show ./r.toml", tmp_path, **environment
    )
    assert "error: " in done.stderr
    assert re.search("f[ü?\ufffd]r \\?\\?", done.stderr)
    assert re.search('source = "f[ü?\ufffd]r \\?\\?"', done.stdout)
    assert "Traceback" not in done.stderr


def test_a_name_that_is_no_text_is_one_line(tmp_path):
    done = shell("gistchat run $'caf\\xe9.toml'; gistchat chat $'\\xff'", tmp_path)
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") and "not text in utf-8" in line for line in lines)


@pytest.mark.parametrize("name", [b"caf\xe9.jsonl", b"\xff.jsonl", b"a\x9b31m.jsonl"])
def test_a_file_within_a_folder_whose_name_is_no_text_is_one_line(name, tiny_folder):
    (tiny_folder / "talks").mkdir()
    with open(os.path.join(os.fsencode(tiny_folder / "talks"), name), "wb") as file:
        file.write((tiny_folder / "talks.jsonl").read_bytes())
    done = gistchat("prepare", "jsonl", "--from", "talks", "--out", "o", cwd=tiny_folder)
    assert one_error(done), done
    assert harmless(done)
    assert "not text in utf-8; rename it" in done.stderr


class Gone(io.StringIO):
    """A pipe whose reader leaves after so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def write(self, text: str) -> int:
        if self.left <= 0:
            raise BrokenPipeError(32, "Broken pipe")
        self.left -= 1
        return super().write(text)


@pytest.mark.parametrize("function", ["say", "say_error", "show", "show_part", "show_sentences"])
def test_a_reader_that_is_gone_ends_the_program_quietly(function, monkeypatch):
    monkeypatch.setattr("sys.stdout", Gone(0))
    monkeypatch.setattr("sys.stderr", Gone(0))
    with pytest.raises(SystemExit) as end:
        getattr(progress, function)("text")
    assert end.value.code == 141


def test_a_chat_whose_reader_is_gone_answers_no_more(session, monkeypatch):
    turns = iter(["hello", "how are you?", "and then?", "why?"])
    asked = []

    def read(prompt):
        asked.append(next(turns))
        return asked[-1]

    monkeypatch.setattr("sys.stdout", Gone(1))
    with pytest.raises(SystemExit) as end:
        Terminal(session, read, interactive=False).run("run", None)
    assert end.value.code == 141
    assert len(asked) <= 2


@pytest.mark.parametrize("command", ["corpora --offline", "fields"])
def test_head_ends_a_listing_quietly(command, tmp_path):
    done = shell(f"set -o pipefail; gistchat {command} | (read line; echo $line); echo code $?", tmp_path)
    assert done.stderr == ""
    assert re.search("code (141|0)", done.stdout)
    assert len(done.stdout.splitlines()) == 2


def test_what_is_finished_is_kept_when_the_reader_is_gone(tiny_folder):
    words = "train tiny.toml --out r"
    done = shell(
        f"set -o pipefail; gistchat {words} 2>&1 | (read line; read line; echo $line); echo code $?", tiny_folder
    )
    assert "code 141" in done.stdout
    assert "Traceback" not in done.stderr
    again = gistchat(*words.split(), cwd=tiny_folder)
    assert again.returncode == 0, again.stderr
    assert "prepare: jsonl -> data (done before, skipped)" in again.stderr


def test_output_on_a_full_disk_is_one_line(tmp_path):
    done = shell("gistchat recipes > /dev/full; echo code $?", tmp_path)
    assert done.stdout == "code 1\n"
    assert re.fullmatch(r"error: disk full .*\n", done.stderr)


def test_scores_are_written_before_they_are_shown(tmp_path, monkeypatch):
    for name, field in (("p.jsonl", "reply"), ("g.jsonl", "gold")):
        lines = [json.dumps({"id": str(i), field: f"I saw {i} boats"}) for i in range(3)]
        (tmp_path / name).write_text("\n".join(lines))
    monkeypatch.setattr("gistchat.report.write.print_scores", lambda scores: sys.exit(progress.CLOSED_PIPE))
    done = gistchat("evaluate", "--predictions", "p.jsonl", "--references", "g.jsonl", cwd=tmp_path)
    assert done.returncode == 141
    assert (tmp_path / "p.scores.json").exists()
