"""The command line, run by forks of one process that has imported everything and knows the hub's address.

The hub's client reads HF_ENDPOINT when it is imported, and importing it with all the rest takes ten seconds.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# What the command line sets before it imports anything.
SETTINGS = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "COLUMNS": "120"}
SECONDS = 240  # that a command may take


class Commands:
    """The process, while it is used as a context manager."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = {**os.environ, **SETTINGS, **environment}
        self._process: subprocess.Popen[str] | None = None

    def close(self) -> None:
        if self._process:
            self._process.kill()  # it waits for a command, and would take seconds to end by itself
            self._process.communicate()

    def run(self, words: tuple[str, ...], cwd: Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess:
        """Run `gistchat WORDS`; the first time takes as long as the imports do."""
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(command, env=self._environment, text=True, **pipes)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "0").write_text(stdin, encoding="utf-8")
            asked = {"words": list(map(str, words)), "cwd": str(cwd), "folder": folder, "env": env}
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            said = [(Path(folder) / name).read_text(encoding="utf-8") for name in ("1", "2")]
        return subprocess.CompletedProcess(words, code, *said)


def _serve() -> None:
    importlib.import_module("preloaded")
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if not pid:
            _be_command(asked)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, flush=True)


def _be_command(asked: dict[str, Any]) -> None:
    """Become a command with files for its three streams. Never returns."""
    code = 1
    try:
        signal.alarm(SECONDS)
        for number, mode in enumerate("rww"):
            flags = os.O_RDONLY if mode == "r" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(f"{asked['folder']}/{number}", flags, 0o600), number)
        sys.stdin, sys.stdout, sys.stderr = (
            os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate("rww")
        )
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        sys.argv = ["gistchat", *asked["words"]]
        code = _run_main()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run_main() -> int:
    from gistchat.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


if __name__ == "__main__":
    _serve()
