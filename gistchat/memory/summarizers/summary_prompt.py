"""What a model is asked for a summary with: a Jinja template, the shipped one or a user's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from gistchat.errors import UserError, first_line
from gistchat.memory.summarizers.abstractive import Request
from gistchat.prompts.rendering import line_of, render_bounded

KNOWN = "{{ dialogue }}, {{ summary }} and {{ words }}"
MARK = "a line of dialogue"
DEFAULT_PROMPT = Path(__file__).with_name("prompt.txt")
LONGEST_PROMPT = 20_000  # characters, without dialogue and summary
WORDS_PER_TOKEN = 0.7  # English; what a model is asked for in words, so that it stays within its tokens


class SummaryPrompt:
    """A Jinja template with `dialogue` in it, and `summary` (so far, perhaps empty) and `words` where wanted."""

    def __init__(self, path: str, budget: int) -> None:
        """Raises UserError: no such file, not a template, or no {{ dialogue }} in it."""
        self.words = max(int(budget * WORDS_PER_TOKEN), 5)
        self.file = Path(path).expanduser() if path else DEFAULT_PROMPT
        try:
            with self.file.open(encoding="utf-8-sig") as file:
                text = file.read(LONGEST_PROMPT + 1)
        except (OSError, ValueError) as error:
            problem = getattr(error, "strerror", "not UTF-8")
            raise UserError(f"{self.file}: cannot be read as a prompt ({problem})") from None
        with self._one_line_of_blame():
            self.template = SandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(text)
        # As the first and as later requests are, so that it fails here rather than hours later.
        first, later = (self.fill(Request(summary, MARK)) for summary in ("", "What was said before."))
        if MARK not in first or MARK not in later:
            raise UserError(
                f"{self.file}: the prompt does not say where the dialogue goes; write {{{{ dialogue }}}} there"
            )
        if (length := max(len(text), len(first), len(later))) > LONGEST_PROMPT:
            raise UserError(f"{self.file}: a prompt has {LONGEST_PROMPT:,} characters at most; this one has {length:,}")

    def fill(self, request: Request) -> str:
        """The text that asks for a summary. Raises UserError where the template fails."""
        values = {"summary": request.summary, "dialogue": request.dialogue, "words": self.words}
        with self._one_line_of_blame():
            return render_bounded(lambda: self.template.render(values)).strip()

    @contextlib.contextmanager
    def _one_line_of_blame(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a template is a program of its own, so it may fail in any way
            line = line_of(error)
            raise UserError(
                f"{self.file}{f':{line}' if line else ''}: {first_line(error)}; a prompt knows {KNOWN}"
            ) from None
